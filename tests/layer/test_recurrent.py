"""A layer beside torch.nn's own, in float64; what it refuses; what autograd may ask of it."""

import copy
import doctest
import io
import threading
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)
from torch.utils.checkpoint import checkpoint

import cells
from harness import Recurrent, RecurrentCell
from harness.engine import EngineError
from harness.engine.cpu import compiler
from harness.layer import running
from harness.layer.dropouts import with_input_dropout
from harness.layer.pieces import Form

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
I, H, T, B = 5, 6, 7, 4
OF_TORCH = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn-tanh": nn.RNN,
    "rnn-relu": partial(nn.RNN, nonlinearity="relu"),
}
COMPILED = ("lstm", "gru")
"""The cells that tests run on engine ``cpu``: each is compiled."""
CASES = [
    *((name, "reference") for name in OF_TORCH),
    *((name, "native") for name in COMPILED),
    *((name, "cpu") for name in COMPILED),
]


def doubles(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states(hidden):
    return hidden if isinstance(hidden, tuple) else (hidden,)


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
    running._engine_for.cache_clear()
    with pytest.warns(
        UserWarning, match="mgu: engine cpu: not used, no C.. compiler.*reference"
    ) as told:
        Recurrent("mgu", I, H)(torch.zeros(3, 2, I))
    assert {each.filename for each in told} == {__file__}  # where the layer is used
    running._engine_for.cache_clear()


def test_its_repr_names_what_is_no_default():
    made = Recurrent("lstm", 5, 6, 2, batch_first=True, zoneout_c=0.1, engine="cpu")
    shown = "Recurrent(lstm, 5, 6, num_layers=2, batch_first=True, engine=cpu, zoneout_c=0.1)"
    assert repr(made) == shown
    assert repr(RecurrentCell("gru", 5, 6, bias=False)) == "RecurrentCell(gru, 5, 6, bias=False)"


# What autograd may ask


@pytest.fixture(params=["cpu", "scan", "reference"])
def made(request):
    """A layer of every kind of gradient: compiled, of all time steps at once, autograd's own."""
    torch.manual_seed(0)
    cell = "min-gru" if request.param == "scan" else "lstm"
    return Recurrent(cell, 3, 4, 2, engine=request.param, dtype=torch.float64)


def test_gradients_are_those_of_differences(made):
    x = doubles(3, 2, 3).requires_grad_()
    names, values = zip(*made.named_parameters(), strict=True)

    def outputs(x, *values):
        output, final = torch.func.functional_call(made, dict(zip(names, values, strict=True)), x)
        return output, *states(final)

    assert torch.autograd.gradcheck(outputs, (x, *values), fast_mode=True)
    assert torch.autograd.gradgradcheck(outputs, (x, *values), fast_mode=True)


def test_a_graph_is_used_twice_where_it_is_kept(made):
    x = doubles(3, 2, 3).requires_grad_()
    loss = made(x)[0].square().sum()
    first = torch.autograd.grad(loss, [x, *made.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [x, *made.parameters()])
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


def test_a_gradient_of_a_gradient_is_the_reference_s(made):
    x = doubles(3, 2, 3).requires_grad_()
    found = []
    for engine in (made.engine, "reference"):
        made.engine = engine
        (gradient,) = torch.autograd.grad(made(x)[0].square().sum(), x, create_graph=True)
        penalty = gradient.square().sum()
        found.append([gradient, *torch.autograd.grad(penalty, [x, *made.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_what_is_changed_in_place_between_the_passes_is_noticed(made):
    output, _ = made(doubles(3, 2, 3).requires_grad_())
    loss = output.square().sum()
    with torch.no_grad():
        made.R_l1.add_(1.0) if hasattr(made, "R_l1") else made.W_l1.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    if made.engine == "reference":  # its outputs are copies
        return
    output, _ = made(doubles(3, 2, 3).requires_grad_())
    output.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(made, reentrant):
    x = doubles(3, 2, 3).requires_grad_()
    plain = torch.autograd.grad(made(x)[0].square().sum(), [x, *made.parameters()])
    made.zero_grad()
    kept = x.detach().requires_grad_()
    checkpoint(made, kept, use_reentrant=reentrant)[0].square().sum().backward()
    for ours, theirs in zip([kept, *made.parameters()], plain, strict=True):
        torch.testing.assert_close(ours.grad, theirs, **CLOSE)


def test_a_frozen_layer_gives_the_gradient_of_its_input_alone(made):
    made.requires_grad_(False)
    x = doubles(3, 2, 3).requires_grad_()
    made(x)[0].sum().backward()
    assert x.grad is not None and all(p.grad is None for p in made.parameters())
    assert not made(x.detach())[0].requires_grad
    with torch.inference_mode():
        assert made(x)[0].shape == (3, 2, 4)


def test_copies_and_files_hold_the_same_layer(made):
    x, file = doubles(3, 2, 3), io.BytesIO()
    made(x)
    torch.save(made, file)
    file.seek(0)
    for other in (copy.deepcopy(made), torch.load(file, weights_only=False)):
        assert torch.equal(other(x)[0], made(x)[0]) and repr(other) == repr(made)


def test_two_threads_have_a_layer_each_and_share_one(made):
    other, shared = copy.deepcopy(made), doubles(5, 2, 3)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    expected = [gradients_of(module, shared) for module in (made, other, made)]
    found, threads = {}, []

    def work(key, module):
        for _ in range(5):
            found[key] = gradients_of(module, shared)

    for key, module in enumerate((made, other, made)):
        threads.append(threading.Thread(target=work, args=(key, module)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for key, values in enumerate(expected):
        for ours, theirs in zip(found[key], values, strict=True):
            torch.testing.assert_close(ours, theirs, **CLOSE)


def gradients_of(module, x):
    output, _ = module(x)
    return [output.detach(), *torch.autograd.grad(output.sum(), list(module.parameters()))]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own, of make_dual
def test_transforms_work_on_the_reference_and_are_refused_elsewhere(made):
    made.requires_grad_(False)
    x, tangent = doubles(3, 2, 3), doubles(3, 2, 3, seed=1)

    def outputs(x):
        return made(x)[0]

    def losses(x):
        return outputs(x).square().sum()

    def dual(x):
        with forward_ad.dual_level():
            result = outputs(forward_ad.make_dual(x, tangent))
            return forward_ad.unpack_dual(result).tangent

    if made.engine != "reference":
        asked = [lambda: torch.func.vmap(outputs)(x.unsqueeze(0)), lambda: dual(x)]
        asked.append(lambda: torch.func.grad(losses)(x))
        asked.append(lambda: torch.func.jvp(outputs, (x,), (tangent,)))
        for call in asked:
            with pytest.raises(EngineError, match=f"under torch.func's.*engine={made.engine!r}"):
                call()
        return
    many = torch.stack([x, tangent])
    torch.testing.assert_close(
        torch.func.vmap(outputs)(many), torch.stack([outputs(each) for each in many]), **CLOSE
    )
    (expected,) = torch.autograd.grad(losses(leaf := x.clone().requires_grad_()), leaf)
    torch.testing.assert_close(torch.func.grad(losses)(x), expected, **CLOSE)
    value, along = torch.func.jvp(outputs, (x,), (tangent,))
    near = (outputs(x + 1e-6 * tangent) - outputs(x - 1e-6 * tangent)) / 2e-6
    torch.testing.assert_close(value, outputs(x), **CLOSE)
    torch.testing.assert_close(along, near, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(dual(x), along, **CLOSE)


# Dtypes


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_stored_so_and_computed_in_float32(dtype, engine):
    torch.manual_seed(0)
    made = Recurrent("lstm", I, H, engine=engine, dtype=dtype)
    x = torch.randn(T, B, I).to(dtype)
    output, (h, c) = made(x)
    assert {output.dtype, h.dtype, c.dtype} == {dtype}
    whole = copy.deepcopy(made).float()
    assert torch.equal(output, whole(x.float())[0].to(dtype))
    output.float().sum().backward()
    assert made.R_l0.grad.dtype == dtype and made.R_l0.grad.isfinite().all()


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_autocast_leaves_a_recurrence_in_float32(engine):
    torch.manual_seed(0)
    made, x = Recurrent("lstm", I, H, engine=engine), torch.randn(T, B, I)
    expected = made(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, (h, c) = made(x)
        assert torch.equal(output, expected) and h.dtype == c.dtype == torch.float32
        from_half = made(x.bfloat16())[0]
        (first,) = torch.autograd.grad(output.sum(), made.R_l0, retain_graph=True)
        (second,) = torch.autograd.grad(output.sum(), made.R_l0, create_graph=True)
    assert torch.equal(from_half, made(x.bfloat16().float())[0])
    torch.testing.assert_close(first, second)


def test_an_empty_batch_has_empty_results():
    made = Recurrent("lstm", I, H)
    output, (h, _) = made(torch.zeros(3, 0, I))
    assert output.shape == (3, 0, H) and h.shape == (1, 0, H)
    output.sum().backward()
    assert not made.W_l0.grad.any()


# Around it


class Around(nn.Module):
    """A layer with something before it and something behind."""

    def __init__(self, engine):
        super().__init__()
        self.head, self.tail = nn.Linear(I, I), nn.Linear(H, 2)
        self.layer = Recurrent("lstm", I, H, engine=engine)

    def forward(self, x):
        if isinstance(x, PackedSequence):
            return self.tail(self.layer(x)[0].data)
        return self.tail(self.layer(self.head(x))[0])


@pytest.fixture
def counted():
    """Compiles a module; returns what calls it, and says how many graphs there are by then."""
    from torch._dynamo import reset
    from torch._dynamo.testing import CompileCounter

    reset()

    def made(module):
        counter = CompileCounter()
        compiled = torch.compile(module, backend=counter)

        def graphs(x):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                output = compiled(x)
            torch.testing.assert_close(output, module(x))
            output.sum().backward()
            return counter.frame_count

        return graphs

    return made


@pytest.mark.slow
def test_graphs_around_it_are_compiled_once_and_once_for_all_sizes(counted):
    module = Around("native")
    graphs = counted(module)
    first = graphs(torch.randn(T, B, I))
    assert first == 2 and graphs(torch.randn(T, B, I)) == first
    assert graphs(torch.randn(T, B - 1, I)) <= 2 * first  # the batch becomes a variable,
    last = graphs(torch.randn(T - 2, B - 2, I))  # and then time
    assert last <= 3 * first
    module.eval()
    assert graphs(torch.randn(T + 2, B + 5, I)) == last
    module.train()
    assert graphs(torch.randn(T - 1, B + 4, I)) == last


@pytest.mark.slow
def test_graphs_around_a_packed_sequence_are_compiled_once_for_all_lengths(counted):
    graphs = counted(Around("native"))

    def packed(*lengths):
        return pack_padded_sequence(torch.randn(max(lengths), len(lengths), I), lengths)

    first = graphs(packed(5, 3, 2))
    assert first == 1 and graphs(packed(5, 3, 2)) == first
    last = graphs(packed(4, 4, 1))
    assert last <= 2 * first and graphs(packed(6, 2)) == graphs(packed(7, 3, 3, 1)) == last


@pytest.mark.slow
def test_the_reference_is_a_part_of_the_graphs_that_are_compiled_once_for_a_size(counted):
    graphs = counted(Around("reference"))
    first = graphs(torch.randn(2, B, I))
    assert graphs(torch.randn(2, B, I)) == first


# Regularization


def test_zoneout_holds_states_in_training_and_takes_the_mean_after():
    made = Recurrent("lstm", I, H, engine="reference", zoneout_h=0.3, zoneout_c=0.5)
    torch.manual_seed(1)
    x, hx = torch.randn(1, 500, I), (torch.randn(1, 500, H), torch.randn(1, 500, H))
    _, (h, c) = made(x, hx)
    assert 0.25 < (h == hx[0]).float().mean() < 0.35 and 0.45 < (c == hx[1]).float().mean() < 0.55
    plain = Recurrent("lstm", I, H, engine="reference")
    plain.load_state_dict(made.state_dict())
    _, (_, new) = plain(x, hx)
    _, (_, mean) = made.eval()(x, hx)
    torch.testing.assert_close(mean, 0.5 * hx[1] + 0.5 * new)


@pytest.mark.parametrize(
    "field", ["input_dropout", "state_dropout", "recurrent_dropout", "weight_dropout"]
)
def test_dropouts_are_those_of_the_bench_and_follow_torch_s_seed(field):
    made = Recurrent("lstm", I, H, 2, engine="reference", **{field: 0.5})
    x = torch.randn(T, B, I)
    torch.manual_seed(1)
    first = made(x)[0]
    second = made(x)[0]
    torch.manual_seed(1)
    assert torch.equal(made(x)[0], first) and not torch.equal(first, second)
    plain = Recurrent("lstm", I, H, 2, engine="reference")
    plain.load_state_dict(made.state_dict())
    assert torch.equal(made.eval()(x)[0], plain(x)[0])


def packed_rows():
    return pack_padded_sequence(torch.ones(9, 8, 4), torch.tensor([9, 9, 9, 9, 9, 8, 3, 2]))


def test_one_mask_holds_for_all_time_steps_of_a_packed_batch():
    x = packed_rows()
    pieces = with_input_dropout(Form.of(x, False).pieces(x.data, share=1.0), 0.5)
    rows = torch.cat([piece.values[:, 0] for piece in pieces])
    assert (
        len(pieces) == 4 and (rows == rows[0]).all() and set(rows.unique().tolist()) <= {0.0, 2.0}
    )


def test_a_piece_ends_where_fewer_than_half_of_its_rows_are_left():
    x = pack_padded_sequence(
        torch.arange(72.0).view(9, 8, 1), torch.tensor([9, 8, 5, 5, 3, 3, 2, 2])
    )
    form = Form.of(x, False)
    pieces = form.pieces(x.data)
    assert [piece.values.shape[:2] for piece in pieces] == [(5, 8), (4, 2)]
    assert [piece.present.sum(1).tolist() for piece in pieces] == [[8, 8, 6, 4, 4], [2, 2, 2, 1]]
    assert torch.equal(form.output(pieces).data, x.data)
    assert [len(piece.values) for piece in form.pieces(x.data, share=1.0)] == [2, 1, 2, 3, 1]
    assert all(piece.present is None for piece in form.pieces(x.data, share=1.0))


class Exploding(cells.Cell):
    """h' = exp(x + h).

    Source: none.
    Reference: none.
    Differs: no parent.
    """

    name, gates, state, unbiased = "exploding", ("h",), ("h",), ("h",)
    products = {}

    def step(self, p, x, h):
        return (torch.exp(x.h + h),)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_what_a_row_that_has_ended_would_become_counts_nowhere(engine):
    """After e^7 comes e^e^7: an overflow, whose gradient would be zero times infinity."""
    made = Recurrent(Exploding, 1, 1, engine=engine, dtype=torch.float64)
    with torch.no_grad():
        made.W_l0.fill_(1.0)

    def results(*rows):
        rows = [row.clone().requires_grad_() for row in rows]
        output, h = made(pack_sequence(rows, enforce_sorted=False))
        leaves = [*rows, made.W_l0]
        return [h.flatten(), *torch.autograd.grad(output.data.log().sum() + h.log().sum(), leaves)]

    short, long = torch.full((1, 1), 7.0).double(), torch.full((2, 1), -1.0).double()
    h, *gradients, of_weight = results(short, long)
    alone = [results(row) for row in (short, long)]
    torch.testing.assert_close(h, torch.cat([each[0] for each in alone]), **CLOSE)
    torch.testing.assert_close(gradients, [each[1] for each in alone], **CLOSE)
    torch.testing.assert_close(of_weight, sum(each[2] for each in alone), **CLOSE)


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


def test_a_padded_output_is_zero_behind_the_end():
    x = pack_padded_sequence(torch.ones(5, 2, I), torch.tensor([2, 5]), enforce_sorted=False)
    output, _ = Recurrent("mgu", I, H, engine="reference")(x)
    padded, _ = pad_packed_sequence(output)
    assert padded[2:, 0].eq(0).all() and padded[2:, 1].ne(0).any()
