"""Finished runs' models, from the store: their losses on a text, their samples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

import cells
from cells.base import Cell
from cells.registry import source_of
from harness import engine, metrics
from harness.data import Vocabulary
from harness.model.architecture import architecture
from harness.model.masks import Masks
from harness.model.network import Model
from harness.results.names import Archive, Selection
from harness.settings import Settings
from harness.store.configuration import locate
from harness.store.kept import found
from harness.store.missing import missing_artifacts
from harness.study.units import Phase
from harness.tasks.generation import Choice, ChoiceError, Stream
from harness.tasks.language_modelling import check_prefixes, continuation
from harness.tasks.registry import task_of
from harness.training.files import MODEL_FILE
from harness.training.messages import RunState
from harness.training.saved_model import SavedModel

CPU = torch.device("cpu")
CHUNK_TOKENS = 256
"""How many tokens of a text are scored at once."""


class ModelError(ValueError):
    """A run has no model, or one that this code cannot use."""


class TrainedModel:
    """A run's best parameters, on the reference engine and the CPU.

    They are in the precision that the run was trained in.
    """

    def __init__(self, saved: SavedModel, *, changed_cell: bool = False) -> None:
        """Builds the model.

        Args:
            saved: What the run ended with.
            changed_cell: Take the cell even where its source is another than when it was trained.

        Raises:
            ModelError: The cell is unknown, or is another now.
        """
        self._saved = saved
        checked_cell(saved, changed_cell)
        settings, sizes = saved.settings, saved.reads_and_predicts
        arch = architecture(settings, sizes.num_inputs, sizes.num_outputs, sizes.reads_tokens)
        plain = Model(arch, engine.get("reference"))
        self._model = plain.for_runs([settings])
        shapes = {slot.name: slot.shape for slot in plain.arch.slots()}
        if shapes != {name: values.shape for name, values in saved.parameters.items()}:
            raise ModelError(
                f"{saved.run}: parameters must be those of its cell {settings.cell!r}, "
                "but are others."
            )
        self._parameters = {
            name: torch.from_numpy(values).unsqueeze(0) for name, values in saved.parameters.items()
        }
        self._masks = Masks([saved.seed], [settings], CPU)

    @property
    def settings(self) -> Settings:
        """What the run was trained with."""
        return self._saved.settings

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols that it reads and writes.

        Raises:
            ModelError: Its task has no words.
        """
        if self._saved.vocabulary is None:
            raise ModelError(
                f"{self._saved.run}: must be a model of language to read or write text, but got "
                f"task={self.settings.task!r}. In Python, harness.load_model(RUN) tells by "
                "predict() and evaluate() what it predicts."
            )
        return self._saved.vocabulary

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Name -> values."""
        return self._saved.parameters

    @torch.no_grad()
    def losses(self, text: str) -> np.ndarray:
        """Returns the nats of every token of ``text`` but the first, given those before it.

        The model begins in its start state; the result has the shape (tokens - 1,).

        Raises:
            ValueError: A character is not in the vocabulary, or there are fewer than two tokens.
        """
        ids = torch.from_numpy(self.vocabulary.encode(text))
        if len(ids) < 2:
            raise ModelError(
                f"text: must have two tokens at least, but got {len(ids)}. Give a longer one."
            )
        states = self._model.initial_states(self._parameters, 1, 1)
        chunks = []
        for start in range(0, len(ids) - 1, CHUNK_TOKENS):
            inputs = ids[start : start + CHUNK_TOKENS]
            targets = ids[start + 1 : start + CHUNK_TOKENS + 1]
            rows, states = self._model(
                self._parameters, inputs[: len(targets)].view(-1, 1, 1), states, self._masks
            )
            scores = self._model.readout(self._parameters).scores(rows)[0].double()
            chunks.append(torch.nn.functional.cross_entropy(scores, targets, reduction="none"))
        losses: np.ndarray = torch.cat(chunks).numpy()
        return losses

    def perplexity(self, text: str) -> float:
        """Returns exp of the mean of :meth:`losses`."""
        return metrics.perplexity(float(np.mean(self.losses(text))))

    @torch.no_grad()
    def evaluate(self, split: str = "test") -> float:
        """Returns the loss over a split of the run's own data, in nats of language modelling.

        It is read in streams, as the run was evaluated. Of another task it is what training
        followed: the cross-entropy of classes, the mean squared error of values.

        Raises:
            ValueError: The corpus cannot be had, is another now, or has no such split.
        """
        task = task_of(self.settings, CPU)
        if task.fingerprint != self._saved.corpus_fingerprint:
            raise ModelError(
                f"{self._saved.run}: its corpus must be the text that it was trained on, "
                "but got another. Bring the text back, or give the new one to losses()."
            )
        if split not in task.splits:
            raise ModelError(f"split: must be one of {', '.join(task.splits)}, but got {split=}.")
        first: list[engine.State] = []
        states: list[engine.State] = []
        total = torch.zeros((), dtype=torch.float64)
        for batch in task.evaluation(split, 1):
            num_streams = batch.inputs.shape[2]
            first = first or self._model.initial_states(self._parameters, 1, num_streams)
            states = first if batch.begins else states or first
            rows, states = self._model(
                self._parameters, batch.inputs, states, self._masks, batch.weights
            )
            sums = task.sums(self._model.readout(self._parameters), rows, batch)
            total = total + sums.double()
        means: list[float] = (total / task.num_targets(split))[0].tolist()
        return task.criterion(means)

    @torch.no_grad()
    def predict(self, inputs: ArrayLike, lengths: ArrayLike | None = None) -> np.ndarray:
        """Returns the scores of the classes, or the values, after every step of each sequence.

        They are what the model puts out. Of a series they are scaled as it was for training, and
        of the heads ``gaussian`` and ``quantiles`` means with log-variances, or quantiles:
        :mod:`harness.data.sequences.heads` says in which order. Where a sequence has one answer,
        it is that of the sequence's last step.

        Args:
            inputs: Tokens, (S, T), or vectors, (S, T, I); each sequence begins in the start state.
            lengths: The time steps of each sequence, (S,), where some are padded: a bidirectional
                model reads them from there; None: T.

        Returns:
            (S, T, V), or (S, T, O), as wide as the read-out.

        Raises:
            ModelError: The inputs are of another shape than the model reads, or the lengths are
                none of theirs.
        """
        inputs, sizes = np.asarray(inputs), self._saved.reads_and_predicts
        wanted = 2 if sizes.reads_tokens else 3
        if inputs.ndim != wanted or (wanted == 3 and inputs.shape[2] != sizes.num_inputs):
            shape = "(S, T)" if sizes.reads_tokens else f"(S, T, {sizes.num_inputs})"
            raise ModelError(f"inputs: must be {shape}, but got shape={inputs.shape}.")
        count, num_steps = inputs.shape[:2]
        ends = np.full(count, num_steps) if lengths is None else np.asarray(lengths)
        if ends.shape != (count,) or not ((ends >= 1) & (ends <= num_steps)).all():
            raise ModelError(
                f"lengths: must be {count} numbers from 1 to {num_steps}, one for each sequence, "
                f"but got {ends.tolist()}."
            )
        counted = torch.arange(num_steps).view(-1, 1, 1) < torch.from_numpy(ends)
        given = torch.from_numpy(np.ascontiguousarray(inputs)).transpose(0, 1).unsqueeze(1)
        given = given.long() if sizes.reads_tokens else given.to(self._parameters["readout.b"])
        states = self._model.initial_states(self._parameters, 1, count)
        rows, _ = self._model(self._parameters, given, states, self._masks, counted)
        scores = self._model.readout(self._parameters).scores(rows)[0]
        predictions: np.ndarray = scores.unflatten(0, (-1, len(inputs))).transpose(0, 1).numpy()
        return predictions

    def sample(
        self,
        prefix: str,
        length: int = 50,
        temperature: float | None = None,
        seed: int = 0,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> str:
        """Returns ``prefix`` continued by ``length`` tokens; :meth:`samples` of one prefix."""
        (text,) = self.samples([prefix], length, temperature, seed, top_k=top_k, top_p=top_p)
        return text

    @torch.no_grad()
    def samples(
        self,
        prefixes: Sequence[str],
        length: int = 50,
        temperature: float | None = None,
        seed: int = 0,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[str]:
        """Returns every prefix continued by ``length`` tokens.

        Args:
            prefixes: Not empty, of characters that the vocabulary has.
            length: Tokens; a word is a token where the run was trained on words.
            temperature: Of the draws; None takes the likeliest token each time.
            seed: Of the draws; a replicate's own seed continues as it did at its end.
            top_k: Draw from so many of the likeliest tokens alone; None: from all.
            top_p: Draw from the nucleus alone, the fewest of the likeliest tokens that come to this
                probability; None: from all.

        Raises:
            ValueError: A prefix, the length or a way to choose is wrong; the message names every
                unknown character.
        """
        problems = [] if length >= 1 else [f"length: must be >= 1, but got {length=}."]
        try:
            choice = Choice(temperature, top_k, top_p)
        except ChoiceError as error:
            problems.append(str(error))
        if problems:
            raise ModelError("\n".join(problems))
        check_prefixes(prefixes, self.vocabulary)
        return [
            continuation(
                Stream(self._model, self._parameters, self._masks),
                prefix,
                length,
                choice,
                self.vocabulary,
                (seed,),
            )
            for prefix in prefixes
        ]


def load_model(
    run: str,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    cell_files: Sequence[str | Path] = (),
    changed_cell: bool = False,
) -> TrainedModel:
    """Returns what a finished replicate learned.

    Args:
        run: ``STUDY:ARM:SEED``, ``STUDY:CONDITION/ARM:SEED``, in the second repeat
            ``STUDY:ARM@1:SEED`` (the first has no mark); or the id of an MLflow run.
        folder: Where ``mlflow.db`` lies; None: as ``harness run`` finds it.
        tracking: MLflow's store, as ``harness run`` was given it; None: as that finds it.
        cell_files: Python files of cells of your own that the run needs; empty: those that it was
            trained with, where they still are.
        changed_cell: Take the cell even where its source was changed since.

    Raises:
        ValueError: There is no such run, it has no model, or its cell is unknown or another now.
    """
    saved = saved_model(run, folder, tracking, cell_files=cell_files)
    return TrainedModel(saved, changed_cell=changed_cell)


def saved_model(
    run: str,
    folder: str | Path | None = None,
    tracking: str | None = None,
    *,
    cell_files: Sequence[str | Path] = (),
) -> SavedModel:
    """Returns the file that a finished replicate ended with; :func:`load_model` explains the rest.

    Raises:
        ValueError: There is no such run, it has no model, or the file of its cell is wrong.
    """
    for path in cell_files:
        cells.load_file(path)
    archive = Archive(locate(run.partition(":")[0], folder, tracking))
    selection = archive.find(run)
    if not selection.is_run:
        seeds = selection.runs.loc[selection.runs["phase"] == Phase.REPLICATE, "seed"]
        example = f" Add a seed: {selection.text}:{seeds.iloc[0]}." if len(seeds) else ""
        raise ModelError(
            "run: must be a single run (STUDY:ARM:SEED, STUDY:CONDITION/ARM:SEED, or the id of an "
            f"MLflow run), but got run={run!r}, an arm.{example}"
        )
    run_id = str(selection.runs["run_id"].iloc[0])
    content = selection.reader.artifact(run_id, MODEL_FILE)
    if content is None:
        raise ModelError(
            f"{selection.name}: must have kept its model, but has not: {_why_none(selection)}"
        )
    saved = SavedModel.from_bytes(content)
    if not cell_files:
        load_own_cells(saved, archive.locations.folder)
    return saved


def load_own_cells(saved: SavedModel, folder: Path) -> None:
    """Loads the cell of a model from the files that its study named, if it is not known without.

    They lie where they did, or in ``folder``.
    """
    try:
        cells.find(saved.settings.cell)
    except cells.UnknownCell:
        for path in (found(Path(file), folder) for file in saved.cell_files):
            if path.is_file():  # else the error names it
                cells.load_file(path)


def _why_none(selection: Selection) -> str:
    """Returns why a run has no model, and what to do."""
    study, unit, row = selection.study, selection.unit, selection.runs.iloc[0]
    if row["phase"] == Phase.TRIAL:
        return f"trials keep none. Take a replicate, {study}:{unit}:SEED."
    if row["state"] != RunState.FINISHED:
        return f"it is {row['state']}, and only finished runs keep one. Take another seed."
    if lost := missing_artifacts(selection.reader):
        return lost
    return (
        "its study says `measure: {models: none}`, or ran before models were kept, or they were "
        "cleaned. To train one, give the study another name and `measure: {models: replicates}`, "
        "and run it."
    )


def checked_cell(saved: SavedModel, changed_cell: bool) -> type[Cell]:
    """Returns the cell of a model.

    Raises:
        ModelError: It is unknown, or another than the one that was trained.
    """
    name = saved.settings.cell
    try:
        cell = cells.find(name)
    except cells.UnknownCell as error:
        files = f" ({', '.join(saved.cell_files)} then)" if saved.cell_files else ""
        raise ModelError(
            f"{saved.run}: its cell must be known, but got cell={name!r}. "
            f"Name its file{files} with --file."
        ) from error
    if source_of(cell) != saved.cell_source and not changed_cell:
        raise ModelError(
            f"{saved.run}: its cell must be the one that was trained, but the source of {name} was "
            "changed since. Go back to the run's commit, or say --changed-cell where words alone "
            "have changed."
        )
    return cell
