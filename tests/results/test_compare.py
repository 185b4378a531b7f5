import math

import numpy as np
import pytest
from stored import cli, reader_of

from harness.results import compare, names
from harness.statistics import decisions, inference
from harness.store.locations import Locations
from harness.study.units import Phase, RunKey, Unit
from harness.training.messages import RunState


def test_arms_of_one_study_compare_as_their_study_says(store, loaded):
    comparison = compare.compare(["small:narrow", "small:wide"], Locations(store))
    wide, expected = comparison.report.table.iloc[1], loaded.verdict.iloc[1]
    assert wide["arm"] == "small:wide" and expected["arm"] == "wide"
    columns = [
        "verdict",
        "pairs",
        "loss",
        "ratio",
        "ratio_low",
        "ratio_high",
        "p",
        "p_holm",
        "train_pack_1_speed",
        "tokens",
    ]
    assert wide[columns].to_dict() == expected[columns].to_dict() and wide["verdict"] == "better"
    assert (
        not comparison.report.missing
        and "5 seeds that all of them have: 1000," in comparison.lines[0]
    )
    differing = {row[0]: row[1:] for row in comparison.differences.rows}
    assert differing["hidden_size"] == ("3", "16") and "budget" not in differing


def test_arms_of_two_studies_compare_over_common_seeds(store, runs, make):
    losses = [1.0, 1.01, 0.99]
    make("other", states=["finished"] * 3, losses=losses)
    comparison = compare.compare(["small:wide", "other:wide"], Locations(store))
    wide = runs.query("phase == 'replicate' and arm == 'wide'").set_index("seed")["test/loss"]
    (decision,) = decisions.decide(
        [losses - wide[["1000", "1001", "1002"]].to_numpy()], margin_loss=math.log1p(0.01)
    )
    row = comparison.report.table.iloc[1]
    assert row["pairs"] == 3 and row["p_holm"] == pytest.approx(decision.adjusted_p)
    assert row["verdict"] == decision.verdict == "better"
    text = "\n".join([*comparison.lines, *comparison.report.warnings])
    assert "3 seeds that all of them have: 1000, 1001, 1002." in text
    assert "small:wide: not used, since another lacks them: seeds 1003, 1004." in text
    assert "small:wide: tuned, the others not; such a comparison is not fair." in text
    assert (
        "speed: not compared between studies" in text
        and "train_pack_1_speed" not in comparison.report.table
    )
    assert "of all of them together" in text
    differing = {row[0]: row[1:] for row in comparison.differences.rows}
    assert differing["budget"] == ("updates: 40", "updates: 44")
    assert (
        differing["learning_rate"][0].endswith("(tuned)")
        and differing["learning_rate"][1] == "0.05"
    )
    assert differing["tune: trials"] == ("1", "not tuned") and "hidden_size" not in differing


def test_arms_under_a_condition_pair_by_repeat_where_the_search_was_repeated(store, make):
    losses = {
        "narrow": [[2.0, 2.2], [2.1, 2.3], [1.9, 2.2]],
        "wide": [[1.9, 2.0], [1.8, 2.2], [1.7, 1.9]],
    }
    for arm, repeats in losses.items():
        for repeat, repeat_losses in enumerate(repeats):
            make("repeated", arm=str(Unit(arm, "docs", repeat)), losses=repeat_losses)
    with pytest.raises(
        names.ArchiveError,
        match="arm: must be in repeated, but got arm='wide'. Did you mean docs/wide",
    ):
        compare.compare(["repeated:docs/narrow", "repeated:wide"], Locations(store))
    assert names.Archive(Locations(store)).find("repeated:docs/wide@2:1001").runs[
        "test/loss"
    ].tolist() == [1.9]
    comparison = compare.compare(["repeated:docs/narrow", "repeated:docs/wide"], Locations(store))
    (decision,) = decisions.decide(
        [np.subtract(losses["wide"], losses["narrow"]).mean(axis=1)], margin_loss=math.log1p(0.01)
    )
    row = comparison.report.table.iloc[1]
    assert row["pairs"] == 3 and row["p_holm"] == pytest.approx(decision.adjusted_p)


def test_sequential_studies_keep_the_test_of_their_rule(store, make):
    losses = {"narrow": [2.0, 2.2, 2.1, 2.0], "wide": [1.9, 2.0, 2.0, 1.8]}
    staged = {"states": ["finished"] * 4, "first_seed": 5, "stages": [3, 0.5]}
    for arm, arm_losses in losses.items():
        make("sequential", arm=arm, losses=arm_losses, **staged)
    comparison = compare.compare(["sequential:narrow", "sequential:wide"], Locations(store))
    (decision,) = decisions.decide(
        [np.subtract(losses["wide"], losses["narrow"])], margin_loss=math.log1p(0.01), first=3
    )
    row = comparison.report.table.iloc[1]
    assert row["pairs"] == 4 and row["p_holm"] == pytest.approx(decision.adjusted_p)
    assert not comparison.report.missing and not comparison.report.warnings
    level = inference.student_interval(np.array(losses["wide"]), first=3)
    assert row["perplexity_high"] == pytest.approx(math.exp(level.high))


@pytest.mark.parametrize("rule", [{"first_seed": 5}, {"first_seed": 4, "stages": [3, 0.5]}])
def test_seeds_that_came_by_different_rules_get_the_plain_test_and_a_warning(store, make, rule):
    losses = {"narrow": [2.0, 2.2, 2.1, 2.0], "wide": [1.9, 2.0, 2.0, 1.8]}
    number = rule["first_seed"]
    make(
        f"ruled{number}",
        arm="narrow",
        losses=losses["narrow"],
        states=4 * ["finished"],
        first_seed=5,
        stages=[3, 0.5],
    )
    make(f"beside{number}", losses=losses["wide"], states=4 * ["finished"], **rule)
    comparison = compare.compare(
        [f"ruled{number}:narrow", f"beside{number}:wide"], Locations(store)
    )
    count = number - 1  # 4 seeds from 5 on are common to all, or 3
    pairs = np.subtract(losses["wide"][4 - count :], losses["narrow"][:count])
    (decision,) = decisions.decide([pairs], margin_loss=math.log1p(0.01))
    assert comparison.report.table.iloc[1]["p_holm"] == pytest.approx(decision.adjusted_p)
    assert any(
        "added until an interval was narrow enough" in line for line in comparison.report.warnings
    )


def level_of(store, name):
    """Returns what is told of an arm or a run that compares with nothing, without its name."""
    other = "small:wide:1000" if name.count(":") == 2 else "small:wide"
    lines = compare.compare([other, name], Locations(store)).lines
    (line,) = [line for line in lines if line.startswith(f"{name}: ")]
    return line.removeprefix(f"{name}: ").partition(" Its losses")[0]


def interval_text(losses, first=None):
    interval = inference.student_interval(np.array(losses), first=first)
    low, high = math.exp(interval.low), math.exp(interval.high)
    return f"{np.exp(np.mean(losses)):.3f} (95 % interval {low:.3f} to {high:.3f})"


def test_a_level_is_over_what_the_study_pairs(store, make):
    repeats = [[1.0, 1.2], [1.4, 1.5], [1.1, 1.3]]
    for repeat, repeat_losses in enumerate(repeats):
        make(
            "afar", arm=str(Unit("wide", repeat=repeat)), losses=repeat_losses, fingerprint="a" * 64
        )
    expected = interval_text(np.mean(repeats, axis=1))
    assert level_of(store, "afar:wide") == f"test perplexity {expected}, 3 repeats."
    assert (
        level_of(store, "afar:wide@1") == f"test perplexity {interval_text(repeats[1])}, 2 seeds."
    )
    staged = {
        "losses": [1.0, 1.1, 1.3, 1.6],
        "first_seed": 5,
        "stages": [3, 0.5],
        "fingerprint": "b" * 64,
    }
    make("staged", states=["finished"] * 4, **staged)
    assert (
        level_of(store, "staged:wide")
        == f"test perplexity {interval_text(staged['losses'], 3)}, 4 seeds."
    )


def test_a_level_with_a_diverged_replicate_has_no_interval_and_stays_one_of_the_test_split(
    store, make
):
    make(
        "wild",
        states=["finished", "diverged", "finished"],
        losses=[1.0, None, 1.2],
        fingerprint="c" * 64,
    )
    assert level_of(store, "wild:wide") == "test perplexity 3.004, 2 seeds, 1 diverged."
    assert level_of(store, "wild:wide:1000") == "test perplexity 2.718."
    assert level_of(store, "wild:wide:1001") == "diverged."


def test_speeds_of_a_first_repeat_are_not_shown_for_a_later_one(store, make, loaded):
    for repeat in (0, 1):
        for arm, losses in {"narrow": [2.0, 2.2, 2.3], "wide": [1.9, 2.0, 2.2]}.items():
            writer = make(
                "timed", arm=str(Unit(arm, repeat=repeat)), losses=losses, states=["finished"] * 3
            )
    writer.store_timings(loaded.timings.drop(columns="condition"))
    names = [f"timed:{arm}@1" for arm in ("narrow", "wide")]
    whole = compare.compare(["timed:narrow", "timed:wide"], Locations(store))
    assert "train_pack_1_speed" in whole.report.table and not any(
        "speed" in line for line in whole.report.warnings
    )
    later = compare.compare(names, Locations(store))
    assert (
        "train_pack_1_speed" not in later.report.table and later.report.table.iloc[1]["pairs"] == 3
    )
    (warning,) = [line for line in later.report.warnings if line.startswith("speed")]
    assert (
        warning == "speed: not shown for timed:narrow@1, timed:wide@1: "
        "arms are timed as their first search set them."
    )


def test_trials_are_those_of_the_repeats_that_compare(store, make):
    identity = reader_of(store, "small").identity()
    for unit in (Unit(arm, repeat=repeat) for repeat in (0, 1) for arm in ("narrow", "wide")):
        writer = make("searched", arm=str(unit), identity=identity)
        for index in range(2 + unit.repeat):
            params = {"path": "text.txt", "learning_rate": 0.05}
            trial = writer.open_run(RunKey(unit, Phase.TRIAL, index), "", params, {})
            writer.end_run(trial, RunState.FINISHED, {}, {"objective": 2.0})
    for mark, count in (("", 5), ("@1", 3)):
        comparison = compare.compare(
            [f"searched:narrow{mark}", f"searched:wide{mark}"], Locations(store)
        )
        assert not comparison.report.missing and not any(
            "left out" in line for line in comparison.report.warnings
        )
        assert [len(result.trials) for result in comparison.report.conditions[0].results] == [
            count,
            count,
        ]


def test_an_arm_that_reads_another_text_shows_its_level_alone(store, make):
    make("foreign", fingerprint="e" * 64, losses=[1.0, 1.2])
    comparison = compare.compare(["small:wide", "foreign:wide"], Locations(store))
    assert comparison.report is None and comparison.lines[0].startswith(
        "small:wide: test perplexity"
    )
    (line,) = [line for line in comparison.lines if line.startswith("foreign:wide")]
    assert "perplexity 3.004 (95 % interval" in line and "2 seeds" in line
    assert "do not compare with those of small:wide: the texts differ" in line


def test_another_split_does_not_compare(store, make):
    make("whole", split="none", losses=[1.0, 1.2])
    comparison = compare.compare(["small:wide", "whole:wide"], Locations(store))
    assert (
        "running training perplexity" in comparison.lines[-1]
        and "split none and holdout" in comparison.lines[-1]
    )


def test_arms_without_a_common_seed_are_not_paired(store, make):
    make("later", losses=[1.0, 1.2], first_seed=2000)
    comparison = compare.compare(["small:wide", "later:wide"], Locations(store))
    assert (
        comparison.report is None
        and "No seed is common to them: there is nothing to pair, and no test." in comparison.lines
    )


def test_single_runs_are_a_difference_and_no_test(store, runs):
    rows = runs.query("phase == 'replicate' and seed == '1004'").set_index("arm")
    comparison = compare.compare(
        ["small:narrow:1004", rows.loc["wide", "run_id"]], Locations(store)
    )
    difference = rows.loc["wide", "test/loss"] - rows.loc["narrow", "test/loss"]
    assert comparison.report is None
    assert (
        f"small:wide:1004 has {math.exp(difference):.3f} times the perplexity of small:narrow:1004"
        in comparison.lines[2]
    )
    assert f"({difference:+.4f} nats)" in comparison.lines[2] and "no test" in comparison.lines[3]
    trial = runs.query("phase == 'trial'").iloc[0]["run_id"]
    beside = compare.compare(["small:narrow:1004", trial], Locations(store))
    assert any(
        "do not compare: validation perplexity and test perplexity" in line for line in beside.lines
    )


def test_a_trial_that_was_judged_by_training_is_called_so(store, make):
    identity = reader_of(store, "small").identity()
    identity["shared"]["measure"]["objective"] = "train/perplexity"
    writer = make("judged", identity=identity)
    params = {"path": "text.txt", "learning_rate": 0.05}
    trial = writer.open_run(RunKey(Unit("wide"), Phase.TRIAL, 0), "", params, {})
    writer.end_run(trial, RunState.FINISHED, {}, {"objective": 2.0, "test/loss": 1.0})
    lines = compare.compare(["small:wide:1000", trial], Locations(store)).lines
    assert any("judged:wide:trial 0: running training perplexity 7.389." in line for line in lines)


def test_losses_by_which_different_things_are_meant_do_not_compare(store, make):
    identity = reader_of(store, "small").identity()
    identity["shared"]["measure"]["objective"] = "validation/accuracy"
    make("accurate", identity=identity, losses=(0.2, 0.1))
    beside = compare.compare(["small:wide", "accurate:wide"], Locations(store))
    assert beside.report is None
    assert "test accuracy 0.850" in beside.lines[1]
    assert beside.lines[1].endswith("of small:wide: judged by accuracy and perplexity.")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["small:wide"],
            "must be given two or more arms or runs, each once, but got small:wide. Name them",
        ),
        (
            ["small:wide", "small:wide"],
            "must be given two or more arms or runs, each once, but got small:wide, small:wide",
        ),
        (
            ["small:wide", "small:wide:1000"],
            r"arms, or single runs, but got small:wide \(an arm\), .* Give one kind",
        ),
        (
            ["small:wide", "unfinished:wide"],
            "each must have an ended replicate, but unfinished:wide has none. Run it",
        ),
        (
            ["small:wide", "strange:wide"],
            "strange:wide: must be of a study that `harness run` made",
        ),
    ],
)
def test_what_cannot_be_put_side_by_side_is_refused(store, make, names, message):
    if names[-1].startswith("unfinished"):
        make("unfinished", states=["failed"])
    if names[-1].startswith("strange"):
        make("strange", identity=None)
    with pytest.raises(compare.ComparisonError, match=message):
        compare.compare(names, Locations(store))


def test_compare_prints_the_verdict_the_levels_and_what_differs(store, make, monkeypatch, capsys):
    make("abroad", fingerprint="d" * 64)
    words = ("compare", "small:narrow", "small:wide", "abroad:wide", "--folder", store)
    code, out, _ = cli(monkeypatch, capsys, *words)
    text = " ".join(out.split())
    assert (
        code == 0 and "Compared with small:narrow in test perplexity, small:wide is better" in text
    )
    assert (
        "abroad:wide: test perplexity" in text
        and "do not compare with those of small:narrow" in text
    )
    assert "What differs" in text and "hidden_size" in text
    code, _, err = cli(
        monkeypatch, capsys, "compare", "small:narrow", "small:wode", "--folder", store
    )
    assert code == 2 and "Did you mean wide?" in err
