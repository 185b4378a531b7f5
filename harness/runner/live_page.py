"""A study's page in MLflow while it is trained: its views, its arms' colours, what has ended."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from harness.report import colors, measure
from harness.runner import page_texts
from harness.runner.recorder import End
from harness.settings import Settings
from harness.store import signals, views
from harness.store.background import BackgroundWriter
from harness.study import Study
from harness.study.model import Choices, Range
from harness.study.units import Phase, RunKey, Unit

TELL_SECONDS = 5.0
WIDE = 10.0
"""The greatest of a list of values over the least, from which on the list is a logarithmic one."""


class LivePage:
    """Keeps a study's page true while runs end; what it says at the end is the report's.

    Attributes:
        colors: Each arm's colour.
    """

    def __init__(self, study: Study, writer: BackgroundWriter, ends: Mapping[RunKey, End]):
        """Writes nothing yet.

        Args:
            study: The study.
            writer: Its experiment.
            ends: Of its runs; looked at whenever the page is told.
        """
        self._study, self._writer, self._ends = study, writer, ends
        self.colors = colors.by_arm([arm.name for arm in study.arms], study.baseline.name)
        self._logarithmic = [name for name, is_log in tuned(study).items() if is_log]
        self._title, self._told_at, self._told = "", -math.inf, dict[Unit, dict[str, str]]()
        self._drawn: Phase | None = None

    def shown(self, settings: Settings) -> dict[str, float]:
        """Returns the numbers that charts of a trial need: what is searched by its logarithm."""
        values = {name: getattr(settings, name) for name in self._logarithmic}
        return {
            views.TRIED_LOG10 + name: math.log10(value) for name, value in values.items() if value
        }

    def tags(self, unit: Unit) -> dict[str, str]:
        """Returns what a run carries for the page: its colour."""
        return {views.COLOR_TAG: self.colors[unit.arm]}

    @contextmanager
    def training(self, title: str, phase: Phase) -> Iterator[None]:
        """Says that this is trained, and that it stopped where an exception ends it."""
        try:
            self.begin(title, phase)
            yield
        except BaseException:
            with signals.held():
                self._tell("stopped")
            raise

    def begin(self, title: str, phase: Phase) -> None:
        """Says what is trained now; the first time it makes the page ready.

        The page's curves are those of the runs of ``phase`` until the first replicate, and of
        replicates from then on.
        """
        self._title = title
        if self._drawn is None:
            for arm in self._arms:
                self._writer.show_arm(arm, self.tags(arm))
        has_replicates = any(key.phase is Phase.REPLICATE for key in self._ends)
        drawn = Phase.REPLICATE if has_replicates else phase
        if self._drawn is not drawn:
            set_views(self._study, self._writer, drawn)
            self._drawn = drawn
        self._tell("running")

    def tell(self) -> None:
        """Says what has ended, unless that was said a moment ago."""
        if time.monotonic() - self._told_at > TELL_SECONDS:
            self._tell("running")

    @property
    def _arms(self) -> list[Unit]:
        return list(dict.fromkeys(unit.first_repeat for unit in self._study.units))

    def _tell(self, state: str) -> None:
        self._told_at = time.monotonic()
        ended = {arm: self.ended(arm) for arm in self._arms}
        for arm, tags in ended.items():
            if self._told.get(arm) != tags:
                self._writer.show_arm(arm, tags)
        self._told = ended
        links = page_texts.links(self._writer.experiment_id, keys(self._study))
        moment = time.strftime("%Y-%m-%d %H:%M")
        rows = {str(arm): tags for arm, tags in ended.items()}
        self._writer.describe(page_texts.under_way(state, self._title, rows, moment, links))

    def ended(self, arm: Unit) -> dict[str, str]:
        """Returns how many of an arm's trials and seeds have ended, as ``3/8``, by the tag."""
        study = self._study
        counts = Counter(key.phase for key in self._ends if key.unit.first_repeat == arm)
        planned = {views.SEEDS_TAG: study.replicate.seeds * study.num_repeats}
        ended = {views.SEEDS_TAG: counts[Phase.REPLICATE]}
        if study.tune is not None:
            planned[views.TRIALS_TAG] = study.tune.num_trials * study.tune.seeds * study.num_repeats
            ended[views.TRIALS_TAG] = counts[Phase.TRIAL]
        # A search that is extended has more than was planned.
        return {tag: f"{count}/{max(planned[tag], count)}" for tag, count in ended.items()}


def tuned(study: Study) -> dict[str, bool]:
    """Returns the fields that a study searches, and whether by their logarithm."""
    space = study.tune.space if study.tune else {}
    return {name: _is_logarithmic(domain) for name, domain in space.items()}


def _is_logarithmic(domain: Range | Choices) -> bool:
    """Says whether values are drawn by their logarithm: also a list that spans a power of ten."""
    if isinstance(domain, Range):
        return domain.log
    are_numbers = all(type(value) in (int, float) and value > 0 for value in domain.choices)
    return are_numbers and max(domain.choices) >= WIDE * min(domain.choices)


def keys(study: Study) -> list[str]:
    """Returns the keys of a study's views, in the order in which they are offered."""
    trials = [views.TRIALS] if study.tune else []
    return [views.ANSWER, views.CURVES, *trials, views.COSTS]


def set_views(
    study: Study,
    writer: BackgroundWriter,
    drawn: Phase = Phase.REPLICATE,
    levels: tuple[float, float] | None = None,
) -> None:
    """Keeps a study's views; curves are of the runs of ``drawn``, within ``levels``."""
    for view in views.of_study(
        study.measure.objective,
        tuned=tuned(study),
        num_seeds=study.trial_seeds,
        is_timed=study.measure.runtime is not None,
        split=measure.split_of(study),
        has_conditions=any(unit.condition for unit in study.units),
        drawn=drawn,
        levels=levels,
    ):
        writer.set_view(view)
