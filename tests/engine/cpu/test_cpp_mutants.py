"""Wrong generated code is seen: one token changed at a time, and the comparison with the definition
fails.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from agreement import case, differences

import cells
from harness.engine.cpu import compiler, cpu
from harness.engine.cpu.products import products


@dataclass(frozen=True)
class Mutation:
    """`pattern` becomes `instead` on the `place`-th line of a function that has both it and
    `within`.
    """

    what: str
    cell: str
    function: str
    pattern: str
    instead: str
    within: str = ""
    place: int = 0


def of(cell, function, *rows):
    return [Mutation(row[0], cell, function, *row[1:]) for row in rows]


MUTATIONS = [
    *of(
        "lstm-peephole",
        "forward",
        ("a product becomes a sum", r"(v\d+) \* (v\d+);", r"\1 + \2;", "", 1),
        ("a sum becomes a difference", r"(v\d+) \+ (v\d+);", r"\1 - \2;", "", 2),
        ("an activation is another", r"sigmoid\(", "hyperbolic_tangent(", "", 1),
        ("a gate of W x is another's", r"2 \* S", "1 * S", "x_row"),
        ("a bias is another's", r"bias \+ 2 \* S", "bias + 1 * S", "x_row"),
        ("a gate of R h is another's", r"1 \* units", "0 * units", r"load\(product"),
        ("the biases' places are mixed", r"b \+ 1 \* H", "b + 0 * H"),
        ("a bias is not loaded", r" \+ load\(bias \+ 3 \* S \+ j\)", "", "x_row"),
        ("the new state is written over the old one", "next_1", "prev_1", r"store\(next_1"),
        ("the operand is the new state", "prev_0", "next_0", r"kernels->product\("),
        ("threads leave rows out", r"thread \+ 1", "thread", "end ="),
        ("a matrix is packed of another's rows", r"kernels->pack\(H", "kernels->pack(H - 1", "", 1),
        ("the new state is where the old one is", r"t \+ 1", "t", "next_1 ="),
        (
            "the last state is that before",
            r"T % state_ring",
            "(T - 1) % state_ring",
            "last_state_1",
        ),
        ("one step's values are kept", r"t % ring", "0 % ring", "now_"),
        ("a step is left out", r"t < T;", "t < T - 1;"),
        (
            "the first state's ring is the others'",
            r"state_0 \+ \(t \+ 1\)",
            "state_0 + (t + 1) % T",
            "next_0 =",
        ),
        ("a vector is another", "given_vector_0", "given_vector_1", "unpack"),
        ("rows read the first row's inputs", r"t \* B \+ b\)", "t * B)", "x_row = "),
        ("rows are kept as the first", r"(now_\d+) \+ b \*", r"\1 + 0 * b *", r"store\(now"),
    ),
    *of(
        "lstm-peephole",
        "backward",
        ("a product becomes a sum", r"(v\d+) \* (v\d+);", r"\1 + \2;", "", 3),
        ("a difference is turned around", r"(v\d+) - (v\d+);", r"\2 - \1;", "", 1),
        ("the new state is read for the old one", r"load\(prev_1", "load(next_1"),
        ("the new state is where the old one is", r"t \+ 1", "t", "next_1 ="),
        ("a gate's gradient is stored as another's", r"2 \* S", "3 * S", r"store\(now_stack"),
        ("a gate's gradient is not stored", r"^.*$", "", r"store\(now_stack.* 1 \* S"),
        ("the first step has no gradient", "t >= from;", "t > from;"),
        ("the outputs' gradient is not added", r" \+ load\(output_gradient.*?j\)", ""),
        ("the outputs' gradient is of the first step", r"gradients \+ t \*", "gradients + 0 * t *"),
        ("the later steps' gradient is dropped", r"load\(in_0.*?j\) \+ ", ""),
        ("the last state's gradient is dropped", "last_gradient_1, B", "nullptr, B", "unpack"),
        ("a carry's sides are swapped", r"carry_1_1 : carry_1_0", "carry_1_0 : carry_1_1", " in_1"),
        ("the first state's gradient is another step's", "T % 2", "(T + 1) % 2", "repack"),
        ("a sum over time is the first step's", r"load\(sum_\d+ .*?j\) \+ ", "", r"store\(sum"),
        ("a sum over time does not start at 0", r"^.*$", "", r"memset\(sum_"),
        ("the sums of the second slice are left out", r"slice = 1", "slice = 2"),
        ("a slice is stored as the first", r"b / SLICE", "0 * b", r"store\(sum"),
        (
            "a chunk's rows of tokens replace those before",
            r"add, thread",
            "0, thread",
            r"^ *add",
            1,
        ),
        (
            "a chunk's rows of floats replace those before",
            r", add, thread",
            ", 0, thread",
            "gradient_W",
        ),
        ("a chunk's matrix replaces the one before", r"add, thread", "0, thread", r"^ *add"),
        ("the tokens are another chunk's", r"tokens \+ from \* B", "tokens", "scatter"),
        ("the operand is another chunk's", r"state_0 \+ from", "state_0 + 0", "outer_part"),
        (
            "the stack begins elsewhere",
            r"\(t - from\)",
            "(t - from + 1) % (to - from)",
            "now_stack",
        ),
        (
            "a chunk ends early",
            r"from = to > chunk \? to - chunk : 0",
            "from = to > chunk ? to - chunk + 1 : 0",
        ),
        (
            "a biased gate has another's gradient",
            r"gradient_b \+ 1 \* H",
            "gradient_b + 2 * H",
            r"\+=",
        ),
        ("a vector has another's gradient", r"(repack\(vector_gradient_)0", r"\g<1>1"),
    ),
    *of(
        "gru",
        "forward",
        ("a difference becomes a sum", r"(v\d+) - (v\d+);", r"\1 + \2;"),
        ("an activation is another", r"hyperbolic_tangent\(", "sigmoid("),
        ("a recurrent bias is dropped", r"load\(vector_0 \+ j\)", "splat(0)"),
    ),
    *of(
        "gru",
        "backward",
        ("a sum becomes a difference", r"(v\d+) \+ (v\d+);", r"\1 - \2;"),
        ("a difference becomes a sum", r"(v\d+) - (v\d+);", r"\1 + \2;"),
        ("the stacks are mixed", "now_stack_1", "now_stack_0", r"kernels->product\("),
        ("a product has a gate too few", r"H, (\d), now", r"H, \1 - 1, now", r"product\("),
        ("a product starts a gate late", r"0 \* S", "1 * S", r"product\("),
        ("the product's part is dropped", r"load\(transposed_\d+.*\);", "splat(0);"),
    ),
]


def mutated(source, mutation):
    """The source with one token changed."""
    start = source.index("static void backward_steps")
    parts = {"forward": source[:start], "backward": source[start:]}
    lines = parts[mutation.function].splitlines()
    places = [
        k
        for k, line in enumerate(lines)
        if re.search(mutation.pattern, line) and re.search(mutation.within, line)
    ]
    assert len(places) > mutation.place, f"no place for {mutation}"
    k = places[mutation.place]
    lines[k] = re.sub(mutation.pattern, mutation.instead, lines[k], count=1)
    return "\n".join(({**parts, mutation.function: "\n".join(lines)}).values())


def differences_of(name):
    """What differs for a cell that no earlier call has compiled; two slices of rows, two chunks of
    time.
    """
    found = []
    fresh = type("Fresh", (cells.find(name),), {})
    for inputs in ("tokens", "rows"):
        found += differences(
            "cpu", case(fresh, steps=13, batch=20, hidden=7, inputs=inputs, scale=0.3)
        )
    return found


def source_of(name, monkeypatch):
    found = []

    def load(label, source, *defines, right=compiler.load):
        found.append(source)
        return right(label, source, *defines)

    with monkeypatch.context() as patch:
        patch.setattr(compiler, "load", load)
        assert differences_of(name) == []
    return next(source for source in found if "void backward" in source)


def together(sources):
    """Many sources as one, their functions numbered: the headers are read once."""
    numbered = ['#include "layer.h"']
    for k, source in enumerate(sources):
        text = re.sub(
            r"\b(forward|backward)\(const long",
            rf"\1_{k}(const long",
            source.replace(numbered[0], ""),
        )
        numbered.append(f"namespace n{k} {{\n{text}\n}}")
    return "\n".join(numbered)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Mutation -> its two functions, and cell -> the right ones; compiled in two threads, not into
    the user's cache.
    """
    products("float64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("mutants")))
        patch.setattr(
            compiler, "FLAGS", ("-O1", *(flag for flag in compiler.FLAGS if flag != "-O3"))
        )
        right = {name: source_of(name, patch) for name in ("lstm-peephole", "gru")}
        sources = list({**{m: mutated(right[m.cell], m) for m in MUTATIONS}, **right}.items())
        halves = [sources[0::2], sources[1::2]]
        with ThreadPoolExecutor(2) as pool:
            texts = [together([source for _, source in half]) for half in halves]
            found = list(
                pool.map(lambda text: compiler.load("mutants", text, "REAL=double"), texts)
            )
    return {
        key: SimpleNamespace(forward=library[f"forward_{k}"], backward=library[f"backward_{k}"])
        for half, library in zip(halves, found, strict=True)
        for k, (key, _) in enumerate(half)
    }


def found_with(library, name, monkeypatch):
    """What differs from the definition where the generated code is `library`'s, on memory full of
    NaN.
    """

    def load(label, source, *defines, right=compiler.load):
        return library if "void backward" in source else right(label, source, *defines)

    def spoilt(num_bytes, take=cpu.memory.take):
        return take(num_bytes).fill_(0xFF)

    monkeypatch.setattr(compiler, "load", load)
    monkeypatch.setattr(cpu.memory, "take", spoilt)
    return differences_of(name)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.cell} {m.function}: {m.what}")
def test_a_mutant_of_the_generated_code_does_not_agree(libraries, monkeypatch, mutation):
    assert found_with(libraries[mutation], mutation.cell, monkeypatch) != []


@pytest.mark.parametrize("name", ["lstm-peephole", "gru"])
def test_the_right_code_agrees_by_the_same_road(libraries, monkeypatch, name):
    assert found_with(libraries[name], name, monkeypatch) == []


def test_there_are_mutants_enough_and_each_is_another():
    assert len(MUTATIONS) >= 25
    assert len(
        {(m.cell, m.function, m.pattern, m.instead, m.within, m.place) for m in MUTATIONS}
    ) == len(MUTATIONS)
