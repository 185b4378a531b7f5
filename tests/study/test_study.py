"""The arms of a study and what each is given."""

from pathlib import Path

import pytest
from two_studies import ARMS, CROSS, without

from harness import study
from harness.settings import Budget

ROOT = Path(__file__).parents[2]

OWN_CELL = '''
from torch import tanh

from cells import Cell


class Own(Cell):
    """h' = tanh(W_h x + R_h h + b_h).

    Source: this test.
    Reference: none.
    Differs: no parent.
    """

    name = "own-for-test"
    gates = ("h",)

    def step(self, p, x, h):
        return (tanh(x.h + p.R(h).h),)
'''


def test_a_cross_of_one_field_names_arms_by_its_values():
    s = study.loads(CROSS)
    assert (s.name, s.version, s.source, s.path, s.text) == (
        "output-tanh",
        1,
        "a reader's remark",
        None,
        CROSS,
    )
    assert [(arm.name, arm.settings.cell, arm.is_baseline) for arm in s.arms] == [
        ("lstm", "lstm", True),
        ("lstm-no-output-tanh", "lstm-no-output-tanh", False),
    ]
    assert s.baseline is s.arms[0]
    assert s.arms[1].settings.hidden_size == 256 and s.arms[1].settings.budget == Budget(
        tokens=2_000_000
    )
    assert s.tune == study.Tune(
        space={
            "learning_rate": study.Range(0.01, 10.0, log=True),
            "clip_norm": study.Choices((0.25, 1.0, 4.0)),
        },
        trials=24,
        batch=4,
        sampler="tpe",
        pruner="median",
        search_seed=0,
    )
    assert s.replicate == study.Replicate(seeds=10, first_seed=1000)
    assert s.measure == study.Measure(samples=study.SampleRequest(("traveller", "time traveller")))


def test_named_arms_override_fix_and_none_is_none():
    s = study.loads(ARMS)
    scratch, framework, as_fixed = (arm.settings for arm in s.arms)
    assert [arm.name for arm in s.arms] == [
        "scratch",
        "framework",
        "as-fixed",
    ] and s.baseline.name == "scratch"
    assert (scratch.cell, framework.cell, as_fixed.cell) == ("lstm", "lstm", "gru")
    assert scratch.budget == Budget(epochs=1) and framework.budget == Budget(epochs=280)
    assert (
        scratch.clip_norm == 0.01 and scratch.forget_bias is None and scratch.evaluations == "epoch"
    )
    assert (
        scratch.num_parameters == 300_000
        and scratch.hidden_size is None
        and scratch.split == "none"
    )
    assert (
        s.measure.runtime is None
        and s.tune is None
        and s.replicate == study.Replicate(seeds=5, first_seed=1000)
    )


def test_a_cross_of_several_fields_is_their_product_with_names_safe_for_files():
    text = CROSS.replace(
        "cross: {cell: [lstm, lstm-no-output-tanh]}",
        "cross: {cell: [lstm, gru], biases: [1, 2], max_offset: [none, 3], "
        "budget: [{tokens: 9}, {seconds: 0.5}]}",
    ).replace(
        "baseline: {cell: lstm}",
        "baseline: {biases: 1, cell: gru, max_offset: none, budget: {tokens: 9}}",
    )
    s = study.loads(without(text, "budget:"))
    assert len(s.arms) == 16 and len({arm.name for arm in s.arms}) == 16
    assert s.arms[3].name == "cell=lstm,biases=1,max_offset=3,budget=0.5-seconds"
    assert s.baseline.name == "cell=gru,biases=1,max_offset=none,budget=9-tokens"


def test_a_cross_of_one_numeric_field_names_the_field_too():
    text = CROSS.replace("cell: [lstm, lstm-no-output-tanh]", "biases: [1, 2]").replace(
        "{cell: lstm}", "{biases: 2}"
    )
    s = study.loads(text.replace("fix: ", "fix:\n  cell: lstm "))
    assert [arm.name for arm in s.arms] == [
        "biases=1",
        "biases=2",
    ] and s.baseline.name == "biases=2"


def test_the_default_batch_does_not_depend_on_the_trials():
    text = without(CROSS, "batch: 4")
    assert study.loads(text).tune.batch == 4
    assert study.loads(text.replace("trials: 24", "trials: 3")).tune.batch == 4


def test_searched_sizes_layers_and_none_among_choices():
    space = "  hidden_size: {low: 64, high: 256, step: 64}\n  num_layers: {choices: [1, 2]}\n"
    space += "  dropout: {low: 0, high: 0.5}\n  max_offset: {choices: [0, none]}\n"
    s = study.loads(
        without(CROSS, "hidden_size:").replace("  trials: 24\n", space + "  trials: 24\n")
    )
    assert s.tune.space["hidden_size"] == study.Range(64, 256, step=64)
    assert s.tune.space["dropout"] == study.Range(0.0, 0.5) and isinstance(
        s.tune.space["dropout"].low, float
    )
    assert s.tune.space["max_offset"] == study.Choices((0, None))


def test_a_fixed_field_must_act_in_one_arm_at_least():
    depth = CROSS.replace("cell: [lstm, lstm-no-output-tanh]", "num_layers: [1, 2]")
    depth = depth.replace("{cell: lstm}", "{num_layers: 1}").replace(
        "fix: ", "fix:\n  cell: lstm\n  dropout: 0.2 "
    )
    assert {arm.settings.dropout for arm in study.loads(depth).arms} == {0.2}
    with pytest.raises(
        study.StudyError,
        match=r"fix.dropout: must stand with num_layers > 1 .* but got dropout=0.2",
    ):
        study.loads(depth.replace("[1, 2]", "[1]"))


def test_files_are_relative_to_the_study(tmp_path):
    (tmp_path / "own.py").write_text(OWN_CELL, encoding="utf-8")
    text = CROSS.replace("[lstm, lstm-no-output-tanh]", "[lstm, own-for-test]").replace(
        "corpus: time-machine", "corpus: text\n  path: books/one.txt"
    )
    file = tmp_path / "own.yaml"
    file.write_text("cells: [own.py]\n" + text, encoding="utf-8")
    s = study.load(file)
    assert s.path == file and s.cell_files == (str(tmp_path / "own.py"),)
    assert s.arms[1].settings.path == str(tmp_path / "books" / "one.txt")
    assert s.identity()["arms"]["lstm"]["path"] == "books/one.txt"
    assert s.resolved()["fix"]["path"] == "books/one.txt"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "studies").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_study_is_right_and_resolves_to_itself(path):
    s = study.load(path)
    assert study.loads(study.dump(s.resolved())).identity() == s.identity()


def test_temperatures_are_asked_for_beside_the_likeliest_text():
    several = CROSS.replace("length: 50}", "length: 50, temperatures: [0, 0.7]}")
    loaded = study.loads(several)
    assert loaded.measure.samples.ways == (None, 0.7)
    assert study.loads(study.dump(loaded.resolved())).identity() == loaded.identity()
    before = study.loads(CROSS)
    assert [change.split(":")[0] for change in loaded.changes_since(before.identity())] == [
        "measure.samples.temperatures"
    ]
