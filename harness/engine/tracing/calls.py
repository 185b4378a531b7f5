"""What the rules of ATen operations take and give: values of a step, and the call being written."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from harness.engine.tracing.program import Builder, Outer, Ref

ROWS = 3
"""Rows of the batch in a trace; any number would do."""


class Untraceable(ValueError):
    """A step does what the generated engines cannot; the message names the operation."""


@dataclass(frozen=True)
class Matrix:
    """A recurrent matrix."""

    name: str


@dataclass(frozen=True)
class Transposed:
    """A matrix or a product's operand, rows and columns exchanged."""

    value: Any


@dataclass(frozen=True)
class Flipped:
    """A value whose units come in the reverse order, as in the gradient of a cumulative sum."""

    value: Ref


@dataclass(frozen=True)
class Part:
    """Some neighbouring units of a value; what its other units hold has no meaning.

    Operations are done on all units, so that a part costs as much as the whole.

    Attributes:
        value: Whose units they are.
        start: The first of them.
        size: How many they are, fewer than H.
    """

    value: Ref
    start: int
    size: int


@dataclass(frozen=True)
class Flat:
    """One number a row, (B,): a reduction over the units that has dropped their axis."""

    value: Ref


@dataclass(frozen=True)
class Outers:
    """A gradient of a matrix: a sum of outer products."""

    terms: tuple[Outer, ...]


def single(value: Any) -> Ref:
    """Returns the value of a result of H units; the lone gate of a product is one."""
    if isinstance(value, list) and len(value) == 1:
        gate: Ref = value[0]
        return gate
    if isinstance(value, Part):
        raise Untraceable(f"{value.size} units where all are needed")
    if isinstance(value, Flat):
        raise Untraceable("one number a row without the units' axis: unsqueeze(-1) gives it")
    if not isinstance(value, Ref):
        raise Untraceable("a product used whole, not gate by gate")
    return value


def is_value(argument: Any) -> bool:
    """Returns whether an argument is a value of the step, and no number or setting."""
    return isinstance(argument, (Ref, list, Part, Flat))


def stacked(value: list[Ref] | Ref) -> list[Ref]:
    """Returns the gates of a product, or the lone one."""
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Call:
    """One ATen operation being lowered.

    Attributes:
        build: Makes the nodes.
        hidden_size: H.
        shape: Of the result.
        name: The operation's.
        widths: How many units each tensor of a list has that is the first argument.
    """

    build: Builder
    hidden_size: int
    shape: tuple[int, ...]
    name: str
    widths: tuple[int, ...] = ()

    def __call__(self, op: str, *operands: Any) -> Any:
        """Returns an elementwise operation on references, parts and numbers.

        It takes booleans where the operation does.
        """
        if any(isinstance(o, Flat) for o in operands):
            return Flat(self(op, *(self.flat(o) for o in operands)))
        parts = [o for o in operands if isinstance(o, Part)]
        if parts:
            if len({part.size for part in parts}) > 1:
                raise Untraceable(f"operation {self.name} of parts of different sizes")
            first = parts[0]
            moved = [self.moved(o, first.start) if isinstance(o, Part) else o for o in operands]
            return replace(first, value=self(op, *moved))
        refs = [single(o) if isinstance(o, list) else o for o in operands]
        masks = {"where": 1, "and": 2, "or": 2, "not": 1}.get(op, 0)
        return self.build.apply(
            op, *(self.mask(r) for r in refs[:masks]), *(self.number(r) for r in refs[masks:])
        )

    def flat(self, value: Any) -> Any:
        """Returns what stands beside one number a row: another one, or one for all rows."""
        if isinstance(value, Flat):
            return value.value
        if is_value(value) and self.kind(value) != "scalar":
            raise Untraceable(f"operation {self.name} of (B,) and of (B, H) numbers")
        return value

    def number(self, value: Any) -> Any:
        """Returns a boolean as 0 or 1, anything else as it is."""
        boolean = isinstance(value, Ref) and self.build.get(value).boolean
        return self.build.apply("where", value, 1.0, 0.0) if boolean else value

    def mask(self, value: Any) -> Any:
        """Returns whether a number is not 0; a boolean as it is."""
        boolean = isinstance(value, Ref) and self.build.get(value).boolean
        return value if boolean else self.build.apply("not", self.build.apply("eq", value, 0.0))

    def kind(self, value: Any) -> str:
        """Returns the kind of a value."""
        return self.build.get(value.value if isinstance(value, Part) else single(value)).kind

    # Units.

    def over_units(self, *dims: int) -> None:
        """Refuses an operation along anything but the units."""
        if len(dims) != 1 or dims[0] not in (1, -1):
            raise Untraceable(f"operation {self.name} over the batch")

    def varying(self, value: Any, beside: float = 0.0) -> Ref:
        """Returns a value to be reduced over H: (B, H), a part's other units being ``beside``.

        It must vary there, or H copies would have to be counted.
        """
        if isinstance(value, Part):
            return self.within(value, beside)
        ref: Ref = self.number(single(value))
        if self.build.get(ref).kind != "full" and self.hidden_size > 1:
            raise Untraceable(
                f"operation {self.name} of a value that is equal in all units or rows"
            )
        return ref

    def count(self, value: Any) -> int:
        """Returns how many units a value has."""
        return value.size if isinstance(value, Part) else self.hidden_size

    def reduced(self, op: str, value: Any) -> Ref:
        """Returns a reduction over the units of a value."""
        beside = 0.0 if op == "row_sum" else float("-inf")
        return self.build.reduce(op, self.varying(value, beside))

    def mean(self, value: Any) -> Any:
        """Returns the mean over the units."""
        return self("mul", self.reduced("row_sum", value), 1.0 / self.count(value))

    def within(self, part: Part, beside: Ref | float) -> Ref:
        """Returns the value that has a part's units where they are, and others beside them."""
        value, build = self.number(part.value), self.build
        if build.get(value).kind not in ("full", "vector"):
            value = build.apply("add", self.zeros(), value)
        other = beside if isinstance(beside, Ref) else build.constant(beside)
        ends = build.constant(part.start), build.constant(part.start + part.size)
        kinds = {build.get(value).kind, build.get(other).kind}
        return build.node(
            "part", value, other, *ends, kind="vector" if kinds <= {"vector", "scalar"} else "full"
        )

    def zeros(self) -> Ref:
        """Returns (B, H) zeros, as none of the units of a leaf."""
        nodes = enumerate(self.build.nodes)
        leaf = next(Ref(i) for i, n in nodes if n.op == "input" and n.kind == "full")
        return self.build.node("part", leaf, *(self.build.constant(0.0) for _ in range(3)))

    def moved(self, part: Part, start: int) -> Ref:
        """Returns the value that holds a part's units from another unit on."""
        kind = self.build.get(part.value).kind
        if start == part.start or kind in ("row", "scalar"):
            return part.value
        if kind != "full":
            raise Untraceable(f"operation {self.name} of different units of a vector")
        turn = float((start - part.start) % self.hidden_size)
        return self.build.apply("roll", self.number(part.value), turn)


Rule = Callable[..., Any]
AnyRule = TypeVar("AnyRule", bound=Rule)
RULES: dict[str, Rule] = {}
"""ATen operation -> how it is written; one in place, ``mul_``, as ``mul``.

Arguments are references or numbers.
"""


def rule(*names: str) -> Callable[[AnyRule], AnyRule]:
    """Enters a rule under the names of operations."""

    def enter(function: AnyRule) -> AnyRule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def elementwise(op: str) -> Rule:
    """Returns the rule of an operation that is one of a program's."""
    return lambda call, *operands: call(op, *operands)
