"""The script that a study is timed against does the study's work, and both tell their seconds."""

import bench_peer
import peer_script
import pytest
import torch

from harness import data, study
from harness.runner.launch import Overhead


def test_the_script_makes_the_updates_of_the_study():
    loaded = study.load(bench_peer.STUDY)
    settings = loaded.arms[0].settings
    corpus = data.load(settings)
    tokens = torch.from_numpy(corpus.splits["train"].astype("int64"))
    batches = list(peer_script.Trainer(tokens, len(corpus.vocabulary), 1).batches())
    windows = data.training_windows(settings, len(tokens))
    assert len(batches) == windows.updates_per_epoch
    first = windows.starts((0,), 0)[0]
    inputs, targets = batches[0]
    for k in (0, len(first) - 1):  # the study's streams begin at an offset that is drawn
        assert torch.equal(inputs[1:, k], targets[:-1, k])
    assert inputs.shape == (settings.bptt_length, settings.batch_size)
    names = {arm.settings.cell for arm in loaded.arms}
    assert names == set(peer_script.ARMS) and loaded.tune.trials == peer_script.TRIALS
    assert loaded.replicate.seeds == peer_script.SEEDS


@pytest.mark.parametrize("arm", peer_script.ARMS)
def test_every_arm_of_the_script_has_the_parameters_of_the_study(arm):
    layer = peer_script.ARMS[arm](28)
    gates = {"lstm": 4, "lstm-no-output-tanh": 4, "gru": 3, "rnn-tanh": 1}[arm]
    size = peer_script.HIDDEN
    assert sum(p.numel() for p in layer.parameters()) == gates * size * (28 + size + 2)
    rows = torch.zeros(3, peer_script.BATCH, 28)
    assert layer(rows, None)[0].shape == (3, peer_script.BATCH, size)


def test_what_a_launch_says_of_its_seconds_is_read():
    found = bench_peer.SPLIT.search(str(Overhead(60.4, 41.2, 0.0, 5.25, 3.5)))
    assert found is not None
    assert {name: float(text) for name, text in found.groupdict().items()} == {
        "all": 60.0,
        "training": 41.0,
        "outside": 19.2,
        "start_up": 5.2,
        "stores": 3.5,
        "rest": 10.4,
    }


def test_the_arithmetic_of_all_training_is_counted():
    """Four cells of 256 units with 4, 4, 3 and 1 gates, and a read-out of 43 characters."""
    products = [2 * gates * 256 * 256 + 2 * 256 * 43 for gates in (4, 4, 3, 1)]
    tokens = 8 * 40 * 32 * 35  # updates an epoch, epochs, and what an update reads
    runs = peer_script.TRIALS + peer_script.SEEDS
    assert bench_peer.training_operations(40) == 3 * tokens * runs * sum(products)
