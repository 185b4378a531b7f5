"""Line ends as tokens, and vocabularies of a given size."""

from collections import Counter

import numpy as np
import pytest
from wire import kind_of

from harness import data
from harness.data import DataError, corpus_facts
from harness.settings import Budget, Lines, Paths, Settings
from harness.training import pack
from harness.training.plan import Plan, Run
from harness.training.saved_model import SavedModel
from harness.training.steps import train

SMALL = {"batch_size": 2, "bptt_length": 4, "max_offset": 0, "hidden_size": 4}
EOS = Lines("<eos>")
MINIATURE = {
    "train": " no it was n't black monday \n but while the <unk> fell N points \n\n" * 9,
    "validation": " the <unk> was black \n but it fell N points \n" * 4,
    "test": " while monday was n't black \n it fell \n" * 4,
}
"""As the Penn Treebank is published: words between blanks, <unk> and N, blanks around a line."""


@pytest.fixture
def paths(tmp_path):
    for name, text in MINIATURE.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return Paths(**{name: str(tmp_path / f"{name}.txt") for name in MINIATURE})


@pytest.fixture
def load(tmp_path):
    def load(text, **given):
        path = tmp_path / "text.txt"
        path.write_text(text, newline="")
        fixed = {**SMALL, "split": "none", "lines": EOS, "path": str(path)}
        return data.load(Settings("lstm", "text", **{**fixed, **given}))

    return load


def test_the_convention_of_the_penn_treebank(paths):
    """A newline is the word <eos>, and what follows is split at blanks."""
    dataset = data.load(Settings("lstm", "text", paths=paths, token="word", lines=EOS, **SMALL))
    for name, text in MINIATURE.items():
        words = text.replace("\n", " <eos> ").split()
        assert dataset.vocabulary.decode(dataset.splits[name]) == " ".join(words)
        assert len(words) == len(text.split()) + text.count("\n")
    train = MINIATURE["train"].replace("\n", " <eos> ").split()
    assert len(dataset.vocabulary) == len(set(train)) == 14
    assert dataset.vocabulary.symbols[:2] == ("<unk>", "<eos>")


@pytest.mark.parametrize("text", ["one two\nthree\n\nfour" * 9, "one two\r\nthree\r\n\nfour\n" * 9])
def test_every_line_has_one_token_more(load, text):
    num_lines = len(text.splitlines())
    words, characters = load(text, token="word"), load(text)
    assert len(words.splits["train"]) == len(text.split()) + num_lines
    lines = text.splitlines()
    assert len(characters.splits["train"]) == sum(map(len, lines)) + num_lines
    decoded = characters.vocabulary.decode(characters.splits["train"])
    assert decoded == "".join(f"{line}<eos>" for line in lines)
    assert characters.vocabulary.encode("one\n")[-1] == words_of(characters).index("<eos>")
    assert words.vocabulary.decode(words.vocabulary.encode("one\nfour")) == "one <eos> four"


def words_of(dataset):
    return list(dataset.vocabulary.symbols)


def test_a_corpus_in_one_line_has_its_lines_again():
    settings = Settings("lstm", "genesis", hidden_size=4)
    plain, lined = data.load(settings), data.load(Settings("lstm", "genesis", lines=EOS))
    decoded = {
        name: part.vocabulary.decode(np.concatenate(list(part.splits.values())))
        for name, part in (("plain", plain), ("lined", lined))
    }
    assert decoded["lined"].replace("<eos>", " ") == decoded["plain"]
    assert decoded["lined"].count("<eos>") == 3_598 and lined.fingerprint == plain.fingerprint
    facts = [corpus_facts(each).splits for each in (plain, lined)]
    assert facts[0] == facts[1]


def test_an_end_that_the_text_has(load):
    for end, token, text in (("<eos>", "word", "a <eos> b\n" * 9), ("|", "char", "a|b\n" * 9)):
        with pytest.raises(
            DataError, match="must be a token that the text does not have.* 9 times"
        ):
            load(text, lines=Lines(end), token=token)
    with pytest.raises(DataError, match="which stands for rare words"):
        load("a b\n" * 9, lines=Lines("<unk>"), token="word")
    with pytest.raises(DataError, match="an edition with nothing between lines"):
        data.load(Settings("lstm", "time-machine-2022", split="none", lines=EOS))


def test_the_most_frequent_words_of_the_training_text_are_kept(load):
    text = " ".join(["c b a d b a e"] * 8 + ["f"] * 4 + ["g"] * 60)
    dataset = load(text, token="word", lines=None, split="holdout", max_vocabulary=4)
    train = Counter(text.split()[: len(text.split()) * 8 // 10])
    assert train["g"] > train["b"] == train["a"] > train["c"] == train["d"]
    assert dataset.vocabulary.symbols == ("<unk>", "g", "b", "a")
    assert dataset.splits["train"][:4].tolist() == [0, 2, 3, 0]
    both = load(text, token="word", max_vocabulary=5, min_count=9)
    assert both.vocabulary.symbols == ("<unk>", "g", "b", "a")
    wide = load(text, token="word", max_vocabulary=99, lines=None)
    assert wide.vocabulary == load(text, token="word", lines=None).vocabulary
    with pytest.raises(DataError, match="max_vocabulary: must be left out for char tokens"):
        load(text, max_vocabulary=9)


def test_a_study_with_all_of_it_trains_stops_goes_on_and_its_model_reads(paths, tmp_path):
    settings = Settings(
        "gru",
        "text",
        paths=paths,
        token="word",
        lines=EOS,
        max_vocabulary=10,
        engine="reference",
        device="cpu",
        threads=1,
        budget=Budget(updates=8),
        evaluations=4,
        **SMALL,
    )
    runs = (Run("gru/replicate/0", (1,), settings),)

    def end(plan):
        return [m for messages in train(plan) for m in messages if kind_of(m) == "end"][0]

    whole = end(Plan(runs, keep_models=True))
    plan = Plan.from_json(
        Plan(runs, keep_models=True, checkpoint_folder=str(tmp_path / "kept")).to_json()
    )
    assert plan.runs == runs
    first = pack.Pack(plan)
    for step in (first.advance, first.advance, first.save, first.close):
        step()
    again = end(plan)
    spent = ("seconds",)
    assert {k: v for k, v in again.metrics.items() if k not in spent} == {
        k: v for k, v in whole.metrics.items() if k not in spent
    }
    model = SavedModel.from_bytes(again.model)
    assert model.settings == settings and len(model.vocabulary) == 10
    assert again.model == whole.model
    read = model.vocabulary.decode(model.vocabulary.encode("it fell\nzebra"))
    assert read == "it <unk> <eos> <unk>"
