"""Statistics of states travel as JSON; what no worker wrote is refused by field and value."""

import json
import math
from dataclasses import replace

import pytest

from harness.training.fields import MessageError
from harness.training.messages import RunEnded, RunState, message_from_json
from harness.training.state_statistics import MOST_STEPS, StateStatistics, StateSummary

C = StateSummary(0, "c", 1.5, 1.0, 2.0, 3.0, 4.0, 0.25, (0.5, 0.25))
H = replace(C, state="h", saturated=0.0)
STATISTICS = StateStatistics("validation", 32, 7, 2, (H, C), (1.0, 0.5))


def test_statistics_survive_json():
    assert StateStatistics.from_json(STATISTICS.to_json()) == STATISTICS
    end = RunEnded("a", 3, 1.5, RunState.FINISHED, states=STATISTICS)
    assert message_from_json(end.to_json()) == end
    assert "states" not in RunEnded("a", 3, 1.5, RunState.FINISHED).to_json()


def test_sizes_and_norms_need_not_be_finite():
    strange = replace(C, rms=math.inf, largest=math.inf, gradient_norms=(math.inf, 0.0))
    found = replace(STATISTICS, states=(strange,), gradient_norms=(math.inf, 0.0))
    assert StateStatistics.from_json(found.to_json()) == found


def changed(path, value):
    values = json.loads(STATISTICS.to_json())
    inner = values
    for name in path[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return values


WRONG = [
    (changed(["split"], 3), "split must be a text"),
    (changed(["num_streams"], -1), "num_streams must be a whole number from 0"),
    (changed(["num_windows"], ...), "num_windows must be given, but is missing"),
    (changed(["num_steps"], 0), "num_steps must be from 1 to 512, but got num_steps=0"),
    (changed(["num_steps"], MOST_STEPS + 1), "num_steps must be from 1 to 512"),
    (changed(["gradient_norms"], [1.0]), "gradient_norms must be a list of 2 numbers"),
    (changed(["gradient_norms"], [1.0, "2"]), "gradient_norms must be a list of 2 numbers"),
    (changed(["gradient_norms"], 1.0), "gradient_norms must be a list of 2 numbers"),
    (changed(["states"], {}), "states must be a list of at most 10,000 objects"),
    (changed(["states", 1], 3), r"states\[1\] must be a JSON object, but got 3"),
    (changed(["states", 1, "layer"], 0.5), r"states\[1\].layer must be a whole number from 0"),
    (changed(["states", 0, "rms"], "x"), r"states\[0\].rms must be a number, but got rms='x'"),
    (
        changed(["states", 0, "saturated"], math.nan),
        r"states\[0\].saturated must be a finite number",
    ),
    (changed(["states", 0, "colour"], 1), r"states\[0\].colour must be left out"),
    (changed(["colour"], 1), "colour must be left out"),
]


@pytest.mark.parametrize("values, rule", WRONG)
def test_what_no_worker_wrote_is_refused_by_field_and_value(values, rule):
    with pytest.raises(MessageError, match=f"records: {rule}"):
        StateStatistics.from_json(json.dumps(values))
    end = json.loads(RunEnded("a", 3, 1.5, RunState.FINISHED, states=STATISTICS).to_json())
    end["info"]["states"] = values
    with pytest.raises(MessageError, match=f"records: info.states.{rule}"):
        message_from_json(json.dumps(end))


@pytest.mark.parametrize("text", ["", "{", "nothing"])
def test_a_text_that_is_no_json_is_refused(text):
    with pytest.raises(MessageError, match="states: must be what a worker wrote, but got"):
        StateStatistics.from_json(text)
