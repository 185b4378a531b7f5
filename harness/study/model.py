"""A study that has been read and found right: arms, seeds, search space and identity."""

import copy
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cells.registry import fingerprint
from harness.settings import EXECUTION, SampleRequest, Settings, to_dict, with_paths
from harness.settings.values import shown
from harness.study.blocks import Models, Objective, Pruner, Sampler, tune_names
from harness.study.units import Unit

NOT_IDENTITY = (*EXECUTION, "models", "states", "target")
"""Fields that are no part of a study's identity.

They change how fast a study runs (and on some engines the last bits), what is kept of it, or what
is reported of it.
"""


GONE = ": there -> gone"
"""What ends the change of an identity that lost an arm."""

MAY_GROW = ("trials", "repeats", "finalists", "finalist_seeds", "at_most")
"""Fields of the search that may change in a study under way: they add runs to it."""


@dataclass(frozen=True)
class Arm:
    """One compared setting. A tuned field has its default in ``settings``; a trial replaces it."""

    name: str
    settings: Settings
    is_baseline: bool
    condition: str = ""
    searched: tuple[str, ...] = ()
    """The tuned fields that act in this arm."""

    @property
    def key(self) -> str:
        """The arm's name in a store that holds several conditions."""
        return str(Unit(self.name, self.condition))


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both included; whole numbers where both are ints."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None
    widen: tuple[int | float, int | float] | None = None
    """How far the range may grow where the best value lies at its end."""
    edge: Literal["accept"] | None = None
    """Whether a best value at the end of what was tried does not spoil a comparison."""

    @property
    def num_steps(self) -> int:
        """How many values a grid takes from the range; ``step`` is 1 where none is given."""
        return int((self.high - self.low) / (self.step or 1) + 1e-9) + 1


@dataclass(frozen=True)
class Choices:
    """One of these values; None among them means none."""

    choices: tuple[Any, ...]
    edge: Literal["accept"] | None = None
    """Whether a best value at the end of what was tried does not spoil a comparison."""

    @property
    def num_steps(self) -> int:
        """How many values a grid takes from the choices."""
        return len(self.choices)


@dataclass(frozen=True)
class Tune:
    """How every arm is searched.

    The search is made ``repeats`` times, with the search seeds ``search_seed``, ``search_seed`` + 1
    and so on.

    Attributes:
        seeds: Of every trial, whose objective is their mean.
        finalists: How many of the best settings run again, with ``finalist_seeds`` fresh seeds
            each, before one is chosen; 1: none.
        at_most: The most trials of an arm, where searches go on while one is open; None:
            ``trials``.
    """

    space: dict[str, Range | Choices]
    trials: int
    batch: int
    sampler: Sampler
    pruner: Pruner
    search_seed: int
    repeats: int = 1
    seeds: int = 1
    finalists: int = 1
    finalist_seeds: int = 5
    at_most: int | None = None

    @property
    def num_trials(self) -> int:
        """How many trials an arm gets: the budget, or the whole grid where that is smaller."""
        if self.sampler != "grid":
            return self.trials
        return min(self.trials, math.prod(domain.num_steps for domain in self.space.values()))


@dataclass(frozen=True)
class Replicate:
    """Replicate j of ``seeds`` trains with ``first_seed`` + j, in every arm.

    Where ``until`` is given, ``seeds`` is the first stage of Stein's two-stage rule: more are
    added, up to ``at_most``, until half the width of the 95 % interval is that, in the unit of
    the margin.
    """

    seeds: int = 5
    first_seed: int = 1000
    until: float | None = None
    at_most: int | None = None


@dataclass(frozen=True)
class RuntimePhase:
    """How runtime is measured: rounds over all arms, each measurement at least ``seconds`` long."""

    rounds: int = 20
    seconds: float = 0.2


@dataclass(frozen=True)
class Measure:
    """What is reported, and what counts as a difference.

    ``margin`` is a fraction of a perplexity or an error, and of any other objective in its own
    unit; ``threshold`` is a family-wise error rate.
    """

    objective: Objective = "validation/perplexity"
    margin: float = 0.01
    threshold: float = 0.05
    target: float | None = None
    samples: SampleRequest = SampleRequest()
    states: bool = False
    models: Models = "replicates"
    runtime: RuntimePhase | None = RuntimePhase()


@dataclass(frozen=True)
class Study:
    """One question, its arms, and how it is answered.

    Attributes:
        arms: The arms of all conditions.
        tune: The search of one condition. Where there are several, that of the first: only their
            ranges differ.
        condition: The name of the one condition that this study is of; empty where the study has
            several, or names none.
        crossed: The fields whose product the arms are; none where arms have names.
        cell_sources: Of a study whose files of cells were not run, the fingerprints of its own
            cells: what the files state, or else what the store has.
        is_salted: Whether every arm draws weights, order and masks of its own.
    """

    name: str
    version: int
    arms: tuple[Arm, ...]
    replicate: Replicate
    measure: Measure
    tune: Tune | None = None
    question: str = ""
    source: str = ""
    path: Path | None = None
    text: str = ""
    overrides: tuple[str, ...] = ()
    cell_files: tuple[str, ...] = ()
    _resolved: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    condition: str = ""
    crossed: tuple[str, ...] = ()
    cell_sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_salted: bool = False
    _parts: tuple["Study", ...] = dataclasses.field(default=(), repr=False)

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.is_baseline)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the conditions; one empty name where the study has none."""
        return tuple(part.condition for part in self._parts) or (self.condition,)

    def under(self, condition: str) -> "Study":
        """Returns the study of one condition alone."""
        return next((part for part in self._parts if part.condition == condition), self)

    @property
    def gone_cell_files(self) -> tuple[str, ...]:
        """The files of cells that are not there now."""
        return tuple(path for path in self.cell_files if not Path(path).is_file())

    def with_cell_sources(self, sources: Mapping[str, str]) -> "Study":
        """Returns the study with fingerprints of cells whose files were not run."""
        parts = tuple(part.with_cell_sources(sources) for part in self._parts)
        return dataclasses.replace(self, cell_sources=sources, _parts=parts)

    @property
    def units(self) -> tuple[Unit, ...]:
        """Every arm under every condition in every repeat."""
        repeats = range(self.num_repeats)
        return tuple(
            Unit(arm.name, arm.condition, repeat) for arm in self.arms for repeat in repeats
        )

    @property
    def num_repeats(self) -> int:
        """How often the whole of tuning and replicating is done."""
        return self.tune.repeats if self.tune else 1

    @property
    def is_repeated(self) -> bool:
        """Whether the whole is done more than once: a pair is then a repeat and not a seed."""
        return self.num_repeats > 1

    @property
    def num_pairs(self) -> int:
        """How many pairs the test has; of a sequential design those of its first stage."""
        return self.num_repeats if self.is_repeated else self.replicate.seeds

    @property
    def trial_seeds(self) -> int:
        """With how many seeds each setting is tried."""
        return self.tune.seeds if self.tune else 1

    @property
    def fingerprint(self) -> str:
        """SHA-256 of :meth:`identity` as canonical JSON."""
        canonical = json.dumps(
            self.identity(), sort_keys=True, separators=(",", ":"), ensure_ascii=True
        )
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def identity(self) -> dict[str, Any]:
        """Returns what makes the study this one, as JSON values.

        The numbers of trials, repeats and seeds are left out, since they may grow, and so is what
        changes no number.
        """
        values = as_json(self.measure) | {"samples": self.measure.samples.to_dict()}
        measure = {name: value for name, value in values.items() if name not in NOT_IDENTITY}
        parts = [self.under(condition) for condition in self.conditions]
        salted = {"salted": True} if self.is_salted else {}
        return salted | {
            "version": self.version,
            "first_seed": self.replicate.first_seed,
            "stages": None
            if self.replicate.until is None
            else [self.replicate.seeds, self.replicate.until],
            "baseline": self.baseline.name,
            "shared": {"tune": parts[0]._tune_identity(), "measure": measure},
            "tunes": {part.condition: part._tune_identity() for part in parts if part.condition},
            "arms": {
                arm.key: part._arm_identity(arm.settings) for part in parts for arm in part.arms
            },
        }

    def changes_since(self, old_identity: dict[str, Any]) -> list[str]:
        """Returns what this study changes of an older identity, as ``path: old -> new``.

        More arms are no change.
        """
        new = self.identity()
        gone = [name for name in old_identity["arms"] if name not in new["arms"]]
        kept = {
            name: values for name, values in new["arms"].items() if name in old_identity["arms"]
        }
        olds = {
            name: _with_defaults(old_identity["arms"][name], values)
            for name, values in kept.items()
        }
        tunes = {
            name: tune
            for name, tune in new["tunes"].items()
            if name in old_identity.get("tunes", ())
        }
        before, after = (
            _flat({**old_identity, "arms": olds}),
            _flat({**new, "arms": kept, "tunes": tunes}),
        )
        changes = [
            f"{path}: {shown(before.get(path))} -> {shown(after.get(path))}"
            for path in dict.fromkeys([*before, *after])
            if before.get(path) != after.get(path)
        ]
        return changes + [f"arms.{name}{GONE}" for name in gone]

    def resolved(self) -> dict[str, Any]:
        """Returns the study with all defaults filled in; :func:`dump` makes a study file of it."""
        return copy.deepcopy(self._resolved)

    def _tune_identity(self) -> dict[str, Any] | None:
        if self.tune is None:
            return None
        values: dict[str, Any] = as_json(self.tune)
        space: dict[str, Any] = values.pop("space")
        for domain in space.values():  # what is absent is not hashed
            for name in ("widen", "edge"):
                if domain.get(name) is None:
                    domain.pop(name, None)
        own = [name for name in tune_names(self.version) if name not in MAY_GROW]
        return space | {name: values[name] for name in own}

    def _arm_identity(self, settings: Settings) -> dict[str, Any]:
        searched = self.tune.space if self.tune else {}
        if self.path:  # as seen from the study, so that both may move together
            folder = self.path.parent
            settings = with_paths(
                settings, lambda path: Path(os.path.relpath(path, folder)).as_posix()
            )
        values = {
            k: v
            for k, v in to_dict(settings).items()
            if k not in searched and k not in NOT_IDENTITY
        }
        unread = self.cell_sources.get(settings.cell)
        return {**values, "cell_source": unread or fingerprint(settings.cell)}


def _with_defaults(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Returns an arm of an older identity with the defaults of fields that came later.

    The arm was run with these values.
    """
    defaults = as_json(Settings(cell="", corpus=""))
    return {**{name: defaults[name] for name in new if name in defaults}, **old}


def as_json(value: Any) -> Any:
    """Returns a dataclass as JSON reads it back."""
    return None if value is None else json.loads(json.dumps(dataclasses.asdict(value)))


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity's leaves under the paths that a study file gives them."""
    top = {"version": identity["version"], "replicate.first_seed": identity["first_seed"]}
    top["replicate.seeds (first, until)"] = identity.get("stages")
    top["compare.identical_arms"] = "salted" if identity.get("salted") else "not salted"
    top["compare.baseline"] = identity["baseline"]
    shared = {
        name: value
        for name, value in identity["shared"].items()
        if name != "tune" or not identity.get("tunes")
    }
    leaves = [
        *_leaves(shared, ""),
        *_leaves(identity.get("tunes", {}), "across."),
        *_leaves(identity["arms"], "arms."),
    ]
    return top | dict(leaves)


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
