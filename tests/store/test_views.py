import base64
import json
import zlib

from harness.store import columns, views
from harness.store.notes import EXPERIMENT_TAG_LENGTH
from harness.tasks.objective import OBJECTIVES, Objective

TUNED = {"learning_rate": True, "clip_norm": False}


def made(
    objective="validation/perplexity",
    tuned=TUNED,
    is_timed=True,
    num_seeds=1,
    split="test",
    has_conditions=False,
    levels=None,
):
    found = views.of_study(
        objective,
        tuned=tuned,
        num_seeds=num_seeds,
        is_timed=is_timed,
        split=split,
        has_conditions=has_conditions,
        levels=levels,
    )
    return {view.key: view for view in found}


def state(key, **options):
    return made(**options)[key].state


def test_a_value_is_what_the_page_unpacks_and_always_the_same():
    first, again = made()["answer"], made()["answer"]
    assert first.tag == "mlflow.sharedViewState.answer" and first.value == again.value
    envelope = json.loads(first.value)
    mark, _, packed = envelope.pop("state").partition(";")
    assert envelope == {"name": "The answer, arm by arm", "createdAt": 0, "updatedAt": 0}
    assert (
        mark == "deflate" and json.loads(zlib.decompress(base64.b64decode(packed))) == first.state
    )


def test_the_address_has_no_sort_that_would_keep_the_view_out():
    assert views.address("answer") == "workflowType=machine_learning&viewStateShareKey=answer"
    assert views.address("curves").endswith("&viewStateShareKey=curves&compareRunsMode=CHART")


def test_there_is_a_view_for_each_question_and_trials_where_something_was_tuned():
    assert list(made()) == ["answer", "curves", "trials", "costs"]
    assert list(made(tuned={})) == ["answer", "curves", "costs"]
    shown = {key: view.state["searchFilter"] for key, view in made().items()}
    assert shown == {
        "answer": "tags.phase = 'arm'",
        "curves": "tags.phase = 'replicate'",
        "trials": "tags.phase = 'trial'",
        "costs": "tags.phase = 'arm'",
    }
    assert all("groupBy" not in view.state for view in made().values())


def test_the_answer_is_the_first_table_of_the_report_in_texts():
    columns = state("answer")["selectedColumns"]
    names = ["verdict", "ratio with interval", "p", "test perplexity", "speed", "parameters", "n"]
    assert columns[: len(names)] == [f"tags.`{name}`" for name in names]
    assert state("answer")["orderByKey"] == "metrics.`arm/test_perplexity`"
    trained = state("answer", split="training", objective="train/perplexity")
    assert trained["orderByKey"] == "metrics.`arm/training_perplexity`"
    assert "tags.`training perplexity`" in trained["selectedColumns"]


def test_a_number_that_is_better_high_is_sorted_downwards_and_drawn_as_it_is(monkeypatch):
    accuracy = Objective("accuracy", "accuracy", "accuracies", "difference", len, better="higher")
    monkeypatch.setitem(OBJECTIVES, "accuracy", accuracy)
    answer = state("answer", objective="validation/accuracy")
    assert answer["orderByKey"] == "metrics.`arm/test_accuracy`" and not answer["orderByAsc"]
    columns = {"tags.`difference with interval`", "tags.`test accuracy`"}
    assert columns <= set(answer["selectedColumns"])
    curves = state("curves", objective="validation/accuracy")
    assert curves["orderByKey"] == "metrics.`validation/accuracy`" and not curves["orderByAsc"]
    assert {chart["scaleType"] for chart in curves["compareRunCharts"]} == {"linear"}
    assert {chart["scaleType"] for chart in state("curves")["compareRunCharts"]} == {"log"}


def test_conditions_stand_before_arms():
    assert state("answer", has_conditions=True)["selectedColumns"][0] == "tags.`condition`"
    both = ["tags.`condition`", "tags.`arm`"]
    assert state("curves", has_conditions=True)["selectedColumns"][:2] == both
    assert state("curves")["selectedColumns"][0] == "tags.`arm`"


def test_the_first_table_fits_beside_the_side_bar():
    answer = state("answer")
    check_boxes, page = 73, 1280 - 254
    assert sum(answer["columnWidths"].values()) + check_boxes <= page
    assert answer["columnOrder"][-1] == "tags.`trials`"
    assert state("answer", tuned={})["columnOrder"][-1] == "tags.`n`"


def test_curves_are_drawn_over_seconds_and_over_updates_on_log_axes():
    seconds, updates = state("curves")["compareRunCharts"]
    assert (seconds["xAxisKey"], seconds["selectedXAxisMetricKey"]) == ("metric", "seconds")
    assert updates["xAxisKey"] == "step"
    for chart in (seconds, updates):
        assert chart["metricKey"] == "validation/perplexity" and chart["scaleType"] == "log"
        assert not chart["useGlobalXaxisKey"] and "range" not in chart
    bounded = state("curves", levels=(10.0, 100.0))["compareRunCharts"]
    assert [chart["range"] for chart in bounded] == [{"yMin": 1.0, "yMax": 2.0}] * 2


def test_fields_that_are_searched_by_their_logarithm_are_drawn_by_it():
    rate, norm, parallel = state("trials")["compareRunCharts"]
    assert rate["xaxis"]["dataAccessKey"] == "trial/log10_learning_rate"
    assert norm["xaxis"] == {"type": "PARAM", "key": "clip_norm"}
    assert {chart["yaxis"]["dataAccessKey"] for chart in (rate, norm)} == {"trial/loss"}
    assert parallel["selectedParams"] == ["clip_norm"]
    assert parallel["selectedMetrics"] == ["trial/log10_learning_rate", "trial/loss"]
    one = state("trials", tuned={"learning_rate": True})["compareRunCharts"]
    assert [chart["type"] for chart in one] == ["SCATTER"]


def test_trials_show_what_was_tried_and_written():
    columns = state("trials")["selectedColumns"]
    assert columns[:3] == ["tags.`arm`", "params.`learning_rate`", "params.`clip_norm`"]
    assert columns[-2:] == ["tags.`state`", "tags.`sample`"]
    seeds = state("trials", num_seeds=3)["selectedColumns"]
    assert seeds[:3] == ["tags.`arm`", "tags.`index`", "tags.`draw`"]


def test_costs_and_speed_are_drawn_where_they_are_timed():
    kinds = [[c["type"] for c in state("costs", is_timed=t)["compareRunCharts"]] for t in (1, 0)]
    assert kinds == [["SCATTER", "BAR", "BAR", "BAR"], ["BAR"]]
    axes = [
        [c["xaxis"]["dataAccessKey"] for c in state("answer", is_timed=t)["compareRunCharts"][1:]]
        for t in (True, False)
    ]
    assert axes == [
        ["arm/num_parameters", "arm/train_pack_1_tokens_per_second"],
        ["arm/num_parameters"],
    ]


def test_the_section_of_the_study_alone_is_open():
    sections = state("answer")["compareRunSections"]
    assert [section["display"] for section in sections] == [True] + [False] * (len(sections) - 1)


def test_every_metric_of_a_run_has_a_section_that_is_listed():
    named = {column.partition("/")[0] for column in columns.RUN_DTYPES if "/" in column}
    assert named and named <= set(views.OTHER_SECTIONS)


def test_a_view_of_many_fields_fits_into_a_tag():
    tuned = {f"a_field_with_a_long_name_{i}": bool(i % 2) for i in range(40)}
    assert all(len(view.value) <= EXPERIMENT_TAG_LENGTH for view in made(tuned=tuned).values())


def test_every_chart_of_a_view_has_a_title_of_its_own_in_plain_words():
    titles = {
        key: [title(chart) for chart in view.state["compareRunCharts"]]
        for key, view in made().items()
    }
    speed = "tokens per second vs. test perplexity"
    assert titles == {
        "answer": ["test perplexity", "parameters vs. test perplexity", speed],
        "curves": ["validation/perplexity", "validation perplexity over updates"],
        "trials": ["log10 of learning_rate vs. loss", "clip_norm vs. loss", "all tuned"],
        "costs": [speed, "parameters", "seconds of training alone", "tokens per second"],
    }
    heading = state("curves")["compareRunSections"][0]["name"]
    assert heading == "Over seconds, and over updates"


def title(chart):
    """What the page writes over a chart, but for parallel axes: tests/browser looks at it."""
    if chart["type"] == "SCATTER":
        return f"{chart['xaxis']['key']} vs. {chart['yaxis']['key']}"
    return chart.get("displayName") or chart.get("metricKey", chart["uuid"])
