"""A text whose training, validation and test part have a file each."""

import hashlib
import shutil
from dataclasses import replace

import pytest

from harness import data
from harness.data import DataError, corpus_facts
from harness.settings import Paths, Settings
from harness.training import pack
from harness.training.plan import Plan, PlanError, Run

PARTS = {
    "train": "the white sphinx and the time machine\n" * 20,
    "validation": "the morlocks and the machine\n" * 5,
    "test": "no sphinx\nthe time traveller came back to us again\n" * 4,
}


@pytest.fixture
def paths(tmp_path):
    for name, text in PARTS.items():
        (tmp_path / f"{name}.txt").write_bytes(text.encode())
    return Paths(**{name: str(tmp_path / f"{name}.txt") for name in PARTS})


def settings(paths, **given):
    small = {"batch_size": 2, "bptt_length": 5, "max_offset": 0, "hidden_size": 4}
    return Settings("lstm", "text", paths=paths, **{**small, **given})


def test_each_split_is_its_file(paths):
    dataset = data.load(settings(paths))
    decoded = {name: dataset.vocabulary.decode(part) for name, part in dataset.splits.items()}
    assert decoded == PARTS and dataset.title == "train.txt"
    assert dataset.vocabulary.symbols == tuple(sorted(set("".join(PARTS.values()))))
    words = data.load(settings(paths, token="word"))
    assert set(words.vocabulary.symbols) == {"<unk>", *PARTS["train"].split()}
    assert len(words.splits["test"]) == len(PARTS["test"].split())
    assert data.load(settings(paths)) is dataset


def test_a_change_of_any_file_is_another_text(paths):
    first = data.load(settings(paths)).fingerprint
    digests = "".join(hashlib.sha256(text.encode()).hexdigest() for text in PARTS.values())
    assert first == hashlib.sha256(digests.encode()).hexdigest()
    runs = (Run("lstm/replicate/0", (1,), settings(paths, engine="reference", device="cpu")),)
    for path in vars(paths).values():
        shutil.copy(path, f"{path}.kept")
        with open(path, "a", encoding="utf-8") as file:
            file.write("more\n")
        assert data.load(settings(paths)).fingerprint != first
        with pytest.raises(PlanError, match="must be the text that the plan was made for"):
            pack.Pack(Plan(runs, corpus_fingerprint=first))
        shutil.move(f"{path}.kept", path)


def test_all_that_is_wrong_with_files_is_told_at_once(paths, tmp_path):
    (tmp_path / "latin.txt").write_bytes("na\u00efve".encode("latin-1"))
    wrong = Paths(str(tmp_path / "absent"), str(tmp_path / "latin.txt"), str(tmp_path))
    with pytest.raises(DataError) as caught:
        data.load(settings(wrong))
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("paths.train: must be a readable file, but got path=")
    assert "latin.txt: must be UTF-8, but got byte=0xef at offset=2" in second
    assert third.startswith("paths.test: must be a readable file") and "directory" in third


def test_one_text_twice_and_parts_too_short(paths, tmp_path):
    shutil.copy(paths.train, tmp_path / "copy.txt")
    twice = replace(paths, test=str(tmp_path / "copy.txt"))
    with pytest.raises(DataError, match="three texts, but train and test have the same"):
        data.load(settings(twice))
    (tmp_path / "train.txt").write_text("short")
    (tmp_path / "validation.txt").write_text("")
    with pytest.raises(DataError, match="not be empty, but got num_tokens=0 in the file .*validat"):
        data.load(settings(paths))
    (tmp_path / "validation.txt").write_text("e")
    with pytest.raises(DataError) as caught:
        data.load(settings(paths))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "train text",
        "validation text",
    ]


def test_marks_and_line_ends_of_every_file_are_read_as_those_of_one(paths, tmp_path):
    for name, text in PARTS.items():
        (tmp_path / f"{name}.txt").write_bytes(
            b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
        )
    dataset = data.load(settings(paths))
    assert {n: dataset.vocabulary.decode(p) for n, p in dataset.splits.items()} == PARTS


def test_test_lines_inside_train_are_a_warning(paths, tmp_path):
    assert corpus_facts(data.load(settings(paths))).warnings() == []
    (tmp_path / "test.txt").write_text(PARTS["train"][: len(PARTS["train"]) // 2])
    facts = corpus_facts(data.load(settings(paths)))
    assert [split.num_lines for split in facts.splits.values()] == [20, 0, 10]
    assert facts.splits["test"].num_seen == 10
    assert "of the test lines 100 % stand in the training text too" in facts.warnings()[0]


@pytest.mark.parametrize("given", [{"path": "a"}, {"split": "none"}, {"corpus": "genesis"}])
def test_what_paths_do_not_stand_with(paths, given):
    with pytest.raises(DataError, match="paths: must stand with corpus text, and instead of path"):
        data.load(replace(settings(paths), **given))
