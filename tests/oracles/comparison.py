"""A cell of ours beside one by others: the same parameters, float64, gradients too."""

import torch
from compared import SATURATED

import cells
from harness import Recurrent

T, B, I, H = 5, 3, 4, 6
"""A cell that reads its input has one of H."""
KINDS = {"b_R": "recurrent_bias", "v": "vector", "diag": "vector"}
"""What begins the name of a block that is named by its kind."""


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def width_of(name):
    return H if cells.find(name).reads_input else I


def plain(width):
    """Parameters whose shapes say what those of a cell without classes of its own have in rows."""
    of_gate = {"weight_ih": (width,), "weight_hh": (H,), "bias_ih": (), "bias_hh": ()}
    return {name: torch.empty(0, *row, dtype=torch.float64) for name, row in of_gate.items()}


def assert_equal(name, row, parameters, run):
    """Asserts that outputs, final states and all gradients of both are equal.

    Args:
        name: Of our cell.
        row: Of the comparison.
        parameters: Theirs, by name, of any values; each has its gates in the rows.
        run: Returns their outputs (T, B, H) and the states that both have, of the parameters, the
            inputs (T, B, I) and the start, one tensor or several (B, H), None for their own.
    """
    torch.manual_seed(0)
    ours = Recurrent(
        name, width_of(name), H, engine="reference", biases=row.biases, dtype=torch.float64
    )
    given = given_to_theirs(row, ours, parameters)
    x, start = random(T, B, ours.input_size, seed=1).requires_grad_(), None
    hx = [random(1, B, H, seed=2 + k).requires_grad_() for k in range(len(ours.cell.state))]
    if row.shared is not None or row.fed is not type(row).fed:  # its states are not all ours
        hx = []
    elif hx:
        start = tuple(each[0] for each in hx) if len(hx) > 1 else hx[0][0]
    output, final = ours(x, hx or None)
    final = final if isinstance(final, tuple) else (final,)
    values = [output, *(each[0] for each in final[: row.shared])]
    wanted = run(given, x, start)
    close = {"rtol": row.tolerance, "atol": row.tolerance}
    torch.testing.assert_close(values, wanted, **close)
    names, own = zip(*ours.named_parameters(), strict=True)
    leaves = [x, *hx, *own]
    found, expected = gradients(values, leaves), gradients(wanted, leaves)
    keys = ["x", *ours.cell.state[: len(hx)], *names]
    for key, one, other in zip(keys, found, expected, strict=True):
        torch.testing.assert_close(one, other, **close, msg=lambda m, key=key: f"{key}: {m}")
        assert one.any() or key == "x", key


def given_to_theirs(row, ours, parameters):
    """Their parameters, made of our blocks."""
    own = ours.weights("_l0")
    if row.is_prepared:
        ready = ours.cell.prepared({key: values.unsqueeze(0) for key, values in own.items()})
        own = {key: values.squeeze(0) for key, values in ready.items()}
    assert parameters.keys() - row.blocks.keys() <= set(row.alone)
    assert row.blocks.keys() <= parameters.keys()
    return {
        key: torch.cat([block(ours, own, one, parameters[key].detach()) for one in names])
        for key, names in row.blocks.items()
    }


def block(made, values, name, like):
    """One gate's part of our parameters in their layout; ``like`` is their parameter."""
    if "|" in name:
        narrow = like[:, : like.shape[1] // len(name.split("|"))]
        return torch.cat([block(made, values, each, narrow) for each in name.split("|")], 1)
    if name.startswith("-"):
        return -block(made, values, name[1:], like)
    if name in ("0", "open", "shut"):
        sign = {"0": 0.0, "open": 1.0, "shut": -1.0}[name]
        return like.new_full((H, *like.shape[1:]), sign * SATURATED)
    kind, _, gate = name.partition(".")
    for spec in made.cell.parameters(made.input_size, H, made.biases):
        if (spec.name == kind or KINDS.get(kind) == spec.kind) and gate in (*spec.gates, spec.name):
            parts = values[spec.name].chunk(max(1, len(spec.gates)), dim=-1)
            part = parts[spec.gates.index(gate)] if gate in spec.gates else parts[0]
            if kind == "diag":
                return part.diag()
            return part.t() if part.ndim == 2 else part
    raise AssertionError(f"{made.cell.name} has no {name}")


def gradients(values, leaves):
    loss = sum((v * random(*v.shape, seed=k)).sum() for k, v in enumerate(values, 10))
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)


def stepped(row, theirs, parameters, x, start):
    """Outputs and the states that both have, computed by a module of theirs that is one step."""
    state, outputs = start, []
    for step in windows(x, row.steps_read):
        result = torch.func.functional_call(theirs, parameters, (step, state))
        outputs.append(result[0] if isinstance(result, tuple) else result)
        state = row.fed(result)
    finals = result if isinstance(result, tuple) else (result,)
    return [torch.stack(outputs), *finals[: row.shared]]


def windows(x, steps_read):
    """The latest inputs of each step side by side, zero before the first."""
    before = torch.cat([torch.zeros_like(x[: steps_read - 1]), x])
    return torch.cat([before[steps_read - 1 - k :][: len(x)] for k in range(steps_read)], -1)
