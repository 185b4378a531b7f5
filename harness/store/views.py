"""Views of a study for MLflow's page of runs.

A view says which runs, columns, order, groups and charts a person sees first.

The page keeps such a view as a tag of the experiment, and opens it by its key. What a state may
hold, and what the page makes of it, was read from MLflow 3.17 and tried in a browser:
docs/decisions/views.md.
"""

import base64
import json
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.study.units import Unit

TAG = "mlflow.sharedViewState."
ANSWER = "answer"
"""The key of the view that answers the study's question."""

VERDICT = (
    "ratio",
    "ratio_low",
    "ratio_high",
    "search_spread",
    "ratio_low_with_search",
    "ratio_high_with_search",
    "p_holm",
    "train_pack_1_speed",
)
COSTS = (
    "num_parameters",
    "training_seconds",
    "train_pack_1_tokens_per_second",
    "flops_per_token",
    "hidden_size",
    "searched_updates",
)
"""Of an arm's summary, in the order of columns; what is not known of any arm has none."""

NAME, CREATED = "attributes.`Run Name`", "runDateAndNestInfo"
NAME_WIDTH, CREATED_WIDTH, COLUMN_WIDTH, CARD_HEIGHT = 225, 75, 105, 360  # pixels
MOST_FOLDED = 50
OWN_SECTION = "own"
OTHER_SECTIONS = ("arm", "test", "train", "validation", "Model metrics", "System metrics")


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
    """Returns the query that opens a view; a sort or a filter beside it would keep it out."""
    return f"workflowType=machine_learning&viewStateShareKey={key}"


def of_study(
    units: Iterable[Unit],
    objective: str,
    *,
    tuned: Iterable[str],
    num_seeds: int,
    is_timed: bool,
    split: str,
    known: Collection[str],
) -> list[View]:
    """Returns a study's views: its answer and, where something was tuned, its trials.

    Args:
        units: Of the study.
        objective: The metric that trials are judged by.
        tuned: The parameters that were searched.
        num_seeds: Of a trial.
        is_timed: Whether it measures runtime.
        split: Which split the perplexity of an arm's summary is of: ``test`` or ``training``.
        known: The numbers that an arm's summary has.
    """
    arms = list(dict.fromkeys(unit.first_repeat for unit in units))
    tags = ["condition", "arm"] if any(arm.condition for arm in arms) else ["arm"]
    tuned = list(tuned)
    return [
        _answer(arms, tags, objective, is_timed, f"arm/{split}_perplexity", known),
        *([_trials(tags, objective, tuned, num_seeds)] if tuned else []),
    ]


def _answer(
    arms: Sequence[Unit],
    tags: list[str],
    objective: str,
    is_timed: bool,
    level: str,
    known: Collection[str],
) -> View:
    """Returns the view of one row an arm, with its seeds folded.

    The row shows the summary of the arm's own run, then the means of its replicates.

    The page loads a hundred runs at a time. Sorted by a summary, the arms' own runs are among the
    first.
    """
    summary = [f"arm/{name}" for name in (*VERDICT, *COSTS) if name in known]
    columns = [_metric(name) for name in (level, *summary)]
    columns += [_metric("test/perplexity"), _metric(objective), "tags.`seed`", "tags.`state`"]
    charts = [
        # Unless told otherwise, the page smooths: a falling curve then stands above its own band.
        _chart(
            "LINE",
            "curve",
            metricKey=objective,
            lineSmoothness=0,
            useGlobalLineSmoothing=False,
            scaleType="log",
        ),
        _chart("BAR", "test", metricKey="test/perplexity"),
        _scatter("parameters", ("METRIC", "arm/num_parameters"), ("METRIC", level)),
    ]
    if is_timed:
        charts.append(
            _scatter(
                "speed",
                ("METRIC", "arm/train_pack_1_tokens_per_second"),
                ("METRIC", level),
            )
        )
    state = _state(
        columns,
        charts,
        _metric(level),
        "tags.phase != 'trial' AND tags.phase != 'finalist' AND tags.phase != 'superseded'",
    )
    keys = [{"mode": "tag", "groupByData": tag} for tag in tags]
    state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
    groups = [",".join(f"tag.{tag}.{getattr(arm, tag)}" for tag in tags) for arm in arms]
    state["groupsExpanded"] = dict.fromkeys(groups[:MOST_FOLDED], False)
    return View(ANSWER, "The answer, arm by arm", state)


def _trials(tags: list[str], objective: str, tuned: list[str], num_seeds: int) -> View:
    """Returns the view of one row a trial, or a seed of one, the best first.

    Beside the values that were tried stand perplexity, running time and what was written.
    """
    shown = [*tags, "index", "draw"] if num_seeds > 1 else tags
    columns = [f"tags.`{tag}`" for tag in shown] + [f"params.`{name}`" for name in tuned]
    columns += [_metric(name) for name in (objective, "seconds", "tokens_per_second")]
    columns += ["tags.`state`", "tags.`sample`"]
    loss = objective.replace("perplexity", "loss")  # a scatter has no logarithmic axis
    charts = [_scatter(name, ("PARAM", name), ("METRIC", loss)) for name in tuned]
    if len(tuned) > 1:
        charts.append(_chart("PARALLEL", "all tuned", selectedParams=tuned, selectedMetrics=[loss]))
    return View(
        "trials", "Trials", _state(columns, charts, _metric(objective), "tags.phase = 'trial'")
    )


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _state(
    columns: list[str], charts: list[dict[str, Any]], order: str, runs: str
) -> dict[str, Any]:
    """Returns a state that shows all runs of a filter, sorted upwards.

    Of the sections of charts it opens its own alone.
    """
    sections: list[dict[str, Any]] = [
        {"uuid": OWN_SECTION, "name": "What the study asks", "display": True}
    ]
    sections[0] |= {"columns": 2, "cardHeight": CARD_HEIGHT}
    sections += [{"uuid": name, "name": name, "display": False} for name in OTHER_SECTIONS]
    return {
        "searchFilter": runs,
        "orderByKey": order,
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": [NAME, CREATED, *columns],
        "columnWidths": {NAME: NAME_WIDTH, CREATED: CREATED_WIDTH}
        | dict.fromkeys(columns, COLUMN_WIDTH),
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,  # else the page sorts the sections by name
    }


def _scatter(uuid: str, x: tuple[str, str], y: tuple[str, str]) -> dict[str, Any]:
    axes = {axis: {"type": kind, "key": key} for axis, (kind, key) in (("xaxis", x), ("yaxis", y))}
    return _chart("SCATTER", uuid, **axes)


def _chart(kind: str, uuid: str, **own: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": uuid,
        "metricSectionId": OWN_SECTION,
        "runsCountToCompare": 100,
        **own,
    }
