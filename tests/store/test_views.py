import base64
import json
import random
import string
import zlib

from harness.store import views
from harness.store.notes import EXPERIMENT_TAG_LENGTH
from harness.study.units import Unit

UNITS = [Unit("lstm"), Unit("gru"), Unit("lstm", repeat=1)]


def answer(units=UNITS, **options):
    return made(units, **options)[0].state


def made(
    units=UNITS,
    objective="validation/perplexity",
    tuned=("learning_rate", "clip_norm"),
    is_timed=True,
    num_seeds=1,
    split="test",
    known=(*views.VERDICT, *views.COSTS),
):
    return views.of_study(
        units,
        objective,
        tuned=tuned,
        num_seeds=num_seeds,
        is_timed=is_timed,
        split=split,
        known=known,
    )


def test_a_value_is_what_the_page_unpacks_and_always_the_same():
    first, again = made()[0], made()[0]
    assert first.tag == "mlflow.sharedViewState.answer" and first.value == again.value
    envelope = json.loads(first.value)
    mark, _, packed = envelope.pop("state").partition(";")
    assert envelope == {"name": "The answer, arm by arm", "createdAt": 0, "updatedAt": 0}
    assert (
        mark == "deflate" and json.loads(zlib.decompress(base64.b64decode(packed))) == first.state
    )


def test_the_address_has_no_sort_that_would_keep_the_view_out():
    assert views.address("answer") == "workflowType=machine_learning&viewStateShareKey=answer"


def test_arms_are_groups_and_folded_whatever_their_repeats():
    state = answer()
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "arm"}]
    assert state["groupsExpanded"] == {"tag.arm.lstm": False, "tag.arm.gru": False}
    assert state["runsHiddenMode"] == "SHOW_ALL"
    assert "!= 'trial'" in state["searchFilter"] and "!= 'finalist'" in state["searchFilter"]


def test_conditions_are_groups_too():
    state = answer([Unit("lstm", "docs"), Unit("lstm", "time-machine")])
    assert [key["groupByData"] for key in state["groupBy"]["groupByKeys"]] == ["condition", "arm"]
    folded = ["tag.condition.docs,tag.arm.lstm", "tag.condition.time-machine,tag.arm.lstm"]
    assert list(state["groupsExpanded"]) == folded


def test_columns_begin_with_the_verdict_and_hold_what_was_measured():
    columns = answer()["selectedColumns"]
    assert columns[:2] == ["metrics.`arm/test_perplexity`", "metrics.`arm/ratio`"]
    assert "search_spread" in " ".join(columns)
    assert "search_spread" not in " ".join(answer(known=["ratio"])["selectedColumns"])
    assert answer(split="training")["orderByKey"] == "metrics.`arm/training_perplexity`"
    assert {"metrics.`test/perplexity`", "metrics.`validation/perplexity`", "tags.`seed`"} <= set(
        columns
    )
    assert "metrics.`train/perplexity`" in answer(objective="train/perplexity")["selectedColumns"]


def test_charts_are_of_the_objective_and_of_speed_where_it_is_timed():
    assert answer()["compareRunCharts"][0]["metricKey"] == "validation/perplexity"
    axes = [
        [chart["xaxis"]["key"] for chart in answer(is_timed=t)["compareRunCharts"][2:]]
        for t in (True, False)
    ]
    assert axes == [
        ["arm/num_parameters", "arm/train_pack_1_tokens_per_second"],
        ["arm/num_parameters"],
    ]
    sections = answer()["compareRunSections"]
    assert [section["display"] for section in sections] == [True] + [False] * (len(sections) - 1)


def test_trials_are_a_view_where_something_was_tuned():
    answer_alone, (_, trials), (_, one) = made(tuned=()), made(), made(tuned=["learning_rate"])
    assert [each.key for each in answer_alone] == ["answer"]
    assert (
        trials.state["orderByKey"] == "metrics.`validation/perplexity`"
        and "groupBy" not in trials.state
    )
    assert trials.state["selectedColumns"][:3] == [
        "tags.`arm`",
        "params.`learning_rate`",
        "params.`clip_norm`",
    ]
    assert trials.state["selectedColumns"][-4:] == [
        "metrics.`seconds`",
        "metrics.`tokens_per_second`",
        "tags.`state`",
        "tags.`sample`",
    ]
    seeds = made(num_seeds=3)[1].state["selectedColumns"]
    assert seeds[:3] == ["tags.`arm`", "tags.`index`", "tags.`draw`"]
    kinds = [[chart["type"] for chart in each.state["compareRunCharts"]] for each in (trials, one)]
    assert kinds == [["SCATTER", "SCATTER", "PARALLEL"], ["SCATTER"]]


def test_a_view_of_many_arms_fits_into_a_tag():
    draw = random.Random(0)
    names = ["".join(draw.choices(string.ascii_letters, k=30)) for _ in range(400)]
    assert (
        len(made([Unit(name, "time-machine") for name in names])[0].value) <= EXPERIMENT_TAG_LENGTH
    )
