"""Every cell of the registry behaves as torch.nn's modules do, as laws that need no second cell.

On the reference engine, for nothing is compiled there; the other engines equal it, one by one in
tests/engine, and as a layer in the test at the end.
"""

import copy
import functools

import pytest
import torch
from agreement import TWO_BIASES
from tolerances import TOLERANCES
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import cells
from harness import Recurrent, RecurrentCell

T, B, H, LAYERS = 3, 3, 4, 2
"""A cell that reads its input has one of H, so all have."""
LENGTHS, SORTED = torch.tensor([2, 3, 1]), torch.tensor([3, 2, 1])
NAMES = cells.names()
PROJECTING = [name for name in NAMES if cells.find(name).projects]
PACKED = ("lstm", "gru", "slstm", "lstm-projected", "sru", "rhn")
ONE_DIRECTION = [name for name in NAMES if cells.find(name).reads_input]
"""Cells that read their input cannot be stacked on two directions, which have 2 * H features."""


def module(name, kind=Recurrent, **arguments):
    """A module whose parameters are always the same; drawing them takes longer than a call."""
    return copy.deepcopy(drawn(name, kind, tuple(sorted(arguments.items()))))


@functools.cache
def drawn(name, kind, arguments):
    torch.manual_seed(0)
    return kind(name, H, H, dtype=torch.float64, engine="reference", **dict(arguments))


def inputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def start(made, rows):
    """A state at random, of which a normaliser stays what it is at the start."""
    count, states = len(made.suffixes), range(len(made.cell.state))
    return tuple(
        0.3 * inputs(count, rows, H) + made.cell.start.get(made.cell.state[k], 0) for k in states
    )


def states(hidden):
    return hidden if isinstance(hidden, tuple) else (hidden,)


def assert_equal(actual, expected):
    rtol, atol = TOLERANCES[torch.float64]
    for ours, theirs in zip(flat(actual), flat(expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


def flat(values):
    if isinstance(values, torch.Tensor):
        return [values]
    return [each for value in values for each in flat(value)]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_shapes_are_those_of_torch_and_the_batch_may_come_first_or_be_missing(name):
    made, x = module(name, num_layers=LAYERS), inputs(T, B, H)
    output, hidden = made(x)
    assert output.shape == (T, B, made.output_size) and output.dtype == torch.float64
    assert isinstance(hidden, torch.Tensor) == (len(made.cell.state) == 1)
    assert [each.shape for each in states(hidden)] == [(LAYERS, B, H)] * len(made.cell.state)
    if not made.cell.projects and not made.cell.unread:
        assert_equal(states(hidden)[0][-1], output[-1])
    made.batch_first = True
    first, others = made(x.transpose(0, 1))
    assert_equal((first.transpose(0, 1), others), (output, hidden))
    single, last = made(x[:, 1])
    assert_equal((single, last), (output[:, 1], [each[:, 1] for each in states(hidden)]))


def test_a_state_that_is_given_carries_on(name):
    made, x = module(name, num_layers=LAYERS), inputs(T, B, H)
    output, hidden = made(x, start(made, B) if len(made.cell.state) > 1 else start(made, B)[0])
    first, carried = made(x[:1], start(made, B))
    second, end = made(x[1:], carried)
    assert_equal((torch.cat([first, second]), end), (output, hidden))
    rows = [each[:, 2] for each in start(made, B)]
    assert_equal(made(x[:, 2], rows), (output[:, 2], [each[:, 2] for each in states(hidden)]))


@pytest.mark.parametrize("name", PROJECTING)
def test_the_width_of_a_projection_is_a_choice(name):
    made, x = module(name, num_layers=LAYERS, proj_size=3), inputs(T, B, H)
    output, (m, *others) = made(x)
    assert made.output_size == 3 and output.shape == (T, B, 3)
    assert {each.shape for each in (m, *others)} == {(LAYERS, B, H)}
    assert_equal(output[-1], m[-1] @ made.P_l1)
    both = module(name, num_layers=LAYERS, proj_size=3, bidirectional=True)
    assert both.W_l1.shape[0] == 6 and both(x)[0].shape == (T, B, 6)
    wide = module(name, proj_size=H, num_layers=LAYERS)
    with pytest.raises(RuntimeError, match="size mismatch for P_l0"):
        wide.load_state_dict(made.state_dict())


@pytest.mark.parametrize(
    ("bidirectional", "given", "lengths"),
    [(False, False, LENGTHS), (False, True, SORTED), (True, True, LENGTHS)],
    ids=["unsorted", "sorted-given", "unsorted-given-both"],
)
def test_a_packed_sequence_is_its_sequences_one_by_one(name, bidirectional, given, lengths):
    layers = 1 if name in ONE_DIRECTION and bidirectional else LAYERS
    made = module(name, num_layers=layers, bidirectional=bidirectional)
    x, hx = inputs(T, B, H), start(made, B)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=lengths is SORTED)
    output, hidden = made(packed, hx if given else None)
    padded, found = pad_packed_sequence(output)
    assert found.equal(lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = made(x[:length, row], [each[:, row] for each in hx] if given else None)
        ours = padded[:length, row], [each[:, row] for each in states(hidden)]
        assert_equal(ours, alone)


def test_the_gradient_of_a_packed_sequence_is_that_of_its_sequences(name):
    """A row that has ended is computed further, and nothing of that may count."""
    made = module(name, bidirectional=True)
    leaves = [each.requires_grad_() for each in (inputs(T, B, H), *start(made, B))]
    x, *hx = leaves

    def gradients(*values):
        loss = sum((each.cos() * (1 + each)).sum() for each in values)
        wanted = [*leaves, *made.parameters()]
        return torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)

    output, hidden = made(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), hx)
    found, expected = gradients(output.data, *states(hidden)), []
    for row, length in enumerate(LENGTHS.tolist()):
        alone, last = made(x[:length, row], [each[:, row] for each in hx])
        expected.append(gradients(alone, *states(last)))
    assert_equal(found, [sum(parts) for parts in zip(*expected, strict=True)])


def test_directions_are_two_layers_of_which_one_reads_in_reversed_time(name):
    both = module(name, bidirectional=True)
    one, other = module(name), module(name)
    own = both.state_dict()
    one.load_state_dict({k: v for k, v in own.items() if not k.endswith("_reverse")})
    other.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in own.items() if k.endswith("_reverse")}
    )
    x = inputs(T, B, H)
    output, hidden = both(x)
    ahead, first = one(x)
    back, second = other(x.flip(0))
    assert_equal(output, torch.cat([ahead, back.flip(0)], -1))
    assert_equal(
        states(hidden), [torch.cat(s) for s in zip(states(first), states(second), strict=True)]
    )


def test_layers_stand_one_above_the_other(name):
    made = module(name, num_layers=2)
    below, above = (
        module(name),
        Recurrent(name, made.output_size, H, dtype=torch.float64, engine="reference"),
    )
    for k, layer in enumerate((below, above)):
        own = {n.replace(f"_l{k}", "_l0"): v for n, v in made.state_dict().items() if f"_l{k}" in n}
        layer.load_state_dict(own)
    x = inputs(T, B, H)
    assert_equal(made(x)[0], above(below(x)[0])[0])


def test_steps_one_by_one_are_the_layer(name):
    made = module(name)
    if made.cell.projects:
        with pytest.raises(ValueError, match="must have its output among its states"):
            module(name, RecurrentCell)
        return
    step, x, hidden = module(name, RecurrentCell), inputs(T, B, H), None
    step.load_state_dict({n.removesuffix("_l0"): v for n, v in made.state_dict().items()})
    output, final = made(x)
    for t in range(T):
        hidden = step(x[t], hidden)
        assert_equal(states(hidden)[0], output[t])
    assert_equal(states(hidden), [each[0] for each in states(final)])
    assert_equal(states(step(x[0, 1])), [each[1] for each in states(step(x[0]))])


def test_dropout_acts_in_training_alone_and_a_state_dict_is_loaded_by_another(name):
    plain, x = module(name, num_layers=LAYERS), inputs(T, B, H)
    dropped = module(name, num_layers=LAYERS, dropout=0.5)
    dropped.reset_parameters()
    first, second = dropped.eval()(x), plain(x)
    assert not torch.equal(first[0], second[0])
    dropped.load_state_dict(plain.state_dict())
    assert_equal(dropped(x), second)
    assert not torch.equal(dropped.train()(x)[0], dropped(x)[0])


def test_tokens_are_rows_of_the_input_matrix(name):
    made, tokens = module(name), torch.tensor([[0, 3, 2], [1, 1, 0]])
    if made.cell.reads_input:
        with pytest.raises(ValueError, match="must have inputs of hidden_size=4, which it reads"):
            made(tokens)
        return
    rows = torch.nn.functional.one_hot(tokens, H).double()
    assert_equal(made(tokens), made(rows))
    packed = [
        pack_padded_sequence(each, torch.tensor([1, 2, 1]), enforce_sorted=False)
        for each in (tokens, rows)
    ]
    assert_equal(made(packed[0])[0].data, made(packed[1])[0].data)
    made.batch_first = True
    assert_equal(made(tokens)[0], made(rows)[0])


def test_every_parameter_has_a_gradient_and_none_without_biases(name):
    made = module(name, bias=False, num_layers=LAYERS)
    assert not [key for key, _ in made.named_parameters() if key.startswith("b_")]
    biased = module(name, num_layers=LAYERS)
    absent = biased.load_state_dict(made.state_dict(), strict=False).missing_keys
    with torch.no_grad():
        for key in absent:
            biased.get_parameter(key).zero_()
    assert_equal(biased(inputs(T, B, H)), made(inputs(T, B, H)))
    output, hidden = made(inputs(T, B, H))
    sum(each.square().sum() for each in (output, *states(hidden))).backward()
    assert all(p.grad is not None for p in made.parameters())


@pytest.mark.slow
def test_the_compiled_engine_gives_what_the_reference_does(name):
    """Packed only for some: a row that holds its state makes another program, to be compiled; so
    does a second bias.
    """
    biases = 2 if name in TWO_BIASES else 1
    made, given = module(name, bidirectional=True, biases=biases), inputs(T, B, H)
    if name in PACKED:
        given = pack_padded_sequence(given, LENGTHS, enforce_sorted=False)
    results = []
    for engine in ("reference", "cpu"):
        made.engine = engine
        output, hidden = made(given, start(made, B))
        values = [output.data, *states(hidden)]
        loss = sum((each.cos() * (1 + each)).sum() for each in values)
        leaves = list(made.parameters())
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        results.append([*values, *gradients])
    assert_equal(*results)
