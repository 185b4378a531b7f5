"""What a report asks of a study, and nothing more.

``harness.study.Study`` satisfies it, and so does whatever else has these attributes: a report reads
no study file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from harness.settings import Settings

if TYPE_CHECKING:
    from harness.study import Choices, Range


class ArmLike(Protocol):
    """One compared setting; a tuned field has its default in ``settings``."""

    @property
    def name(self) -> str:
        """The name, which no other arm of the condition has."""
        ...

    @property
    def condition(self) -> str:
        """The name of the arm's condition; empty where there is one without a name."""
        ...

    @property
    def settings(self) -> Settings:
        """What the arm is trained with."""
        ...

    @property
    def is_baseline(self) -> bool:
        """Whether the other arms are compared with this one."""
        ...

    @property
    def searched(self) -> Sequence[str]:
        """The tuned fields that act in the arm."""
        ...


class TuneLike(Protocol):
    """How every arm is searched."""

    @property
    def space(self) -> "Mapping[str, Range | Choices]":
        """Tuned field -> the values that are tried."""
        ...

    @property
    def sampler(self) -> str:
        """The name of what chooses the values."""
        ...

    @property
    def num_trials(self) -> int:
        """Number of trials of one search of one arm."""
        ...

    @property
    def repeats(self) -> int:
        """How often the whole of tuning and replicating is done."""
        ...

    @property
    def batch(self) -> int:
        """Trials of a round."""
        ...

    @property
    def search_seed(self) -> int:
        """What the points of the first repeat's search derive from."""
        ...

    @property
    def seeds(self) -> int:
        """Seeds of every trial, whose objective is their mean."""
        ...

    @property
    def finalists(self) -> int:
        """How many of the best settings run again before one is chosen; 1: none."""
        ...

    @property
    def finalist_seeds(self) -> int:
        """Fresh seeds of every finalist."""
        ...

    @property
    def at_most(self) -> int | None:
        """The most trials of an arm, where an open search goes on; None: ``num_trials``."""
        ...


class ReplicateLike(Protocol):
    """The replicates of every arm; replicate j trains with the seed ``first_seed`` + j."""

    @property
    def seeds(self) -> int:
        """Number of seeds; where ``until`` is given, those of the first stage."""
        ...

    @property
    def first_seed(self) -> int:
        """The seed of replicate 0."""
        ...

    @property
    def until(self) -> float | None:
        """Half the width of the 95 % interval that is asked for, in the unit of the margin."""
        ...

    @property
    def at_most(self) -> int | None:
        """The largest number of seeds; a number wherever ``until`` is one."""
        ...


class MeasureLike(Protocol):
    """What is reported of the runs."""

    @property
    def objective(self) -> str:
        """What trials are judged by, such as ``validation/perplexity``."""
        ...

    @property
    def margin(self) -> float:
        """The margin of equivalence.

        It is a fraction of objectives that are compared by their ratio, and of others in their
        own unit.
        """
        ...

    @property
    def threshold(self) -> float:
        """The family-wise error rate."""
        ...

    @property
    def target(self) -> float | None:
        """The value of the objective whose time is told; None: derived from the baseline's."""
        ...

    @property
    def states(self) -> bool:
        """Whether the states of replicates are measured."""
        ...

    @property
    def runtime(self) -> object | None:
        """How runtime is measured; None: it is not."""
        ...


class StudyLike(Protocol):
    """One question, its arms, and how it is answered."""

    @property
    def version(self) -> int:
        """That of the study format."""
        ...

    @property
    def name(self) -> str:
        """The name of the study."""
        ...

    @property
    def question(self) -> str:
        """What is asked; may be empty."""
        ...

    @property
    def source(self) -> str:
        """Where the question or the settings come from; may be empty."""
        ...

    @property
    def path(self) -> Path | None:
        """The study file; None: there is none."""
        ...

    @property
    def text(self) -> str:
        """The study file's text."""
        ...

    @property
    def overrides(self) -> Sequence[str]:
        """What was set beside the study file, each as ``PATH=VALUE``."""
        ...

    @property
    def arms(self) -> Sequence[ArmLike]:
        """The arms, of all conditions."""
        ...

    @property
    def baseline(self) -> ArmLike:
        """The arm that the others are compared with; of several conditions, the first one's."""
        ...

    @property
    def tune(self) -> TuneLike | None:
        """How every arm is searched; None: it is not."""
        ...

    @property
    def replicate(self) -> ReplicateLike:
        """How often every arm is trained."""
        ...

    @property
    def measure(self) -> MeasureLike:
        """What is reported."""
        ...

    @property
    def condition(self) -> str:
        """The condition that the study is of; empty where there are several, or none by name."""
        ...

    @property
    def conditions(self) -> Sequence[str]:
        """The names of all conditions, at least one; the only one's may be empty."""
        ...

    @property
    def crossed(self) -> Sequence[str]:
        """The fields whose product the arms are; none where arms have names of their own."""
        ...

    def under(self, condition: str) -> Self:
        """Returns the study of one condition alone."""
        ...
