"""A study's page in MLflow while it is trained: its views, its arms' colours, what has ended."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from harness.report import arm_results, colors
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
        self._title, self._told_at, self._told = "", -math.inf, dict[Unit, str]()
        self._is_prepared = False

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
    def training(self, title: str) -> Iterator[None]:
        """Says that this is trained, and that it stopped where an exception ends it."""
        self.begin(title)
        try:
            yield
        except BaseException:
            with signals.held():
                self._tell("stopped")
            raise

    def begin(self, title: str) -> None:
        """Says what is trained now; the first time it makes the page ready."""
        self._title = title
        if not self._is_prepared:
            for arm in self._arms:
                self._writer.show_arm(arm, self.tags(arm))
            set_views(self._study, self._writer)
            self._is_prepared = True
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
        ended = {arm: self._ended(arm) for arm in self._arms}
        for arm, text in ended.items():
            if self._told.get(arm) != text:
                self._writer.show_arm(arm, {views.PROGRESS_TAG: text})
        self._told = ended
        links = page_texts.links(self._writer.experiment_id, keys(self._study))
        texts = {str(arm): text for arm, text in ended.items()}
        moment = time.strftime("%Y-%m-%d %H:%M")
        self._writer.describe(page_texts.under_way(state, self._title, texts, moment, links))

    def _ended(self, arm: Unit) -> str:
        """Returns what has ended of an arm, such as ``3 of 8 trials, 0 of 5 seeds``."""
        study = self._study
        counts = Counter(key.phase for key in self._ends if key.unit.first_repeat == arm)
        parts = []
        repeats = study.tune.repeats if study.tune else 1
        if study.tune is not None:
            planned = study.tune.num_trials * study.tune.seeds * repeats
            # A search that is extended has more than was planned.
            parts.append(f"{counts[Phase.TRIAL]} of {max(planned, counts[Phase.TRIAL])} trials")
        planned = study.replicate.seeds * repeats
        done = counts[Phase.REPLICATE]
        return ", ".join([*parts, f"{done} of {max(planned, done)} seeds"])


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
    study: Study, writer: BackgroundWriter, levels: tuple[float, float] | None = None
) -> None:
    """Keeps a study's views; ``levels`` bound what its curves show."""
    for view in views.of_study(
        study.measure.objective,
        tuned=tuned(study),
        num_seeds=study.tune.seeds if study.tune else 1,
        is_timed=study.measure.runtime is not None,
        split=arm_results.split_of(study),
        has_conditions=any(unit.condition for unit in study.units),
        levels=levels,
    ):
        writer.set_view(view)
