"""What modules of a cell's layers have in common: parameters, and how one layer runs."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cells.base import Cell, Parameter
from harness.engine import Layer, Parameters, State
from harness.engine.base import is_exporting
from harness.layer import dropouts, loops, torch_names
from harness.layer.choices import Choices
from harness.layer.pieces import Piece, Run, holding
from harness.layer.running import (
    DEFINITION,
    engine_for,
    of_jit,
    refuse_transforms,
    run,
)
from harness.model.architecture import Architecture
from harness.model.initialization import initial_parameters
from harness.settings import Settings

SEEDS = 2**62
"""An initialisation's seed is drawn from so many."""

Hidden = Tensor | tuple[Tensor, ...]
"""A cell's states; the tensor itself where there is one."""


def is_bias(parameter: Parameter) -> bool:
    """Returns whether a layer without biases lacks it.

    A vector is a bias where its name begins with ``b_``: what is added behind a normaliser, say.
    """
    is_vector = parameter.kind == "vector"
    return parameter.name.startswith("b_") if is_vector else "bias" in parameter.kind


class CellModule(nn.Module):
    """A module that holds the parameters of layers, ``NAME`` and the layer's ``suffix`` each.

    A name is that in the cell's equations: ``W``, ``b``, ``R``, ``b_R``, its vectors and ``P``. A
    matrix has the units that it multiplies in its rows and the gates side by side in its columns.

    Attributes:
        cell: The equations.
        input_size: I of the first layer.
        hidden_size: H.
        bias: Whether there are biases.
        biases: 1 or 2 a gate.
        settings: The bench's own, of which a layer takes some.
        engine: What runs the layers, or ``auto``.
    """

    def __init__(
        self,
        cell: type[Cell],
        settings: Settings,
        bias: bool,
        projection_size: int | None,
        input_sizes: Mapping[str, int],
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ):
        """Takes the input size of each layer by the layer's suffix."""
        super().__init__()
        assert settings.hidden_size is not None
        self.cell, self.settings, self.bias = cell, settings, bias
        self.input_size, self.hidden_size = next(iter(input_sizes.values())), settings.hidden_size
        self.biases, self.projection_size = settings.biases, projection_size
        self.engine: str = settings.engine
        self._input_sizes = dict(input_sizes)
        # Made once, for every call asks for them.
        self._specs = {
            suffix: self._specs_of(input_size) for suffix, input_size in input_sizes.items()
        }
        for suffix in self._input_sizes:
            for spec in self._specs[suffix]:
                values = torch.empty(spec.shape(self.hidden_size), device=device, dtype=dtype)
                self.register_parameter(spec.name + suffix, nn.Parameter(values))
        self.reset_parameters()

    def _specs_of(self, input_size: int) -> list[Parameter]:
        specs = self.cell.parameters(
            input_size, self.hidden_size, self.biases, self.projection_size
        )
        return [spec for spec in specs if self.bias or not is_bias(spec)]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws all parameters anew, as the settings say; torch's seed decides the numbers."""
        if self.held()[0].is_meta:  # there is no memory for any value
            return
        (seed,) = torch.randint(SEEDS, (1,), device="cpu").tolist()
        for suffix, input_size in self._input_sizes.items():
            arch = Architecture(
                self.cell,
                input_size,
                1,
                self.hidden_size,
                biases=self.biases,
                projection_size=self.projection_size,
            )
            initial = initial_parameters(arch, self.settings, (seed, suffix))
            for spec in self._specs[suffix]:
                getattr(self, spec.name + suffix).copy_(initial[f"layer0.{spec.name}"])

    def held(self) -> list[Tensor]:
        """Returns all parameters; a replica of nn.DataParallel has tensors in their places."""
        return list(self.parameters()) or [value for each in self.all_weights for value in each]

    def weights(self, suffix: str, dtype: torch.dtype | None = None) -> Parameters:
        """Returns a layer's parameters under its cell's names; a bias that it lacks is zero."""
        given = {spec.name: getattr(self, spec.name + suffix) for spec in self._specs[suffix]}
        if dtype is not None:
            given = {name: value.to(dtype) for name, value in given.items()}
        if self.bias:
            return given
        like = next(iter(given.values()))
        specs = self.cell.parameters(1, self.hidden_size, self.biases, self.projection_size)
        return {
            spec.name: given[spec.name]
            if spec.name in given
            else like.new_zeros(spec.shape(self.hidden_size))
            for spec in specs
        }

    @property
    def suffixes(self) -> list[str]:
        """What ends the names of each layer's parameters, ``_l0``, ``_l0_reverse`` and so on."""
        return list(self._input_sizes)

    @property
    def layer(self) -> Layer:
        """What an engine knows of each layer, in the precision of the parameters' dtype."""
        dtype = self.held()[0].dtype
        precision = "float64" if dtype == torch.float64 else "float32"
        return Layer(
            self.cell, self.hidden_size, self.biases, precision, threads=torch.get_num_threads()
        )

    def run_of(self, suffix: str, like: Tensor) -> Run:
        """Returns what runs one layer: pieces of one batch, each after the one before.

        Masks that hold for all time steps are drawn here.

        Args:
            suffix: The layer's.
            like: Of a state (B, H); gives size, dtype and device.
        """
        cell = dropouts.cell_for(self.cell, self.settings, self.training)
        layer, device = dataclasses.replace(self.layer, cell=cell), like.device
        parameters = dropouts.with_weight_dropout(
            cell, self.weights(suffix, like.dtype), self.rate("weight_dropout")
        )
        noise = dropouts.Noise(cell, self.settings, like, self.training)

        def of_piece(piece: Piece, state: State) -> tuple[Tensor, State]:
            used, factors = layer, noise.factors(*piece.values.shape[:2])
            if piece.present is not None:
                used = dataclasses.replace(layer, cell=holding(cell))
                held = (~piece.present).to(like.dtype).unsqueeze(-1)
                held = held.expand(-1, -1, self.hidden_size)
                joined = [] if factors is None else [factors.expand(len(held), -1, -1)]
                factors = torch.cat([*joined, held], dim=-1)
            if is_exporting():
                return loops.run(used, parameters, piece.values, state, factors)
            refuse_transforms(self.engine, (piece.values, *state, *parameters.values()))
            engine = engine_for(self.engine, used, device)
            return run(engine, used, parameters, piece.values, state, factors)

        return of_piece

    def outside_graphs(self, forward: Callable[..., Any], *arguments: Any) -> Any:
        """Calls ``forward``; where torch.compile traces, outside of its graph.

        The reference is made of torch's operations, and is traced as they are. A graph that is
        exported holds a loop of such operations, whatever the engine.
        """
        if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            raise of_jit()
        is_traced = is_exporting() or self.engine == DEFINITION
        if is_traced or not torch.compiler.is_compiling():
            return forward(*arguments)
        from harness.layer.outside_graphs import call  # late: it imports torch's compiler

        return call(forward, *arguments)

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuses to become TorchScript, which torch.jit.script asks of every module first.

        Raises:
            EngineError: Always.
        """
        raise of_jit()

    def rate(self, name: str) -> float:
        """Returns the rate of one of the settings' dropouts: it acts in training alone."""
        rate: float = getattr(self.settings, name)
        return rate if self.training else 0.0

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction."""
        return [
            [getattr(self, spec.name + suffix) for spec in self._specs[suffix]]
            for suffix in self._input_sizes
        ]

    def torch_state_dict(self) -> dict[str, Tensor]:
        """Returns the parameters as torch.nn's module of the same cell has them.

        Raises:
            ValueError: torch.nn has no such cell.
        """
        found: dict[str, Tensor] = {}
        for suffix in self._input_sizes:
            own = {name: value.detach() for name, value in self.weights(suffix).items()}
            found |= torch_names.to_torch(self.layer, own, suffix, self.bias)
        return found

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *others: Any, **named: Any
    ) -> None:
        """As in torch.nn; names and layout may be those of torch.nn's module of the same cell."""
        for suffix in self._input_sizes:
            torch_names.translate(state_dict, prefix, suffix, self.layer, self._specs[suffix])
        super()._load_from_state_dict(state_dict, prefix, *others, **named)

    def extra_repr(self) -> str:
        """Returns the cell, the sizes, and the other arguments where they are no defaults."""
        arguments = inspect.signature(type(self).__init__).parameters
        settings = {field.name: field.default for field in dataclasses.fields(Settings)}
        defaults = {
            name: argument.default
            for name, argument in arguments.items()
            if argument.default not in (inspect.Parameter.empty, None)
        } | {name: settings[name] for name in Choices.__annotations__}
        shown = [self.cell.name, str(self.input_size), str(self.hidden_size)]
        for name, default in defaults.items():
            value = getattr(self, name) if hasattr(self, name) else getattr(self.settings, name)
            if value != default:
                shown.append(f"{name}={value}")
        return ", ".join(shown)
