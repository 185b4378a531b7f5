"""What a worker is given: a pack of runs to train, as plain JSON."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from typing import Any

from harness.randomness import Name
from harness.settings import PER_RUN, SampleRequest, Settings, from_dict, problems_of, to_dict
from harness.training.fields import MAX_RUN_ID

SHARED = tuple(each.name for each in fields(Settings) if each.name not in PER_RUN)
"""The fields in which the runs of a pack agree."""
_values_of = attrgetter(*SHARED)


def shared_values(settings: Settings) -> tuple[Any, ...]:
    """Returns the values in which the runs of a pack agree: a round compares a thousand of them."""
    values: tuple[Any, ...] = _values_of(settings)
    return values


class PlanError(ValueError):
    """A plan that no worker could train."""


@dataclass(frozen=True)
class Run:
    """One run: its id, the names that its random draws derive from, and its settings."""

    id: str
    seed: tuple[Name, ...]
    settings: Settings
    judged_with: str | None = None
    """What it shares with the runs that it is judged with: they wait for one another at every
    evaluation point. None: it is judged alone.
    """


MAX_LENGTH = 1_000_000
"""So many tokens a sample may have: more than that nobody reads."""
VERSIONS = (1, 2)
"""The versions of the study format whose plans this worker knows."""


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
    states: bool = False
    """Whether the end of a finished run tells what its states are like at its best parameters."""
    corpus_fingerprint: str | None = None
    """That of the text to train on, where a worker might read another one; None: it is not asked.
    """
    version: int = 1
    """That of the study format, which says what a run is worth; plans before version 2 name none.
    """

    def __post_init__(self) -> None:
        if not self.runs:
            raise PlanError("plan: runs must hold one run at least, but got runs=().")
        _check_kinds(self)
        if self.version not in VERSIONS:
            raise PlanError(
                f"plan: version must be one of {', '.join(map(str, VERSIONS))}, "
                f"but got version={self.version!r}. Update the bench that trains it."
            )
        ids = [run.id for run in self.runs]
        if len(set(ids)) != len(ids):
            raise PlanError(f"plan: run ids must be distinct, but got ids={ids}.")
        first = self.settings
        sound = None if problems_of(first) else first
        problems = [
            f"{run.id}: {problem}"
            for run in self.runs
            for problem in problems_of(run.settings, sound)
        ]
        if problems:
            raise PlanError("\n".join(problems))
        expected = shared_values(first)
        for run in self.runs[1:]:
            values = shared_values(run.settings)
            if values != expected:
                pairs = zip(SHARED, values, expected, strict=True)
                differing = [name for name, value, first_value in pairs if value != first_value]
                raise PlanError(
                    f"plan: runs of a pack must agree in {', '.join(differing)}, "
                    f"but {run.id} differs from {ids[0]}. "
                    f"Only {', '.join(PER_RUN)} may differ."
                )

    @property
    def settings(self) -> Settings:
        """The settings of the first run: what all runs share."""
        return self.runs[0].settings

    def to_json(self) -> str:
        """Returns the plan as JSON; :meth:`from_json` is its inverse."""
        values = asdict(self) | {"samples": self.samples.to_dict()}
        values["runs"] = [_run_to_dict(run) for run in self.runs]
        return json.dumps(values, indent=1)

    @staticmethod
    def from_json(text: str) -> "Plan":
        """Returns the plan.

        Raises:
            PlanError: The text is no plan.
        """
        return Plan._from_dict(_parsed(text))

    @staticmethod
    def _from_dict(values: dict[str, Any]) -> "Plan":
        try:
            runs = tuple(_run_from_dict(run) for run in values.pop("runs"))
            samples = SampleRequest.from_dict(values.pop("samples"))
            cell_files = tuple(values.pop("cell_files"))
            return Plan(runs=runs, samples=samples, cell_files=cell_files, **values)
        except PlanError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanError(
                f"plan: must be what `harness plan` writes, but got {error!r}."
            ) from error


def _check_kinds(plan: Plan) -> None:
    """Raises PlanError where a field is of another kind than this bench writes."""
    samples = plan.samples
    rules = {
        "objective": isinstance(plan.objective, str),
        "read_test": isinstance(plan.read_test, bool),
        "keep_models": isinstance(plan.keep_models, bool),
        "states": isinstance(plan.states, bool),
        "cell_files": all(isinstance(each, str) for each in plan.cell_files),
        "checkpoint_folder": isinstance(plan.checkpoint_folder, str | None),
        "corpus_fingerprint": isinstance(plan.corpus_fingerprint, str | None),
        "samples.prefixes": all(isinstance(each, str) for each in samples.prefixes),
        "samples.length": type(samples.length) is int and 0 < samples.length <= MAX_LENGTH,
        "samples.every": samples.every is None
        or (type(samples.every) is int and samples.every > 0),
        "samples.temperature": samples.temperature is None or _is_finite(samples.temperature),
        "samples.temperatures": all(map(_is_finite, samples.temperatures)),
        "runs.id": all(_is_id(run.id) for run in plan.runs),
        "runs.judged_with": all(r.judged_with is None or _is_id(r.judged_with) for r in plan.runs),
        "runs.seed": all(_is_name(name) for run in plan.runs for name in run.seed),
    }
    wrong = [name for name, holds in rules.items() if not holds]
    if wrong:
        raise PlanError(
            f"plan: {', '.join(wrong)} must be of the kinds that `harness plan` writes, but are "
            "not. Write the plan again."
        )


def _run_to_dict(run: Run) -> dict[str, Any]:
    judged = {} if run.judged_with is None else {"judged_with": run.judged_with}
    return {"id": run.id, "seed": list(run.seed), "settings": to_dict(run.settings), **judged}


def _run_from_dict(values: dict[str, Any]) -> Run:
    settings = from_dict(values["settings"])
    return Run(values["id"], tuple(values["seed"]), settings, values.get("judged_with"))


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= sys.float_info.max


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_RUN_ID and value.isprintable()


def _is_name(value: Any) -> bool:
    is_number = type(value) is int and abs(value) < 2**63
    return is_number or (isinstance(value, str) and value.isprintable())


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise PlanError(
            f"plan: must be JSON, but got {reason}. Give the file that `harness plan` wrote."
        ) from error


def plans_to_json(plans: Sequence[Plan]) -> str:
    """Returns a file of plans, to be trained one after the other.

    :func:`plans_from_json` is its inverse.
    """
    return json.dumps([json.loads(plan.to_json()) for plan in plans], indent=1)


def plans_from_json(text: str) -> list[Plan]:
    """Returns the plans of a file: a list, or a single one.

    Raises:
        PlanError: The text holds no plans.
    """
    values = _parsed(text)
    return [Plan._from_dict(value) for value in (values if isinstance(values, list) else [values])]
