"""A study whose parts lay in several folders is read and gone on with by its name."""

import pytest
import small_study
from stored import cli, reader_of, writer_of

from harness import study
from harness.store.kept import load_stored
from harness.store.locations import Locations
from harness.store.notes import Origin, StudyNotes
from harness.study.units import Phase, RunKey, Unit

ARMS = "    narrow: {hidden_size: 3}\n    wide: {hidden_size: 16}\n    middle: {hidden_size: 8}\n"
ACROSS = "across:\n  one: {batch_size: 4}\n  two: {batch_size: 2}\n"


def plant(folder, path, overrides, arms):
    """Stores a replicate of some arms, as a launch of the file with overrides would."""
    planned = study.load(path, overrides)
    writer = writer_of(folder, planned.name)
    writer.set_identity(planned.identity())
    writer.save_notes(StudyNotes(origin=Origin(str(path), overrides)))
    for arm in arms:
        settings = next(each.settings for each in planned.arms if each.key == arm)
        params = {"hidden_size": settings.hidden_size, "engine": "reference"}
        run_id = writer.open_run(
            RunKey(Unit.parse(arm), Phase.REPLICATE, 0), f"{arm} 1000", params, {"seed": "1000"}
        )
        writer.end_run(
            run_id, "finished", {}, {"objective": 5.0, "test/loss": 1.6}, {"curve.csv": ""}
        )
    writer.store_study_file(planned.text)
    writer.close()
    return folder


def wide(folder, more=""):
    """Writes a study of three arms without a search."""
    path = small_study.write(folder, seeds=2, updates=4)
    text = path.read_text()
    start, end = text.index("    narrow"), text.index("  baseline")
    text = text[:start] + ARMS + text[end:]
    start, end = text.index("tune:"), text.index("fix:")
    text = text[:start] + more + text[end:]
    path.write_text(
        text.replace("cell: lstm", "cell: lstm\n  engine: reference\n  learning_rate: 0.1")
    )
    return path


def halves_of_arms(folder):
    path = wide(folder / "here")
    two = "compare.arms={narrow: {hidden_size: 3}, middle: {hidden_size: 8}}"
    plant(folder / "here", path, ("replicate.seeds=3",), ["narrow", "wide"])
    return [plant(folder / "there", path, (two,), ["middle"]), folder / "here"]


def halves_of_conditions(folder):
    path = wide(folder / "here", ACROSS)
    one, two = "across={one: {batch_size: 4}}", "across={two: {batch_size: 2}}"
    plant(folder / "here", path, (one,), ["one/narrow", "one/wide"])
    return [folder / "here", plant(folder / "there", path, (two,), ["two/narrow"])]


def three_folders(folder):
    path = wide(folder / "here")
    arms = "{{narrow: {{hidden_size: 3}}, {}}}"
    parts = {
        "narrow": (),
        "wide": (),
        "tiny": (f"compare.arms={arms.format('tiny: {hidden_size: 2}')}",),
    }
    return [plant(folder / arm, path, overrides, [arm]) for arm, overrides in parts.items()]


@pytest.mark.parametrize("parts", [halves_of_arms, halves_of_conditions, three_folders])
def test_every_command_reads_it_and_a_launch_goes_on_with_it(parts, tmp_path, monkeypatch, capsys):
    folders, goal = parts(tmp_path), tmp_path / "goal"
    stored = {key for folder in folders for key in reader_of(folder, "small").identity()["arms"]}

    def told(*words):
        code, out, errors = cli(monkeypatch, capsys, *words, "--folder", goal)
        assert (code, errors) == (0, ""), errors
        return out

    line = told("merge", *folders)
    assert line.rstrip().endswith(f"; `harness run small --folder {goal}` goes on with it")
    loaded = load_stored("small", (), Locations(goal))
    assert {arm.key for arm in loaded.arms} == stored
    for command in ("status", "report", "doctor", "clean", "check"):
        told(command, "small", *(["--force"] if command == "check" else []))
    assert "cannot be read" not in told("status")
    told("export", "small", "--out", tmp_path / "tables", "--format", "csv")


def test_a_launch_trains_what_no_part_has(tmp_path, monkeypatch, capsys):
    folders, goal = halves_of_arms(tmp_path), tmp_path / "goal"
    cli(monkeypatch, capsys, "merge", *folders, "--folder", goal)
    code, out, errors = cli(monkeypatch, capsys, "run", "small", "--force", "--folder", goal)
    assert code == 0, errors
    assert "6 replicates of 3 arms" in out  # of nine
    assert (
        "9 of 9 runs have ended" in cli(monkeypatch, capsys, "status", "small", "--folder", goal)[1]
    )


def test_parts_of_different_first_seeds_are_two_studies(tmp_path, monkeypatch, capsys):
    path = wide(tmp_path / "here")
    plant(tmp_path / "here", path, (), ["narrow"])
    plant(tmp_path / "there", path, ("replicate.first_seed=1002",), ["wide"])
    code, out, errors = cli(
        monkeypatch,
        capsys,
        "merge",
        tmp_path / "here",
        tmp_path / "there",
        "--folder",
        tmp_path / "goal",
    )
    assert (code, out) == (2, "") and "but first_seed is 1000 and 1002" in errors
    assert len(errors.splitlines()) == 1 and "--new" not in errors


def test_parts_with_and_without_conditions_are_two_studies(tmp_path, monkeypatch, capsys):
    plain = plant(tmp_path / "here", wide(tmp_path / "here"), (), ["narrow"])
    across = plant(tmp_path / "there", wide(tmp_path / "there", ACROSS), (), ["one/wide"])
    code, _, errors = cli(
        monkeypatch, capsys, "merge", plain, across, "--folder", tmp_path / "goal"
    )
    assert code == 2 and "but one alone has conditions. Rename one of them." in errors


def test_a_kept_file_of_a_part_alone_says_what_it_lacks(tmp_path, monkeypatch, capsys):
    """Studies that an earlier merge brought together kept the file of one part."""
    path = wide(tmp_path / "here")
    folder = plant(tmp_path / "here", path, (), ["narrow", "wide"])
    part = path.read_text().replace("    middle: {hidden_size: 8}\n", "")
    writer_of(folder, "small").store_study_file(part)
    for command in ("status", "report", "run"):
        code, out, errors = cli(monkeypatch, capsys, command, "small", "--folder", folder)
        assert (code, out) == (2, "")
        assert errors == (
            "study: must be stored with a file that has all of its arms to be named alone, but "
            "that of study='small' lacks middle. Give a YAML file that has them too.\n"
        )
    assert cli(monkeypatch, capsys, "status", path, "--folder", folder)[0] == 0
