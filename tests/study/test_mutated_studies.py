"""Whatever a study file holds, it is read, or refused with a StudyError."""

import copy
import random

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from two_studies import ARMS, CROSS

from harness import study

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
