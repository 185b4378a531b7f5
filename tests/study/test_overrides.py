"""What ``--set`` changes of a study, before it is checked."""

from pathlib import Path

import pytest
from two_studies import CROSS, without

from harness import study


def test_overrides_are_applied_before_the_check_and_recorded():
    overrides = [
        "fix.hidden_size=128",
        "compare.cross.cell=[lstm, gru]",
        "tune.clip_norm.choices=[1]",
        "measure.runtime=none",
    ]
    s = study.loads(CROSS, overrides=overrides)
    assert s.overrides == tuple(overrides) and s.baseline.settings.hidden_size == 128
    assert [arm.name for arm in s.arms] == ["lstm", "gru"] and s.tune.space[
        "clip_norm"
    ] == study.Choices((1.0,))
    assert s.measure.runtime is None


def test_an_override_makes_the_block_that_it_needs():
    assert (
        study.loads(without(CROSS, "replicate:"), overrides=["replicate.seeds=7"]).replicate.seeds
        == 7
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "fix.hiden_size=128",
            "fix.hiden_size: must be a field of fix, but got hiden_size=128. "
            "Did you mean hidden_size?",
        ),
        (
            "fix.hidden_size=big",
            "fix.hidden_size: must be a whole number or none, but got hidden_size='big'.",
        ),
        ("fix.hidden_size=1_000", "fix.hidden_size: a number must be digits without `_`"),
        (
            "fix.hidden_size",
            "override: must be PATH=VALUE, but got 'fix.hidden_size'. Write for example",
        ),
        ("fix..x=1", "override: must be PATH=VALUE, but got 'fix..x=1'."),
        (
            "study.name=x",
            "study.name: must be a mapping to hold a field, but got study='output-tanh'.",
        ),
        ("fix.batch_size=[1", "fix.batch_size: must be valid YAML"),
        ("compare.cross.cell=[lstm, grv]", "compare.cross.cell[1]: must be the name of a cell"),
    ],
)
def test_a_wrong_override_names_itself(override, message):
    with pytest.raises(study.StudyError, match="must") as caught:
        study.loads(CROSS, overrides=[override])
    assert str(caught.value).startswith(f"--set {override}: {message}")
    assert [(p.line, p.column) for p in caught.value.problems] == [(0, 0)]


@pytest.mark.parametrize("value", ["none", "null", "~"])
def test_samples_can_be_switched_off_from_the_command_line(value):
    path = Path(__file__).parents[2] / "studies" / "quickstart.yaml"
    loaded = study.load(path, [f"measure.samples={value}"])
    assert loaded.measure.samples.prefixes == ()
    written = study.dump(loaded.resolved())
    assert study.loads(written).measure == loaded.measure
