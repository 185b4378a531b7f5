"""What a cell is: its declarations and one pure step.

Shapes, here and everywhere: T time, N runs of a pack, B batch, H hidden, I input, V vocabulary. A
step runs on (B, H) and on (N, B, H) alike, so it never names a leading axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:  # a study is checked without torch
    from torch import Tensor

Kind = Literal["input", "recurrent", "bias", "recurrent_bias", "vector", "projection"]

DRAWN = "drawn"
"""Initial value of a vector that is drawn like a weight; a number instead is its constant start."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a layer.

    Attributes:
        name: The attribute of ``p`` that a step reads.
        kind: What it does in the layer.
        gates: The gates that it feeds; one without a name for a vector.
        rows: The size of the axis before the last; None where there is none.
        start: Its constant initial value, or ``DRAWN``.
        width: The last axis is ``len(gates)`` blocks of this size; H if None.
    """

    name: str
    kind: Kind
    gates: tuple[str, ...]
    rows: int | None
    start: float | str = DRAWN
    width: int | None = None

    def shape(self, hidden_size: int) -> tuple[int, ...]:
        """Returns the shape without the run axis: (rows, gates * H), or (gates * H,)."""
        width = len(self.gates) * (hidden_size if self.width is None else self.width)
        return (width,) if self.rows is None else (self.rows, width)


class Cell:
    """A recurrent cell: a subclass declares its gates and states, and defines ``step``.

    ``step`` follows the docstring's equations line for line.

    The docstring of a subclass holds whole equations and the three entries ``Source:``,
    ``Reference:`` (the class of torch.nn that it must equal, or none) and ``Differs from PARENT:``
    (or ``Differs: no parent``). A variant is a whole class with whole equations, never a flag in
    its parent. Initialisation, the forget bias and the number of biases are a study's choices and
    appear in no equation.
    """

    name: ClassVar[str]
    """The name in a study, parent first: ``lstm-no-output-tanh``."""
    gates: ClassVar[tuple[str, ...]]
    """The input products ``W_g x + b_g``, in the order of torch.nn where it has the cell.

    There may be none only where the step reads its input itself.
    """
    reads_input: ClassVar[bool] = False
    """Whether the step reads ``x.input``, the layer's input itself: its size must then be H."""
    state: ClassVar[tuple[str, ...]] = ("h",)
    """The state, each (B, H); the first is what the layer above sees, itself or projected."""
    projects: ClassVar[bool] = False
    """Whether the layer above sees the first state times ``P``, (H, ``projection_size``)."""
    unread: ClassVar[tuple[str, ...]] = ()
    """States that no step reads: the layer above sees them, and nothing of them is carried on."""
    products: ClassVar[Mapping[str, tuple[str, ...]] | None] = None
    """Recurrent products: name -> the gates that it feeds. None: one, ``R``, that feeds all gates.

    A gate that is fed and not among ``gates`` has no W; its bias is a recurrent one.
    """
    recurrent_biases: ClassVar[tuple[str, ...]] = ()
    """Gates whose recurrent product keeps a bias even with ``biases: 1``: the equation needs it."""
    unbiased: ClassVar[tuple[str, ...]] = ()
    """Gates without a bias, ``b_g`` or recurrent."""
    vectors: ClassVar[Mapping[str, float | str]] = {}
    """Further parameters of size H: name -> constant start, or ``DRAWN``."""
    start: ClassVar[Mapping[str, float]] = {}
    """States that do not start at 0: name -> constant."""
    forget_gates: ClassVar[tuple[str, ...]] = ()
    """Gates that the forget bias and the chrono initialisation raise."""
    input_gates: ClassVar[tuple[str, ...]] = ()
    """Gates that the chrono initialisation lowers, each paired with a forget gate by its position.

    Each is lowered as far as its forget gate is raised. A forget gate beyond them is raised alone:
    its cell weighs what is new by 1 - f, or by nothing.
    """
    candidates: ClassVar[tuple[str, ...]] = ()
    """Gates whose value is new content, on which recurrent dropout acts.

    A step passes the value of each through ``p.drop`` once.
    """
    zoneout_states: ClassVar[tuple[str, ...]] = ()
    """States that zoneout may hold."""
    noise: ClassVar[tuple[str, ...]] = ()
    """Factors (B, H) that each time step is given from outside, ``p.NAME``, without a gradient.

    A cell's equations have none: a study's regularisers add them, see
    ``harness.model.regularization``.
    """
    reference: ClassVar[tuple[str, Mapping[str, Any]] | None] = None
    """The class of torch.nn that this cell must equal, and its arguments; None without one."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "zonable" in vars(cls):  # the name that `zoneout_states` had first; users' files have it
            cls.zoneout_states = vars(cls)["zonable"]

    def step(self, p: Any, x: Any, *state: Tensor) -> tuple[Tensor, ...]:
        """Returns the new state, in the order of ``state``.

        Args:
            p: The layer's parameters: ``p.R(h).i`` is gate i's part of the recurrent product R h,
                its bias added where there is one; a vector is an attribute that broadcasts over the
                batch. ``p.drop(value)`` marks new content: the identity unless a study asks for
                recurrent dropout.
            x: One attribute a gate, ``x.i`` = W_i x + b_i, each (..., B, H); ``x.input`` where the
                cell reads it.
            *state: The previous state, each (..., B, H).
        """
        raise NotImplementedError

    @classmethod
    def recurrent_products(cls) -> Mapping[str, tuple[str, ...]]:
        """Returns the declared recurrent products, the default filled in."""
        return {"R": cls.gates} if cls.products is None else cls.products

    @classmethod
    def input_products(cls) -> tuple[str, ...]:
        """Returns what a step finds in its ``x``: the gates, then ``input`` where it reads that."""
        return (*cls.gates, "input") if cls.reads_input else cls.gates

    @classmethod
    def recurrent_rows(cls, hidden_size: int) -> int:
        """Returns the rows of a recurrent parameter.

        They are H, unless :meth:`prepared` makes the matrices of fewer.
        """
        return hidden_size

    @classmethod
    def prepared(cls, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns what the products multiply with, made of the ``parameters`` (N, ...).

        It is made once for all time steps.
        Most cells multiply with the parameters themselves. A cell whose matrices or vectors are
        made of them overrides this, in torch's operations, and gives back matrices (N, H, g*H) and
        vectors (N, H) under the same names.
        """
        return parameters

    @classmethod
    def is_prepared(cls) -> bool:
        """Returns whether the products multiply with anything but the parameters themselves."""
        return cls.prepared.__qualname__ != Cell.prepared.__qualname__

    @classmethod
    def output_size(cls, hidden_size: int, projection_size: int | None = None) -> int:
        """Returns the units that the layer above sees.

        ``projection_size`` None stands for half of H where the cell projects.
        """
        return (projection_size or max(1, hidden_size // 2)) if cls.projects else hidden_size

    @classmethod
    def parameters(
        cls, input_size: int, hidden_size: int, biases: int, projection_size: int | None = None
    ) -> tuple[Parameter, ...]:
        """Returns a layer's parameters in a fixed order.

        ``W`` (I, G*H), ``b`` (gates with one), then for each recurrent product its matrix (H, g*H)
        and its bias ``b_NAME``, then the vectors, then ``P``. With two biases a gate's second one
        belongs to the first product that feeds it. Recurrent matrices have as many rows as the
        layer above sees units, or :meth:`recurrent_rows`.
        """
        output_size = cls.output_size(hidden_size, projection_size)
        rows = output_size if cls.projects else cls.recurrent_rows(hidden_size)
        layer = [Parameter("W", "input", cls.gates, input_size)] if cls.gates else []
        biased = tuple(g for g in cls.gates if g not in cls.unbiased)
        if biased:
            layer.append(Parameter("b", "bias", biased, None))
        seen: set[str] = set()
        for name, gates in cls.recurrent_products().items():
            layer.append(Parameter(name, "recurrent", gates, rows))
            wanted = gates if biases == 2 else cls.recurrent_biases
            extra = tuple(
                g for g in gates if g in wanted and g not in seen and g not in cls.unbiased
            )
            seen.update(gates)
            if extra:
                layer.append(Parameter(f"b_{name}", "recurrent_bias", extra, None))
        layer += [
            Parameter(name, "vector", ("",), None, start) for name, start in cls.vectors.items()
        ]
        if cls.projects:
            layer.append(Parameter("P", "projection", ("",), hidden_size, width=output_size))
        return tuple(layer)

    @classmethod
    def num_parameters(cls, input_size: int, hidden_size: int, biases: int) -> int:
        """Returns the number of a layer's parameters."""
        total = 0
        for parameter in cls.parameters(input_size, hidden_size, biases):
            rows, width = (1, *parameter.shape(hidden_size))[-2:]
            total += rows * width
        return total

    @classmethod
    def flops_per_token(
        cls, input_size: int | None, hidden_size: int, projection_size: int | None = None
    ) -> int:
        """Returns the forward FLOPs of a layer's products per token: 2 an entry of each matrix.

        ``input_size`` None stands for a row lookup, which is free.
        """
        specs = cls.parameters(1, hidden_size, 1, projection_size)
        matrices = [
            spec.shape(hidden_size) for spec in specs if spec.kind in ("recurrent", "projection")
        ]
        entries = sum(rows * width for rows, width in matrices)
        entries += 0 if input_size is None else input_size * len(cls.gates) * hidden_size
        return 2 * entries


def unchanged(value: Tensor) -> Tensor:
    """Returns ``value``: what ``p.drop`` does where nothing is dropped."""
    return value


def split_gates(stacked: Tensor, gates: tuple[str, ...]) -> SimpleNamespace:
    """Returns one view a gate of ``stacked`` (..., G*H): attributes named after the gates."""
    return SimpleNamespace(**dict(zip(gates, stacked.chunk(len(gates), dim=-1), strict=True)))


def normalize(*parts: Tensor, eps: float = 1e-5) -> tuple[Tensor, ...]:
    """Returns ``parts`` (..., H) normalised together over all their units (Ba 2016).

    Their mean becomes 0 and their variance 1.
    """
    mean = _mean(parts)
    centred = [part - mean for part in parts]
    scale = (_mean([part * part for part in centred]) + eps).rsqrt()
    return tuple(part * scale for part in centred)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    means = [part.mean(-1, keepdim=True) for part in parts]
    return sum(means[1:], means[0]) / len(means)
