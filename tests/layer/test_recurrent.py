"""A layer beside torch.nn's own, in float64; what it refuses; its initial values."""

import doctest

import pytest
import torch
from small_layers import CLOSE, COMPILED, OF_TORCH, B, H, I, T, doubles, states
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

import cells
from harness import Recurrent, RecurrentCell
from harness.engine import EngineError
from harness.engine.cpu import compiler
from harness.layer import running

CASES = [
    *((name, "reference") for name in OF_TORCH),
    *((name, "native") for name in COMPILED),
    *((name, "cpu") for name in COMPILED),
]


def compared(module, given, start):
    """The outputs, the final state, and the gradients of all that enters but the parameters."""
    leaves = [values.detach().requires_grad_() for values in (given["x"], *start)]
    hx = leaves[1] if len(start) == 1 else tuple(leaves[1:])
    output, final = module(given["form"](leaves[0]), hx)
    output = output.data if isinstance(output, PackedSequence) else output
    values = [output, *states(final)]
    loss = sum((v.sin() * doubles(*v.shape, seed=k)).sum() for k, v in enumerate(values))
    module.zero_grad()
    loss.backward()
    return [v.detach() for v in values] + [leaf.grad for leaf in leaves]


FORMS = {
    "time first": (False, lambda x: x.transpose(0, 1)),
    "batch first": (True, lambda x: x),
    "packed": (True, lambda x: pack_padded_sequence(x, torch.tensor([7, 7, 5, 2]), True)),
    "packed, unsorted": (
        True,
        lambda x: pack_padded_sequence(x, torch.tensor([3, 7, 5, 7]), True, enforce_sorted=False),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("name", "engine"), CASES)
def test_a_layer_equals_that_of_torch(name, engine, bidirectional, form):
    batch_first, change = FORMS[form]
    torch.manual_seed(0)
    theirs = OF_TORCH[name](
        I, H, 2, batch_first=batch_first, bidirectional=bidirectional, dtype=torch.float64
    )
    ours = Recurrent.from_torch(theirs, engine=engine)
    count = 4 if bidirectional else 2
    start = [doubles(count, B, H, seed=k) for k in range(2 if name == "lstm" else 1)]
    given = {"x": doubles(B, T, I), "form": change}
    results = [compared(module, given, start) for module in (theirs, ours)]
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, **CLOSE)
    gradients = Recurrent.from_torch(theirs)  # their gradients under our names
    gradients.load_state_dict({n: p.grad for n, p in theirs.named_parameters()})
    for key, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients.state_dict()[key], **CLOSE)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", OF_TORCH)
def test_parameters_go_to_torch_and_come_back(name, bias):
    theirs = OF_TORCH[name](I, H, 2, bias=bias, bidirectional=True, dtype=torch.float64)
    ours = Recurrent.from_torch(theirs, engine="reference")
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    back = ours.to_torch()
    assert type(back) is type(theirs) and back.extra_repr() == theirs.extra_repr()
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, back.state_dict()[key])
    torch.testing.assert_close(ours(doubles(T, B, I))[0], theirs(doubles(T, B, I))[0], **CLOSE)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_layer_of_one_bias_adds_up_the_two_of_torch(name):
    theirs = OF_TORCH[name](I, H, dtype=torch.float64)
    ours = Recurrent(name, I, H, biases=1, engine="reference", dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(doubles(T, B, I))[0], theirs(doubles(T, B, I))[0], **CLOSE)


def test_a_checkpoint_of_a_script_loads_where_its_line_is_swapped():
    theirs = nn.ModuleDict({"rnn": nn.LSTM(I, H), "head": nn.Linear(H, 2)})
    ours = nn.ModuleDict({"rnn": Recurrent("lstm", I, H), "head": nn.Linear(H, 2)})
    assert ours.load_state_dict(theirs.state_dict()).missing_keys == []
    with pytest.raises(RuntimeError, match="Missing key.*rnn.W_l0"):
        other = nn.ModuleDict({"rnn": Recurrent("lstm-peephole", I, H), "head": nn.Linear(H, 2)})
        other.load_state_dict(theirs.state_dict())
    with pytest.raises(ValueError, match="must be one that torch.nn has, but got cell='mgu'"):
        Recurrent("mgu", I, H).to_torch()


def test_a_projection_is_that_of_torch_from_a_start_of_zero():
    theirs = nn.LSTM(I, H, 2, proj_size=3, bidirectional=True, dtype=torch.float64)
    ours = Recurrent.from_torch(theirs, engine="reference")
    assert ours.cell.name == "lstm-projected" and ours.proj_size == 3
    x = doubles(T, B, I)
    expected, (h, c) = theirs(x)
    output, (m, last) = ours(x)
    torch.testing.assert_close(output, expected, **CLOSE)
    torch.testing.assert_close(last, c, **CLOSE)
    projected = [
        s @ getattr(ours, f"P{suffix}") for s, suffix in zip(m, ours.suffixes, strict=True)
    ]
    torch.testing.assert_close(torch.stack(projected), h, **CLOSE)
    assert torch.equal(ours.to_torch()(x)[0], expected)
    with pytest.raises(ValueError, match="proj_size: must be 0 where .* Take one .*lstm-projected"):
        Recurrent("lstm", I, H, proj_size=3)


@pytest.mark.parametrize(
    ("name", "kind"), [("lstm", nn.LSTMCell), ("gru", nn.GRUCell), ("rnn-tanh", nn.RNNCell)]
)
def test_a_step_equals_that_of_torch(name, kind):
    theirs = kind(I, H, dtype=torch.float64)
    ours = RecurrentCell(name, I, H, engine="reference", dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x, hx = doubles(B, I), [doubles(B, H, seed=k) for k in range(2 if name == "lstm" else 1)]
    for given in (None, tuple(hx) if len(hx) == 2 else hx[0]):
        for expected, actual in zip(states(theirs(x, given)), states(ours(x, given)), strict=True):
            torch.testing.assert_close(actual, expected, **CLOSE)
    assert states(ours(x[0]))[0].shape == (H,)
    with pytest.raises(ValueError, match=r"hx: .* must have shape=\(4, 6\), but got shape=\(6,\)"):
        ours(x, [each[0] for each in hx])


@pytest.mark.parametrize("kind", [Recurrent, RecurrentCell])
def test_the_example_of_the_docstring_runs(kind):
    (example,) = doctest.DocTestFinder(recurse=False).find(kind, globs={})
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert example.examples and runner.summarize(verbose=False).failed == 0


# What is refused, and how it is told


def test_what_is_wrong_with_arguments_is_told_at_once():
    with pytest.raises(ValueError) as raised:
        Recurrent("gru", 3, 0, num_layers=0, dropout=1.5, biases=3, initialization="zero")
    for field in ("hidden_size", "num_layers", "dropout", "biases", "initialization"):
        assert f"{field}: must" in str(raised.value)
    with pytest.raises(TypeError, match="zoneout: must be one of .* Did you mean zoneout_"):
        Recurrent("gru", 3, 4, zoneout=0.1)
    with pytest.raises(TypeError, match="batchfirst: .* Did you mean batch_first?"):
        Recurrent("gru", 3, 4, batchfirst=True)
    with pytest.raises(TypeError, match="nonlinearity: .* The cells rnn-tanh and rnn-relu"):
        Recurrent("rnn-tanh", 3, 4, nonlinearity="relu")
    with pytest.raises(
        TypeError, match="batch_first: must be one of input_size, hidden_size, bias,"
    ):
        RecurrentCell("gru", 3, 4, batch_first=True)
    with pytest.raises(ValueError, match="zoneout_c: .* gru has no state c .*zoneout_c=0.1"):
        Recurrent("gru", 3, 4, zoneout_c=0.1)
    with pytest.raises(ValueError, match="forget_bias: .*lstm has no forget gate with a bias"):
        Recurrent("lstm", 3, 4, bias=False, forget_bias=1.0)
    with pytest.raises(cells.UnknownCell, match="lstm.* A cell of one's own is given as its class"):
        Recurrent("lsmt", 3, 4)
    with pytest.raises(
        ValueError, match="must be a name or a subclass of cells.Cell, .* as its class"
    ):
        Recurrent(nn.LSTM, 3, 4)
    with pytest.raises(ValueError, match="input_size of l1: must be hidden_size=4.* but got 8"):
        Recurrent("sru", 4, 4, num_layers=2, bidirectional=True)
    with pytest.raises(ValueError, match="input_size of l0: must be an int from 1 on"):
        Recurrent("lstm", 0, 4)
    with pytest.warns(UserWarning, match="num_layers=1 and dropout=0.5"):
        Recurrent("lstm", 3, 4, dropout=0.5)


ROWS, STATE = torch.zeros(3, 2, I), torch.zeros(1, 2, H)


@pytest.mark.parametrize(
    ("given", "hx", "message"),
    [
        (ROWS.half(), None, "parameters' dtype=torch.float32, but got dtype=torch.float16"),
        (ROWS.double(), None, "but got dtype=torch.float64"),
        (ROWS.to(torch.complex64), None, "must be floats, or tokens of int64"),
        (ROWS[..., 0].int(), None, "tokens of int64, but got dtype=torch.int32"),
        (ROWS.long(), None, "1 or 2 axes of tokens"),
        (ROWS.unsqueeze(0), None, r"2 or 3 axes of floats, but got shape=\(1, 3, 2, 5\)"),
        (ROWS[..., :4], None, r"must have input_size=5 features, but got shape=\(3, 2, 4\)"),
        (ROWS[0, 0], None, r"2 or 3 axes of floats, but got shape=\(5,\)"),
        (ROWS[:0], None, "must have a time step"),
        (ROWS.numpy(), None, "input: must be a tensor, but got type=ndarray. Convert it."),
        (ROWS.to("meta"), None, "device='cpu', but got device='meta'"),
        (ROWS, STATE, "one tensor for each of h, c, but got 1"),
        (ROWS, (STATE[:, 1:], STATE), r"hx: h must .*shape=\(1, 2, 6\), but .*\(1, 1, 6\)"),
        (ROWS, (STATE, STATE[..., 1:]), r"hx: c must .*shape=\(1, 2, 6\), but .*\(1, 2, 5\)"),
        (ROWS, (STATE.half(), STATE), "hx: h must have the parameters' dtype"),
        (ROWS, (STATE, None), "hx: c must be a tensor, but got type=NoneType"),
        (ROWS, 1.0, "one tensor for each of h, c, but got 1"),
        (ROWS[:, 0], (STATE, STATE), r"shape=\(1, 6\)"),
        (pack_sequence([ROWS[:, 0].half()]), None, "but got dtype=torch.float16"),
        (pack_sequence([ROWS]), None, "must have 2 axes of floats"),
    ],
)
def test_no_engine_sees_what_it_cannot_read(given, hx, message):
    """Compiled code takes addresses: a wrong dtype there ends the process."""
    with pytest.raises(ValueError, match=message):
        Recurrent("lstm", I, H)(given, hx)


@pytest.mark.parametrize(
    ("given", "hx", "message"),
    [
        (ROWS, None, r"1 or 2 axes of floats, but got shape=\(3, 2, 5\)"),
        (ROWS[0, :, :4], None, r"must have input_size=5 features, but got shape=\(2, 4\)"),
        (ROWS[0].double(), None, "but got dtype=torch.float64"),
        (pack_sequence([ROWS[:, 0]]), None, "input: must be a tensor, .*type=PackedSequence"),
        (ROWS[0], (STATE[0, 0], STATE[0]), r"hx: h must have shape=\(2, 6\), .*shape=\(6,\)"),
        (ROWS[0, 0], (STATE[0], STATE[0]), r"hx: c must have shape=\(6,\), .*shape=\(2, 6\)"),
        (ROWS[0], STATE[0], "one tensor for each of h, c, but got 1"),
    ],
)
def test_a_step_refuses_what_that_of_torch_does(given, hx, message):
    with pytest.raises(ValueError, match=message):
        RecurrentCell("lstm", I, H)(given, hx)
    with pytest.raises((ValueError, RuntimeError, AttributeError, TypeError)):
        nn.LSTMCell(I, H)(given, hx)


def test_parameters_must_be_alike():
    made = Recurrent("lstm", I, H)
    made.R_l0.data = made.R_l0.data.double()
    with pytest.raises(ValueError, match="of one dtype .* but got torch.float32, torch.float64"):
        made(torch.zeros(3, 2, I))


@pytest.mark.parametrize("engine", ["cpu", "native", "reference"])
@pytest.mark.parametrize("token", [-1, I])
def test_a_token_that_has_no_row_is_refused(engine, token):
    with pytest.raises(IndexError):
        Recurrent("lstm", I, H, engine=engine)(torch.tensor([[0], [token]]))


def test_an_engine_that_cannot_is_refused_and_one_that_is_missing_is_warned_of(monkeypatch):
    with pytest.raises(EngineError, match="engine='native': torch.nn has no mgu"):
        Recurrent("mgu", I, H, engine="native")(torch.zeros(3, 2, I))
    monkeypatch.setattr(compiler, "find", lambda: None)
    for cached in (running._engine_for, running._fastest):
        cached.cache_clear()
    with pytest.warns(
        UserWarning, match="mgu: engine cpu: not used, no C.. compiler.*reference"
    ) as told:
        Recurrent("mgu", I, H)(torch.zeros(3, 2, I))
    assert {each.filename for each in told} == {__file__}  # where the layer is used
    for cached in (running._engine_for, running._fastest):
        cached.cache_clear()


def test_its_repr_names_what_is_no_default():
    made = Recurrent("lstm", 5, 6, 2, batch_first=True, zoneout_c=0.1, engine="cpu")
    shown = "Recurrent(lstm, 5, 6, num_layers=2, batch_first=True, engine=cpu, zoneout_c=0.1)"
    assert repr(made) == shown
    assert repr(RecurrentCell("gru", 5, 6, bias=False)) == "RecurrentCell(gru, 5, 6, bias=False)"


def test_an_empty_batch_has_empty_results():
    made = Recurrent("lstm", I, H)
    output, (h, _) = made(torch.zeros(3, 0, I))
    assert output.shape == (3, 0, H) and h.shape == (1, 0, H)
    output.sum().backward()
    assert not made.W_l0.grad.any()


# Initial values


def test_initial_values_are_those_of_the_bench_and_follow_torch_s_seed():
    torch.manual_seed(3)
    first = Recurrent("lstm", I, 64)
    torch.manual_seed(3)
    second = Recurrent("lstm", I, 64)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other) and one.abs().max() <= 64**-0.5
    assert not torch.equal(first.b_l0, first.b_R_l0)
    made = Recurrent("lstm", I, 64, initialization="orthogonal", forget_bias=1.0)
    assert made.b_l0.view(4, 64)[1].eq(1.0).all() and made.b_R_l0.eq(0.0).all()
    gate = made.R_l0[:, :64].double()
    torch.testing.assert_close(gate @ gate.T, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="initialization: must be"):
        Recurrent("lstm", I, 64, initialization="xavier")
