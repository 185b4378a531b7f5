import copy
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import study
from harness.settings import Budget
from harness.study import reader

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "studies" / "study.schema.json"
PAGE = ROOT / "docs" / "study.md"

CROSS = """\
# yaml-language-server: $schema=./study.schema.json
study: output-tanh
version: 1
question: Does the LSTM's output tanh matter, for perplexity and for speed?
source: a reader's remark

compare:                       # what is asked about: the arms
  cross: {cell: [lstm, lstm-no-output-tanh]}
  baseline: {cell: lstm}

tune:                          # optional; searched for every arm alike, with the same budget
  learning_rate: {low: 0.01, high: 10.0, log: true}
  clip_norm: {choices: [0.25, 1.0, 4.0]}
  trials: 24
  batch: 4                     # trials asked per round
  sampler: tpe
  pruner: median
  search_seed: 0

fix:                           # what the conclusion depends on
  corpus: time-machine
  hidden_size: 256
  batch_size: 32
  bptt_length: 35
  budget: {tokens: 2000000}

replicate: {seeds: 10, first_seed: 1000}

measure:
  objective: validation/perplexity
  margin: 0.01                 # equivalence margin: 1 % of perplexity
  samples: {prefixes: [traveller, time traveller], length: 50}
"""

ARMS = """\
study: biases
version: 1
question: Does a second bias matter?
compare:
  arms:
    scratch: {cell: lstm, biases: 1}
    framework: {cell: lstm, biases: 2, budget: {epochs: 280}}
    as-fixed: {}
  baseline: scratch
fix:
  cell: gru
  corpus: time-machine-2019
  split: none
  num_parameters: 3e5
  initialization: normal
  forget_bias: none
  clip_norm: 1e-2
  evaluations: {each: epoch}
measure: {objective: train/perplexity, runtime: none}
""".replace("3e5", "300000")


def without(text: str, *starts: str) -> str:
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.strip().startswith(starts)
    )


# What is read


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


# YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("+.5", 0.5),
        ("-12", -12),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("True", True),
        ("~", None),
        ("none", "none"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-3'", "1e-3"),
        ("-.inf", float("-inf")),
        ("0x10", "0x10"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    document = reader.read(text, "test")
    assert document.data == value and type(document.data) is type(value) and not document.problems


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**9), 10**9)
        | st.floats(allow_nan=False)
        | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")))
        | st.sampled_from(["1e3", "no", "300_000", "08", "~", "<<", "- a", "a: b", ".inf"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.text("abc=<,. 1", min_size=1).filter(lambda key: key != "<<"), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_what_is_dumped_is_read_back(value):
    document = reader.read(study.dump(value), "test")
    assert document.data == value and not document.problems


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[1,000]", ["1,000"]),
        ("[500, 1,000, 12,345,678]", [500, "1,000", "12,345,678"]),
        ("[1,500, 2,500]", ["1,500", "2,500"]),
        ("[ 1,000,2,000 ,3 ]", ["1,000", "2,000", 3]),
        ("[1,500,2,500]", ["1,500", "2,500"]),
        ("[1,500]", [1, 500]),  # nothing says where a number ends
        ("[128,256,512]", [128, 256, 512]),
        ("[64,128, 256]", [64, 128, 256]),
        ("[256,128]", [256, 128]),
        ("[512,256, 128]", [512, 256, 128]),
        ("[1, 500, 2, 500]", [1, 500, 2, 500]),
    ],
)
def test_commas_within_the_numbers_of_a_list_are_seen(text, items):
    assert reader.read(f"a: {text}", "test").data == {"a": items}


def test_a_number_with_commas_in_a_list_is_told_with_what_to_write():
    text = CROSS.replace("{cell: [", "{hidden_size: [1,000, 2,000], cell: [", 1)
    with pytest.raises(study.StudyError) as caught:
        study.loads(text)
    (said, *_) = [line for line in str(caught.value).splitlines() if "1,000" in line]
    assert "must be a whole number, but got hidden_size='1,000'. Write 1000." in said


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("[1,000]", "Write batch_size: 1000."),
        (
            "[1,000, 2,000]",
            "To compare these values, move them to compare: {cross: {batch_size: [1000, 2000]}}",
        ),
    ],
)
def test_what_is_to_be_written_for_numbers_with_commas_has_none(text, remedy):
    with pytest.raises(study.StudyError) as caught:
        study.loads(CROSS, "x", [f"fix.batch_size={text}"])
    assert remedy in str(caught.value)


def test_values_have_places():
    document = reader.read("a:\n  b: [1, {c: 2}]\n", "test")
    assert document.keys[("a", "b", 1, "c")] == (2, 11) and document.values[("a", "b", 1, "c")] == (
        2,
        14,
    )


def test_deep_nesting_is_refused():
    with pytest.raises(
        study.StudyError, match="must be valid YAML, but it nests deeper than 20 levels"
    ):
        study.loads("[" * 5000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"study: a\nquestion: \xe9\n",
            r"bad.yaml:2:11: study file: must be UTF-8, but got byte=0xe9. Save it",
        ),
        (
            b"#" * 1_000_001,
            "bad.yaml:1:1: study file: must have at most 1000000 bytes, but has more",
        ),
        (b'study: "\\U00110000"\n', "YAML: must be valid YAML, but chr"),
        (
            b"study: \x00\n",
            r"bad.yaml:1:8: YAML: must be printable text, but got character=0x0. Remove it",
        ),
    ],
)
def test_files_that_are_no_text(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(study.StudyError, match=message):
        study.load(path)


def test_a_missing_file():
    with pytest.raises(
        study.StudyError,
        match="absent.yaml:1:1: study file: must be readable, but got .*No such file",
    ):
        study.load("absent.yaml")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "studies").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_study_is_right_and_resolves_to_itself(path):
    s = study.load(path)
    assert study.loads(study.dump(s.resolved())).identity() == s.identity()


# Overrides


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


# Identity


@pytest.mark.parametrize("text", [CROSS, ARMS])
def test_a_resolved_study_is_the_same_study(text):
    s = study.loads(text)
    again = study.loads(study.dump(s.resolved()))
    assert again.identity() == s.identity() and again.fingerprint == s.fingerprint
    assert again.resolved() == s.resolved()
    assert [arm.settings for arm in again.arms] == [arm.settings for arm in s.arms]
    assert (again.tune, again.replicate, again.measure) == (s.tune, s.replicate, s.measure)


def test_an_identity_survives_json():
    s = study.loads(CROSS)
    assert s.changes_since(json.loads(json.dumps(s.identity()))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("trials: 24", "trials: 48"),
        ("seeds: 10", "seeds: 20"),
        ("[lstm, lstm-no-output-tanh]", "[gru, lstm, lstm-no-output-tanh]"),
        ("question: Does", "question: Why does"),
        ("  bptt_length: 35", "  bptt_length: 35\n  threads: 2\n  pack_size: 3"),
        ("  batch_size: 32\n", ""),
        ("low: 0.01", "low: 1e-2"),
    ],
)
def test_extensions_and_other_words_are_no_change(old, new):
    assert old in CROSS
    assert study.loads(CROSS.replace(old, new)).changes_since(study.loads(CROSS).identity()) == []


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("first_seed: 1000", "first_seed: 1", ["replicate.first_seed: 1000 -> 1"]),
        ("high: 10.0", "high: 5", ["tune.learning_rate.high: 10.0 -> 5.0"]),
        (
            "[0.25, 1.0, 4.0]",
            "[1, none]",
            ["tune.clip_norm.choices: [0.25, 1.0, 4.0] -> [1.0, None]"],
        ),
        ("margin: 0.01", "margin: 0.02", ["measure.margin: 0.01 -> 0.02"]),
        (
            "baseline: {cell: lstm}",
            "baseline: {cell: lstm-no-output-tanh}",
            ["compare.baseline: 'lstm' -> 'lstm-no-output-tanh'"],
        ),
        ("[lstm, lstm-no-output-tanh]", "[lstm, gru]", ["arms.lstm-no-output-tanh: there -> gone"]),
        (
            "hidden_size: 256",
            "hidden_size: 128",
            [
                "arms.lstm.hidden_size: 256 -> 128",
                "arms.lstm-no-output-tanh.hidden_size: 256 -> 128",
            ],
        ),
    ],
)
def test_changes_are_named(old, new, changes):
    changed = study.loads(CROSS.replace(old, new))
    assert changed.changes_since(study.loads(CROSS).identity()) == changes
    assert changed.fingerprint != study.loads(CROSS).fingerprint


PRESET = """
study: presets
version: 1
question: Does it matter how a plain network begins?
compare: {cross: {cell: [rnn-relu, irnn, lstm-1997]}, baseline: {cell: irnn}}
fix: {corpus: time-machine, hidden_size: 64, initialization: normal}
"""


def test_a_presets_name_stands_for_a_cell_and_its_settings():
    s = study.loads(PRESET)
    found = {arm.name: (arm.settings.cell, arm.settings.initialization) for arm in s.arms}
    assert found == {
        "rnn-relu": ("rnn-relu", "normal"),
        "irnn": ("rnn-relu", "identity"),
        "lstm-1997": ("lstm-no-forget-gate", "normal"),
    }
    assert s.baseline.name == "irnn"
    assert study.loads(study.dump(s.resolved())).identity() == s.identity()


def test_a_preset_may_stand_in_fix():
    crossed = "{cross: {cell: [rnn-relu, irnn, lstm-1997]}, baseline: {cell: irnn}}"
    text = PRESET.replace(crossed, "{cross: {biases: [1, 2]}, baseline: {biases: 1}}")
    s = study.loads(text.replace("initialization: normal", "cell: irnn"))
    assert {(arm.settings.cell, arm.settings.initialization) for arm in s.arms} == {
        ("rnn-relu", "identity")
    }
    assert study.loads(study.dump(s.resolved())).identity() == s.identity()
    with pytest.raises(
        study.StudyError, match="must leave initialization out, since irnn is rnn-relu with"
    ):
        study.loads(text.replace("initialization: normal", "initialization: normal, cell: irnn"))


def test_a_preset_in_fix_is_not_that_of_an_arm_with_a_cell_of_its_own():
    arms = "{arms: {a: {learning_rate: 0.1}, b: {cell: lstm}}, baseline: a}"
    crossed = "{cross: {cell: [rnn-relu, irnn, lstm-1997]}, baseline: {cell: irnn}}"
    s = study.loads(PRESET.replace(crossed, arms).replace("initialization: normal", "cell: irnn"))
    assert {arm.name: arm.settings.initialization for arm in s.arms} == {
        "a": "identity",
        "b": "uniform",
    }
    assert study.loads(study.dump(s.resolved())).identity() == s.identity()


def test_fields_that_came_later_change_no_older_study():
    s = study.loads(CROSS)
    old = copy.deepcopy(s.identity())
    for arm in old["arms"].values():
        for name in ("zoneout_h", "tied", "residual", "state_clip"):
            del arm[name]
    assert s.changes_since(old) == []


def test_another_equation_is_another_study():
    s = study.loads(CROSS)
    old = copy.deepcopy(s.identity())
    old["arms"]["lstm"]["cell_source"] = "0" * 64
    (change,) = s.changes_since(old)
    assert change.startswith("arms.lstm.cell_source: '0000")


def test_dropping_the_search_is_a_change():
    names = {
        change.split(":")[0]
        for change in study.loads(CROSS).changes_since(study.loads(ARMS).identity())
    }
    assert {"tune.sampler", "measure.objective", "arms.scratch"} <= names


# What is generated


def test_the_schema_is_the_committed_one():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == study.json_schema(), (
        "run make generate"
    )


def test_the_page_holds_the_table():
    start, end = "<!-- fields: generated from harness/study -->\n", "<!-- end of fields -->"
    assert start + study.field_table() + end in PAGE.read_text(encoding="utf-8"), (
        "run make generate"
    )


def test_the_examples_of_the_page_are_studies():
    blocks = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]
    studies = [block.split("```")[0] for block in blocks if block.startswith("study:")]
    assert studies and all(study.loads(text).arms for text in studies)


def test_the_schema_accepts_good_studies_and_refuses_wrong_ones():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(study.json_schema())
    validator.check_schema(study.json_schema())
    good = [yaml.safe_load(text) for text in (CROSS, ARMS.replace("1e-2", "0.01"))]
    good += [study.loads(text).resolved() for text in (CROSS, ARMS)]
    for data in good:
        assert not [error.message for error in validator.iter_errors(data)]
    for change in (
        {"study": "A b"},
        {"version": 3},
        {"fix": {"hiden_size": 3}},
        {"tune": {"trials": 0}},
        {"zzz": 1},
    ):
        assert not validator.is_valid({**good[0], **change}), change


def test_reading_the_form_needs_no_torch():
    code = "import sys, harness.study; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# Nothing but StudyError


VALUES = [
    None,
    True,
    -1,
    0,
    1e400,
    10**25,
    0.5,
    "",
    "none",
    "lstm",
    [],
    [[]],
    ["lstm"],
    {},
    {"low": 1},
    {"tokens": 1},
    {"a": {}},
]


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_a_mutated_tree_never_raises_anything_else(seed):
    draws = random.Random(seed)
    data = yaml.safe_load(draws.choice([CROSS, ARMS.replace("1e-2", "0.01")]))
    for _ in range(draws.randint(1, 4)):
        mutate(data, draws)
    check(study.dump(data))


def mutate(node, draws: random.Random) -> None:
    """Replaces, renames, removes or adds one entry somewhere below ``node``."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = draws.choice(keys)
        if isinstance(node[key], dict | list) and draws.random() < 0.8:
            node = node[key]
            continue
        match draws.randrange(4):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[
                    draws.choice(
                        [
                            "cell",
                            "arms",
                            "cross",
                            "budget",
                            "epochs",
                            "choices",
                            "step",
                            "tune",
                            "x y",
                        ]
                    )
                ] = node.pop(key)
            case 2 if isinstance(node, dict):
                names = [
                    "split",
                    "engine",
                    "path",
                    "optimizer",
                    "momentum",
                    "num_layers",
                    "sampler",
                    "cells",
                    "each",
                ]
                node[draws.choice(names)] = copy.deepcopy(draws.choice(VALUES))
            case _:
                node[key] = copy.deepcopy(draws.choice(VALUES))
        return


@settings(max_examples=150)
@given(
    st.integers(0, len(CROSS) - 1),
    st.integers(0, 9),
    st.text(max_size=6) | st.sampled_from("{}[]&*!|>'\"%@`-:?#,\t\n"),
)
def test_mutated_text_never_raises_anything_else(start, length, inserted):
    check(CROSS[:start] + inserted + CROSS[start + length :])


@settings(max_examples=50)
@given(st.text(st.sampled_from("abfix.=[]{}:, 0_&*\n"), max_size=20))
def test_any_override_never_raises_anything_else(override):
    check(CROSS, override)


def check(text: str, *overrides: str) -> None:
    try:
        s = study.loads(text, overrides=overrides)
    except study.StudyError as error:
        assert error.problems
        assert all(
            p.where and p.message and (p.line >= 1 or p.source.startswith("--set"))
            for p in error.problems
        )
    else:
        assert study.loads(study.dump(s.resolved())).identity() == s.identity()


@pytest.mark.parametrize("value", ["none", "null", "~"])
def test_samples_can_be_switched_off_from_the_command_line(value):
    path = Path(__file__).parents[2] / "studies" / "quickstart.yaml"
    loaded = study.load(path, [f"measure.samples={value}"])
    assert loaded.measure.samples.prefixes == ()
    written = study.dump(loaded.resolved())
    assert study.loads(written).measure == loaded.measure


def test_temperatures_are_asked_for_beside_the_likeliest_text():
    several = CROSS.replace("length: 50}", "length: 50, temperatures: [0, 0.7]}")
    loaded = study.loads(several)
    assert loaded.measure.samples.ways == (None, 0.7)
    assert study.loads(study.dump(loaded.resolved())).identity() == loaded.identity()
    before = study.loads(CROSS)
    assert [change.split(":")[0] for change in loaded.changes_since(before.identity())] == [
        "measure.samples.temperatures"
    ]


def test_a_study_without_temperatures_is_the_one_that_it_was_before_there_were_any():
    samples = study.loads(CROSS).identity()["shared"]["measure"]["samples"]
    assert samples == {
        "prefixes": ["traveller", "time traveller"],
        "length": 50,
        "temperature": None,
        "every": None,
    }
