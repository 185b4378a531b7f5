"""What fixes a run, apart from its seed: one dataclass, one table.

The YAML reader, its JSON schema, the documentation's table of fields and the plan that a worker
reads are all made from these fields, so a field is described once. Standard library only: a worker
needs no more.
"""

import dataclasses
import operator
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

TaskName = Literal["language-modelling", "memory", "forecasting", "classification"]
LANGUAGE = "language-modelling"
"""The task of a study that names none."""
Token = Literal["char", "word", "byte", "subword"]
Split = Literal["holdout", "none"]
Windows = Literal["sequential", "sequential-2019", "random"]
Initialization = Literal["normal", "uniform", "glorot", "orthogonal", "keras", "identity"]
OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop", "nadam", "asgd"]
ScheduleName = Literal["constant", "cosine", "step", "plateau"]
EngineName = Literal["auto", "cpu", "gpu", "scan", "scan-log", "native", "reference"]
DeviceName = Literal["auto", "cpu", "cuda"]
MaskDuration = Literal["step", "update"]
Precision = Literal["float32", "float64", "tf32", "bf16"]

MOST_UNITS = 65_536
"""Of a layer: one recurrent matrix of so many units takes 16 GiB in float32."""
MOST_PARAMETERS = 10_000_000_000
"""Of a model: with its gradient and Adam's moments it takes 160 GB in float32."""
MOST_LAYERS = 1_000
"""Each layer is a pass of its own over a minibatch, and nobody has trained a stack so high."""
MOST_TOKENS = 1_000_000
"""Of one direction of a minibatch; their product is bounded by memory."""
MOST_MULTIPLE = 100
"""Of the length of training: a test set of so much longer sequences takes longer than training."""
MOST_UPDATES = 10_000_000
"""Of a run: the learning rate of each is kept, 80 MB a run."""
MOST_RUNS = 10_000
"""Of each kind: trials, seeds, repeats. A driver was measured so far."""
MOST_ROUNDS = 10_000
"""Of the runtime phase: its intervals are those of medians, which no more rounds narrow."""
MOST_SECONDS = 3_600.0
"""Of one measurement: an hour."""
MOST_THREADS = 1_024
"""More than a machine has cores."""


@dataclass(frozen=True)
class Paths:
    """The files of a text that comes in three."""

    train: str
    validation: str
    test: str


@dataclass(frozen=True)
class Lines:
    """How the lines of a text are read: one token, ``end``, stands for the end of each."""

    end: str


OptionValue = int | float | str | bool


@dataclass(frozen=True)
class Options:
    """What else a source of sequences is told, by name; which there are depends on the corpus."""

    items: tuple[tuple[str, OptionValue], ...] = ()

    @staticmethod
    def of(values: Mapping[str, OptionValue]) -> "Options":
        """Returns the options of a mapping; equal mappings give equal options."""
        return Options(tuple(sorted(values.items())))

    def to_dict(self) -> dict[str, OptionValue]:
        """Returns the mapping."""
        return dict(self.items)


class BudgetError(ValueError):
    """A budget that does not say how many updates it buys."""


@dataclass(frozen=True)
class Budget:
    """How long a run trains: exactly one of the four is set.

    Tokens and epochs convert to updates exactly.
    """

    updates: int | None = None
    tokens: int | None = None
    epochs: int | None = None
    seconds: float | None = None

    def num_updates(self, *, updates_per_epoch: int, tokens_per_update: float) -> int:
        """Returns the number of updates, at least 1.

        Where updates differ in their tokens, ``tokens_per_update`` is the mean.

        Raises:
            BudgetError: The budget is in seconds, which only a measurement converts; or it is more
                than ``MOST_UPDATES``.
        """
        if self.updates is not None:
            count, got = self.updates, f"updates={self.updates:,}"
        elif self.tokens is not None:
            count, got = max(1, int(self.tokens // tokens_per_update)), f"tokens={self.tokens:,}"
        elif self.epochs is not None:
            count, got = self.epochs * updates_per_epoch, f"epochs={self.epochs:,}"
        else:
            raise BudgetError(
                "budget: must be in updates, tokens or epochs here, but got "
                f"seconds={self.seconds}. Measure the seconds of one update and convert."
            )
        if count > MOST_UPDATES:
            raise BudgetError(
                f"budget: must be {MOST_UPDATES:,} updates at most, but got {got}, which are "
                f"{count:,} updates. Train for less, or with a larger batch_size or bptt_length."
            )
        return count


def _setting(
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    unit: str = "",
    per_run: bool = False,
    changes_numbers: bool = True,
    came_later: bool = False,
    **bounds: Any,
) -> Any:
    """A field with what the table of fields says of it.

    Args:
        default: As dataclasses take it.
        doc: What the field is.
        unit: Of its values.
        per_run: Whether runs of one pack may differ in it.
        changes_numbers: Whether results depend on it; else it only changes how fast they come.
        came_later: Whether studies had been stored before there was such a field.
        bounds: gt, ge, lt, le as pydantic names them.
    """
    metadata = {
        "doc": doc,
        "unit": unit,
        "per_run": per_run,
        "changes_numbers": changes_numbers,
        "came_later": came_later,
        "bounds": bounds,
    }
    return field(default=default, metadata=metadata)


def _fraction(doc: str, *, came_later: bool = False) -> Any:
    """A part of what there is, on which training acts."""
    return _setting(0.0, doc=doc, unit="fraction", per_run=True, came_later=came_later, ge=0, lt=1)


@dataclass(frozen=True)
class SampleRequest:
    """The texts that a finished run continues, and a training one at every ``every``-th evaluation.

    Attributes:
        prefixes: What is continued.
        length: Tokens to append.
        temperature: Of the draws; None: the likeliest token each time.
        every: Evaluation points between two samples on the way; None: samples at the end alone.
        temperatures: Each prefix is continued at all of these, 0 for the likeliest token each time;
            empty: at ``temperature`` alone.
    """

    prefixes: tuple[str, ...] = ()
    length: int = 50
    temperature: float | None = None
    every: int | None = None
    temperatures: tuple[float, ...] = ()

    @property
    def ways(self) -> tuple[float | None, ...]:
        """The temperatures that each prefix is continued at; None: the likeliest token each time.

        >>> SampleRequest(temperatures=(0, 0.7)).ways, SampleRequest().ways
        ((None, 0.7), (None,))
        """
        return tuple(each or None for each in self.temperatures) or (self.temperature,)

    def to_dict(self) -> dict[str, Any]:
        """Returns the request as JSON has it.

        Temperatures are there only where they are asked for: a plan and a study's identity without
        them are those of versions that knew none.
        """
        values: dict[str, Any] = {
            "prefixes": list(self.prefixes),
            "length": self.length,
            "temperature": self.temperature,
            "every": self.every,
        }
        return values | ({"temperatures": list(self.temperatures)} if self.temperatures else {})

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "SampleRequest":
        """Returns the request that :meth:`to_dict`, or a study file, describes."""
        given = dict(values)
        given |= {
            name: tuple(given[name]) for name in ("prefixes", "temperatures") if name in given
        }
        return SampleRequest(**given)


@dataclass(frozen=True)
class Settings:
    """An arm's settings, resolved. A pack's runs agree in every field that is not ``per_run``."""

    cell: str = _setting(doc="name of a cell (`harness cells` lists them)")
    corpus: str = _setting(
        doc="time-machine, time-machine-2019, time-machine-2022, genesis, lyrics-2019, "
        "python-docs, ptb, wikitext-2, wikitext-103, text8, enwik8, tiny-shakespeare or text"
    )
    path: str | None = _setting(
        None, doc="the file of `text` (UTF-8) or of `lyrics-2019` (the zip)"
    )
    paths: Paths | None = _setting(
        None,
        doc="instead of path and split, of `text`: the files of a text that comes in three",
        came_later=True,
    )
    token: Token = _setting(
        "char",
        doc="what a token is; byte: of UTF-8, or of the file of `text`, whatever it holds; "
        "subword: byte-pair encoding, learned of the training text",
    )
    min_count: int = _setting(
        1,
        doc="a rarer word becomes <unk>; word tokens only",
        unit="occurrences",
        ge=1,
        le=MOST_PARAMETERS,
    )
    max_vocabulary: int | None = _setting(
        None,
        doc="most symbols, <unk> among them: a word that is not among the most frequent of the "
        "training text becomes <unk>; so many subwords are learned; word and subword tokens only",
        unit="symbols",
        ge=2,
        le=MOST_PARAMETERS,
        came_later=True,
    )
    lines: Lines | Literal["sequences"] | None = _setting(
        None,
        doc="how lines are read, {end: <eos>}: that token stands for the end of each; sequences: "
        "each is read from a fresh state to its end, as a sequence of at most bptt_length time "
        "steps; none: the corpus says",
        came_later=True,
    )
    task: TaskName = _setting(
        "language-modelling",
        doc="what is predicted: the next token of a text; or what a source of sequences asks for, "
        "which is the corpus then (docs/how-to/tasks.md)",
        came_later=True,
    )
    options: Options | None = _setting(
        None,
        doc="what else a source of sequences is told, such as {symbols: 8}; not of language "
        "modelling",
        came_later=True,
    )
    num_sequences: int | None = _setting(
        None,
        doc="sequences of a training set that is drawn once; none: every update draws fresh ones; "
        "memory only",
        unit="sequences",
        came_later=True,
        ge=1,
        le=MOST_PARAMETERS,
    )
    num_held_out: int = _setting(
        1000,
        doc="sequences of the validation and of the test set; memory only",
        unit="sequences",
        came_later=True,
        ge=1,
        le=MOST_PARAMETERS,
    )
    test_lengths: tuple[int, ...] | None = _setting(
        None,
        doc="multiples of bptt_length, such as [2, 4, 8]: a finished run is also tested on "
        "sequences so many times as long, test_2x and so on; memory only",
        came_later=True,
        ge=2,
        le=MOST_MULTIPLE,
    )
    split: Split = _setting(
        "holdout", doc="holdout: 0.8 / 0.1 / 0.1 by position; none: all of it is training text"
    )
    windows: Windows = _setting(
        "sequential",
        doc="sequential carries the state over minibatches; random resets it at every one; not "
        "with lines: sequences",
    )
    max_offset: int | None = _setting(
        None,
        doc="an epoch starts at an offset drawn from 0 to this; none: bptt_length - 1",
        unit="tokens",
        ge=0,
    )
    batch_size: int = _setting(
        32, doc="streams of text per update", unit="streams", ge=1, le=MOST_TOKENS
    )
    bptt_length: int = _setting(
        35, doc="time steps per update", unit="time steps", ge=1, le=MOST_TOKENS
    )

    hidden_size: int | None = _setting(
        None, doc="units of a layer", unit="units", ge=1, le=MOST_UNITS
    )
    num_parameters: int | None = _setting(
        None,
        doc="instead of hidden_size: solved per arm to within 1 %",
        unit="parameters",
        ge=1,
        le=MOST_PARAMETERS,
    )
    flops_per_token: int | None = _setting(
        None,
        doc="instead of hidden_size: forward FLOPs per token, solved per arm to within 1 %",
        unit="FLOPs",
        ge=1,
        le=10 * MOST_PARAMETERS,
    )
    num_layers: int = _setting(1, doc="stacked layers", unit="layers", ge=1, le=MOST_LAYERS)
    bidirectional: bool = _setting(
        False,
        doc="every layer also reads each sequence from its end, with parameters of its own, and "
        "what is above it gets both outputs; not where later steps hold what is predicted",
        came_later=True,
    )
    embedding_size: int | None = _setting(
        None,
        doc="width of a learned table; none: the first layer looks its input matrix up",
        unit="units",
        ge=1,
        le=MOST_UNITS,
    )
    projection_size: int | None = _setting(
        None,
        doc="units of h where a cell projects it; none: half of hidden_size",
        unit="units",
        ge=1,
        le=MOST_UNITS,
    )
    biases: int = _setting(
        1, doc="biases per gate: one, or a second one on the recurrent product", ge=1, le=2
    )
    initialization: Initialization = _setting(
        "uniform",
        doc="normal and glorot, orthogonal, keras, identity (other weights: normal, 0.001): "
        "biases 0; uniform: biases too, as torch.nn",
    )
    initial_scale: float | None = _setting(
        None,
        doc="normal: the standard deviation (0.01); uniform: half the width (1/sqrt H); "
        "identity: a gain of the recurrent weights alone (1); else a gain (1)",
        per_run=True,
        gt=0,
    )
    forget_bias: float | None = _setting(
        None,
        doc="initial bias of the forget gates; "
        "none: what the initialization says (keras 1, else its own)",
    )
    chrono_steps: int | None = _setting(
        None,
        doc="chrono initialisation for dependencies up to T: forget gates' biases log U(1, T - 1), "
        "their input gates' the negatives; none: off",
        unit="time steps",
        per_run=True,
        gt=2,
    )
    learned_start: bool = _setting(
        False, doc="the state at the start of a stream is learned; false: it is constant"
    )
    residual: bool = _setting(False, doc="every layer but the first adds its inputs to its outputs")
    tied: bool = _setting(
        False,
        doc="the read-out multiplies with the lookup's table; needs embedding_size: hidden_size",
    )
    state_clip: float | None = _setting(
        None, doc="largest size of a state's value after each step; none: any", gt=0
    )
    dropout: float = _fraction("dropped between layers, while training")
    input_dropout: float = _fraction(
        "dropped of layers' inputs but tokens, while training: one mask for all time steps"
    )
    state_dropout: float = _fraction(
        "dropped before recurrent products, while training: one mask for all time steps"
    )
    recurrent_dropout: float = _fraction("dropped of a cell's new content, while training")
    weight_dropout: float = _fraction(
        "dropped of recurrent matrices' entries (DropConnect), while training"
    )
    zoneout_h: float = _fraction(
        "of h kept from the time step before, while training; evaluation takes the mean"
    )
    zoneout_c: float = _fraction("of c kept from the time step before, likewise")
    output_dropout: float = _fraction(
        "dropped before the read-out, while training", came_later=True
    )
    lookup_dropout: float = _fraction(
        "dropped of the vectors that an embedding_size looks up, while training", came_later=True
    )
    embedding_dropout: float = _fraction(
        "of word types that an embedding_size looks up as zeros, while training: whole rows of its "
        "table, drawn at every update",
        came_later=True,
    )
    dropout_masks: MaskDuration = _setting(
        "step",
        doc="of dropout, output_dropout and lookup_dropout: step: drawn at every time step; "
        "update: one for all time steps of an update",
        came_later=True,
    )
    activation_regularization: float = _setting(
        0.0,
        doc="AR: so many times the mean square of the read-out's inputs are added to the loss of "
        "training; reported losses are without it",
        per_run=True,
        came_later=True,
        ge=0,
    )
    temporal_activation_regularization: float = _setting(
        0.0,
        doc="TAR: likewise of the differences of the last layer's outputs from time step to time "
        "step",
        per_run=True,
        came_later=True,
        ge=0,
    )
    label_smoothing: float = _fraction(
        "of every target that goes to all outputs alike, while training; reported losses are "
        "without it",
        came_later=True,
    )

    optimizer: OptimizerName = _setting("sgd", doc="the optimiser")
    learning_rate: float = _setting(1.0, doc="step size before the schedule", per_run=True, gt=0)
    momentum: float = _setting(0.0, doc="of sgd and rmsprop (heavy ball)", per_run=True, ge=0, lt=1)
    weight_decay: float = _setting(
        0.0,
        doc="so many times the parameters are added to the gradient; adamw: decoupled",
        per_run=True,
        ge=0,
    )
    nonmonotone_interval: int | None = _setting(
        5,
        doc="asgd is sgd until a validation loss exceeds the lowest of those more than so many "
        "evaluations old, and from then on evaluates the mean of its parameters (NT-ASGD); "
        "none: from the first update on",
        unit="evaluations",
        per_run=True,
        came_later=True,
        ge=0,
        le=MOST_RUNS,
    )
    clip_norm: float | None = _setting(
        1.0,
        doc="largest global norm of the gradient over all parameters; none: unclipped",
        per_run=True,
        gt=0,
    )
    clip_value: float | None = _setting(
        None,
        doc="largest size of any element of the gradient; none: any",
        per_run=True,
        came_later=True,
        gt=0,
    )
    schedule: ScheduleName = _setting(
        "constant", doc="of the learning rate, after the warm-up", per_run=True
    )
    warmup_updates: int = _setting(
        0, doc="updates of linear warm-up", unit="updates", per_run=True, ge=0, le=MOST_UPDATES
    )
    step_updates: int = _setting(
        1000,
        doc="`schedule: step` multiplies after every so many",
        unit="updates",
        per_run=True,
        ge=1,
    )
    step_first_updates: int | None = _setting(
        None,
        doc="`schedule: step` multiplies first after so many; none: step_updates",
        unit="updates",
        per_run=True,
        came_later=True,
        ge=0,
        le=MOST_UPDATES,
    )
    step_factor: float = _setting(
        0.5, doc="what `schedule: step` multiplies by", per_run=True, gt=0, le=1
    )
    plateau_patience: int = _setting(
        10,
        doc="`schedule: plateau` multiplies at the first evaluation after so many in a row whose "
        "validation loss is not below the lowest by 0.01 % either",
        unit="evaluations",
        per_run=True,
        came_later=True,
        ge=0,
        le=MOST_RUNS,
    )
    plateau_factor: float = _setting(
        0.1,
        doc="what `schedule: plateau` multiplies by",
        per_run=True,
        came_later=True,
        gt=0,
        lt=1,
    )
    cosine_floor: float = _setting(
        0.0,
        doc="fraction of the learning rate where `schedule: cosine` ends",
        unit="fraction",
        per_run=True,
        ge=0,
        le=1,
    )

    budget: Budget = _setting(
        Budget(epochs=1), doc="how long a run trains: one of updates, tokens, epochs, seconds"
    )
    evaluations: int | Literal["epoch"] = _setting(
        20, doc="number of equally spaced evaluation points, or {each: epoch}", ge=1, le=MOST_RUNS
    )

    evaluation_batch_size: int | None = _setting(
        None,
        doc="streams that the validation and the test text are scored in, each from a fresh state; "
        "1: in one piece; none: batch_size",
        unit="streams",
        came_later=True,
        ge=1,
        le=MOST_TOKENS,
    )
    early_stopping_patience: int | None = _setting(
        None,
        doc="a run ends after so many evaluations in a row whose validation loss is not the "
        "lowest; budget is then the most it trains; none: it trains for all of its budget",
        unit="evaluations",
        came_later=True,
        ge=1,
        le=MOST_RUNS,
    )

    engine: EngineName = _setting(
        "auto",
        doc="auto: the fastest engine that runs every arm; arms that only reference runs run "
        "there, and the others on the fastest that runs all of them",
    )
    device: DeviceName = _setting("auto", doc="auto: CUDA where there is one")
    precision: Precision = _setting(
        "float32", doc="rounding of products' operands; float64 means everything"
    )
    threads: int | None = _setting(
        None,
        doc="CPU threads; none: one per core",
        unit="threads",
        changes_numbers=False,
        ge=1,
        le=MOST_THREADS,
    )
    pack_size: int = _setting(
        8,
        doc="most runs trained as one pack",
        unit="runs",
        changes_numbers=False,
        ge=1,
        le=MOST_RUNS,
    )

    @property
    def is_of_language(self) -> bool:
        """Whether a text is read; else sequences are."""
        return self.task == LANGUAGE

    @property
    def line_end(self) -> str | None:
        """The token that stands for the end of every line; None: none of its own does."""
        return self.lines.end if isinstance(self.lines, Lines) else None

    @property
    def reads_lines(self) -> bool:
        """Whether each line is a sequence of its own, which begins from a fresh state."""
        return self.lines == "sequences"

    @property
    def text_name(self) -> str:
        """What the text is called: the corpus, or the name of the training text's file."""
        path = self.path if self.paths is None else self.paths.train
        return self.corpus if path is None else PurePath(path).name


PER_RUN = tuple(f.name for f in dataclasses.fields(Settings) if f.metadata["per_run"])
"""The fields in which runs of one pack may differ."""
EXECUTION = tuple(f.name for f in dataclasses.fields(Settings) if not f.metadata["changes_numbers"])
"""The fields that change no number: they are part of no identity."""
LATER = tuple(f.name for f in dataclasses.fields(Settings) if f.metadata["came_later"])
"""The fields that are written only where they are set."""
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Settings)}
_BLOCKS: dict[str, Callable[..., Any]] = {
    "budget": Budget,
    "paths": Paths,
    "lines": Lines,
    "options": lambda **values: Options.of(values),
}
"""The fields whose values are mappings."""


_BOUNDS = {
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
}


def problems_of(settings: Settings) -> list[str]:
    """Returns what contradicts the table of fields, a line each; nothing where all is well."""
    hints = typing.get_type_hints(Settings)
    problems = []
    for each in dataclasses.fields(Settings):
        name, value = each.name, getattr(settings, each.name)
        if not _fits(value, hints[name]):
            kind = hints[name].__name__ if isinstance(hints[name], type) else hints[name]
            problems.append(
                f"{name}: must be {str(kind).replace('typing.', '')}, but got {name}={value!r}."
            )
        elif isinstance(value, int | float | tuple):
            numbers = value if isinstance(value, tuple) else (value,)
            for bound, limit in each.metadata.get("bounds", {}).items():
                sign, holds = _BOUNDS[bound]
                if not all(holds(number, limit) for number in numbers):
                    problems.append(f"{name}: must be {sign} {limit}, but got {name}={value!r}.")
    budget = settings.budget
    if isinstance(budget, Budget):
        given = {
            unit: amount
            for unit, amount in dataclasses.asdict(budget).items()
            if amount is not None
        }
        if len(given) != 1 or not all(
            _fits(amount, float) and amount > 0 for amount in given.values()
        ):
            problems.append(
                "budget: must be one positive number of updates, tokens, epochs or seconds, "
                f"but got {given}."
            )
    return problems


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(
            _fits(item, typing.get_args(hint)[0]) for item in value
        )
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Compared, and not converted: a whole number may be larger than every float.
        return is_number and abs(value) <= sys.float_info.max
    if hint is Options:
        return isinstance(value, Options) and all(
            isinstance(name, str) and isinstance(item, OptionValue) for name, item in value.items
        )
    if hint in (Paths, Lines):
        return isinstance(value, hint) and all(_fits(item, str) for item in vars(value).values())
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def with_paths(settings: Settings, change: Callable[[str], str]) -> Settings:
    """Returns settings with the changed path of every file that they name."""
    path, paths = settings.path, settings.paths
    return dataclasses.replace(
        settings,
        path=path if path is None else change(path),
        paths=paths and Paths(**{name: change(each) for name, each in vars(paths).items()}),
    )


def to_dict(settings: Settings) -> dict[str, Any]:
    """Returns plain JSON values; :func:`from_dict` is its inverse.

    A field that came later is there only where it is set: the plan, the checkpoint and the identity
    of a study without it are those of versions that knew none.
    """
    unset = [name for name in LATER if getattr(settings, name) == _DEFAULTS[name]]
    values = all_values(settings)
    return {name: value for name, value in values.items() if name not in unset}


def all_values(settings: Settings) -> dict[str, Any]:
    """Returns the plain JSON values of every field; :func:`from_dict` is its inverse, too."""
    values = dataclasses.asdict(settings)
    values["options"] = None if settings.options is None else settings.options.to_dict()
    values["test_lengths"] = settings.test_lengths and list(settings.test_lengths)
    return values


def from_dict(values: dict[str, Any]) -> Settings:
    """Returns the settings that :func:`to_dict` wrote.

    Raises:
        TypeError: A field is unknown.
    """
    made = {
        name: kind(**values[name])
        for name, kind in _BLOCKS.items()
        if isinstance(values.get(name), dict)
    }
    if values.get("test_lengths") is not None:
        made["test_lengths"] = tuple(values["test_lengths"])
    return Settings(**values | made)
