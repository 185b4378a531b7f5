"""The checks: functions over one class, in float64 on the CPU, that yield what is violated."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from cells.base import Cell
from cells.faults import (
    place_of_change,
    problem_of_changed,
    problems_of_returned,
)
from harness.contract.case import (
    Case,
    case_of,
    differentiable,
    distance,
    gates_of,
    results_of,
    without_runs,
)
from harness.engine.base import initial_state
from harness.engine.native import Native, to_torch
from harness.engine.reference import bind

ROUNDING = 1e-12
"""Largest difference, relative to 1 + the value, of one computation done in two shapes."""
PARITY = 1e-10
"""Largest difference, relative to 1 + the value, of two implementations of the same equations."""


def parameter_count(cell: type[Cell]) -> Iterator[str]:
    """The parameters number what the declarations say."""
    inputs, hidden = 7, 5
    fed = {gate for gates in cell.recurrent_products().values() for gate in gates}
    for biases, second in ((1, fed & set(cell.recurrent_biases)), (2, fed)):
        expected = (
            inputs * len(cell.gates) * hidden + len(set(cell.gates) - set(cell.unbiased)) * hidden
        )
        rows = cell.output_size(hidden) if cell.projects else cell.recurrent_rows(hidden)
        expected += hidden * rows if cell.projects else 0
        expected += sum(len(gates) for gates in cell.recurrent_products().values()) * rows * hidden
        expected += (len(second - set(cell.unbiased)) + len(cell.vectors)) * hidden
        if (counted := cell.num_parameters(inputs, hidden, biases)) != expected:
            yield (
                f"must have {expected} parameters for I=7, H=5, biases={biases}, but got"
                f" num_parameters={counted}."
            )


def docstring(cell: type[Cell]) -> Iterator[str]:
    """The equations in the docstring name every gate, vector, product and new state."""
    text = cell.__doc__ or ""
    wanted = {f"gate {g}": rf"\bW_{g}\b|^[ (].*\b{g}'?[^=\n]*=" for g in cell.gates}
    wanted |= {f"vector {v}": rf"\b{v}\b" for v in cell.vectors}
    wanted |= {f"product {name}": rf"\b{name}(_\w+|[a-z])?\b" for name in cell.recurrent_products()}
    wanted |= {f"new state {s}'": rf"\b{s}'.*=" for s in cell.state}
    for what, pattern in wanted.items():
        if not re.search(pattern, text, re.MULTILINE):
            yield (
                "the docstring's equations must name every gate, vector, product and new state,"
                f" but not {what}."
            )


def returned_states(cell: type[Cell]) -> Iterator[str]:
    """A step returns a tuple of finite states: shape and dtype are those of the declared ones."""
    for dtype in (torch.float64, torch.float32):
        case = case_of(cell, runs=2)
        parameters = {name: value.to(dtype) for name, value in case.parameters.items()}
        state = tuple(s.to(dtype) for s in case.state)
        returned = cell().step(
            bind(case.layer, cell.prepared(parameters)), gates_of(cell, case, dtype), *state
        )
        if problems := problems_of_returned(cell, state, returned):
            yield from problems
            return


def leading_axes(cell: type[Cell]) -> Iterator[str]:
    """A step on (N, B, H) does to each run what the step on (B, H) does to it alone."""
    case = case_of(cell, runs=2, batch=4)
    x = gates_of(cell, case, torch.float64)
    together = cell().step(bind(case.layer, cell.prepared(case.parameters)), x, *case.state)
    for n in range(2):
        x_n = SimpleNamespace(**{gate: getattr(x, gate)[n] for gate in cell.input_products()})
        p = without_runs(bind(case.layer, cell.prepared(case.part(0, n).parameters)))
        alone = cell().step(p, x_n, *(s[n] for s in case.state))
        if any(a.shape != t[n].shape for a, t in zip(alone, together, strict=True)):
            yield (
                "step must return (B, H) for (B, H), but got another shape. Name the last axis"
                " only."
            )
        elif (gap := distance(alone, (t[n] for t in together))) > ROUNDING:
            yield (
                f"step must do alike to (N, B, H) and to (B, H), but differs by {gap:.1e}. Name the"
                " last axis only: x.GATE and the states are of one time step."
            )


def carried_state(cell: type[Cell]) -> Iterator[str]:
    """T steps are k steps and then T - k from the carried state."""
    case = case_of(cell, steps=5)
    outputs, final = case.run()
    first, carried = replace(case, inputs=case.inputs[:2]).run()
    second, end = replace(case, inputs=case.inputs[2:], state=carried).run()
    if (gap := distance((outputs, *final), (torch.cat([first, second]), *end))) > ROUNDING:
        yield (
            "5 steps must equal 2 steps and then 3 from the carried state, but differ by"
            f" {gap:.1e}. Whatever a step carries on must be a declared state."
        )


def parts_alone(cell: type[Cell]) -> Iterator[str]:
    """Run n of a pack, and row b of a batch, are what each gives alone."""
    case = case_of(cell, runs=3, batch=3)
    outputs, final = case.run()
    for axis, what in enumerate(("run {} of a pack", "row {} of a batch")):
        for index in range(3):
            output, end = case.part(axis, index).run()
            together = (
                outputs.narrow(axis + 1, index, 1),
                *(s.narrow(axis, index, 1) for s in final),
            )
            if (gap := distance((output, *end), together)) > ROUNDING:
                yield (
                    f"{what.format(index)} must equal that alone, but differs by {gap:.1e}. Reduce"
                    " over H only."
                )


def purity(cell: type[Cell]) -> Iterator[str]:
    """A step gives the same twice and leaves its arguments as they were."""
    case = case_of(cell)
    x = gates_of(cell, case, torch.float64)
    given = _given(case, x)
    before = {name: value.clone() for name, value in given.items()}
    instance, p = cell(), bind(case.layer, cell.prepared(case.parameters))
    first = [s.clone() for s in instance.step(p, x, *case.state)]
    changed = [name for name, value in given.items() if not torch.equal(value, before[name])]
    if changed:
        yield problem_of_changed(changed, _place_of_change(cell))
    elif not all(
        torch.equal(a, b) for a, b in zip(first, instance.step(p, x, *case.state), strict=True)
    ):
        yield (
            "step must be a pure function, but gave two results for the same arguments. Keep"
            " nothing on self."
        )


def _given(case: Case, x: SimpleNamespace) -> dict[str, Tensor]:
    """Returns all that a step is given, by name."""
    gates = {f"x.{gate}": getattr(x, gate) for gate in case.layer.cell.input_products()}
    return {**gates, **case.arguments()}


def _place_of_change(cell: type[Cell]) -> str:
    """Returns where a step changes what it is given, which is made anew."""
    case = case_of(cell)
    x, p = gates_of(cell, case, torch.float64), bind(case.layer, cell.prepared(case.parameters))
    given = list(_given(case, x).values())
    return place_of_change(cell, given, lambda: cell().step(p, x, *case.state))


def marked_content(cell: type[Cell]) -> Iterator[str]:
    """A step calls ``p.drop`` once for each declared candidate, and uses what it returns."""
    case = case_of(cell)
    x, p = gates_of(cell, case, torch.float64), bind(case.layer, cell.prepared(case.parameters))
    whole = cell().step(p, x, *case.state)
    marked: list[Tensor] = []

    def drop_all(value: Tensor) -> Tensor:
        marked.append(value)
        return torch.zeros_like(value)

    p.drop = drop_all
    without = cell().step(p, x, *case.state)
    if len(marked) != len(cell.candidates):
        yield (
            f"step must call p.drop once for each of candidates={cell.candidates}, but got"
            f" calls={len(marked)}. Wrap the value of each as it is written, as in g ="
            " p.drop(tanh(...))."
        )
    elif marked and all(torch.equal(a, b) for a, b in zip(whole, without, strict=True)):
        yield (
            "the new state must depend on what p.drop returns, but does not. Use its result, not"
            " its argument."
        )


def small_sizes(cell: type[Cell]) -> Iterator[str]:
    """One time step of one row, with one or an odd number of units, runs and is repeatable.

    The state is the cell's own start.
    """
    for hidden in (1, 7):
        case = case_of(cell, steps=1, batch=1, hidden=hidden)
        case = replace(case, state=initial_state(cell, 1, 1, hidden, case.inputs))
        (outputs, final), (again, _) = case.run(), case.run()
        if not all(value.isfinite().all() for value in (outputs, *final)):
            yield (
                f"T=1, B=1, H={hidden} from the initial state must give finite states, but does"
                " not."
            )
        elif outputs.shape != (1, 1, 1, cell.output_size(hidden)) or not torch.equal(
            outputs, again
        ):
            yield (
                f"T=1, B=1, H={hidden} must give one output, the same each time, but got {outputs}"
                f" and {again}."
            )


def everything_acts(cell: type[Cell]) -> Iterator[str]:
    """Each gate's part of each parameter, and each initial state that is read, has a gradient."""
    for biases in (1, 2):
        case = differentiable(case_of(cell, steps=4, batch=4, hidden=5, biases=biases))
        results = results_of(case)
        blocks = {spec.name: spec.gates for spec in case.layer.cell.parameters(1, 5, biases)}
        unread = [f"the initial state {name}" for name in cell.unread]
        for name in (name for name in unread if results[f"the gradient of {name}"].any()):
            yield (
                f"{name} must act on nothing, since it is unread, but its gradient is not 0"
                f" (biases={biases}). Take it out of `unread`."
            )
        for name in (name for name in case.arguments() if name not in unread):
            gates = blocks.get(name, ("",))
            for gate, part in zip(
                gates, results[f"the gradient of {name}"].chunk(len(gates), dim=-1), strict=True
            ):
                if not part.any():
                    where = f"{name}, gate {gate}," if gate else name
                    yield (
                        f"{where} must act on the outputs or the final state, but its gradient is 0"
                        f" (biases={biases}). Use it in step, drop its declaration, or drop a"
                        " detach."
                    )


def gradients(cell: type[Cell]) -> Iterator[str]:
    """Autograd's gradients are those of finite differences."""
    case = differentiable(case_of(cell))
    names, values = zip(*case.arguments().items(), strict=True)
    results = ("the outputs", *(f"the final state {s}" for s in cell.state))

    def function(inputs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        state, parameters = others[: len(cell.state)], others[len(cell.state) :]
        bound = dict(zip(case.parameters, parameters, strict=True))
        outputs, final = Case(case.layer, bound, inputs, state).run()
        return outputs, *final

    try:
        gradcheck(function, values)
    except GradcheckError as error:
        pair = re.search(r"output (\d+) with respect to input (\d+)", str(error))
        which = (
            f"that of {results[int(pair[1])]} to {names[int(pair[2])]} is not"
            if pair
            else f"gradcheck says: {error}"
        )
        yield (
            f"gradients must equal finite differences, but {which}. Detach nothing and write no"
            " backward."
        )


def torch_parity(cell: type[Cell]) -> Iterator[str]:
    """A cell with a ``reference`` equals that class of torch.nn.

    The numbers of parameters, the results and all gradients are compared.
    """
    if cell.reference is None:
        return
    for biases in (1, 2):
        case = differentiable(case_of(cell, steps=4, runs=2, hidden=4, biases=biases))
        ours, theirs = results_of(case), results_of(case, Native())
        for name, value in ours.items():
            if (gap := distance((value,), (theirs[name],))) > PARITY:
                yield (
                    f"biases={biases}: {name} must equal torch.nn.{cell.reference[0]}'s, but"
                    f" differs by {gap:.1e}."
                )
    parameters = {name: value[0] for name, value in case.parameters.items()}
    theirs_count = sum(value.numel() for value in to_torch(case.layer, parameters).values())
    if (ours_count := sum(value.numel() for value in parameters.values())) != theirs_count:
        yield (
            f"must have torch.nn's {theirs_count} parameters with two biases, but got {ours_count}."
            " See `unbiased`."
        )


CHECKS: tuple[Callable[[type[Cell]], Iterator[str]], ...] = (
    parameter_count,
    docstring,
    leading_axes,
    purity,
    carried_state,
    parts_alone,
    marked_content,
    small_sizes,
    everything_acts,
    torch_parity,
    gradients,
)
FOLLOWING = {
    "purity": (
        *("leading_axes", "carried_state", "parts_alone", "small_sizes", "everything_acts"),
        *("torch_parity", "gradients"),
    ),
    "leading_axes": ("parts_alone",),
    "everything_acts": ("gradients",),
}
"""Check -> those that fail with it: they compare, or differentiate, what it has found wrong."""
