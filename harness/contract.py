"""What every cell must satisfy, built-in or a user's own.

The checks are plain functions over one class, in float64 on the CPU. The contract cannot know what
a cell's paper says; a cell with a ``reference`` is compared with torch.nn too.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from cells.base import Cell, split_gates, unchanged
from cells.faults import (
    place_of,
    place_of_change,
    problem_of_changed,
    problems_of_returned,
    words_of,
)
from cells.registry import problems_of
from harness.engine.base import Engine, Layer, Parameters, State, initial_state
from harness.engine.native import Native, to_torch
from harness.engine.reference import Reference, bind

ROUNDING = 1e-12
"""Largest difference, relative to 1 + the value, of one computation done in two shapes."""
FOLLOWING = {
    "purity": (
        *("leading_axes", "carried_state", "parts_alone", "small_sizes", "everything_acts"),
        *("torch_parity", "gradients"),
    ),
    "leading_axes": ("parts_alone",),
    "everything_acts": ("gradients",),
}
"""Check -> those that fail with it: they compare, or differentiate, what it has found wrong."""
PARITY = 1e-10
"""Largest difference, relative to 1 + the value, of two implementations of the same equations."""


@dataclass(frozen=True)
class Finding:
    """One violation: the check that found it and, in words, what must hold and what was got."""

    check: str
    message: str


def check(cell: type[Cell]) -> list[Finding]:
    """Returns all violations of the contract; nothing where all is well. Takes about a second."""
    return list(findings(cell))


def causes(found: Sequence[Finding]) -> tuple[list[str], list[str]]:
    """Returns what there is to say of violations, and the checks that fail with others.

    Of violations that differ in their numbers alone the first is told, with how many there are.
    """
    failing = list(dict.fromkeys(each.check for each in found))
    following = {name for check in failing for name in FOLLOWING.get(check, ())}
    alike: dict[tuple[str, str], list[Finding]] = {}
    for each in found:
        if each.check not in following:
            alike.setdefault((each.check, re.sub(r"[0-9][0-9.e+-]*", "", each.message)), []).append(
                each
            )
    lines = [
        f"{check}: {first.message}" + (f" ({len(rest)} more alike)" if rest else "")
        for (check, _), (first, *rest) in alike.items()
    ]
    return lines, [check for check in failing if check in following]


def findings(cell: type[Cell]) -> Iterator[Finding]:
    """Yields the violations one by one.

    There are no more after those of the declarations or of what a step returns.
    """
    first = [Finding("declarations", message) for message in problems_of(cell)]
    first = first or _findings_of(returned_states, cell)
    yield from first
    for function in () if first else CHECKS:
        yield from _findings_of(function, cell)


def _findings_of(
    function: Callable[[type[Cell]], Iterator[str]], cell: type[Cell]
) -> list[Finding]:
    violations = []
    try:
        for message in function(cell):
            violations.append(Finding(function.__name__, f"{cell.__name__}: {message}"))
    except Exception as error:  # a user's step may raise anything at all; its words are reported
        raised = f"{words_of(error)}{place_of(error, cell)}"
        words = f"{cell.__name__}: step must run, but raised {raised}"
        violations.append(Finding(function.__name__, words))
    return violations


@dataclass(frozen=True)
class _Case:
    """A layer with random arguments.

    Attributes:
        layer: What is run.
        parameters: Tensors (N, ...) by their names.
        inputs: A tensor (T, N, B, I).
        state: A tensor (N, B, H) for each declared state.
    """

    layer: Layer
    parameters: Parameters
    inputs: Tensor
    state: State

    def run(self, engine: Engine | None = None) -> tuple[Tensor, State]:
        return (engine or Reference()).run(self.layer, self.parameters, self.inputs, self.state)

    def part(self, axis: int, index: int) -> "_Case":
        """Returns one run (axis 0 of a state) or one row (axis 1) alone."""
        parameters = self.parameters
        if axis == 0:
            parameters = {name: value.narrow(0, index, 1) for name, value in parameters.items()}
        state = tuple(s.narrow(axis, index, 1) for s in self.state)
        return _Case(self.layer, parameters, self.inputs.narrow(axis + 1, index, 1), state)

    def arguments(self) -> dict[str, Tensor]:
        """Returns everything that a gradient may be asked of, by name."""
        states = {
            f"the initial state {s}": v
            for s, v in zip(self.layer.cell.state, self.state, strict=True)
        }
        return {"the input": self.inputs, **states, **self.parameters}


def _case(
    cell: type[Cell],
    *,
    steps: int = 3,
    runs: int = 1,
    batch: int = 2,
    hidden: int = 3,
    biases: int = 2,
) -> _Case:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return 0.7 * torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = hidden if cell.reads_input else 2
    parameters = {
        spec.name: random(runs, *spec.shape(hidden))
        for spec in cell.parameters(inputs, hidden, biases)
    }
    state = tuple(random(runs, batch, hidden) for _ in cell.state)
    return _Case(
        Layer(cell, hidden, biases, "float64"),
        parameters,
        random(steps, runs, batch, inputs),
        state,
    )


def _differentiable(case: _Case) -> _Case:
    parameters = {name: value.requires_grad_() for name, value in case.parameters.items()}
    state = tuple(s.requires_grad_() for s in case.state)
    return replace(case, parameters=parameters, inputs=case.inputs.requires_grad_(), state=state)


def _gap(a: Iterable[Tensor], b: Iterable[Tensor]) -> float:
    """Returns the largest difference of two sequences of tensors, relative to 1 + the value.

    NaN counts as infinite.
    """
    gaps = [
        ((x - y).abs() / (1 + y.abs())).nan_to_num(torch.inf).max().item()
        for x, y in zip(a, b, strict=True)
    ]
    return max(gaps)


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
        case = _case(cell, runs=2)
        parameters = {name: value.to(dtype) for name, value in case.parameters.items()}
        state = tuple(s.to(dtype) for s in case.state)
        returned = cell().step(
            bind(case.layer, cell.prepared(parameters)), _gates(cell, case, dtype), *state
        )
        if problems := problems_of_returned(cell, state, returned):
            yield from problems
            return


def leading_axes(cell: type[Cell]) -> Iterator[str]:
    """A step on (N, B, H) does to each run what the step on (B, H) does to it alone."""
    case = _case(cell, runs=2, batch=4)
    x = _gates(cell, case, torch.float64)
    together = cell().step(bind(case.layer, cell.prepared(case.parameters)), x, *case.state)
    for n in range(2):
        x_n = SimpleNamespace(**{gate: getattr(x, gate)[n] for gate in cell.input_products()})
        p = _without_runs(bind(case.layer, cell.prepared(case.part(0, n).parameters)))
        alone = cell().step(p, x_n, *(s[n] for s in case.state))
        if any(a.shape != t[n].shape for a, t in zip(alone, together, strict=True)):
            yield (
                "step must return (B, H) for (B, H), but got another shape. Name the last axis"
                " only."
            )
        elif (gap := _gap(alone, (t[n] for t in together))) > ROUNDING:
            yield (
                f"step must do alike to (N, B, H) and to (B, H), but differs by {gap:.1e}. Name the"
                " last axis only: x.GATE and the states are of one time step."
            )


def carried_state(cell: type[Cell]) -> Iterator[str]:
    """T steps are k steps and then T - k from the carried state."""
    case = _case(cell, steps=5)
    outputs, final = case.run()
    first, carried = replace(case, inputs=case.inputs[:2]).run()
    second, end = replace(case, inputs=case.inputs[2:], state=carried).run()
    if (gap := _gap((outputs, *final), (torch.cat([first, second]), *end))) > ROUNDING:
        yield (
            "5 steps must equal 2 steps and then 3 from the carried state, but differ by"
            f" {gap:.1e}. Whatever a step carries on must be a declared state."
        )


def parts_alone(cell: type[Cell]) -> Iterator[str]:
    """Run n of a pack, and row b of a batch, are what each gives alone."""
    case = _case(cell, runs=3, batch=3)
    outputs, final = case.run()
    for axis, what in enumerate(("run {} of a pack", "row {} of a batch")):
        for index in range(3):
            output, end = case.part(axis, index).run()
            together = (
                outputs.narrow(axis + 1, index, 1),
                *(s.narrow(axis, index, 1) for s in final),
            )
            if (gap := _gap((output, *end), together)) > ROUNDING:
                yield (
                    f"{what.format(index)} must equal that alone, but differs by {gap:.1e}. Reduce"
                    " over H only."
                )


def purity(cell: type[Cell]) -> Iterator[str]:
    """A step gives the same twice and leaves its arguments as they were."""
    case = _case(cell)
    x = _gates(cell, case, torch.float64)
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


def _given(case: _Case, x: SimpleNamespace) -> dict[str, Tensor]:
    """Returns all that a step is given, by name."""
    gates = {f"x.{gate}": getattr(x, gate) for gate in case.layer.cell.input_products()}
    return {**gates, **case.arguments()}


def _place_of_change(cell: type[Cell]) -> str:
    """Returns where a step changes what it is given, which is made anew."""
    case = _case(cell)
    x, p = _gates(cell, case, torch.float64), bind(case.layer, cell.prepared(case.parameters))
    given = list(_given(case, x).values())
    return place_of_change(cell, given, lambda: cell().step(p, x, *case.state))


def marked_content(cell: type[Cell]) -> Iterator[str]:
    """A step calls ``p.drop`` once for each declared candidate, and uses what it returns."""
    case = _case(cell)
    x, p = _gates(cell, case, torch.float64), bind(case.layer, cell.prepared(case.parameters))
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
        case = _case(cell, steps=1, batch=1, hidden=hidden)
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
        case = _differentiable(_case(cell, steps=4, batch=4, hidden=5, biases=biases))
        results = _results(case)
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
    case = _differentiable(_case(cell))
    names, values = zip(*case.arguments().items(), strict=True)
    results = ("the outputs", *(f"the final state {s}" for s in cell.state))

    def function(inputs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        state, parameters = others[: len(cell.state)], others[len(cell.state) :]
        bound = dict(zip(case.parameters, parameters, strict=True))
        outputs, final = _Case(case.layer, bound, inputs, state).run()
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
        case = _differentiable(_case(cell, steps=4, runs=2, hidden=4, biases=biases))
        ours, theirs = _results(case), _results(case, Native())
        for name, value in ours.items():
            if (gap := _gap((value,), (theirs[name],))) > PARITY:
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


def _gates(cell: type[Cell], case: _Case, dtype: torch.dtype) -> SimpleNamespace:
    """Returns an ``x`` of ``step`` for the case's state: random, one (N, B, H) a gate."""
    generator = torch.Generator().manual_seed(1)
    shape = (*case.state[0].shape[:-1], len(cell.input_products()) * case.layer.hidden_size)
    return split_gates(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype),
        cell.input_products(),
    )


def _without_runs(p: SimpleNamespace) -> SimpleNamespace:
    """Returns the ``p`` of ``Cell.step`` on (B, H), given that on (1, B, H)."""

    def unwrapped(
        product: Callable[[Tensor], SimpleNamespace],
    ) -> Callable[[Tensor], SimpleNamespace]:
        return lambda h: SimpleNamespace(
            **{gate: value[0] for gate, value in vars(product(h[None])).items()}
        )

    values = {
        name: value[0] if isinstance(value, Tensor) else unwrapped(value)
        for name, value in vars(p).items()
        if name != "drop"
    }
    return SimpleNamespace(**values, drop=unchanged)


def _results(case: _Case, engine: Engine | None = None) -> dict[str, Tensor]:
    """Returns the outputs, the final state and the gradients of a random weighting of them.

    They are named by what they are.
    """
    outputs, final = case.run(engine)
    states = {f"the final state {s}": v for s, v in zip(case.layer.cell.state, final, strict=True)}
    results = {"the outputs": outputs, **states}
    generator = torch.Generator().manual_seed(2)
    weights = [
        torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for value in results.values()
    ]
    total = torch.stack(
        [(w * v).sum() for w, v in zip(weights, results.values(), strict=True)]
    ).sum()
    names, values = zip(*case.arguments().items(), strict=True)
    grads = torch.autograd.grad(total, values, allow_unused=True, materialize_grads=True)
    return results | {
        f"the gradient of {name}": value for name, value in zip(names, grads, strict=True)
    }
