"""The command: words in, tables out; what was measured is written as it comes."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.bench import journal
from harness.bench.journal import Journal
from harness.bench.options import Options, checked
from harness.bench.record import Bench, BenchError
from harness.bench.words import parse

INTERRUPTED = 130
INTERRUPTION = (
    "interrupted; rounds that were whole by then are printed, and in the JSON of --json\n"
)


def run(words: Sequence[str], say: Callable[[str], object]) -> None:
    """Measures, or reads a file, and says what came out.

    Raises:
        BenchError: Words or a file are wrong; a line for every problem.
        OSError: A file cannot be read or written.
        KeyboardInterrupt: It was interrupted; what is said are the rounds that were whole by then.
    """
    arguments = parse(words)
    if arguments.plot:
        say(_drawn(Path(arguments.plot)))
    elif arguments.read:
        say(_text(read(Path(arguments.read))))
    elif arguments.module:
        from harness.bench import modules

        say(modules.run(checked(arguments), words))
    else:
        _measure(checked(arguments), words, say)


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


def _measure(options: Options, words: Sequence[str], say: Callable[[str], object]) -> None:
    """Measures within the budget, or shape by shape in rounds, and says what came out.

    A shape that is done is written, whatever becomes of the next; with a budget, each figure is.
    """
    from harness.bench import budget, measure
    from harness.bench.ticker import Ticker

    ticker = Ticker(sys.stderr)
    try:
        if options.budget is not None:
            say(_text(budget.measure(options, words, ticker)))
            return
        bench = measure.begin(options, words)
        try:
            for shape in options.shapes:
                measure.measure(bench, shape, options, ticker)
                _write(bench, options)
        except KeyboardInterrupt:
            ticker.close()
            if bench.series:
                _write(bench, options)
                say(_told(bench, options))
            raise
        ticker.close()
        say(_told(bench, options))
    finally:
        ticker.close()


def _write(bench: Bench, options: Options) -> None:
    if options.json is not None:
        bench.write(options.json)


def _told(bench: Bench, options: Options) -> str:
    return _in_brief(bench) if options.quick else _text(bench)


def main(words: Sequence[str]) -> int:
    """Runs the program without the rest of ``harness`` and returns its exit code.

    It is 0, 2 for what the person can mend, or 130 after Ctrl-C or SIGTERM.
    """
    try:
        run(words, lambda text: print(text.rstrip()))
    except (BenchError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(INTERRUPTION)
        return INTERRUPTED
    return 0
