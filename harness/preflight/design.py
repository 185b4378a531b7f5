"""Whether a study's design can show anything, before anything trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from harness.report.comparability import text_of
from harness.statistics import inference
from harness.study import Study, problem_of_arms, problems_of_texts


class DesignError(ValueError):
    """The design cannot reach its own threshold."""


def check_design(study: Study, force: bool) -> None:
    """Raises DesignError where the study cannot reach its own threshold, unless forced."""
    problem = design_problem(study)
    if problem is not None and not force:
        raise DesignError(problem)


class StudyFault(ValueError):
    """A study cannot run, for several reasons; the message has a line for each."""


@contextmanager
def told_with_all(study: Study, force: bool) -> Iterator[None]:
    """Has an error of a check told together with what a later check would find.

    That is a design that shows nothing, unless forced, and texts that are not there.

    Raises:
        StudyFault: There was an error, and there is more to tell.
    """
    try:
        yield
    except ValueError as error:
        lines = [str(problem) for problem in problems_of_texts(study)]
        if not force and not isinstance(error, DesignError):
            lines += filter(None, [design_problem(study)])
        if not lines:
            raise
        raise StudyFault("\n".join([str(error), *lines])) from error


def num_comparisons(study: Study) -> int:
    """Returns how many arms of a condition are tested against its baseline.

    They are those that read its text.
    """
    text = text_of(study.baseline.settings)
    return sum(text_of(arm.settings) == text for arm in study.arms if not arm.is_baseline)


def design_problem(study: Study) -> str | None:
    """Returns why the study cannot reach its own threshold, and what to do; None where it can.

    Every condition is a family of comparisons of its own. All problems are told, a line each.
    """
    parts = [study.under(condition) for condition in study.conditions]
    found = dict.fromkeys(problem for part in parts for problem in _problems(part))
    arms = [arm.key for arm in study.arms]
    return "\n".join(str(problem_of_arms(study, arms, *each)) for each in found) or None


class _Problem(NamedTuple):
    """What a design cannot do.

    Attributes:
        field: Of the study file, that decides it.
        message: The rule, the value and the remedy.
        code: Of the message.
    """

    field: tuple[str, ...]
    message: str
    code: str


def _problems(part: Study) -> Iterator[_Problem]:
    comparisons, phase = num_comparisons(part), part.measure.runtime
    if comparisons == 0:
        message = (
            f"an arm must read the text of the baseline ({part.baseline.key}) to be compared with "
            "it, but none does. Write texts under across, or give --force."
        )
        yield _Problem(("compare",), message, "nothing-compared")
    else:
        yield from _too_few(_pairs_field(part), part.num_pairs, "sign-flip", comparisons, part)
    if phase is not None:
        num_speeds = len(part.arms) - 1
        yield from _too_few("measure.runtime.rounds", phase.rounds, "sign-test", num_speeds, part)


def _pairs_field(part: Study) -> str:
    """Returns the field of the study file that says how many pairs there are."""
    if part.replicate.until is not None:
        return "replicate.seeds.first"
    return "tune.repeats" if part.is_repeated else "replicate.seeds"


def _too_few(
    field: str, count: int, test: str, comparisons: int, part: Study
) -> Iterator[_Problem]:
    """Yields a problem where all of ``count`` signs agreeing cannot pass Holm's first step."""
    threshold, name = part.measure.threshold, field.rpartition(".")[2]
    smallest_p = inference.smallest_p(count)
    if smallest_p > threshold / comparisons:
        message = (
            f"the smallest {test} p, 2/2^n, must not exceed {threshold:g}/{comparisons} "
            f"({comparisons} comparison{'s' if comparisons > 1 else ''}), but got {name}={count}, "
            f"whose smallest p is {smallest_p:.3g}. "
            f"Write {name}: {inference.seeds_needed(comparisons, threshold)} or more, "
            "or give --force."
        )
        yield _Problem(tuple(field.split(".")), message, "too-few-pairs")
