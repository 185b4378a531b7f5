"""The yardsticks compute what the engines compute: the same losses from the same weights on the
same minibatches.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tolerances import assert_close

import cells
from harness.bench.options import Options, checked, own_shape
from harness.bench.published import loop, torch_nn
from harness.bench.record import COMPILED, EMBEDDING, LOOP, ONE_HOT, PREBUILT
from harness.bench.subjects import UPDATES_PER_EPOCH, Trained, settings_of, write_text
from harness.bench.words import parse
from harness.training.plan import Plan, Run

SHAPE = own_shape("B3,T4,H8,V11")
"""H is even: a matrix in blocks has more than one."""
UPDATES = UPDATES_PER_EPOCH + 3
"""Past an epoch's end, where the state begins again."""
cells.load_file(Path(__file__).resolve().parent.parent / "user_cells.py")


def options(**values) -> Options:
    asked = checked(
        parse(
            ["--shape", SHAPE.name, "--device", "cpu", "--precision", "float64", "--threads", "1"]
        )
    )
    return replace(asked, **values)


def settings_at(shape, folder):
    """Every epoch has the windows of the first, as the yardsticks have; unclipped steps that move
    the weights.
    """
    made = settings_of(shape, options(), write_text(shape, folder))
    return replace(
        made, max_offset=0, learning_rate=1.0, initialization="orthogonal", clip_norm=100.0
    )


@pytest.fixture
def settings(tmp_path):
    return settings_at(SHAPE, tmp_path)


def trained(settings, pack):
    """Returns the runs' losses of the last of UPDATES updates on the reference engine."""
    runs = tuple(
        Run(f"run{index}", (index,), replace(settings, engine="reference")) for index in range(pack)
    )
    subject = Trained(Plan(runs, objective="train/perplexity"))
    try:
        subject.train(UPDATES)
        subject.forward(1)
        return torch.tensor(
            [shard.progress().last_loss[0] for shard in subject.pack.shards], dtype=torch.float64
        )
    finally:
        subject.close()


def losses(subject):
    subject.train(UPDATES)
    subject.forward(1)
    return torch.stack([script.loss for script in subject.scripts])


@pytest.mark.parametrize("form", [ONE_HOT, PREBUILT])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh"])
def test_torch_nn_trains_as_the_reference_engine(settings, cell, form):
    own = replace(settings, cell=cell, biases=2)
    assert_close(losses(torch_nn(own, 2, form)), trained(own, 2))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh"])
def test_torch_nn_behind_an_embedding_trains_as_a_study_with_an_embedding(settings, cell):
    own = replace(settings, cell=cell, biases=2)
    expected = trained(replace(own, embedding_size=SHAPE.hidden_size), 2)
    assert_close(losses(torch_nn(own, 2, EMBEDDING)), expected)


@pytest.mark.parametrize("cell", cells.names())
def test_the_published_loop_trains_as_the_reference_engine(settings, cell):
    """The phases of lru are exponentials: at a rate of 1 they go around so often that a last bit
    decides where they end.
    """
    own = replace(
        settings,
        cell=cell,
        learning_rate=0.1 if cell == "lru" else settings.learning_rate,
        embedding_size=SHAPE.hidden_size if cells.find(cell).reads_input else None,
    )
    assert_close(losses(loop(own, LOOP)), trained(own, 1))


def test_both_clip(settings):
    """torch divides by the norm + 1e-6, the engines' optimiser by the norm: at 0.1 they differ by
    1e-5 of a step.
    """
    own = replace(settings, clip_norm=0.1)
    clipped, unclipped = losses(loop(own, LOOP)), losses(loop(settings, LOOP))
    assert (clipped - unclipped).abs() > 0.01
    assert (clipped - trained(own, 1)).abs() < 1e-6


def test_the_loop_has_a_second_bias_where_a_study_has(settings):
    own = replace(settings, biases=2, initialization="uniform")
    assert_close(losses(loop(own, LOOP)), trained(own, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning"
)  # of torch's compiler, to itself
def test_the_compiled_loop_trains_as_the_reference_engine(tmp_path):
    """float64, as the others; torch's compiler needs a C++ compiler, as the generated engine
    does.

    Two time steps are a loop already, and each more has kernels to compile, 2 s each. The compiler
    need not try whether the processor has the instructions that it says it has.
    """
    from torch._inductor import config

    settings = settings_at(own_shape("B3,T2,H8,V11"), tmp_path)
    quick = {"compile_threads": 1, "cpp.vec_isa_ok": True, "cpp_cache_precompile_headers": False}
    with config.patch(quick):
        compiled = losses(loop(settings, COMPILED))
    assert_close(compiled, trained(settings, 1))


def test_a_yardstick_has_the_threads_that_it_is_given(settings):
    before = torch.get_num_threads()
    try:
        subject = torch_nn(replace(settings, threads=2), 1, ONE_HOT)
        subject.train(1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_epoch_has_as_many_updates_as_the_legend_says(settings):
    subject = Trained(Plan((Run("run", (0,), settings),), objective="train/perplexity"))
    try:
        task = subject.pack.task
        assert (task.updates_per_epoch, task.num_outputs, task.carried) == (
            UPDATES_PER_EPOCH,
            SHAPE.num_tokens,
            True,
        )
    finally:
        subject.close()


def test_random_tokens_can_be_learnt(settings):
    """By heart: there are few of them. What is timed is training, not a motion of numbers."""
    own = replace(settings, hidden_size=32, clip_norm=1.0, initialization="uniform")
    subject = Trained(Plan((Run("run", (0,), own),), objective="train/perplexity"))
    try:
        (shard,) = subject.pack.shards
        subject.train(UPDATES_PER_EPOCH)
        first = shard.progress().train_nats[0]
        subject.train(400)
        shard.progress()
        subject.train(UPDATES_PER_EPOCH)
        assert shard.progress().train_nats[0] < first - 0.5
    finally:
        subject.close()
