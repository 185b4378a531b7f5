"""What a shard scores, against models of which the score is known without the bench."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from tolerances import assert_close

from harness import engine
from harness.model.architecture import architecture
from harness.model.network import Model
from harness.settings import Lines, Settings
from harness.tasks.language_modelling import LanguageModelling
from harness.training.plan import Run
from harness.training.shard import Shard

CPU = torch.device("cpu")
WORDS = "the cell state gate opens and closes while time flows over hidden units".split()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A text of 400 words in lines, of which some are rare, with a letter of two bytes."""
    draw = np.random.default_rng(0)
    words = [WORDS[min(int(draw.exponential(3)), 12)] for _ in range(400)]
    words[5::16] = [f"rare{n}é" for n in range(len(words[5::16]))]
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("\n".join(" ".join(words[n : n + 8]) for n in range(0, 400, 8)) + "\n")
    return file


def settings(path, **changes):
    fixed = {"cell": "lstm", "corpus": "text", "path": str(path), "hidden_size": 5}
    fixed |= {"batch_size": 3, "bptt_length": 7, "initial_scale": 0.7, "precision": "float64"}
    return Settings(**fixed, **changes)


def shard_of(run, num_runs=1, name="reference"):
    """Returns an untrained shard of ``num_runs`` seeds."""
    task = LanguageModelling(run, CPU)
    model = Model(architecture(run, task.num_inputs, task.num_outputs), engine.get(name))
    runs = [Run(f"run {seed}", (seed,), run) for seed in range(num_runs)]
    return Shard(runs, task, model, 1, CPU)


def split_by_hand(tokens):
    """Returns the training and the test text of tokens: the first 80 % and the last 10 %."""
    return tokens[: len(tokens) * 80 // 100], tokens[len(tokens) * 90 // 100 :]


def words_by_hand(path):
    """Returns the training and the test text in words; those seen once in training are <unk>."""
    train, test = split_by_hand(path.read_text().replace("\n", " <eos> ").split())
    known = {word for word, count in Counter(train).items() if count >= 2}
    return tuple([word if word in known else "<unk>" for word in part] for part in (train, test))


def bytes_by_hand(path):
    """Returns the training and the test text in bytes, each as the character of its number."""
    train, test = split_by_hand(path.read_bytes())
    return list(map(chr, train)), list(map(chr, test))


@pytest.mark.parametrize("token, by_hand", [("word", words_by_hand), ("byte", bytes_by_hand)])
def test_a_read_out_of_the_training_text_s_frequencies_has_the_perplexity_of_unigrams(
    path, token, by_hand
):
    read = {"lines": Lines("<eos>"), "min_count": 2} if token == "word" else {}
    shard = shard_of(settings(path, token=token, **read))
    train, test = by_hand(path)
    symbols = shard.task.vocabulary.symbols
    # One is added to each count: a byte may stand in the test text alone.
    counts = Counter(train) + Counter(symbols)
    total = sum(counts.values())
    assert set(counts) == set(symbols) and {"<unk>"} & set(test) == {"<unk>"} & set(symbols)
    logs = torch.tensor([math.log(counts[symbol] / total) for symbol in symbols])
    shard.parameters["readout.W"].zero_()
    shard.parameters["readout.b"].copy_(logs.double())
    ((mean,),) = shard.evaluate("test")
    # The first token is given.
    nats = -sum(math.log(counts[each] / total) for each in test[1:]) / len(test[1:])
    told = shard.task.evaluation_metrics("test", [mean])
    assert told["test/perplexity"] == pytest.approx(math.exp(nats), rel=1e-6)
    if token == "byte":
        assert told["test/bits_per_byte"] == pytest.approx(nats / math.log(2), rel=1e-6)


@pytest.mark.parametrize("name", ["reference", "cpu", "scan"])
@torch.no_grad()
def test_a_text_that_is_scored_in_one_stream_is_read_in_one_piece(path, name):
    cell = "min-gru" if name == "scan" else "lstm"
    run = replace(settings(path, token="word", evaluation_batch_size=1), cell=cell)
    shard = shard_of(run, num_runs=2, name=name)
    tokens = torch.from_numpy(shard.task.dataset.splits["test"].astype(np.int64)).view(-1, 1, 1)
    means = shard.evaluate("test")
    for n in range(2):
        of_run = {name: values[n : n + 1] for name, values in shard.parameters.items()}
        plain = Model(shard.model.arch, engine.get("reference"))
        rows, _ = plain(of_run, tokens[:-1], plain.initial_states(of_run, 1, 1))
        scores = plain.readout(of_run).scores(rows)[0]
        assert_close(
            torch.tensor(means[n][0], dtype=torch.float64),
            torch.nn.functional.cross_entropy(scores, tokens[1:].flatten()),
        )
    # Three streams begin with nothing two times more.
    in_three = shard_of(replace(run, evaluation_batch_size=None), num_runs=2, name=name)
    assert means != in_three.evaluate("test")


def test_the_streams_of_an_evaluation_are_none_of_training(path):
    """More of them than training has, too: the same updates, and the same states after them."""
    states = []
    for size in (None, 1, 5):
        shard = shard_of(settings(path, token="word", evaluation_batch_size=size))
        shard.num_updates = 3
        shard.evaluate("validation")
        shard.advance(1)
        states.append(shard.states[0][0])
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])
