"""Main effects and interaction of a two-way cross, where every arm is a pair of two fields."""

from collections.abc import Mapping, Sequence

from harness.report import measure, number_texts, stages
from harness.report.arm_results import ArmResult
from harness.report.searches import value_text
from harness.report.tables import Section
from harness.statistics import factorial
from harness.statistics.factorial import Contrast
from harness.study import Arm, Study
from harness.tasks.objective import Objective, objective_of


def section(study: Study, results: Sequence[ArmResult]) -> Section | None:
    """Returns a row per main effect and per interaction.

    An arm that does not compare with the baseline is left out, and with it the effects that need
    it. None: the arms are no cross of two fields, or nothing compares.
    """
    if len(study.crossed) != 2:
        return None
    a_name, b_name = study.crossed
    cells = {arm.name: (_level(arm, a_name), _level(arm, b_name)) for arm in study.arms}
    base = cells[study.baseline.name]
    levels = [_levels(cells, base, side) for side in (0, 1)]
    if any(len(each) < 2 for each in levels):
        return None
    is_out = {r.name for r in results if r.is_open or r.incomparable or not r.losses}
    losses = {cells[r.name]: r.losses for r in results if r.name not in is_out}
    first = stages.num_first(study, [dict(of_cell) for of_cell in losses.values()])
    effects = factorial.two_way(losses, *levels, first=first)
    objective = objective_of(study.measure.objective)
    rows = _main_rows(objective, a_name, base[0], b_name, effects.a)
    rows += _main_rows(objective, b_name, base[1], a_name, effects.b)
    rows += [
        (f"{a_name} = {a} with {b_name} = {b}", "interaction", *_texts(objective, effect))
        for (a, b), effect in effects.interactions.items()
    ]
    if not rows:
        return None
    unit = measure.unit(study)
    header = (
        "Effect",
        "Kind",
        f"{objective.scale.capitalize()} (95 %)",
        "p (Holm)",
        f"{unit.capitalize()}s",
    )
    title = (
        f"Main effects and interaction of {a_name} and {b_name}: {objective.scale}s of the"
        f" {measure.measured(study)}, by {unit}s{measure.without_search(study)}"
    )
    return Section(title, header, rows)


def _level(arm: Arm, field: str) -> str:
    return value_text(getattr(arm.settings, field))


def _levels(cells: Mapping[str, tuple[str, str]], base: tuple[str, str], side: int) -> list[str]:
    return list(dict.fromkeys([base[side], *(cell[side] for cell in cells.values())]))


def _main_rows(
    objective: Objective, field: str, baseline: str, other: str, effects: Mapping[str, Contrast]
) -> list[tuple[str, ...]]:
    return [
        (
            f"{field} = {level} against {baseline}, over {other} = {', '.join(effect.over)}",
            "main effect",
            *_texts(objective, effect),
        )
        for level, effect in effects.items()
    ]


def _texts(objective: Objective, effect: Contrast) -> tuple[str, str, str]:
    seeds = f"{effect.num_finished} of {effect.num_seeds} finished"
    if effect.mean is None:
        return "", "", seeds
    ratio, low, high = number_texts.difference_texts(objective, effect.mean, effect.interval)
    if effect.num_lost:
        return f"{ratio} (conditional)", "", seeds
    p = effect.adjusted_p
    p_text = "" if p is None else number_texts.p_text(p).removeprefix("= ")
    return (f"{ratio} ({low} to {high})" if low else ratio), p_text, str(effect.num_seeds)
