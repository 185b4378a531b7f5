"""What a machine with a CUDA GPU is asked, in ten minutes at most; ``make gpu``.

Torch, Triton, NumPy and pytest are enough there. Parts follow one another; each has seconds of its
own, so that none takes another's, and the output of all is in one file as it comes: few files are
left, since what is lent may give back few. The exit code is 1 where a part fails or runs out of its
seconds, and 2 where nothing can be asked.
"""

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES_SHOWN = 40
"""Of the end of a part's output; the log holds all of it."""
LOG = "log.txt"
TIMED_OUT = 124
SECONDS_TO_END = 5
"""Of a process that was killed."""


@dataclass(frozen=True)
class Part:
    """A command, and the seconds that it has."""

    name: str
    seconds: int
    command: tuple[str, ...]


def parts(out: Path, device: str, small: bool) -> list[Part]:
    """Returns the parts, in the order in which they are wanted: what is right, then how fast."""
    python, own = sys.executable, str(Path(__file__).with_name("gpu_parts.py"))
    options = ("--device", device, *(["--small"] if small else []))
    bench: tuple[str, ...] = ("--budget", "120", "--json", str(out / "bench.jsonl"))
    if small:
        bench = ("--budget", "10", *bench[2:], "--shape", "B4,T6,H16,V28", "--seconds", "0.02")
    # A warning of what is installed there is no failure.
    pytest: tuple[str, ...] = ("-m", "gpu", "-q", "--no-header", "-p", "no:cacheprovider")
    pytest = (*pytest, "--maxfail", "30", "-W", "default")
    if importlib.util.find_spec("xdist") is not None:
        pytest = (*pytest, "-p", "xdist.plugin", "-n", str(min(8, os.cpu_count() or 1)))
    return [
        Part("machine", 30, (python, own, "machine", *options)),
        Part("smoke", 40, (python, own, "smoke", *options)),
        # A process for what is compared and one for what is measured: a fault costs the one alone.
        Part("persistent", 60, (python, own, "persistent", *options)),
        Part("kernels", 90, (python, own, "kernels", *options)),
        Part("figures", 145, (python, "-m", "harness.bench", "--device", device, *bench)),
        Part(
            "persistent-figures",
            90,
            (python, own, "persistent_figures", *options, "--out", str(out)),
        ),
        Part("tests", 80, (python, "-m", "pytest", *pytest, *marked_tests())),
        Part("plan", 45, (python, own, "plan", *options, "--out", str(out))),
        Part("expected", 10, (python, str(Path(own).with_name("gpu_expected.py")), str(out))),
    ]


def marked_tests() -> list[str]:
    """Returns the files with tests that need a GPU; others need more than is installed there."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = [path for path in paths if "pytest.mark.gpu" in path.read_text(encoding="utf-8")]
    return [str(path.relative_to(ROOT)) for path in marked]


def environment(scratch: Path) -> dict[str, str]:
    """Returns that of the parts: one cache, so that kernels that are compiled once stay so."""
    folders = (".", "tests", "tools")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in folders),
        "PYTHONUNBUFFERED": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # of whatever else is installed there
        "OMP_NUM_THREADS": "1",
        "HARNESS_CACHE": str(scratch / "harness"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
    }


def run(part: Part, out: Path, variables: dict[str, str]) -> tuple[int, float]:
    """Returns how the part ended and after how many seconds; all that it started ends with it."""
    begun = time.monotonic()
    with (out / LOG).open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            part.command,
            cwd=ROOT,
            env=variables,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(part.seconds)
        except subprocess.TimeoutExpired:
            code = TIMED_OUT
        finally:
            _end_group(process)
    return code, time.monotonic() - begun


def _end_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    # What hangs within a driver ends late or never; the other parts do not wait for it.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_END)


def run_all(wanted: Sequence[Part], out: Path) -> int:
    """Runs the parts, prints the end of each output and returns the exit code."""
    codes = []
    with tempfile.TemporaryDirectory(prefix="harness-gpu-", ignore_cleanup_errors=True) as scratch:
        variables = environment(Path(scratch))
        for part in wanted:
            _tell(out, f"== {part.name}: at most {part.seconds} s")
            begins = (out / LOG).stat().st_size
            code, seconds = run(part, out, variables)
            told = (out / LOG).read_bytes()[begins:].decode(errors="replace")
            print("\n".join(told.splitlines()[-LINES_SHOWN:]))
            how = "out of its seconds" if code == TIMED_OUT else f"ended with {code}"
            _tell(out, f"== {part.name}: {how} after {seconds:.0f} s of {part.seconds} s")
            codes.append(code)
    return 1 if any(codes) else 0


def _tell(out: Path, line: str) -> None:
    """Prints a line, and adds it to the log, where a part may have left half a line."""
    print(line, flush=True)
    path = out / LOG
    is_whole = not path.exists() or path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n" if is_whole else f"\n{line}\n")


def refusal(device: str) -> str | None:
    """Returns why nothing can be asked here, or None."""
    if importlib.util.find_spec("torch") is None:
        return "gpu: torch must be installed, but got none. Install torch and NumPy."
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return (
            "gpu: must run on a machine with a CUDA device, but torch sees none. Use "
            "--device cpu --small to try the parts here."
        )
    return None


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT", ROOT / "build" / "gpu"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes: to try the parts")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of parts")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Runs the parts that are asked for and returns the exit code."""
    options = parse(words)
    if (reason := refusal(options.device)) is not None:
        print(reason, file=sys.stderr)
        return 2
    out = Path(options.out).resolve()
    wanted = parts(out, options.device, options.small)
    names = [part.name for part in wanted]
    if unknown := sorted(set(options.only or ()) - set(names)):
        print(
            f"gpu: --only must name parts among {', '.join(names)}, but got {', '.join(unknown)}.",
            file=sys.stderr,
        )
        return 2
    out.mkdir(parents=True, exist_ok=True)
    return run_all([part for part in wanted if part.name in (options.only or names)], out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
