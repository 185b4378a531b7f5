"""The table of fields: what each is, in which unit, within which bounds, and what depends on it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from harness.settings.fields import fraction, setting
from harness.settings.limits import (
    MOST_LAYERS,
    MOST_MULTIPLE,
    MOST_PARAMETERS,
    MOST_RUNS,
    MOST_THREADS,
    MOST_TOKENS,
    MOST_UNITS,
    MOST_UPDATES,
)
from harness.settings.values import (
    LANGUAGE,
    Budget,
    DeviceName,
    EngineName,
    Initialization,
    Lines,
    MaskDuration,
    OptimizerName,
    Options,
    Paths,
    Precision,
    ScheduleName,
    Split,
    TaskName,
    Token,
    Windows,
)


@dataclass(frozen=True)
class Settings:
    """An arm's settings, resolved. A pack's runs agree in every field that is not ``per_run``."""

    cell: str = setting(doc="name of a cell (`harness cells` lists them)")
    corpus: str = setting(
        doc="time-machine, time-machine-2019, time-machine-2022, genesis, lyrics-2019, "
        "python-docs, ptb, wikitext-2, wikitext-103, text8, enwik8, tiny-shakespeare or text; of "
        "`task` memory, forecasting and classification: the sources from adding on"
    )
    path: str | None = setting(None, doc="the file of `text` (UTF-8) or of `lyrics-2019` (the zip)")
    paths: Paths | None = setting(
        None,
        doc="instead of path and split, of `text`: the files of a text that comes in three",
        came_later=True,
    )
    token: Token = setting(
        "char",
        doc="what a token is; byte: of UTF-8, or of the file of `text`, whatever it holds; "
        "subword: byte-pair encoding, learned of the training text",
    )
    min_count: int = setting(
        1,
        doc="a rarer word becomes <unk>; word tokens only",
        unit="occurrences",
        ge=1,
        le=MOST_PARAMETERS,
    )
    max_vocabulary: int | None = setting(
        None,
        doc="most symbols, <unk> among them: a word that is not among the most frequent of the "
        "training text becomes <unk>; so many subwords are learned; word and subword tokens only",
        unit="symbols",
        ge=2,
        le=MOST_PARAMETERS,
        came_later=True,
    )
    lines: Lines | Literal["sequences"] | None = setting(
        None,
        doc="how lines are read, {end: <eos>}: that token stands for the end of each; sequences: "
        "each is read from a fresh state to its end, as a sequence of at most bptt_length time "
        "steps; none: the corpus says",
        came_later=True,
    )
    task: TaskName = setting(
        "language-modelling",
        doc="what is predicted: the next token of a text; or what a source of sequences asks for, "
        "which is the corpus then (docs/how-to/tasks.md)",
        came_later=True,
    )
    options: Options | None = setting(
        None,
        doc="what else a source of sequences is told, such as {symbols: 8}; not of language "
        "modelling",
        came_later=True,
    )
    num_sequences: int | None = setting(
        None,
        doc="sequences of a training set that is drawn once; none: every update draws fresh ones; "
        "memory only",
        unit="sequences",
        came_later=True,
        ge=1,
        le=MOST_PARAMETERS,
    )
    num_held_out: int = setting(
        1000,
        doc="sequences of the validation and of the test set; memory only",
        unit="sequences",
        came_later=True,
        ge=1,
        le=MOST_PARAMETERS,
    )
    test_lengths: tuple[int, ...] | None = setting(
        None,
        doc="multiples of bptt_length, such as [2, 4, 8]: a finished run is also tested on "
        "sequences so many times as long, test_2x and so on; memory only",
        came_later=True,
        ge=2,
        le=MOST_MULTIPLE,
    )
    split: Split = setting(
        "holdout", doc="holdout: 0.8 / 0.1 / 0.1 by position; none: all of it is training text"
    )
    windows: Windows = setting(
        "sequential",
        doc="sequential carries the state over minibatches; random resets it at every one; not "
        "with lines: sequences",
    )
    max_offset: int | None = setting(
        None,
        doc="an epoch starts at an offset drawn from 0 to this; none: bptt_length - 1",
        unit="tokens",
        ge=0,
    )
    batch_size: int = setting(
        32, doc="streams of text per update", unit="streams", ge=1, le=MOST_TOKENS
    )
    bptt_length: int = setting(
        35, doc="time steps per update", unit="time steps", ge=1, le=MOST_TOKENS
    )

    hidden_size: int | None = setting(
        None, doc="units of a layer", unit="units", ge=1, le=MOST_UNITS
    )
    num_parameters: int | None = setting(
        None,
        doc="instead of hidden_size: solved per arm to within 1 %",
        unit="parameters",
        ge=1,
        le=MOST_PARAMETERS,
    )
    flops_per_token: int | None = setting(
        None,
        doc="instead of hidden_size: forward FLOPs per token, solved per arm to within 1 %",
        unit="FLOPs",
        ge=1,
        le=10 * MOST_PARAMETERS,
    )
    num_layers: int = setting(1, doc="stacked layers", unit="layers", ge=1, le=MOST_LAYERS)
    bidirectional: bool = setting(
        False,
        doc="every layer also reads each sequence from its end, with parameters of its own, and "
        "what is above it gets both outputs; not where later steps hold what is predicted",
        came_later=True,
    )
    embedding_size: int | None = setting(
        None,
        doc="width of a learned table; none: the first layer looks its input matrix up",
        unit="units",
        ge=1,
        le=MOST_UNITS,
    )
    projection_size: int | None = setting(
        None,
        doc="units of h where a cell projects it; none: half of hidden_size",
        unit="units",
        ge=1,
        le=MOST_UNITS,
    )
    biases: int = setting(
        1, doc="biases per gate: one, or a second one on the recurrent product", ge=1, le=2
    )
    initialization: Initialization = setting(
        "uniform",
        doc="normal and glorot, orthogonal, keras, identity (other weights: normal, 0.001): "
        "biases 0; uniform: biases too, as torch.nn",
    )
    initial_scale: float | None = setting(
        None,
        doc="normal: the standard deviation (0.01); uniform: half the width (1/sqrt H); "
        "identity: a gain of the recurrent weights alone (1); else a gain (1)",
        per_run=True,
        gt=0,
    )
    forget_bias: float | None = setting(
        None,
        doc="initial bias of the forget gates; "
        "none: what the initialization says (keras 1, else its own)",
    )
    chrono_steps: int | None = setting(
        None,
        doc="chrono initialisation for dependencies up to T: forget gates' biases log U(1, T - 1), "
        "their input gates' the negatives; none: off",
        unit="time steps",
        per_run=True,
        gt=2,
    )
    learned_start: bool = setting(
        False, doc="the state at the start of a stream is learned; false: it is constant"
    )
    residual: bool = setting(False, doc="every layer but the first adds its inputs to its outputs")
    tied: bool = setting(
        False,
        doc="the read-out multiplies with the lookup's table; needs embedding_size: hidden_size",
    )
    state_clip: float | None = setting(
        None, doc="largest size of a state's value after each step; none: any", gt=0
    )
    dropout: float = fraction("dropped between layers, while training")
    input_dropout: float = fraction(
        "dropped of layers' inputs but tokens, while training: one mask for all time steps"
    )
    state_dropout: float = fraction(
        "dropped before recurrent products, while training: one mask for all time steps"
    )
    recurrent_dropout: float = fraction("dropped of a cell's new content, while training")
    weight_dropout: float = fraction(
        "dropped of recurrent matrices' entries (DropConnect), while training"
    )
    zoneout_h: float = fraction(
        "of h kept from the time step before, while training; evaluation takes the mean"
    )
    zoneout_c: float = fraction("of c kept from the time step before, likewise")
    output_dropout: float = fraction("dropped before the read-out, while training", came_later=True)
    lookup_dropout: float = fraction(
        "dropped of the vectors that an embedding_size looks up, while training", came_later=True
    )
    embedding_dropout: float = fraction(
        "of word types that an embedding_size looks up as zeros, while training: whole rows of its "
        "table, drawn at every update",
        came_later=True,
    )
    dropout_masks: MaskDuration = setting(
        "step",
        doc="of dropout, output_dropout and lookup_dropout: step: drawn at every time step; "
        "update: one for all time steps of an update",
        came_later=True,
    )
    activation_regularization: float = setting(
        0.0,
        doc="AR: so many times the mean square of the read-out's inputs are added to the loss of "
        "training; reported losses are without it",
        per_run=True,
        came_later=True,
        ge=0,
    )
    temporal_activation_regularization: float = setting(
        0.0,
        doc="TAR: likewise of the differences of the last layer's outputs from time step to time "
        "step",
        per_run=True,
        came_later=True,
        ge=0,
    )
    label_smoothing: float = fraction(
        "of every target that goes to all outputs alike, while training; reported losses are "
        "without it",
        came_later=True,
    )

    optimizer: OptimizerName = setting("sgd", doc="the optimiser")
    learning_rate: float = setting(1.0, doc="step size before the schedule", per_run=True, gt=0)
    momentum: float = setting(0.0, doc="of sgd and rmsprop (heavy ball)", per_run=True, ge=0, lt=1)
    weight_decay: float = setting(
        0.0,
        doc="so many times the parameters are added to the gradient; adamw: decoupled",
        per_run=True,
        ge=0,
    )
    nonmonotone_interval: int | None = setting(
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
    clip_norm: float | None = setting(
        1.0,
        doc="largest global norm of the gradient over all parameters; none: unclipped",
        per_run=True,
        gt=0,
    )
    clip_value: float | None = setting(
        None,
        doc="largest size of any element of the gradient; none: any",
        per_run=True,
        came_later=True,
        gt=0,
    )
    schedule: ScheduleName = setting(
        "constant", doc="of the learning rate, after the warm-up", per_run=True
    )
    warmup_updates: int = setting(
        0, doc="updates of linear warm-up", unit="updates", per_run=True, ge=0, le=MOST_UPDATES
    )
    step_updates: int = setting(
        1000,
        doc="`schedule: step` multiplies after every so many",
        unit="updates",
        per_run=True,
        ge=1,
    )
    step_first_updates: int | None = setting(
        None,
        doc="`schedule: step` multiplies first after so many; none: step_updates",
        unit="updates",
        per_run=True,
        came_later=True,
        ge=0,
        le=MOST_UPDATES,
    )
    step_factor: float = setting(
        0.5, doc="what `schedule: step` multiplies by", per_run=True, gt=0, le=1
    )
    plateau_patience: int = setting(
        10,
        doc="`schedule: plateau` multiplies at the first evaluation after so many in a row whose "
        "validation loss is not below the lowest by 0.01 % either",
        unit="evaluations",
        per_run=True,
        came_later=True,
        ge=0,
        le=MOST_RUNS,
    )
    plateau_factor: float = setting(
        0.1,
        doc="what `schedule: plateau` multiplies by",
        per_run=True,
        came_later=True,
        gt=0,
        lt=1,
    )
    cosine_floor: float = setting(
        0.0,
        doc="fraction of the learning rate where `schedule: cosine` ends",
        unit="fraction",
        per_run=True,
        ge=0,
        le=1,
    )

    budget: Budget = setting(
        Budget(epochs=1), doc="how long a run trains: one of updates, tokens, epochs, seconds"
    )
    evaluations: int | Literal["epoch"] = setting(
        20,
        doc="number of equally spaced evaluation points, at most one an update, or {each: epoch}",
        ge=1,
        le=MOST_RUNS,
    )

    evaluation_batch_size: int | None = setting(
        None,
        doc="streams that the validation and the test text are scored in, each from a fresh state; "
        "1: in one piece; none: batch_size",
        unit="streams",
        came_later=True,
        ge=1,
        le=MOST_TOKENS,
    )
    early_stopping_patience: int | None = setting(
        None,
        doc="a run ends after so many evaluations in a row whose validation loss is not the "
        "lowest; budget is then the most it trains; none: it trains for all of its budget",
        unit="evaluations",
        came_later=True,
        ge=1,
        le=MOST_RUNS,
    )

    engine: EngineName = setting(
        "auto",
        doc="auto: the fastest engine that runs every arm; arms that only reference runs run "
        "there, and the others on the fastest that runs all of them",
    )
    device: DeviceName = setting("auto", doc="auto: CUDA where there is one")
    precision: Precision = setting(
        "float32", doc="rounding of products' operands; float64 means everything"
    )
    threads: int | None = setting(
        None,
        doc="CPU threads; none: one per core",
        unit="threads",
        changes_numbers=False,
        ge=1,
        le=MOST_THREADS,
    )
    pack_size: int = setting(
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


def with_paths(settings: Settings, change: Callable[[str], str]) -> Settings:
    """Returns settings with the changed path of every file that they name."""
    path, paths = settings.path, settings.paths
    return dataclasses.replace(
        settings,
        path=path if path is None else change(path),
        paths=paths and Paths(**{name: change(each) for name, each in vars(paths).items()}),
    )
