"""The main table of a report, a row an arm, and what every table is: texts under a head."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.report import number_texts, sentences
from harness.report.arm_results import ArmResult
from harness.report.number_texts import number
from harness.report.result_numbers import difference_in
from harness.tasks.objective import Reading

LONG_ROWS = 12
"""A table with more rows is folded away, or left out where nothing folds: a figure or another table
shows its gist at a glance.
"""

NUMBER_TEXT = re.compile(r"[-+<]?\s?[\d.,]*\d( %)?( \(.*\))?( of \d+(, .*)?)?")


@dataclass(frozen=True)
class Section:
    """A table of texts with its title, and a ``note`` below it that explains its words."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    @property
    def are_numbers(self) -> tuple[bool, ...]:
        """Whether most cells of a column are numbers, which are set to the right, by column."""
        columns = [[row[i] for row in self.rows if row[i]] for i in range(len(self.header))]
        return tuple(
            2 * sum(bool(NUMBER_TEXT.fullmatch(cell)) for cell in cells) > len(cells)
            for cells in columns
        )

    def without_empty(self, *optional: str) -> "Section":
        """Returns the table without those ``optional`` columns that are empty in all rows."""
        kept = [
            i
            for i, name in enumerate(self.header)
            if name not in optional or any(row[i] for row in self.rows)
        ]
        rows = [tuple(row[i] for i in kept) for row in self.rows]
        return replace(self, header=tuple(self.header[i] for i in kept), rows=rows)


def verdicts(results: Sequence[ArmResult], title: str, unit: str) -> Section:
    """Returns the main table, without columns that say nothing, such as bits for words.

    ``title`` says what is compared, ``unit`` what a pair is: a seed or a repeat.
    """
    objective = results[0].objective
    scale = objective.scale.capitalize()
    readings = objective.readings
    optional = (
        "Spread of the search",
        f"{scale} with that spread (95 %)",
        *(each.title for each in readings),
        *(f"Difference in {each.unit} (95 %)" for each in readings if each.unit),
        "p (sign-flip)",
        "Note",
    )
    header = (
        "Arm",
        "Verdict",
        f"{title}, 95 %",
        f"{scale} (95 %)",
        *optional[:-2],
        "p (Holm)",
        "p (sign-flip)",
        f"{unit.capitalize()}s ended",
        "Note",
    )
    rows = [
        (
            result.name,
            sentences.word(result),
            _level_text(result),
            ratio_text(result),
            _spread_text(result),
            wide_text(result).partition(" ")[2].strip("()"),
            *(_reading_text(result, each) for each in readings),
            *(_reading_difference_text(result, each) for each in readings if each.unit),
            holm_text(result),
            _flip_text(result),
            _seeds_text(result),
            _note_text(result),
        )
        for result in results
    ]
    return Section(title, header, rows).without_empty(*optional)


def short_verdicts(results: Sequence[ArmResult], title: str, unit: str) -> Section:
    """Returns the columns of the main table that a verdict rests on, which a narrow page holds."""
    scale = results[0].objective.scale.capitalize()
    header = ("Arm", "Verdict", f"{title}, 95 %", f"{scale} (95 %)", "p (Holm)")
    rows = [
        (
            result.name,
            sentences.word(result),
            _level_text(result),
            decided_text(result),
            holm_text(result),
            _seeds_text(result),
        )
        for result in results
    ]
    return Section(title, (*header, f"{unit.capitalize()}s ended"), rows)


def _level_text(result: ArmResult) -> str:
    if result.mean is None:
        return "none"
    mark = f" ({result.num_finished} finished only)" if result.num_diverged else ""
    text = number_texts.level_text(result.objective, result.mean, result.interval)
    return text if result.interval is not None else text + mark


def ratio_text(result: ArmResult) -> str:
    """Returns ``1.031 (1.012 to 1.050)``, of differences with their sign, or nothing."""
    decision = result.decision
    if decision is None or decision.mean is None:
        return ""
    texts = number_texts.difference_texts(result.objective, decision.mean, decision.interval)
    return _ranged(*texts, result)


def _spread_text(result: ArmResult) -> str:
    return "" if result.search_spread is None else result.objective.amount(result.search_spread)


def wide_text(result: ArmResult) -> str:
    """Returns the ratio with the interval that holds the search's own spread too, or nothing."""
    wide = result.decision.wide if result.decision else None
    if result.decision is None or result.decision.mean is None or wide is None:
        return ""
    texts = number_texts.difference_texts(result.objective, result.decision.mean, wide)
    return _ranged(*texts, result)


def decided_text(result: ArmResult) -> str:
    """Returns the ratio with the interval that the verdict rests on, or nothing."""
    return wide_text(result) or ratio_text(result)


def _note_text(result: ArmResult) -> str:
    """Returns what the number does not show: it is that of a run's best evaluation."""
    objective = result.objective
    if result.fall is None or result.fall <= objective.within(objective.near):
        return ""
    unit = f" {objective.loss_unit}" if objective.loss_unit else ""
    side = "above" if objective.better == "lower" else "below"
    return f"ended {result.fall:.2g}{unit} {side} its best"


def _reading_difference_text(result: ArmResult, reading: Reading) -> str:
    difference = difference_in(result, reading)
    if difference is None:
        return ""
    return _ranged(*number_texts.ratio_texts(*difference, sign="+"), result)


def _ranged(value: str, low: str, high: str, result: ArmResult) -> str:
    assert result.decision is not None
    if result.decision.num_finished < result.decision.num_pairs:
        return f"{value} (conditional)"
    return f"{value} ({low} to {high})" if low else value


def holm_text(result: ArmResult) -> str:
    """Returns the adjusted p, or nothing."""
    return p_cell(result.decision.adjusted_p if result.decision else None)


def p_cell(p: float | None) -> str:
    """Returns a probability under its head, or nothing."""
    return "" if p is None else number_texts.p_text(p).removeprefix("= ")


def _flip_text(result: ArmResult) -> str:
    flip = result.decision.sign_flip if result.decision else None
    if flip is None:
        return ""
    text = p_cell(flip.p)
    return text if flip.is_exact else f"{text} (Monte Carlo)"


def _seeds_text(result: ArmResult) -> str:
    ends = [f"{result.num_finished} of {result.num_planned}"]
    ends += [f"{result.num_diverged} diverged"] if result.num_diverged else []
    ends += [f"{result.num_not_learned} not learned"] if result.num_not_learned else []
    ends += [f"{result.num_failed} failed"] if result.num_failed else []
    return ", ".join(ends)


def _reading_text(result: ArmResult, reading: Reading) -> str:
    if result.mean is None or reading not in result.readings:
        return ""
    return number(reading.read(result.mean, result.readings[reading]), decimals=3)


def tuned_values(results: Sequence[ArmResult], unit: str) -> Section:
    """Returns the values that each arm's replicates were trained at.

    Where a ``unit`` is a repeat, they are those of the first repeat.
    """
    names = sorted({name for result in results for name in result.params})
    rows = [
        (r.name, *(_value_text(r.params.get(name)) for name in names)) for r in results if r.params
    ]
    title = "Tuned values" if unit == "seed" else f"Tuned values of the first {unit}"
    return Section(title, ("Arm", *names), rows)


def _value_text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
