"""What a finished run learned, as a module of torch: for a product, or to be trained further."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import cells
from harness.engine import initial_state
from harness.layer import Recurrent, checks
from harness.layer.base import Hidden
from harness.layer.choices import Choices, lacking
from harness.model.architecture import start_name
from harness.results import safetensors_file
from harness.results.trained_models import ModelError, checked_cell, load_own_cells, saved_model
from harness.training.saved_model import SavedModel

PRECISIONS = ("float32", "float64")
"""Those that a module of torch has as a dtype."""


class RunModule(nn.Module):
    """A run's model: lookup, layers and read-out, with the parameters that the run ended with.

    In training mode it drops what the run dropped. It begins in evaluation mode.

    Attributes:
        cell: The equations.
        hidden_size: H.
        num_inputs: The V of tokens, or the I of vectors.
        reads_tokens: Whether inputs are tokens.
        meaning: What inputs and outputs stand for: the names of columns and classes, and by which
            mean and deviation a series is scaled; empty where a rule drew the sequences.
        layers: One ``harness.Recurrent`` a layer.
        names: What a file calls the inputs and the outputs.
    """

    names = ("inputs", "outputs")

    def __init__(self, saved: SavedModel, *, changed_cell: bool = False, engine: str = "auto"):
        """Takes what a run ended with.

        Raises:
            ModelError: The cell is unknown or another now, or the run is none that a module can be.
        """
        super().__init__()
        self.cell, settings = checked_cell(saved, changed_cell), saved.settings
        _check_settings(saved)
        values = {name: torch.from_numpy(value.copy()) for name, value in saved.parameters.items()}
        self.hidden_size = saved.hidden_size
        self.num_inputs = saved.reads_and_predicts.num_inputs
        self.reads_tokens = saved.reads_and_predicts.reads_tokens
        self.meaning = saved.reads_and_predicts.meaning
        self.residual, self.dropout_masks = settings.residual, settings.dropout_masks
        self.dropout, self.output_dropout = settings.dropout, settings.output_dropout
        self.lookup_dropout, self.embedding_dropout = (
            settings.lookup_dropout,
            settings.embedding_dropout,
        )
        self.lookup: nn.Module | None = None
        if "lookup.W" in values:
            self.lookup = _lookup(values["lookup.W"], self.reads_tokens)
        self.output_size = self.cell.output_size(self.hidden_size, settings.projection_size)
        self.layers, self.starts = nn.ModuleList(), nn.ParameterDict()
        for index in range(settings.num_layers):
            self._add_layer(index, saved, values, engine)
        self.readout = nn.Linear(self.output_size, len(values["readout.b"]))
        if settings.tied:
            assert isinstance(self.lookup, nn.Embedding)
            self.readout.weight = self.lookup.weight
        else:
            self.readout.weight = nn.Parameter(values["readout.W"].t().contiguous())
        self.readout.bias = nn.Parameter(values["readout.b"])
        self.eval()

    def _add_layer(
        self, index: int, saved: SavedModel, values: dict[str, Tensor], engine: str
    ) -> None:
        """Adds the next layer and its learned start."""
        settings = saved.settings
        first = values["lookup.W"].shape[1] if self.lookup is not None else self.num_inputs
        layer = Recurrent(
            self.cell,
            first if index == 0 else self.output_size,
            self.hidden_size,
            proj_size=self.output_size if self.cell.projects else 0,
            dtype=values["readout.b"].dtype,
            biases=settings.biases,
            engine=engine,
            # What has nothing to act on in a cell is left out, as in the run itself.
            **{
                name: getattr(settings, name)
                for name in Choices.__annotations__.keys() - lacking(self.cell).keys()
            },
        )
        prefix = f"layer{index}."
        own = {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
        layer.load_state_dict({f"{name}_l0": value for name, value in own.items()})
        self.layers.append(layer)
        for name in self.cell.state:
            if start_name(index, name) in values:
                self.starts[f"{index}_{name}"] = values[start_name(index, name)]

    def forward(self, inputs: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """Returns what the read-out gives after every step, (T, B, O), and the state to go on from.

        They are scores of tokens or classes, or values.

        Args:
            inputs: Tokens (T, B), int64, or vectors (T, B, I).
            state: One tensor a state of the cell, (num_layers, B, H), or the tensor itself; None:
                the start of a stream.

        Raises:
            ValueError: Shapes, dtypes or devices are wrong; the message says all that are.
            IndexError: A token is none of the run's.
        """
        checks.raise_all(self._input_problems(inputs))
        rows = inputs.shape[1]
        given = self.start(rows) if state is None else checks.as_state(state)
        shape = (len(self.layers), rows, self.hidden_size)
        like = self.readout.bias
        checks.raise_all(checks.state_problems(given, self.cell.state, shape, like, where="state"))
        values, finals = self._looked_up(inputs), []
        for index, layer in enumerate(self.layers):
            start = tuple(each[index : index + 1] for each in given)
            below = values
            values, final = layer(values, start)
            if self.residual and index > 0:
                values = values + below
            is_last = index == len(self.layers) - 1
            values = self._dropped(values, self.output_dropout if is_last else self.dropout)
            finals.append(checks.as_state(final))
        final = tuple(torch.cat(parts) for parts in zip(*finals, strict=True))
        return self.readout(values), final[0] if len(final) == 1 else final

    def _input_problems(self, inputs: Tensor) -> list[str]:
        """Returns what is wrong with the inputs, a line each."""
        read = "tokens of int64 (T, B)" if self.reads_tokens else "vectors of floats (T, B, I)"
        if isinstance(inputs, Tensor):
            is_read = (
                inputs.dtype == torch.int64 if self.reads_tokens else inputs.is_floating_point()
            )
            if not is_read:
                return [f"inputs: must be {read}, but got dtype={inputs.dtype}. Convert them."]
        return checks.input_problems(
            inputs, (2,), self.num_inputs, self.readout.bias, where="inputs"
        )

    def _looked_up(self, inputs: Tensor) -> Tensor:
        """Returns what the first layer reads."""
        if self.lookup is None:
            return inputs
        values: Tensor = self.lookup(inputs)
        if self.embedding_dropout and self.training and self.reads_tokens:
            kept = functional.dropout(values.new_ones(self.num_inputs, 1), self.embedding_dropout)
            values = values * kept[inputs]
        return self._dropped(values, self.lookup_dropout)

    def _dropped(self, values: Tensor, rate: float) -> Tensor:
        if rate == 0 or not self.training:
            return values
        if self.dropout_masks == "update":
            return values * functional.dropout(torch.ones_like(values[:1]), rate)
        return functional.dropout(values, rate)

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


class LanguageModel(RunModule):
    """A model of language: tokens in, the scores of every next token out.

    Attributes:
        vocabulary: The symbols that the tokens are indices of.
    """

    names = ("tokens", "scores")

    def __init__(self, saved: SavedModel, *, changed_cell: bool = False, engine: str = "auto"):
        """Takes what a run ended with; it has a vocabulary.

        Raises:
            ModelError: The cell is unknown or another now, or the run is none that a module can be.
        """
        super().__init__(saved, changed_cell=changed_cell, engine=engine)
        assert saved.vocabulary is not None
        self.vocabulary = saved.vocabulary


class SequenceModel(RunModule):
    """A model of sequences: tokens or vectors in, and what the task's head says after every step.

    That is the scores of classes, or values. Of a series they are scaled as it was for training,
    and of the heads ``gaussian`` and ``quantiles`` means with log-variances, or quantiles. A
    sequence begins in the start state.
    """


def _lookup(matrix: Tensor, reads_tokens: bool) -> nn.Module:
    """Returns what looks tokens up in the rows of a matrix, or multiplies vectors with it."""
    if reads_tokens:
        table: nn.Module = nn.Embedding.from_pretrained(matrix, freeze=False)
        return table
    num_inputs, size = matrix.shape
    made = nn.Linear(num_inputs, size, bias=False)
    made.weight = nn.Parameter(matrix.t().contiguous())
    return made


def _check_settings(saved: SavedModel) -> None:
    """Checks that a module can be what the run was.

    Raises:
        ModelError: It cannot.
    """
    settings, problems = saved.settings, []
    if settings.precision not in PRECISIONS:
        problems.append(
            f"{saved.run}: its precision must be one of {', '.join(PRECISIONS)} for a module of "
            f"torch, but got precision={settings.precision!r}. harness.load_model rounds as the "
            "run did."
        )
    if settings.bidirectional:
        problems.append(
            f"{saved.run}: its layers must read in one direction for a module of torch, but got "
            "bidirectional=True. Take harness.load_model."
        )
    if problems:
        raise ModelError("\n".join(problems))


def module_of(
    saved: SavedModel, *, changed_cell: bool = False, engine: str = "auto"
) -> LanguageModel | SequenceModel:
    """Returns what a run ended with as a module, by its task.

    Raises:
        ModelError: The cell is unknown or another now, or the run is none that a module can be.
    """
    kind = SequenceModel if saved.vocabulary is None else LanguageModel
    return kind(saved, changed_cell=changed_cell, engine=engine)


def load_module(
    run: str,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    cell_files: Sequence[str | Path] = (),
    changed_cell: bool = False,
    engine: str = "auto",
) -> LanguageModel | SequenceModel:
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
    return module_of(saved, changed_cell=changed_cell, engine=engine)
