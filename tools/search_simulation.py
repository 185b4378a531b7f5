"""Searches over planted landscapes, judged by the code that the bench judges with.

Every study searches its arms over landscapes whose lowest points are known, with the shared design,
the brackets, the extension and the finalists of harness/tuning, replicates what was chosen, and
decides with the search's spread. A landscape whose arms have equally low points must seldom end in
better or worse, though the arms differ in where these points lie; a planted difference must be
found. Run as ``python tools/search_simulation.py`` it writes studies/results/search-simulation.csv
(minutes on one core); the draws are pure functions of the setting, so it writes the same file
again. See docs/decisions/search.md.
"""

import csv
import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from landscapes import (
    APART,
    CLIFF,
    CLIFFS,
    EQUAL_ERRORS,
    FADING,
    FAR,
    FIRST,
    IRRELEVANT,
    LARGE,
    ONE_OUTSIDE,
    OUTSIDE,
    PERPLEXITIES,
    SAME,
    SMALL,
    STEEP,
    STEEPER,
    TWO_FIELDS,
    WORSE_BEFORE_CLIFF,
    WORSE_ERRORS,
)
from scipy import stats
from simulated_search import TOLD_APART, Search, Setting, Simulated

ROOT = Path(__file__).resolve().parent.parent
CSV = ROOT / "studies" / "results" / "search-simulation.csv"
PAGE = ROOT / "docs" / "decisions" / "search.md"
NUM_STUDIES = 400
MOST_FALSE = 0.07
"""What the upper 95 % bound (Clopper and Pearson 1934) of false verdicts must not exceed."""

FOUR = Search(4, grid=True)
EIGHT = Search(8)
THREE_SEEDS = Search(8, seeds=3)
SIX_SEEDS = Search(4, seeds=6)
FINALISTS = Search(8, finalists=3, finalist_seeds=5)
SIXTEEN = Search(16, at_most=32)
SIXTEEN_FINALISTS = Search(16, finalists=4, finalist_seeds=8, at_most=32)
SIXTEEN_SEEDS = Search(16, seeds=3, at_most=32)
NOISES = (0.005, 0.02, 0.05)
EQUAL = (SAME, APART, FAR, STEEP, CLIFF, CLIFFS, FADING)


POWERS = {
    **{(SMALL.name, 0.005, search): 0.95 for search in (EIGHT, THREE_SEEDS, FINALISTS)},
    (SMALL.name, 0.02, THREE_SEEDS): 0.6,
    (SMALL.name, 0.02, FINALISTS): 0.7,
    **{(LARGE.name, 0.005, search): 0.95 for search in (EIGHT, THREE_SEEDS, FINALISTS)},
    (LARGE.name, 0.005, SIX_SEEDS): 0.9,
    **{(LARGE.name, 0.02, search): 0.95 for search in (THREE_SEEDS, FINALISTS)},
    **{(LARGE.name, 0.02, search): 0.85 for search in (EIGHT, SIX_SEEDS)},
    (LARGE.name, 0.05, FINALISTS): 0.45,
    ("mean squared error, 1.5 times the errors", 0.1, EIGHT): 0.5,
    ("mean squared error, 1.5 times the errors", 0.1, FINALISTS): 0.95,
    **{("mean squared error, 3 times the errors", 0.1, s): 0.95 for s in (EIGHT, FINALISTS)},
    ("mean squared error, 3 times the errors", 0.3, FINALISTS): 0.9,
    ("accuracy, 1.5 times the errors", 0.1, FINALISTS): 0.4,
    **{("accuracy, 3 times the errors", 0.1, s): 0.95 for s in (EIGHT, FINALISTS)},
    ("accuracy, 3 times the errors", 0.3, FINALISTS): 0.7,
}
"""Landscape, noise and search -> how often the planted effect is claimed to be found, at least."""


def _settings() -> Iterator[Setting]:
    for landscape in EQUAL:
        for noise in NOISES:
            yield Setting(landscape, noise, EIGHT)
            yield Setting(landscape, noise, FINALISTS)
        for search in (FOUR, SIX_SEEDS, THREE_SEEDS):
            yield Setting(landscape, 0.02, search)
    for landscape in (IRRELEVANT, TWO_FIELDS):
        for noise in NOISES:
            yield Setting(landscape, noise, SIXTEEN)
        for search in (SIXTEEN_SEEDS, SIXTEEN_FINALISTS, Search(16)):
            yield Setting(landscape, 0.02, search)
    for landscape in (OUTSIDE, ONE_OUTSIDE):
        for search in (EIGHT, Search(8, at_most=16)):
            yield Setting(landscape, 0.02, search)
    yield Setting(STEEPER, 0.005, FOUR, claims=False)
    for landscape in (SAME, APART):
        for noise in (0.005, 0.02):
            for search in (EIGHT, FINALISTS):
                yield Setting(landscape, noise, search, is_shared=False, claims=False)
    yield from _planted()
    yield from _judged_by_errors()


def _judged_by_errors() -> Iterator[Setting]:
    """Yields studies of a mean squared error and of an accuracy; noise is that of its logarithm."""
    for landscape in (*EQUAL_ERRORS, *WORSE_ERRORS):
        for noise in (0.1, 0.3):
            for search in (EIGHT, FINALISTS):
                power = POWERS.get((landscape.name, noise, search), 0.0)
                yield Setting(landscape, noise, search, power=power)


def _planted() -> Iterator[Setting]:
    for noise in (0.01, 0.02, 0.03):
        yield Setting(FIRST, noise, FOUR, power=0.9)
        yield Setting(FIRST, noise, Search(4, at_most=8), power=0.9)
    for landscape in (SMALL, LARGE):
        for noise in NOISES:
            for search in (EIGHT, SIX_SEEDS, THREE_SEEDS, FINALISTS):
                power = POWERS.get((landscape.name, noise, search), 0.0)
                yield Setting(landscape, noise, search, power=power)
        yield Setting(landscape, 0.02, FINALISTS, is_shared=False)
    for landscape in WORSE_BEFORE_CLIFF:
        for noise in (0.005, 0.02):
            yield Setting(landscape, noise, FINALISTS)


SETTINGS = tuple(_settings())
FACTORS = (1.0, 1.5, 2.0, 2.5, 3.0)
COLUMNS = (
    *("landscape", "objective", "effect", "fields", "noise"),
    *("trials", "seeds", "finalists", "finalist_seeds", "at_most", "grid", "cost", "shared"),
    *("studies", "told_apart", "by_seeds_alone", "wrong", "equivalent", "not_comparable"),
    *("intervals", "covered"),
    *(f"told_apart_k_{factor:g}" for factor in FACTORS),
    *(f"told_apart_halves_k_{factor:g}" for factor in FACTORS),
    *("median_spread", "claim", "limit", "bound", "holds"),
)


def row(setting: Setting, num_studies: int = NUM_STUDIES) -> dict[str, object]:
    """Returns a row of the CSV: what the studies of a setting ended in, and what is claimed.

    ``told_apart`` counts the studies that end in better or worse (or in one of the two with
    equivalent), ``wrong`` those of them that err: all of equal arms, and those with the other sign
    of a planted effect. ``intervals`` are those with S, where no pair diverged, and ``covered``
    those of them that hold the true difference of the lowest points. ``bound`` is the 95 % bound
    (Clopper and Pearson, one side) that the claim is about: from above for what is claimed to be
    rare, from below for power.
    """
    ends = [Simulated(setting, number).outcome() for number in range(num_studies)]
    known = [end for end in ends if end is not None]
    verdicts = [end.verdict() for end in known]
    effect = setting.landscape.effect
    told = sum(verdict in TOLD_APART for verdict in verdicts)
    is_right = ("worse", "equivalent and higher") if effect else ()
    wrong = told - sum(verdict in is_right for verdict in verdicts)
    covered = [held for end in known if (held := end.covers(effect)) is not None]
    spreads = [end.spread for end in known if end.spread is not None]
    return {
        "landscape": setting.landscape.name,
        "objective": setting.landscape.judged.objective.key,
        "effect": round(effect, 4),
        "fields": setting.landscape.num_fields,
        "noise": setting.noise,
        **dataclasses.asdict(setting.search),
        "cost": setting.search.cost,
        "shared": setting.is_shared,
        "studies": num_studies,
        "told_apart": told,
        "by_seeds_alone": sum(end.verdict_of_seeds_alone() in TOLD_APART for end in known),
        "wrong": wrong,
        "equivalent": sum(verdict.startswith("equivalent") for verdict in verdicts),
        "not_comparable": verdicts.count("not comparable"),
        "intervals": len(covered),
        "covered": sum(covered),
        **{
            f"told_apart{how}_k_{factor:g}": sum(
                end.is_told_apart(factor, by_halves=bool(how)) for end in known
            )
            for how in ("", "_halves")
            for factor in FACTORS
        },
        "median_spread": f"{statistics.median(spreads):.4f}",
        **claim(setting, told - wrong, wrong, num_studies),
    }


def claim(setting: Setting, right: int, wrong: int, num_studies: int) -> dict[str, object]:
    """Returns what is claimed of a setting's studies, and whether the counts bear it out."""
    if setting.power:
        low = float(stats.beta.ppf(0.05, right, num_studies - right + 1)) if right else 0.0
        is_held, limit = low >= setting.power, setting.power
        text, bound = "found", low
    elif setting.claims:
        is_all = wrong == num_studies
        high = 1.0 if is_all else float(stats.beta.ppf(0.95, wrong + 1, num_studies - wrong))
        is_held, limit = high <= MOST_FALSE, MOST_FALSE
        text, bound = "wrong", high
    else:
        return {"claim": "", "limit": "", "bound": "", "holds": ""}
    return {"claim": text, "limit": limit, "bound": f"{bound:.4f}", "holds": is_held}


FROM, TO = "<!-- table: written by tools/search_simulation.py -->\n", "<!-- end of table -->\n"
SEARCHES = {
    "4 rates of a grid": FOUR,
    "8 trials": EIGHT,
    "4 trials with 6 seeds each": SIX_SEEDS,
    "8 trials with 3 seeds each": THREE_SEEDS,
    "8 trials, 3 finalists with 5 seeds each": FINALISTS,
}


def markdown(table: Sequence[Mapping[str, str]]) -> str:
    """Returns the table of docs/decisions/search.md: searches of one field that arms share."""
    lines = [
        "| search | runs of an arm | equal arms told apart, by seeds alone | with S "
        "| 5 % worse found | 10 % worse found |",
        "|---|---|---|---|---|---|",
    ]
    for words, search in SEARCHES.items():
        rows = [row for row in table if _is_of(row, search)]
        equal = [row for row in rows if float(row["effect"]) == 0.0 and row["claim"]]
        most = [max(_percent(row, name) for row in equal) for name in ("by_seeds_alone", "wrong")]
        found = [
            " / ".join(
                f"{_percent(row, 'told_apart'):.0f} %"
                for row in rows
                if row["landscape"] == landscape.name
            )
            or "not simulated"
            for landscape in (SMALL, LARGE)
        ]
        cells = [words, search.cost, *(f"{each:.1f} %" for each in most), *found]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _is_of(row: Mapping[str, str], search: Search) -> bool:
    fields = dataclasses.asdict(search).items()
    is_of_text = row["objective"] == PERPLEXITIES.objective.key
    return (
        row["shared"] == "True"
        and is_of_text
        and all(row[name] == str(value) for name, value in fields)
    )


def _percent(row: Mapping[str, str], name: str) -> float:
    return 100.0 * int(row[name]) / int(row["studies"])


def main() -> None:
    """Writes the CSV, a row as soon as it is known, and the table of the page."""
    with CSV.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for setting in SETTINGS:
            writer.writerow(row(setting))
            file.flush()
    with CSV.open(encoding="utf-8", newline="") as file:
        table = markdown(list(csv.DictReader(file)))
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(FROM)[0], page.split(TO)[1]
    PAGE.write_text(f"{before}{FROM}{table}{TO}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
