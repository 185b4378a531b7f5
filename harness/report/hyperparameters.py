"""What the searches tell of the tuned fields: good values, and what tuning bought.

Everything here describes the trials that were made. None of it is a test: a trial has one seed, and
an adaptive sampler chose its values by the trials before it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.report.number_texts import number, ratio_texts
from harness.report.searches import (
    Domain,
    Search,
    objective_name,
    searches,
    space_of,
    value_text,
)
from harness.report.sentences import listed
from harness.report.tables import Section
from harness.report.tried import ENDS, counted
from harness.store.frames import excerpt
from harness.study import Choices, Range, Study
from harness.tasks.objective import objective_of, split_of
from harness.training.messages import RunState

FEW_ARMS = 4
"""The most arms that fit into a sentence; more get a table."""
MOST_VALUES = 100
"""The most rows of an arm in a table of what was tried; of more values neighbours share a row."""

# Sensitivity


def sensitivity(study: Study, trials: pd.DataFrame) -> list[str]:
    """Returns a sentence per tuned field: the least range of all trials near their arm's best.

    With more than ``FEW_ARMS`` arms it tells the baseline's, the narrowest and the widest;
    :func:`sensitivity_section` has all.
    """
    by_arm = searches(study, trials)
    if study.tune is None or not any(len(search.finished) for search in by_arm):
        return []
    space = space_of(study, by_arm)
    # From version 2 on, most trials are points that all arms share, which no sampler chose.
    made = (
        f"that the sampler {study.tune.sampler} chose" if study.version == 1 else "that were made"
    )
    others = ", in which the other tuned fields vary too," if len(space) > 1 else ","
    near = f"the finished trials within {_near(study)} of their arm's best"
    remark = f"This describes the trials {made}{others} and is not a test."
    return [
        f"{field}, searched {_searched(domain)}: {near} {objective_name(study)} are"
        f" {_clauses(study, by_arm, field, domain)}. {remark}"
        for field, domain in space.items()
    ]


def _near(study: Study) -> str:
    objective = objective_of(study.measure.objective)
    return objective.margin_text(objective.near)


def _clauses(study: Study, by_arm: Sequence[Search], field: str, domain: Domain) -> str:
    if len(by_arm) <= FEW_ARMS:
        return "; ".join(_clause(search, field, domain) for search in by_arm)
    base = next(search for search in by_arm if search.arm == study.baseline.name)
    texts = [_clause(base, field, domain)]
    others = [search for search in by_arm if search is not base and len(search.near) > 1]
    if not isinstance(domain, Choices) and others:
        widths = {each.arm: _width(domain, each.values(each.near, field)) for each in others}
        least, most = min(widths, key=widths.__getitem__), max(widths, key=widths.__getitem__)
        by_name = {each.arm: each for each in others}
        texts += [f"the narrowest of the others, {_clause(by_name[least], field, domain)}"]
        texts += [f"the widest, {_clause(by_name[most], field, domain)}"] if most != least else []
    return "; ".join(texts)


def _clause(search: Search, field: str, domain: Domain) -> str:
    num_finished, num_near = len(search.finished), len(search.near)
    if num_finished == 0:
        return f"none of {search.arm}'s, of which none finished"
    if num_near == 1:
        return f"only one of {search.arm}'s {num_finished}, {_extent(search, field, domain)}"
    return f"{num_near} of {search.arm}'s {num_finished}, {_extent(search, field, domain)}"


def _searched(domain: Domain) -> str:
    if isinstance(domain, Choices):
        return f"among {listed([value_text(choice) for choice in domain.choices])}"
    ratio = domain.high / domain.low if domain.log else 0.0
    factor = (
        f" (a factor of {ratio:,.0f})"
        if ratio >= 10
        else f" (a factor of {ratio:.2g})"
        if ratio
        else ""
    )
    return f"from {value_text(domain.low)} to {value_text(domain.high)}{factor}"


def _extent(search: Search, field: str, domain: Domain) -> str:
    """Returns where the near trials lie, and between which others.

    A range is shown no wider than its trials let it be seen.
    """
    values = search.values(search.near, field)
    if isinstance(domain, Choices):
        return f"at {listed([value_text(choice) for choice in domain.choices if choice in values])}"
    low, high = min(values), max(values)
    others = search.values(search.worse, field)
    below, above = [v for v in others if v < low], [v for v in others if v > high]
    nearest_below = value_text(max(below)) if below else "none"
    nearest_above = value_text(min(above)) if above else "none"
    beyond = f"(nearest worse trials: {nearest_below} below, {nearest_above} above)"
    if low == high:
        return f"at {value_text(low)} {beyond}"
    span = f"{value_text(low)} to {value_text(high)} {beyond}"
    return f"within a factor of {_factor(high / low)}: {span}" if domain.log else f"from {span}"


def _width(domain: Range, values: Sequence[Any]) -> float:
    return math.log(max(values) / min(values)) if domain.log else max(values) - min(values)


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 2 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def sensitivity_section(study: Study, trials: pd.DataFrame) -> Section | None:
    """Returns a row per arm with what :func:`sensitivity` tells of some arms.

    None: its sentences tell it of all.
    """
    by_arm = searches(study, trials)
    if len(by_arm) <= FEW_ARMS or not any(len(search.finished) for search in by_arm):
        return None
    space = space_of(study, by_arm)
    rows = [
        (
            search.arm,
            "none" if search.best is None else number(search.objective.level(search.best)),
            f"{len(search.near)} of {len(search.finished)}",
            *(_cell(search, field, domain) for field, domain in space.items()),
        )
        for search in by_arm
    ]
    header = (
        "Arm",
        f"Best {objective_name(study)}",
        f"Finished trials within {_near(study)}",
        *space,
    )
    return Section(
        "Tuned values near each arm's best: of the trials made, not a test", header, rows
    )


def _cell(search: Search, field: str, domain: Domain) -> str:
    text = _extent(search, field, domain) if len(search.near) else ""
    return text.removeprefix("at ").removeprefix("from ").removeprefix("within a ")


# What every value came to


def values_tried(study: Study, trials: pd.DataFrame) -> list[Section]:
    """Returns a table per tuned field: its number, running time and a sample at every value.

    There is a row per arm and value that was tried, at most ``MOST_VALUES`` an arm: of more values
    neighbours share one. Of several trials in a row it shows the best one; the other tuned fields
    vary from row to row.
    """
    by_arm = searches(study, trials)
    if study.tune is None or not by_arm:
        return []
    split, seeds = split_of(study.measure.objective), study.tune.seeds
    title = objective_of(study.measure.objective).title
    header = ("Trials", f"{title} ({split})", "Seconds of a run", "Tokens/s", "Sample")
    sections = []
    for field, domain in space_of(study, by_arm).items():
        tried = {search.arm: _by_value(search, field, domain) for search in by_arm}
        rows = [row for search in by_arm for row in _rows_of(search, tried[search.arm], seeds)]
        heading = f"What every value of {field} came to: of the trials made, not a test"
        if any(frame["place"].nunique() > frame["row"].nunique() for frame in tried.values()):
            heading += f"; of more than {MOST_VALUES} values neighbours share a row"
        section = Section(heading, ("Arm", field, *header), rows)
        sections.append(section.without_empty("Seconds of a run", "Tokens/s", "Sample"))
    return sections


def _by_value(search: Search, field: str, domain: Domain) -> pd.DataFrame:
    """Returns an arm's trials by a field's ``value``, with its ``place`` in the domain and ``row``.

    That is the number of the table's row.
    """
    values = pd.Series(search.values(search.rows, field), index=search.rows.index, dtype=object)
    if isinstance(domain, Choices):
        places = row = values.map(domain.choices.index).astype("float64")
    else:
        places = values.astype("float64")
        ranks = places.rank(method="dense") - 1.0
        count = ranks.max() + 1.0
        row = ranks * min(count, MOST_VALUES) // count
    tried = search.rows.assign(place=places, row=row, value=values)[places.notna()]
    return tried.sort_values("place", kind="stable")


def _rows_of(search: Search, tried: pd.DataFrame, seeds: int) -> list[tuple[str, ...]]:
    lowest = tried.drop_duplicates("row")["value"]
    highest = tried.drop_duplicates("row", keep="last")["value"]
    counts = tried.groupby("row").size()
    tried = tried.assign(is_unfinished=tried["state"] != RunState.FINISHED)
    order = ["row", "is_unfinished", "loss", "index"]
    bests = tried.sort_values(order, kind="stable").drop_duplicates("row").to_dict("records")
    rows: list[tuple[str, ...]] = []
    for best, low, high, count in zip(bests, lowest, highest, counts, strict=True):
        seconds, tokens = float(best.get("seconds", math.nan)) / seeds, best.get("tokens")
        rate = math.nan if pd.isna(tokens) else float(tokens) / seeds / seconds
        ends = dict.fromkeys((value_text(low), value_text(high)))
        cells = (
            str(count),
            _level_text(search, best),
            "" if math.isnan(seconds) else number(seconds),
            "" if math.isnan(rate) else number(rate, decimals=0),
            excerpt(best["samples"]) if isinstance(best.get("samples"), list) else "",
        )
        rows.append((search.arm, " to ".join(ends), *cells))
    return rows


def _level_text(search: Search, trial: Any) -> str:
    """Returns a trial's number, or how it ended without one of its own."""
    if trial["not_learned"]:
        return "not learned"
    if trial["state"] == RunState.FINISHED:
        return number(search.objective.level(float(trial["loss"])))
    if trial["state"] == RunState.PRUNED:
        return f"pruned at {number(search.objective.level(float(trial['loss'])))}"
    return str(trial["state"])


# What tuning bought

OVER_REPEATS = (
    "The first and the best trial are means over the repeats, of the losses; the median is that of"
    " all trials."
)


def bought(study: Study, trials: pd.DataFrame) -> Section | None:
    """Returns a row per arm: its trials by their end, and the number that they reached.

    That is the number of the first trial, the median of the finished ones, and the best. The
    first trial is what no tuning would have given: a draw from the range. Over several repeats,
    it is that of the mean loss over the searches. None: no trial has ended.
    """
    by_arm = searches(study, trials)
    if not by_arm:
        return None
    rows = [(search.arm, _ends(search), *_levels(search)) for search in by_arm]
    header = (
        "Arm",
        "Trials",
        "First trial",
        "Median of the finished",
        "Best trial",
        "Best / first" if by_arm[0].objective.is_ratio else "Best - first",
    )
    title = f"What tuning bought: {objective_name(study)} of the trials"
    return Section(title, header, rows, OVER_REPEATS if trials["repeat"].nunique() > 1 else "")


def _ends(search: Search) -> str:
    if not len(search.rows):
        return "none"
    counts = counted(search.rows, ENDS)
    return ", ".join(f"{n} {end}" for end, n in counts.items() if n)


def _levels(search: Search) -> tuple[str, str, str, str]:
    objective, firsts = search.objective, search.rows.groupby("repeat").head(1)
    started = firsts[firsts.index.isin(search.finished.index)]
    best = search.finished.groupby("repeat")["loss"].min()
    ends = firsts["state"].mask(firsts["not_learned"].fillna(False).astype(bool), "not learned")
    first_text = listed(list(dict.fromkeys(ends))) if len(firsts) else ""
    gain = ""
    if len(started):
        first = float(started["loss"].mean())
        first_text = number(objective.level(first))
        first_text += (
            f" ({len(started)} of {len(firsts)} finished)" if len(started) < len(firsts) else ""
        )
        gained = float(best[started["repeat"]].mean()) - first
        gain, _, _ = ratio_texts(objective.difference(gained), None, sign=objective.sign)
    if best.empty:
        return first_text, "none", "none", gain
    middle = float(search.finished["loss"].median())
    middle_text, best_text = (number(objective.level(x)) for x in (middle, float(best.mean())))
    return first_text, middle_text, best_text, gain


def importance_section(importances: Mapping[str, Mapping[str, float]]) -> Section | None:
    """Returns every arm's shares, arm -> tuned field -> share of 1, in percent.

    None: no arm has any.
    """
    fields = list(dict.fromkeys(field for shares in importances.values() for field in shares))
    if not fields:
        return None
    rows = [
        (arm, *(f"{100 * shares[field]:.0f} %" if shares else "too few trials" for field in fields))
        for arm, shares in importances.items()
    ]
    title = (
        "Share of each tuned field in what told an arm's best trials from the rest: PED-ANOVA, not"
        " a test"
    )
    return Section(title, ("Arm", *fields), rows)
