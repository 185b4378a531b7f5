"""A stage in C++: for every row, passes over its units.

A pass ends where a value of the whole row is needed, or one that takes long.
"""

from collections.abc import Iterator

from harness.engine.cpu.values import Values
from harness.engine.tracing.program import MOVES, OPERATIONS, REDUCTIONS, Node
from harness.engine.tracing.schedule import Stage


def is_of_rows(node: Node) -> bool:
    """Whether a node is one value a row, or is made of other units of its row."""
    return node.kind == "row" or node.op in REDUCTIONS or node.op in MOVES or node.op == "cumsum"


class Stages:
    """Writes the stages of a schedule."""

    def __init__(self, values: Values):
        self.values, self.schedule, self.nodes = values, values.schedule, values.nodes

    def write(self, stage: Stage) -> Iterator[str]:
        """Yields the lines of a stage."""
        passes = self._passes(stage)
        last = max(passes.values(), default=0)
        across = self._across(stage, passes)
        yield "    {"
        for i in sorted(across | self._copied(stage)):
            yield f"    real across_{i}[S];"
        yield "    for (long b = begin; b < end; b++) {"
        groups = {
            self.nodes[i].name.partition(".")[0]
            for i in stage.loaded
            if self.nodes[i].op == "input"
        }
        if "x" in groups:
            yield (
                "      const real* const x_row = x + (tokens ? tokens[t * B + b] : t * B + b) * "
                "x_length;"
            )
        if "noise" in groups:
            yield (
                "      const real* const noise_row = noise + (t * noise_step + b) * "
                f"{len(self.values.noise)} * S;"
            )
        rows = [i for i in stage.computed if self.nodes[i].kind == "row"]
        loaded_rows = [i for i in stage.loaded if self.nodes[i].kind == "row"]
        for i in loaded_rows:
            yield f"      {self.values.declare(i, f'load({self.values.rows(i)} + b * L)')}"
        for number in range(last + 1):
            for i in rows:
                if passes[i] == number and self.nodes[i].op not in REDUCTIONS:
                    yield f"      {self.values.declare(i, self.values.expression(i))}"
            yield from self._pass(stage, number, passes, across)
        for i in rows:
            if i in stage.kept or i in stage.crossing:
                stored = self.values.value(i, stored=True)
                yield f"      store({self.values.rows(i)} + b * L, {stored});"
        yield "    }\n    }"

    def _passes(self, stage: Stage) -> dict[int, int]:
        """Returns the pass in which each node is ready.

        A node that reads whole rows of its arguments is ready one pass after them.
        """
        if not any(is_of_rows(self.nodes[i]) for i in stage.computed):
            return self._by_depth(stage)
        passes = dict.fromkeys(stage.loaded, 0)
        for i in stage.computed:
            node = self.nodes[i]
            reads_rows = node.op in REDUCTIONS or node.op in MOVES
            passes[i] = max((passes[a] for a in node.args), default=0) + reads_rows
        return passes

    def _by_depth(self, stage: Stage) -> dict[int, int]:
        """Returns passes in none of which a costly operation waits for another one.

        A processor looks some two hundred instructions ahead: at a tanh alone, those of eight
        vectors are computed beside one another; at a tanh of a sigmoid, those of two.
        """
        passes, free = dict.fromkeys(stage.loaded, 0), dict.fromkeys(stage.loaded, 0)
        readers: dict[int, list[int]] = {i: [] for i in (*stage.loaded, *stage.computed)}
        for i in stage.computed:
            node = self.nodes[i]
            for a in node.args:
                readers[a].append(i)
            passes[i] = max((passes[a] for a in node.args), default=0)
            free[i] = max((free[a] for a in node.args), default=0)  # where a costly one may read it
            if OPERATIONS[node.op].costly:
                passes[i] = max(passes[i], free[i])
                free[i] = passes[i] + 1
        for i in reversed(stage.computed):
            if readers[i] and not OPERATIONS[self.nodes[i].op].costly:
                passes[i] = max(passes[i], min(passes[r] for r in readers[i]))
        # A compiler fuses a product with the sum that reads it, which then rounds once, if they are
        # in one loop: no number may depend on where loops end.
        is_torn = any(
            self.nodes[i].op in ("mul", "neg")
            and self.nodes[r].op in ("add", "sub", "neg")
            and passes[r] > passes[i]
            for i in stage.computed
            for r in readers[i]
        )
        return dict.fromkeys(passes, 0) if is_torn else passes

    def _across(self, stage: Stage, passes: dict[int, int]) -> set[int]:
        """Returns the values of a row that a later pass reads again."""
        computed = set(stage.computed)
        readers = [
            (a, passes[i] - (self.nodes[i].op in REDUCTIONS))
            for i in computed
            for a in self.nodes[i].args
        ]
        return {
            a
            for a, at in readers
            if a in computed and self.nodes[a].kind != "row" and at > passes[a]
        }

    def _copied(self, stage: Stage) -> set[int]:
        """Returns the loaded values whose rows are read in another order."""
        moved = {self.nodes[i].args[0] for i in stage.computed if self.nodes[i].op in MOVES}
        return moved & set(stage.loaded)

    def _pass(
        self, stage: Stage, number: int, passes: dict[int, int], across: set[int]
    ) -> Iterator[str]:
        reduced = [
            i for i in stage.computed if self.nodes[i].op in REDUCTIONS and passes[i] == number + 1
        ]
        computed = [
            i for i in stage.computed if self.nodes[i].kind != "row" and passes[i] == number
        ]
        stores = list(self._stores(stage, number, passes))
        sources = [self.nodes[i].args[0] for i in reduced]
        sums = [
            (i, self.nodes[i].args[0])
            for i in stage.sums
            if passes.get(self.nodes[i].args[0], 0) == number
        ]
        copied = sorted(self._copied(stage)) if number == 0 else []
        read = [i for _, i in stores if i is not None] + sources + [source for _, source in sums]
        loads = self._loads(computed, read + copied, across)
        if not (computed or stores or reduced or sums or copied):
            return
        for i in reduced:
            start = "splat(0)" if self.nodes[i].op == "row_sum" else "splat(-INFINITY)"
            yield f"      vec part_{i} = {start};"
        for i in computed:
            if self.nodes[i].op == "cumsum":
                yield f"      real sum_to_v{self.nodes[i].args[0]} = 0;"
        yield "      for (long j = u_begin; j < u_end; j += L) {"
        for line in loads:
            yield f"        {line}"
        for i in copied:
            yield f"        store(across_{i} + j, v{i});"
        for i in computed:
            yield f"        {self.values.declare(i, self.values.expression(i))}"
            if i in across:
                yield f"        store(across_{i} + j, {self.values.value(i, stored=True)});"
        for address, stored in stores:
            value = "splat(0)" if stored is None else self.values.value(stored, stored=True)
            yield f"        store({address}, {value});"
        for i, source in sums:
            target = f"sum_{i} + b / SLICE * S + j"
            yield f"        store({target}, load({target}) + v{source});"
        for i, source in zip(reduced, sources, strict=True):
            if self.nodes[i].op == "row_sum":
                yield f"        part_{i} = part_{i} + first(v{source}, H - j, 0);"
            else:
                yield f"        part_{i} = maximum(part_{i}, first(v{source}, H - j, -INFINITY));"
        yield "      }"
        for i in reduced:
            fold = "total" if self.nodes[i].op == "row_sum" else "largest"
            yield f"      const vec v{i} = splat({fold}(part_{i}));"

    def _stores(
        self, stage: Stage, number: int, passes: dict[int, int]
    ) -> Iterator[tuple[str, int | None]]:
        """Yields (address, node) of what a pass stores."""

        def here(i: int | None) -> bool:
            return (0 if i is None else passes.get(i, 0)) == number

        one = "b * row_length(1, S) + j"
        for s, i in stage.new_states:
            if here(i):
                yield f"next_{s} + {one}", i
        for i in (*stage.kept, *stage.crossing):
            if self.nodes[i].kind != "row" and here(i):
                yield f"{'now' if i in self.schedule.kept else 'cross'}_{i} + {one}", i
        for k, block, gate in stage.blocks:
            if here(gate):
                length = f"row_length({len(self.schedule.stacks[k])}, S)"
                yield f"now_stack_{k} + b * {length} + {block} * S + j", gate
        for s, i in stage.carries:
            if here(i):
                yield f"out_{s} + {one}", i

    def _loads(self, computed: list[int], read: list[int], across: set[int]) -> list[str]:
        """Returns the declarations of what a pass reads and does not compute."""
        here = set(computed)
        arguments = [
            a
            for i in computed
            for k, a in enumerate(self.nodes[i].args)
            if k > 0 or self.nodes[i].op not in MOVES
        ]
        wanted = dict.fromkeys(arguments + read)
        lines = []
        for i in wanted:
            if i in here or self.nodes[i].kind == "row" or self.nodes[i].op == "constant":
                continue
            lines.append(
                self.values.declare(
                    i, f"load(across_{i} + j)" if i in across else self.values.load(i)
                )
            )
        return lines
