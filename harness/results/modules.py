"""What a finished run learned, as a module of torch: for a product, or to be trained further."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import cells
from harness.engine import initial_state
from harness.layer import Recurrent
from harness.layer.base import Hidden
from harness.layer.checks import as_state
from harness.layer.choices import Choices, lacking
from harness.model.architecture import start_name
from harness.results import safetensors_file
from harness.results.trained_models import ModelError, checked_cell, load_own_cells, saved_model
from harness.training.saved_model import SavedModel

PRECISIONS = ("float32", "float64")
"""Those that a module of torch has as a dtype."""


class LanguageModel(nn.Module):
    """A run's model: lookup, layers and read-out, with the parameters that the run ended with.

    In training mode it drops what the run dropped. It begins in evaluation mode.

    Attributes:
        cell: The equations.
        vocabulary: The symbols that the tokens are indices of.
        layers: One ``harness.Recurrent`` a layer.
    """

    def __init__(self, saved: SavedModel, *, changed_cell: bool = False, engine: str = "auto"):
        """Takes what a run ended with.

        Raises:
            ModelError: The cell is unknown or another now, or the run's precision is no dtype.
        """
        super().__init__()
        if saved.vocabulary is None:
            raise ModelError(
                f"{saved.run}: must be a model of language for this, but got "
                f"task={saved.settings.task!r}. harness.load_model(...).predict() has the others."
            )
        cell, settings = checked_cell(saved, changed_cell), saved.settings
        if settings.precision not in PRECISIONS:
            raise ModelError(
                f"{saved.run}: its precision must be one of {', '.join(PRECISIONS)} for a module "
                f"of torch, but got precision={settings.precision!r}. harness.load_model rounds "
                "as the run did."
            )
        values = {name: torch.from_numpy(value.copy()) for name, value in saved.parameters.items()}
        dtype, size = values["readout.b"].dtype, saved.hidden_size
        self.cell = cell
        self.vocabulary, self.residual, self.dropout = (
            saved.vocabulary,
            settings.residual,
            settings.dropout,
        )
        self.lookup: nn.Embedding | None = None
        if "lookup.W" in values:
            self.lookup = nn.Embedding.from_pretrained(values["lookup.W"], freeze=False)
        self.output_size = cell.output_size(size, settings.projection_size)
        sizes = saved.reads_and_predicts
        first = sizes.num_inputs if self.lookup is None else self.lookup.embedding_dim
        # What has nothing to act on in a cell is left out, as in the run itself.
        names = Choices.__annotations__.keys() - lacking(cell).keys()
        choices = {name: getattr(settings, name) for name in names}
        self.layers = nn.ModuleList()
        self.starts = nn.ParameterDict()
        for index in range(settings.num_layers):
            layer = Recurrent(
                cell,
                first if index == 0 else self.output_size,
                size,
                proj_size=self.output_size if cell.projects else 0,
                dtype=dtype,
                biases=settings.biases,
                engine=engine,
                **choices,
            )
            prefix = f"layer{index}."
            own = {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
            layer.load_state_dict({f"{name}_l0": value for name, value in own.items()})
            self.layers.append(layer)
            for name in cell.state:
                if start_name(index, name) in values:
                    self.starts[f"{index}_{name}"] = values[start_name(index, name)]
        self.readout = nn.Linear(self.output_size, sizes.num_outputs, dtype=dtype)
        if self.lookup is not None and settings.tied:
            self.readout.weight = self.lookup.weight
        else:
            self.readout.weight = nn.Parameter(values["readout.W"].t().contiguous())
        self.readout.bias = nn.Parameter(values["readout.b"])
        self.eval()

    def forward(self, tokens: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """Returns the scores of every next token, (T, B, V), and the state to go on from.

        Args:
            tokens: (T, B), int64.
            state: One tensor a state of the cell, (num_layers, B, H), or the tensor itself; None:
                the start of a stream.

        Raises:
            ValueError: Shapes, dtypes or devices are wrong.
            IndexError: A token is none of the vocabulary's.
        """
        given = self.start(tokens.shape[1]) if state is None else as_state(state)
        values, finals = tokens if self.lookup is None else self.lookup(tokens), []
        for index, layer in enumerate(self.layers):
            start = tuple(each[index : index + 1] for each in given)
            below = values
            values, final = layer(values, start)
            if self.residual and index > 0:
                values = values + below
            if index < len(self.layers) - 1:
                values = functional.dropout(values, self.dropout, self.training)
            finals.append(as_state(final))
        final = tuple(torch.cat(parts) for parts in zip(*finals, strict=True))
        return self.readout(values), final[0] if len(final) == 1 else final

    def start(self, rows: int = 1) -> tuple[Tensor, ...]:
        """Returns the state at the start of a stream, (num_layers, B, H) each."""
        layers = [self._start(index, rows) for index in range(len(self.layers))]
        return tuple(torch.cat(parts) for parts in zip(*layers, strict=True))

    def _start(self, index: int, rows: int) -> tuple[Tensor, ...]:
        """Returns a layer's state at the start of a stream, (1, B, H) each."""
        layer = self.layers[index]
        assert isinstance(layer, Recurrent)
        constant = initial_state(layer.cell, 1, rows, layer.hidden_size, self.readout.bias.detach())
        named = zip(layer.cell.state, constant, strict=True)
        return tuple(
            self.starts[f"{index}_{name}"].expand_as(value)
            if f"{index}_{name}" in self.starts
            else value
            for name, value in named
        )


def load_module(
    run: str,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    cell_files: Sequence[str | Path] = (),
    changed_cell: bool = False,
    engine: str = "auto",
) -> LanguageModel:
    """Returns what a finished replicate learned as a module of torch; see ``harness.load_module``.

    Raises:
        ValueError: There is no such run, it has no model, or its cell is unknown or another now.
    """
    if Path(run).suffix == safetensors_file.SUFFIX:
        for path in cell_files:
            cells.load_file(path)
        saved = safetensors_file.read(Path(run))
        if not cell_files:
            load_own_cells(saved, Path(run).parent)
    else:
        saved = saved_model(run, folder, tracking, cell_files=cell_files)
    return LanguageModel(saved, changed_cell=changed_cell, engine=engine)
