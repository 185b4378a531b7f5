"""Plan in, records out: what a worker is given and what it gives back, both as plain JSON."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from harness.randomness import Name
from harness.settings import PER_RUN, SampleRequest, Settings, from_dict, problems_of, to_dict

State = Literal["finished", "diverged", "pruned", "failed"]


class PlanError(ValueError):
    """A plan that no worker could train."""


@dataclass(frozen=True)
class Run:
    """One run: its id, the names that its random draws derive from, and its settings."""

    id: str
    seed: tuple[Name, ...]
    settings: Settings


@dataclass(frozen=True)
class Plan:
    """A pack: runs of equal shapes, trained as one computation."""

    runs: tuple[Run, ...]
    objective: str = "validation/perplexity"
    read_test: bool = True
    """Whether a run that ends reads the test split, once, at its best parameters."""
    samples: SampleRequest = SampleRequest()
    cell_files: tuple[str, ...] = ()
    checkpoint_folder: str | None = None
    keep_models: bool = False
    """Whether the end of a finished run brings its best parameters along."""

    def __post_init__(self):
        if not self.runs:
            raise PlanError("plan: runs must hold one run at least, but got runs=().")
        ids = [run.id for run in self.runs]
        if len(set(ids)) != len(ids):
            raise PlanError(f"plan: run ids must be distinct, but got ids={ids}.")
        problems = [
            f"{run.id}: {problem}" for run in self.runs for problem in problems_of(run.settings)
        ]
        if problems:
            raise PlanError("\n".join(problems))
        first = shared(self.runs[0].settings)
        for run in self.runs[1:]:
            differs = [name for name, value in shared(run.settings).items() if value != first[name]]
            if differs:
                raise PlanError(
                    f"plan: runs of a pack must agree in {', '.join(differs)}, but {run.id} differs from {ids[0]}. "
                    f"Only {', '.join(PER_RUN)} may differ."
                )

    @property
    def settings(self) -> Settings:
        """The settings of the first run: what all runs share."""
        return self.runs[0].settings

    def to_json(self) -> str:
        """Returns the plan as JSON; :meth:`from_json` is its inverse."""
        values = asdict(self)
        values["runs"] = [
            {"id": r.id, "seed": list(r.seed), "settings": to_dict(r.settings)} for r in self.runs
        ]
        return json.dumps(values, indent=1)

    @staticmethod
    def from_json(text: str) -> "Plan":
        """Returns the plan.

        Raises:
            PlanError: The text is no plan.
        """
        try:
            return Plan._from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise PlanError(f"plan: must be JSON, but got {error}.") from error

    @staticmethod
    def _from_dict(values: dict[str, Any]) -> "Plan":
        try:
            runs = tuple(
                Run(r["id"], tuple(r["seed"]), from_dict(r["settings"])) for r in values.pop("runs")
            )
            wanted = values.pop("samples")
            samples = SampleRequest(**{**wanted, "prefixes": tuple(wanted["prefixes"])})
            cell_files = tuple(values.pop("cell_files"))
            return Plan(runs=runs, samples=samples, cell_files=cell_files, **values)
        except (AttributeError, KeyError, TypeError) as error:
            raise PlanError(
                f"plan: must be what `harness run --plan` writes, but got {error!r}."
            ) from error


def plans_to_json(plans: Sequence[Plan]) -> str:
    """Returns a file of plans, to be trained one after the other; :func:`plans_from_json` is its
    inverse.
    """
    return json.dumps([json.loads(plan.to_json()) for plan in plans], indent=1)


def plans_from_json(text: str) -> list[Plan]:
    """Returns the plans of a file: a list, or a single one.

    Raises:
        PlanError: The text holds no plans.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise PlanError(f"plan: must be JSON, but got {error}.") from error
    return [Plan._from_dict(value) for value in (values if isinstance(values, list) else [values])]


def shared(settings: Settings) -> dict[str, Any]:
    """Returns the settings in which the runs of a pack agree."""
    return {name: value for name, value in to_dict(settings).items() if name not in PER_RUN}


@dataclass(frozen=True)
class Record:
    """What a worker says of a run: that it starts, where it stands, how it ended.

    ``metrics`` are numbers, losses in nats; ``info`` is everything else, plain JSON values;
    ``model`` is a finished run's :class:`harness.training.saved_model.SavedModel` as a file.
    """

    run: str
    kind: Literal["start", "evaluation", "end"]
    update: int
    time: float
    metrics: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    model: bytes | None = None

    def to_json(self) -> str:
        """Returns the record as one line of JSON.

        A number that is not finite is NaN or Infinity, a model base64.
        """
        values = asdict(self)
        model = values.pop("model")
        return json.dumps(
            values
            if model is None
            else {**values, "model": base64.b64encode(model).decode("ascii")}
        )

    @staticmethod
    def from_json(line: str) -> "Record":
        """Returns the record.

        Raises:
            PlanError: The line is no record.
        """
        try:
            values = json.loads(line)
            record = Record(**values)
            if record.model is not None:
                record = replace(record, model=base64.b64decode(values["model"], validate=True))
            if record.kind not in ("start", "evaluation", "end"):
                raise TypeError(record.kind)
            return record
        except (TypeError, json.JSONDecodeError, binascii.Error) as error:
            raise PlanError(
                f"records: a line must be what a worker wrote, but got {line[:80]!r}."
            ) from error
