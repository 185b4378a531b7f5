"""The command: words in, tables out; what was measured is written as it comes."""

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.bench import journal
from harness.bench.journal import Journal
from harness.bench.options import Options, checked
from harness.bench.record import Bench, BenchError
from harness.bench.words import parse

INTERRUPTED = 130


def run(words: Sequence[str]) -> str:
    """Measures, or reads a file; returns what there is to print.

    Raises:
        BenchError: Words or a file are wrong; a line for every problem.
        OSError: A file cannot be read or written.
    """
    arguments = parse(words)
    if arguments.plot:
        return _drawn(Path(arguments.plot))
    if arguments.read:
        return _text(read(Path(arguments.read)))
    options = checked(arguments)
    if arguments.module:
        from harness.bench import modules

        return modules.run(options, words)
    bench = measured(options, words)
    return _in_brief(bench) if options.quick and isinstance(bench, Bench) else _text(bench)


def _drawn(path: Path) -> str:
    from harness.bench import figure  # late: a machine that measures may lack what draws

    bench = read(path)
    if isinstance(bench, Journal):
        raise BenchError(
            f"bench: --plot must have a file of whole rounds, but {path} was made with --budget."
            " Print it by --from."
        )
    return "\n".join(map(str, figure.draw(bench, path)))


def _in_brief(bench: Bench) -> str:
    from harness.bench import brief

    return brief.text(bench)


def _text(bench: Bench | Journal) -> str:
    from harness.bench import journal_tables, tables

    return journal_tables.text(bench) if isinstance(bench, Journal) else tables.text(bench)


def read(path: Path) -> Bench | Journal:
    """Returns what a file holds, told apart by its first line."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BenchError(
            f"bench: {path} must be UTF-8, but got byte={error.object[error.start]:#04x}."
        ) from error
    return journal.from_text(text) if journal.is_journal(text) else Bench.from_json(text)


def measured(options: Options, words: Sequence[str]) -> Bench | Journal:
    """Measures within the budget, or shape by shape in rounds.

    A shape that is done is written, whatever becomes of the next; with a budget, each figure is.
    """
    from harness.bench import budget, measure
    from harness.bench.ticker import Ticker

    ticker = Ticker(sys.stderr)
    try:
        if options.budget is not None:
            return budget.measure(options, words, ticker)
        bench = measure.begin(options, words)
        for shape in options.shapes:
            measure.measure(bench, shape, options, ticker)
            if options.json is not None:
                bench.write(options.json)
        return bench
    finally:
        ticker.close()


def main(words: Sequence[str]) -> int:
    """Runs the program without the rest of ``harness`` and returns its exit code.

    It is 0, 2 for what the person can mend, or 130 after Ctrl-C.
    """
    try:
        sys.stdout.write(run(words).rstrip() + "\n")
    except (BenchError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was done is in the JSON, where one was asked for\n")
        return INTERRUPTED
    return 0
