"""The command: words in, tables out, the JSON written after every shape."""

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.bench.options import Options, checked, parse
from harness.bench.record import Bench, BenchError

INTERRUPTED = 130


def run(words: Sequence[str]) -> str:
    """Measures, or reads a file; returns what there is to print.

    Raises:
        BenchError: Words or a file are wrong; a line for every problem.
        OSError: A file cannot be read or written.
    """
    arguments = parse(words)
    if arguments.plot:
        from harness.bench import figure  # late: a machine that measures may lack what draws

        path = Path(arguments.plot)
        return "\n".join(map(str, figure.draw(read(path), path)))
    from harness.bench import tables

    if arguments.read:
        return tables.text(read(Path(arguments.read)))
    return tables.text(measured(checked(arguments), words))


def read(path: Path) -> Bench:
    """Returns the bench of a JSON file."""
    try:
        return Bench.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise BenchError(
            f"bench: {path} must be UTF-8, but got byte={error.object[error.start]:#04x}."
        ) from error


def measured(options: Options, words: Sequence[str]) -> Bench:
    """Measures shape by shape; a shape that is done is written, whatever becomes of the next."""
    from harness.bench import measure
    from harness.bench.ticker import Ticker

    bench = measure.begin(options, words)
    ticker = Ticker(sys.stderr)
    try:
        for shape in options.shapes:
            measure.measure(bench, shape, options, ticker)
            if options.json is not None:
                bench.write(options.json)
    finally:
        ticker.close()
    return bench


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
        sys.stderr.write(
            "interrupted; the shapes that were done are in the JSON, where one was asked for\n"
        )
        return INTERRUPTED
    return 0
