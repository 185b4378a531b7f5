"""From the frames of runs and timings to one result per arm, and what is missing or doubtful.

The words of a report are in ``sentences`` and ``tables``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.data import sources
from harness.report import evidence, tried
from harness.report.divergence import Divergence, divergences
from harness.report.evidence import Evidence
from harness.report.lost_runs import LostRuns, lost_runs
from harness.report.protocols import ArmLike, StudyLike
from harness.settings import Settings
from harness.statistics import decisions, inference, power
from harness.statistics.decisions import Decision, SpeedDecision, Timing
from harness.statistics.inference import Interval
from harness.store import columns
from harness.study.units import FAILURES_IN_A_ROW, Phase
from harness.tasks.objective import Objective, Reading, objective_of, units_metric
from harness.training.messages import RESULTS, RunState

RUN_COLUMNS = tuple(name for name in columns.RUN_DTYPES if name not in columns.PROVENANCE)
CURVE_COLUMNS = (*columns.KEY_DTYPES, *columns.CURVE_DTYPES)
TIMING_COLUMNS = (*columns.ARM_DTYPES, *columns.TIMING_DTYPES)
TEXT_FIELDS = (
    "corpus",
    "path",
    "paths",
    "token",
    "min_count",
    "max_vocabulary",
    "lines",
    "split",
    "task",
    "num_held_out",
)
"""Losses compare only where these settings are equal, and what :func:`text_of` has besides."""
TEXT_NAMES = ("corpus", "path", "paths")
"""Those of them that say where a text is, which its fingerprint says better."""
REPLICATE_ENDS = tuple(state for state in tried.ENDS if state is not RunState.PRUNED)

_ALL_FAILED = [RunState.FAILED] * FAILURES_IN_A_ROW

Timed = tuple[str, int]
"""What is timed: the mode, ``train`` or ``forward``, and the number of runs in a pack."""
ALONE: Timed = ("train", 1)
"""The timing of a run that trains alone."""


@dataclass(frozen=True)
class ArmResult:
    """What is known of an arm.

    Attributes:
        objective: What the arms are compared by.
        readings: What its loss is told as beside that, with how many of each one's units a token
            stands for.
        losses: By the name of a pair, of what ended; infinite where it diverged. A pair is a
            seed; where the whole is repeated it is a repeat, with the mean of its seeds, diverged
            where one of them did.
        mean: Loss over the finished replicates. None: there is none.
        interval: 95 %, of ``mean``. None: fewer than two replicates, or a diverged one.
        differences: Paired with the baseline's losses; empty for the baseline itself.
        decision: None for the baseline and for an arm that reads another text.
        incomparable: Why the losses do not compare with the baseline's, or nothing.
        is_open: Whether it was not tried at its best.
        open: Why the arm or the baseline was not tried at its best, a clause each.
        excuses: Where the best value of the arm or of the baseline lies at an end for which no
            search is to blame, a clause each.
        search_spread: How far the difference from the baseline hangs on the settings that were
            tried, as a loss; over repeats the root mean square. None: not known, or not asked.
        speeds: Against the baseline.
        num_states: Floats of state per stream.
        tokens: Spent on all trials, finalists and replicates.
        searched_updates: Updates spent on trials and finalists.
        replicate_updates: Those of every finished replicate; empty where nothing ends one before
            its budget is spent.
        training_seconds: Of a replicate that trains alone, by the runtime phase. None: not timed.
        divergence: How often it diverged beside the baseline; None for the baseline, and where no
            run of the condition diverged.
        lost_runs: How many runs its search lost beside the baseline's; None for the baseline,
            without a shared search, and where no run of it was lost.
        fall: By how much loss a finished replicate ended above its best, the median. None: not
            known.
        trials: Its trials, a row each, as :func:`harness.report.tried.whole` returns them.
        finalists: The runs in which its best settings were tried again.
    """

    name: str
    is_baseline: bool
    objective: Objective
    readings: Mapping[Reading, float]
    losses: dict[str, float]
    num_failed: int
    num_not_learned: int
    num_planned: int
    mean: float | None
    interval: Interval | None
    differences: np.ndarray
    decision: Decision | None
    seeds_to_decide: int | None
    incomparable: str
    is_open: bool
    open: list[str]
    excuses: list[str]
    search_spread: float | None
    speeds: dict[Timed, SpeedDecision]
    tokens_per_second: dict[Timed, float]
    conditions: dict[Timed, str]
    num_parameters: int | None
    num_states: int | None
    hidden_size: int | None
    flops_per_token: int | None
    tokens: int
    searched_updates: int
    replicate_updates: tuple[int, ...]
    training_seconds: float | None
    divergence: Divergence | None
    lost_runs: LostRuns | None
    fall: float | None
    trials: pd.DataFrame
    finalists: pd.DataFrame
    params: dict[str, Any]
    samples: list[dict[str, str]]

    @property
    def num_finished(self) -> int:
        """Number of replicates that finished."""
        return int(np.isfinite(list(self.losses.values())).sum()) if self.losses else 0

    @property
    def learned_nothing(self) -> bool:
        """Whether all replicates are at the guess, and every trial was as bad where it ended."""
        if not 0 < self.num_not_learned == len(self.losses):
            return False
        if self.trials.empty:
            return True
        ended = self.trials[self.trials["state"].isin(RESULTS)]
        is_guess = tried.is_not_learned(ended)
        is_no_better = ended["objective"] >= ended.loc[is_guess, "objective"].max()
        is_pruned = (ended["state"] == RunState.PRUNED) & is_no_better
        return bool((is_guess | is_pruned | (ended["state"] == RunState.DIVERGED)).all())

    @property
    def num_diverged(self) -> int:
        """Number of replicates that diverged."""
        return len(self.losses) - self.num_finished


def with_columns(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Returns ``frame`` with all of ``columns``.

    An empty frame may come without any of them, an older export without those of repeat and draw.
    """
    others = [name for name in map(str, frame) if name not in columns]
    completed = frame.reindex(columns=[*columns, *others])
    counted = {name: completed[name].fillna(0) for name in ("repeat", "draw") if name in columns}
    return completed.assign(**counted)


def num_seeds(study: StudyLike, runs: pd.DataFrame, open_arms: Collection[str] = ()) -> int:
    """Returns how many seeds a condition takes.

    They are those that the study says, or as many as its first stage asks for: until all arms have
    ended that stage, no more than it. An arm that failed in it asks for no more, nor does one that
    does not compare.

    Args:
        study: Of one condition.
        runs: Those of that condition.
        open_arms: Those that were not tried at their best.
    """
    plan = study.replicate
    if plan.until is None:
        return plan.seeds
    assert plan.at_most is not None
    if plan.until == 0.0:  # no interval is narrow enough
        return plan.at_most
    stage = runs[
        (runs["phase"] == "replicate")
        & (runs["index"] < plan.seeds)
        & runs["state"].isin(REPLICATE_ENDS)
    ]
    if any(
        (stage["arm"] == arm.name).sum() < plan.seeds and not _is_given_up(study, runs, arm.name)
        for arm in study.arms
    ):
        return plan.seeds
    nats = {arm.name: losses(study, stage, arm.name) for arm in study.arms}
    base = nats[study.baseline.name]
    others = [
        arm
        for arm in study.arms
        if not arm.is_baseline
        and not _incomparable(arm, study.baseline)
        and not {arm.name, study.baseline.name}.intersection(open_arms)
    ]
    pairs = [inference.paired_differences(nats[arm.name], base) for arm in others]
    full = [differences for differences in pairs if len(differences) == plan.seeds]
    if not full:
        return plan.seeds
    half_width = objective_of(study.measure.objective).within(plan.until)
    return power.stein_seeds(full, half_width_nats=half_width, at_most=plan.at_most)


def _is_given_up(study: StudyLike, runs: pd.DataFrame, arm: str) -> bool:
    """Says whether an arm will never end the replicates that it lacks.

    Either they failed, or the arm has no setting to train.
    """
    rows = runs[runs["arm"] == arm].sort_values("index", kind="stable")
    replicates = rows.loc[
        (rows["phase"] == Phase.REPLICATE) & rows["state"].isin(REPLICATE_ENDS), "state"
    ]
    trials = tried.whole(_trial_seeds(study), rows[rows["phase"] == Phase.TRIAL])["state"]
    trials = trials[trials.isin(tried.ENDS)]
    is_searched = study.tune is not None and (
        len(trials) >= study.tune.num_trials
        or trials.tail(FAILURES_IN_A_ROW).tolist() == _ALL_FAILED
    )
    has_no_setting = is_searched and not trials.isin([RunState.FINISHED, RunState.DIVERGED]).any()
    return bool(has_no_setting) or replicates.tail(FAILURES_IN_A_ROW).tolist() == _ALL_FAILED


def planned(study: StudyLike, frame: pd.DataFrame, num_seeds: int) -> pd.DataFrame:
    """Returns the runs, or the rows of their curves, that the study as it stands asks for.

    The store may hold more of them.
    """
    is_asked = (frame["phase"] != "replicate") | (frame["index"] < num_seeds)
    return frame[is_asked & (frame["repeat"] < num_repeats(study))]


def is_held_out(study: StudyLike) -> bool:
    """Says whether the decision is on test loss.

    Without a split it is on the objective, a training loss.
    """
    return study.baseline.settings.split == "holdout"


def curve_metric(study: StudyLike) -> str:
    """Returns the column of the curves that the report reads, a loss."""
    return "validation/loss" if is_held_out(study) else "train/loss"


def split_of(study: StudyLike) -> str:
    """Returns which split the report's numbers are of: ``test`` or ``training``."""
    return "test" if is_held_out(study) else "training"


def measured(study: StudyLike) -> str:
    """Returns what the number that arms are compared by is called in a sentence."""
    name = objective_of(study.measure.objective).name
    return f"test {name}" if is_held_out(study) else f"running training {name}"


def titled(study: StudyLike) -> str:
    """Returns what that number is called over a column, with its unit."""
    objective = objective_of(study.measure.objective)
    unit = f", {objective.unit}" if objective.unit else ""
    return f"{objective.title} ({'test' if is_held_out(study) else 'training, running'}{unit})"


def gather(
    study: StudyLike,
    runs: pd.DataFrame,
    timings: pd.DataFrame,
    num_seeds: int,
    searches: Mapping[str, Evidence],
) -> list[ArmResult]:
    """Returns one result per arm of ``study``, in its order.

    Frames have RUN_COLUMNS and TIMING_COLUMNS; ``num_seeds`` is what :func:`num_seeds` returns, and
    ``searches`` what :func:`harness.report.evidence.evidence_of` does.
    """
    comparison, objective = _compare(study, runs, searches), objective_of(study.measure.objective)
    speeds = _speeds(study, timings)
    num_planned = num_repeats(study) if num_repeats(study) > 1 else num_seeds
    results = []
    for arm in study.arms:
        arm_runs = runs[runs["arm"] == arm.name]
        arm_timings = timings[timings["arm"] == arm.name]
        replicates = replicates_of(runs, arm.name)
        results.append(
            ArmResult(
                name=arm.name,
                is_baseline=arm.name == study.baseline.name,
                objective=objective,
                readings=_readings(study, objective, arm, replicates),
                num_failed=int((replicates["state"] == RunState.FAILED).sum()),
                num_not_learned=int(tried.is_not_learned(replicates).sum()),
                num_planned=num_planned,
                **comparison.of(arm.name),
                speeds=speeds.get(arm.name, {}),
                **_timed(arm_timings),
                **_described(arm_runs),
                searched_updates=sum(
                    _updates_of(
                        arm, arm_runs[arm_runs["phase"].isin([Phase.TRIAL, Phase.FINALIST])]
                    )
                ),
                replicate_updates=_replicate_updates(arm, replicates),
                training_seconds=_training_seconds(arm_runs, arm_timings),
                fall=_fall(replicates),
                trials=tried.whole(_trial_seeds(study), arm_runs[arm_runs["phase"] == Phase.TRIAL]),
                finalists=arm_runs[arm_runs["phase"] == Phase.FINALIST],
            )
        )
    return results


def _readings(
    study: StudyLike, objective: Objective, arm: ArmLike, replicates: pd.DataFrame
) -> dict[Reading, float]:
    """Returns what an arm's loss is read as; without a run nobody knows what subwords stand for."""
    split = "test" if is_held_out(study) else "train"
    return {
        reading: _first(replicates, units_metric(split, reading.per))
        for reading in objective.readings
        if reading.applies(arm.settings)
    }


def _first(replicates: pd.DataFrame, column: str) -> float:
    """Returns how many units a token stands for: one where no run says otherwise."""
    known = replicates[column].dropna().tolist() if column in replicates else []
    return float(known[0]) if known else 1.0


@dataclass(frozen=True)
class _Comparison:
    """How the arms of a condition compare with its baseline, by their names.

    Attributes:
        base: The baseline.
        losses: As of an :class:`ArmResult`.
        first: What :func:`num_first` returns.
        pairs: The differences of every arm but the baseline.
        incomparable: As of an :class:`ArmResult`.
        searches: What the searches show, of arms that were searched.
        spreads: The search's own spreads that are known.
        decided: Every arm that reads the baseline's text.
        seeds_to_decide: Of arms that are undecided, where it is known.
        diverged: How often, where any run did.
        lost: How many runs every arm's search lost, where any was.
    """

    base: str
    losses: Mapping[str, dict[str, float]]
    first: int | None
    pairs: Mapping[str, np.ndarray]
    incomparable: Mapping[str, str]
    searches: Mapping[str, Evidence]
    spreads: Mapping[str, float]
    decided: Mapping[str, Decision]
    seeds_to_decide: Mapping[str, int | None]
    diverged: Mapping[str, Divergence]
    lost: Mapping[str, LostRuns]

    def of(self, arm: str) -> dict[str, Any]:
        """Returns what an arm's :class:`ArmResult` holds of this."""
        pair = _of_pair(self.searches, arm, self.base)
        return {
            "losses": self.losses[arm],
            **level(self.losses[arm], self.first),
            "differences": self.pairs.get(arm, np.zeros(0)),
            "decision": self.decided.get(arm),
            "seeds_to_decide": self.seeds_to_decide.get(arm),
            "incomparable": self.incomparable[arm],
            "is_open": arm in self.searches and self.searches[arm].is_open,
            "open": [clause for each in pair for clause in each.why_open],
            "excuses": [clause for each in pair for clause in each.excuses],
            "search_spread": self.spreads.get(arm),
            "divergence": self.diverged.get(arm),
            "lost_runs": self.lost.get(arm),
        }


def _of_pair(searches: Mapping[str, Evidence], arm: str, base: str) -> list[Evidence]:
    """Returns what the searches show of an arm and of the baseline; nothing for the latter."""
    return [searches[name] for name in (arm, base) if arm != base and name in searches]


def _compare(study: StudyLike, runs: pd.DataFrame, searches: Mapping[str, Evidence]) -> _Comparison:
    spreads = evidence.spreads(study, searches, runs)
    nats = {arm.name: losses(study, runs, arm.name) for arm in study.arms}
    base = study.baseline.name
    reasons = {arm.name: _incomparable(arm, study.baseline) for arm in study.arms}
    pairs = {
        name: inference.paired_differences(nats[name], nats[base]) for name in nats if name != base
    }
    family = {name: pairs[name] for name in pairs if not reasons[name]}
    first = num_first(study, [nats[name] for name in (base, *family)])
    open_arms = [
        name for name in pairs if any(each.is_open for each in _of_pair(searches, name, base))
    ]
    # The repeats of a search hold its spread already.
    known = spreads if searches and num_repeats(study) == 1 else None
    decided = _decide(study, family, first, known, open_arms)
    return _Comparison(
        base=base,
        losses=nats,
        first=first,
        pairs=pairs,
        incomparable=reasons,
        searches=searches,
        spreads=spreads,
        decided=decided,
        seeds_to_decide=_seeds_to_decide(study, family, decided, known),
        lost=_lost(study, searches, reasons),
        diverged=divergences(nats, base, [*open_arms, *(n for n in pairs if reasons[n])]),
    )


def _lost(
    study: StudyLike, searches: Mapping[str, Evidence], reasons: Mapping[str, str]
) -> dict[str, LostRuns]:
    if study.tune is None or not searches:
        return {}
    tried = {name: [search.tried for search in each.searches] for name, each in searches.items()}
    apart = [name for name in tried if reasons[name]]
    return lost_runs(study.tune, tried, study.baseline.name, apart)


def _decide(
    study: StudyLike,
    family: Mapping[str, np.ndarray],
    first: int | None,
    spreads: Mapping[str, float] | None,
    open_arms: Sequence[str],
) -> dict[str, Decision]:
    """Decides the arms of a family; ``spreads`` are None where no search adds any."""
    decided = decisions.decide(
        list(family.values()),
        margin_loss=objective_of(study.measure.objective).within(study.measure.margin),
        threshold=study.measure.threshold,
        first=first,
        spreads=() if spreads is None else [spreads.get(name) for name in family],
        incomparable=[name in open_arms for name in family],
    )
    if first is None:  # a number of seeds that depends on the data is not invariant under flips
        decided = decisions.with_sign_flips(decided, list(family.values()))
    return dict(zip(family, decided, strict=True))


def _seeds_to_decide(
    study: StudyLike,
    family: Mapping[str, np.ndarray],
    decided: Mapping[str, Decision],
    spreads: Mapping[str, float] | None,
) -> dict[str, int | None]:
    return {
        name: power.seeds_to_decide(
            family[name],
            margin_loss=objective_of(study.measure.objective).within(study.measure.margin),
            num_comparisons=len(family),
            threshold=study.measure.threshold,
            added=decisions.SEARCH_FACTOR * (spreads[name] if spreads else 0.0),
        )
        for name, decision in decided.items()
        if decision.verdict == "undecided" and (spreads is None or name in spreads)
    }


def replicates_of(runs: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Returns an arm's replicates in the order of their seeds."""
    return runs[(runs["arm"] == arm) & (runs["phase"] == "replicate")].sort_values(
        "index", kind="stable"
    )


def _updates_of(arm: ArmLike, rows: pd.DataFrame) -> list[int]:
    """Returns the updates of an arm's runs that are known: their tokens, by those of an update."""
    updates = []
    known = rows[rows["tokens"].notna()]
    for tokens, params in zip(known["tokens"], known["params"], strict=True):
        batch_size = params.get("batch_size", arm.settings.batch_size)
        updates.append(
            round(tokens / (batch_size * params.get("bptt_length", arm.settings.bptt_length)))
        )
    return updates


def _replicate_updates(arm: ArmLike, replicates: pd.DataFrame) -> tuple[int, ...]:
    if arm.settings.early_stopping_patience is None:
        return ()
    return tuple(_updates_of(arm, replicates[replicates["state"] == RunState.FINISHED]))


def _fall(replicates: pd.DataFrame) -> float | None:
    """Returns by how much loss finished replicates ended above their best, the median."""
    rows = replicates[
        (replicates["state"] == RunState.FINISHED) & ~tried.is_not_learned(replicates)
    ]
    falls = (rows["final/loss"].astype(float) - rows["objective"].astype(float)).dropna()
    return float(falls.median()) if len(falls) else None


def losses(study: StudyLike, runs: pd.DataFrame, arm: str) -> dict[str, float]:
    """Returns an arm's :attr:`ArmResult.losses`.

    A repeat is among them once all its seeds have ended, or one of them diverged.
    """
    column = "test/loss" if is_held_out(study) else "objective"
    rows = replicates_of(runs, arm)
    finished, diverged = rows["state"] == RunState.FINISHED, rows["state"] == RunState.DIVERGED
    rows = rows[diverged | (finished & rows[column].notna())]
    rows = rows.assign(
        nats=np.where(rows["state"] == RunState.DIVERGED, np.inf, rows[column].astype(float))
    )
    if num_repeats(study) == 1:
        return dict(zip(rows["seed"].astype(str), rows["nats"].tolist(), strict=True))
    means = rows.groupby("repeat")["nats"].agg(["mean", "count"])
    # A repeat without all its seeds would not pair seed by seed; where one of them diverged, the
    # others change nothing.
    whole = means[(means["count"] == study.replicate.seeds) | np.isinf(means["mean"])]
    names = [f"repeat {repeat}" for repeat in whole.index.astype(int)]
    return dict(zip(names, whole["mean"].tolist(), strict=True))


def num_repeats(study: StudyLike) -> int:
    """Returns how often the whole of tuning and replicating is done."""
    return study.tune.repeats if study.tune else 1


def _trial_seeds(study: StudyLike) -> int:
    return study.tune.seeds if study.tune else 1


def _training_seconds(rows: pd.DataFrame, timings: pd.DataFrame) -> float | None:
    tokens = rows.loc[
        (rows["phase"] == "replicate") & (rows["state"] == RunState.FINISHED), "tokens"
    ].dropna()
    rates = timings.loc[(timings["mode"] == "train") & (timings["pack"] == 1), "tokens_per_second"]
    if not len(tokens) or not len(rates):
        return None
    return float(tokens.astype(float).median() / rates.median())


def num_first(study: StudyLike, losses: list[dict[str, float]]) -> int | None:
    """Returns how many first-stage seeds all of these arms have, two at least.

    None: the study has no stages.
    """
    plan = study.replicate
    if plan.until is None:
        return None
    stage = {str(plan.first_seed + j) for j in range(plan.seeds)}
    return max(2, len(stage.intersection(*losses)))


def level(losses: dict[str, float], first: int | None) -> dict[str, Any]:
    """Returns the ``mean`` and the ``interval`` of an :class:`ArmResult`.

    ``first`` is what :func:`num_first` returns.
    """
    values = np.array(list(losses.values()), dtype=np.float64)
    finished = values[np.isfinite(values)]
    interval = None
    if len(finished) == len(values):
        interval = inference.student_interval(finished, first=first)
    return {"mean": float(np.mean(finished)) if len(finished) else None, "interval": interval}


def text_of(settings: Settings) -> tuple[tuple[str, Any], ...]:
    """Returns what says which text is read, and how; or which sequences, and how long they are.

    They are pairs of a name and its value. Losses compare where all of them are equal. Options that
    say how a model answers or is trained are none of them, nor is how much it is trained on.
    """
    of_data = sources.with_options_of_data(settings)
    options = () if of_data.options is None else of_data.options.items
    return (
        *((name, getattr(settings, name)) for name in TEXT_FIELDS),
        *((f"options.{name}", value) for name, value in options),
        *(() if settings.is_of_language else (("bptt_length", settings.bptt_length),)),
    )


def text_differences(ours: Settings, theirs: Settings) -> dict[str, tuple[Any, Any]]:
    """Returns in what two texts, or sequences, differ: name -> our value and theirs.

    None stands for what is not given.
    """
    named = dict(text_of(ours)), dict(text_of(theirs))
    pairs = {name: (named[0].get(name), named[1].get(name)) for name in named[1] | named[0]}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _incomparable(arm: ArmLike, baseline: ArmLike) -> str:
    """Returns why the losses of two arms do not compare, or nothing."""
    return "; ".join(
        f"{name} differs ({_named(theirs)} and {_named(ours)})"
        for name, (ours, theirs) in text_differences(arm.settings, baseline.settings).items()
    )


def _named(value: Any) -> str:
    return "none" if value is None else str(value)


def _plain(value: Any) -> Any:
    """Returns a cell of a frame as JSON would hold it: no NumPy scalar, None for a missing one."""
    if isinstance(value, dict | list | tuple):
        return value
    return None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value


def _described(rows: pd.DataFrame) -> dict[str, Any]:
    """Returns what the first replicate that knows it tells of an arm; without one, any run."""
    replicates = rows[rows["phase"] == "replicate"].sort_values("index", kind="stable")
    sources = replicates if len(replicates) else rows

    def first(column: str) -> Any:
        present = [value for value in map(_plain, sources[column]) if value not in (None, {}, [])]
        return present[0] if present else None

    names = ("num_parameters", "num_states", "hidden_size", "flops_per_token")
    counts = {name: first(name) for name in names}
    return {
        **{name: None if count is None else int(count) for name, count in counts.items()},
        "tokens": int(rows["tokens"].fillna(0).sum()),
        "params": first("params") or {},
        "samples": list(first("samples") or []),
    }


def _by_phase(rows: pd.DataFrame) -> dict[Timed, pd.DataFrame]:
    phases = sorted(set(zip(rows["mode"], rows["pack"], strict=True)))
    return {
        (str(mode), int(pack)): rows[(rows["mode"] == mode) & (rows["pack"] == pack)]
        for mode, pack in phases
    }


def _timed(rows: pd.DataFrame) -> dict[str, Any]:
    groups = _by_phase(rows)
    return {
        "tokens_per_second": {
            phase: float(group["tokens_per_second"].median()) for phase, group in groups.items()
        },
        "conditions": {phase: _condition_text(group) for phase, group in groups.items()},
    }


def _conditions(rows: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        name: sorted({_plain(value) for value in rows[name]}, key=str) for name in columns.EXECUTION
    }


def _condition_text(rows: pd.DataFrame) -> str:
    texts = {
        name: " and ".join(str(v) for v in values) for name, values in _conditions(rows).items()
    }
    return (
        f"engine {texts['engine']} on device {texts['device']}, {texts['precision']}, "
        f"threads: {texts['threads']}"
    )


def _timing(rows: pd.DataFrame, arm: str) -> Timing:
    # An arm timed under several conditions equals no other, so the arm's name goes into the value.
    conditions = {
        name: values[0] if len(values) == 1 else f"{' and '.join(map(str, values))} in {arm}"
        for name, values in _conditions(rows).items()
    }
    # Per token, not per update: arms may differ in how many tokens an update reads.
    seconds = 1.0 / rows["tokens_per_second"].astype(float)
    return Timing(dict(zip(rows["round"].astype(int), seconds, strict=True)), conditions)


def _speeds(study: StudyLike, timings: pd.DataFrame) -> dict[str, dict[Timed, SpeedDecision]]:
    base = study.baseline.name
    speeds: dict[str, dict[Timed, SpeedDecision]] = {arm.name: {} for arm in study.arms}
    for phase, group in _by_phase(timings).items():
        timed = {arm.name: _timing(group[group["arm"] == arm.name], arm.name) for arm in study.arms}
        others = [name for name in timed if name != base and timed[name].seconds]
        decided = decisions.decide_speed(
            timed[base], [timed[name] for name in others], threshold=study.measure.threshold
        )
        for name, decision in zip(others, decided, strict=True):
            speeds[name][phase] = decision
    return speeds
