"""Views of a study for MLflow's page of runs: one for each question that a person brings.

A view says which runs, columns, order and charts the page shows first. The page keeps it as a tag
of the experiment, and opens it by its key. What a state may hold, and what the page makes of it,
was read from MLflow 3.17 and tried in a browser: docs/decisions/views.md.
"""

import base64
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.study.units import Phase
from harness.tasks.objective import Objective, objective_of

TAG = "mlflow.sharedViewState."
ANSWER, CURVES, TRIALS, COSTS = "answer", "curves", "trials", "costs"
"""The keys of the views; the first answers the study's question."""
COLOR_TAG = "mlflow.runColor"
"""The tag of a run that says how the page draws it."""

TRIALS_TAG, SEEDS_TAG = "trials", "n"
"""The tags of an arm's own run that say how many of its trials and seeds have ended."""
COSTS_OF_ARM = {
    "arm/num_parameters": "parameters",
    "arm/training_seconds": "seconds of training alone",
    "arm/train_pack_1_tokens_per_second": "tokens per second",
    "arm/flops_per_token": "FLOPs per token",
    "arm/hidden_size": "hidden size",
    "arm/searched_updates": "updates of the search",
}
"""Metric of an arm's summary -> what charts call it; the page leaves out a column of a metric that
no run has.
"""
TRIED_LOSS = "trial/loss"
"""A trial's loss as its charts show it: at most that of guessing."""
TRIED_LOG10 = "trial/log10_"
"""What stands before the name of a field that is searched by its logarithm."""

NAME, CREATED = "attributes.`Run Name`", "runDateAndNestInfo"
NAME_WIDTH, CREATED_WIDTH, COLUMN_WIDTH, CARD_HEIGHT = 170, 46, 140, 360  # pixels
# Of when a run was made there is room for MLflow's sign of its state; the pointer tells the date.
CHARACTER_WIDTH, CELL_MARGINS = 8, 24  # pixels, of a bold title
LEVEL_WIDTH = 115  # of the column of the objective
WIDTHS = {
    "verdict": 123,
    "ratio with interval": 150,
    "difference with interval": 174,
    "p": 73,
    "speed": 68,
    "parameters": 90,
    SEEDS_TAG: 56,
    TRIALS_TAG: 60,
    "state": 80,
    "sample": 300,
}
"""Of columns of tags: the whole first table of a study that compares by ratios fits beside the side
bar at 1,280 pixels. The bounds of a difference have signs, and are wider.
"""
OWN_SECTION = "own"
HEADINGS = {
    Phase.TRIAL: "Trials over seconds and updates",
    Phase.FINALIST: "Finalists over seconds and updates",
    Phase.REPLICATE: "Over seconds, and over updates",
}
"""Phase -> what stands over the curves of its runs."""
OTHER_SECTIONS = (
    *("arm", "final", "test", "train", "trial", "validation"),
    *("Model metrics", "System metrics"),
)
"""Those that MLflow makes of the words before a metric's slash, and its own two."""


@dataclass(frozen=True)
class View:
    """A state of the page, with the name that its menu of saved views shows.

    Attributes:
        key: Names the view in an address.
    """

    key: str
    name: str
    state: dict[str, Any]

    @property
    def tag(self) -> str:
        """The experiment's tag that holds the view."""
        return TAG + self.key

    @property
    def value(self) -> str:
        """The tag's value. It has no date, so that the same view is always the same text."""
        packed = base64.b64encode(zlib.compress(json.dumps(self.state).encode(), 9)).decode()
        return json.dumps(
            {"name": self.name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
        )


def address(key: str) -> str:
    """Returns the query that opens a view; a sort or a filter beside it would keep it out.

    The curves and the trials open as charts, the others as tables.
    """
    query = f"workflowType=machine_learning&viewStateShareKey={key}"
    return f"{query}&compareRunsMode=CHART" if key in (CURVES, TRIALS) else query


def verdict_columns(objective: Objective, split: str) -> tuple[str, ...]:
    """Returns tags of an arm's own run: what the report's first table says, in its order."""
    numbers = ("speed", "parameters", SEEDS_TAG)
    compared = f"{objective.scale} with interval"
    return ("verdict", compared, "p", f"{split} {objective.name}", *numbers)


def of_study(
    objective: str,
    *,
    tuned: Mapping[str, bool],
    num_seeds: int,
    is_timed: bool,
    split: str,
    has_conditions: bool,
    drawn: Phase = Phase.REPLICATE,
    levels: tuple[float, float] | None = None,
) -> list[View]:
    """Returns a study's views: its answer, its curves, its trials where it has any, its costs.

    Args:
        objective: The metric that trials are judged by.
        tuned: The parameters that were searched; whether by their logarithm.
        num_seeds: Of a trial.
        is_timed: Whether it measures runtime.
        split: Which split an arm's summary is of: ``test`` or ``training``.
        has_conditions: Whether arms stand under conditions.
        drawn: The phase whose runs have their curves drawn: before a replicate begins, a search's.
        levels: The least and the greatest number that curves show; None: whatever they have.
    """
    places = ["condition", "arm"] if has_conditions else ["arm"]
    return [
        _answer(places[:-1], objective_of(objective), split, is_timed, bool(tuned)),
        _curves(places, objective, drawn, levels),
        *([_trials(places, objective, tuned, num_seeds)] if tuned else []),
        _costs(places[:-1], objective_of(objective), split, is_timed),
    ]


def _answer(
    places: list[str], objective: Objective, split: str, is_timed: bool, is_tuned: bool
) -> View:
    """Returns the view of one row an arm: what the report's first table says, as texts.

    Rows are arms' own runs. A group of an arm's runs would show numbers alone, each with all its
    digits and the word average, and would be coloured by its name.
    """
    level, shown_as = _level(objective, split)
    trials = [TRIALS_TAG] if is_tuned else []
    shown = (*places, *verdict_columns(objective, split), *trials)
    columns = [_tag(name) for name in shown]
    charts = [
        _chart("BAR", "level", metricKey=shown_as, dataAccessKey=level),
        _against(level, shown_as, "arm/num_parameters"),
    ]
    if is_timed:
        charts.append(_against(level, shown_as, "arm/train_pack_1_tokens_per_second"))
    state = _state(columns, charts, level, objective, "phase = 'arm'")
    return View(ANSWER, "The answer, arm by arm", state)


def _curves(
    places: list[str], objective: str, drawn: Phase, levels: tuple[float, float] | None
) -> View:
    """Returns the view of one row a run, its curve in its arm's colour, over time and updates."""
    shown_as = objective_of(objective)
    columns = [_tag(name) for name in (*places, "seed", "state")]
    columns += [_metric(name) for name in (objective, f"test/{shown_as.key}", "seconds")]
    # Unless told otherwise, the page smooths, and takes updates for every chart.
    shown = {
        "metricKey": objective,
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": False,
        "useGlobalXaxisKey": False,
        "scaleType": "log" if shown_as.is_ratio else "linear",
    }
    if levels is not None:
        # Of a logarithmic axis the page takes the logarithms.
        ends = [math.log10(level) for level in levels] if shown_as.is_ratio else levels
        shown["range"] = {"yMin": ends[0], "yMax": ends[1]}
    over_seconds = {"xAxisKey": "metric", "selectedXAxisMetricKey": "seconds"}
    name = f"{objective.partition('/')[0]} {shown_as.name}"
    # MLflow writes a line's own name over it where it takes it for a metric of one machine of many,
    # which has no other metric along its axis.
    named = {
        "displayName": f"{name} over updates",
        "nodeLevelSystemMetricConfiguration": {"metric": objective, "type": "study"},
    }
    charts = [
        _chart("LINE", "over seconds", **shown, **over_seconds),
        _chart("LINE", "over updates", **shown, **named, xAxisKey="step"),
    ]
    state = _state(columns, charts, objective, shown_as, f"phase = '{drawn}'")
    state["compareRunSections"][0]["name"] = HEADINGS[drawn]
    return View(CURVES, "Curves over seconds and updates", state)


def _trials(places: list[str], objective: str, tuned: Mapping[str, bool], num_seeds: int) -> View:
    """Returns the view of one row a trial, or a seed of one, the best first.

    Beside the values that were tried stand the objective, running time and a sample. A scatter has
    no logarithmic axis, so a field that is searched by its logarithm is drawn by that.
    """
    shown = [*places, "index", "draw"] if num_seeds > 1 else places
    columns = [_tag(tag) for tag in shown] + [f"params.`{name}`" for name in tuned]
    columns += [_metric(name) for name in (objective, "seconds", "tokens_per_second")]
    columns += [_tag("state"), _tag("sample")]
    loss = _measured(TRIED_LOSS, "loss")
    axes = [
        _measured(TRIED_LOG10 + name, f"log10 of {name}")
        if is_log
        else {"type": "PARAM", "key": name}
        for name, is_log in tuned.items()
    ]
    charts = [_scatter(name, axis, loss) for name, axis in zip(tuned, axes, strict=True)]
    if len(tuned) > 1:
        params = [name for name, is_log in tuned.items() if not is_log]
        metrics = [TRIED_LOG10 + name for name, is_log in tuned.items() if is_log]
        charts.append(
            _chart(
                "PARALLEL",
                "all tuned",
                selectedParams=params,
                selectedMetrics=[*metrics, TRIED_LOSS],
            )
        )
    state = _state(columns, charts, objective, objective_of(objective), "phase = 'trial'")
    return View(TRIALS, "Trials", state)


def _costs(places: list[str], objective: Objective, split: str, is_timed: bool) -> View:
    """Returns the view of what an arm costs, as numbers that the page sorts by."""
    level, shown_as = _level(objective, split)
    columns = [_tag(name) for name in (*places, "verdict", f"{split} {objective.name}")]
    columns += [_metric(name) for name in COSTS_OF_ARM]
    speed = "arm/train_pack_1_tokens_per_second"
    charts = [_against(level, shown_as, speed)] if is_timed else []
    charts += [
        _chart("BAR", metric, metricKey=name, dataAccessKey=metric)
        for metric, name in list(COSTS_OF_ARM.items())[: 3 if is_timed else 1]
    ]
    return View(COSTS, "Costs", _state(columns, charts, level, objective, "phase = 'arm'"))


def _width(column: str) -> int:
    """Returns the pixels of a column whose title is long: MLflow shows the whole name there."""
    return max(COLUMN_WIDTH, CHARACTER_WIDTH * len(column.split("`")[1]) + CELL_MARGINS)


def _level(objective: Objective, split: str) -> tuple[str, str]:
    """Returns the metric that arms are compared by, and what charts call it."""
    return f"arm/{split}_{objective.key}", f"{split} {objective.name}"


def _against(level: str, shown_as: str, cost: str) -> dict[str, Any]:
    return _scatter(cost, _measured(cost, COSTS_OF_ARM[cost]), _measured(level, shown_as))


def _measured(metric: str, name: str) -> dict[str, str]:
    """Returns an axis of a metric under another name, of which the page makes a chart's title."""
    return {"type": "METRIC", "key": name, "dataAccessKey": metric}


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _tag(name: str) -> str:
    return f"tags.`{name}`"


def _state(
    columns: list[str],
    charts: list[dict[str, Any]],
    level: str,
    objective: Objective,
    runs: str,
) -> dict[str, Any]:
    """Returns a state that shows all runs with a tag, the best by ``level`` first.

    Of the sections of charts it opens its own alone.
    """
    sections: list[dict[str, Any]] = [
        {"uuid": OWN_SECTION, "name": "What the study asks", "display": True}
    ]
    sections[0] |= {"columns": 2, "cardHeight": CARD_HEIGHT}
    sections += [{"uuid": name, "name": name, "display": False} for name in OTHER_SECTIONS]
    widths = {_tag(name): width for name, width in WIDTHS.items()}
    widths[_tag(f"test {objective.name}")] = LEVEL_WIDTH
    return {
        "searchFilter": f"tags.{runs}",
        "orderByKey": _metric(level),
        "orderByAsc": objective.better == "lower",
        "selectedColumns": columns,
        "columnOrder": [NAME, CREATED, *columns],
        "columnWidths": {NAME: NAME_WIDTH, CREATED: CREATED_WIDTH}
        | {column: widths.get(column) or _width(column) for column in columns},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,  # else the page sorts the sections by name
    }


def _scatter(uuid: str, x: dict[str, str], y: dict[str, str]) -> dict[str, Any]:
    return _chart("SCATTER", uuid, xaxis=x, yaxis=y)


def _chart(kind: str, uuid: str, **own: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": uuid,
        "metricSectionId": OWN_SECTION,
        "runsCountToCompare": 100,
        **own,
    }
