"""A study beside the script that its user would write instead: both in turn, and their ratio.

``make bench-peer`` runs it; the script is ``tools/peer_script.py``, the study
``studies/bench/peer.yaml``. Where the processor multiplies bf16 numbers, the study is run in that
precision too, which is no arithmetic of the script's. Where the seconds go is told by each itself;
what the training of each makes of the machine is its arithmetic over what the cores reach at
multiply-adds among registers, measured before and after every pair. Who begins changes from pair to
pair.
"""

import argparse
import functools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import data, provenance, study
from harness.bench.cost.roof import Roofs
from harness.engine.cpu.products import products
from harness.model.architecture import architecture
from harness.timing import cpu_count

ROOF_SECONDS = 0.5
"""Of each figure of what the cores reach."""
STUDY = Path(__file__).resolve().parents[1] / "studies" / "bench" / "peer.yaml"
SPLIT = re.compile(
    r"(?P<all>\d+) s by the wall clock: (?P<training>\d+) s training, \d+ s timing, "
    r"(?P<outside>[\d.]+) s outside these \(start-up (?P<start_up>[\d.]+), "
    r"MLflow and Optuna (?P<stores>[\d.]+), "
    r"checks and report (?P<rest>[\d.]+)\)"
)
"""The line in which a launch says where its seconds went."""


def main() -> None:
    """Measures pairs, prints each as it comes, and writes all of them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=2, help="How often both are run, in turn.")
    parser.add_argument("--epochs", type=int, default=40, help="Epochs of a run.")
    parser.add_argument("--json", type=Path, help="File for the seconds of every pair.")
    arguments = parser.parse_args()
    operations, roofs = training_operations(arguments.epochs), Roofs("cpu", cpu_count())
    pairs = []
    for number in range(arguments.pairs):
        roofs.measure(ROOF_SECONDS)
        pair: dict[str, dict[str, float]] = {}
        for name, run in list(runs().items())[:: 1 if number % 2 == 0 else -1]:
            seconds = run(arguments.epochs)
            seconds["gflops"] = operations / seconds["training"] / 1e9
            pair[name] = seconds
        pairs.append(pair)
        print(f"pair {number + 1}: {told(pair)}", flush=True)
    roofs.measure(ROOF_SECONDS)
    peak = roofs.roofs[-1].peak
    for name in pairs[0]:
        if name != "script":
            ratios = [pair["script"]["all"] / pair[name]["all"] for pair in pairs]
            print(f"the script takes {statistics.median(ratios):.2f} times as long as the {name}")
    for name in pairs[0]:
        reached = statistics.median(pair[name]["gflops"] for pair in pairs)
        print(
            f"the {name} trains at {reached:.0f} GFLOP/s, {100 * reached / peak:.0f} % of the "
            f"{peak:.0f} of float32's multiply-adds among registers on {cpu_count()} cores"
        )
    if arguments.json is not None:
        about = provenance.describe("cpu") | {"versions": provenance.versions()}
        found = {"epochs": arguments.epochs, "peak_gflops": peak, "pairs": pairs}
        arguments.json.write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")


def runs() -> dict[str, Callable[[int], dict[str, float]]]:
    """Returns what is compared: name -> what runs it for so many epochs."""
    found: dict[str, Callable[[int], dict[str, float]]] = {
        "script": run_script,
        "study": functools.partial(run_study, precision="float32"),
    }
    if products("bf16").operands_at_once() > 1:
        found["study in bf16"] = functools.partial(run_study, precision="bf16")
    return found


def training_operations(epochs: int) -> float:
    """Returns the arithmetic operations of all training: a pass back is two passes forward."""
    loaded = study.load(STUDY)
    assert loaded.tune is not None  # as the study says
    total = 0.0
    for arm in loaded.arms:
        corpus = data.load_text(arm.settings)
        num_tokens = len(corpus.vocabulary)
        windows = data.training_windows(arm.settings, len(corpus.splits["train"]))
        tokens = windows.updates_per_epoch * epochs * windows.targets_per_update
        flops = architecture(arm.settings, num_tokens, num_tokens).flops_per_token()
        total += 3.0 * flops * tokens * (loaded.tune.trials + loaded.replicate.seeds)
    return total


def run_script(epochs: int) -> dict[str, float]:
    """Returns the script's seconds, by what took them; ``all`` is the clock on the wall."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        corpus = data.load_text(study.load(STUDY).arms[0].settings)
        text.write_text("".join(corpus.vocabulary.decode(corpus.splits["train"])), encoding="utf-8")
        script = Path(__file__).with_name("peer_script.py")
        wall, said = _timed([sys.executable, str(script), str(text), folder, str(epochs)])
    told_line = next(line for line in said.splitlines() if line.startswith("{"))  # warnings follow
    seconds: dict[str, float] = json.loads(told_line)["seconds"]
    return seconds | {"all": wall}


def run_study(epochs: int, precision: str) -> dict[str, float]:
    """Returns the study's seconds likewise, as the launch tells them."""
    with tempfile.TemporaryDirectory() as folder:
        setting = ["--set", f"fix.budget={{epochs: {epochs}}}"]
        setting += ["--set", f"fix.precision={precision}"]
        command = [sys.executable, "-m", "harness.cli", "run", str(STUDY), "--folder", folder]
        wall, said = _timed([*command, *setting, "--force"])
    found = SPLIT.search(" ".join(said.split()))
    if found is None:
        raise RuntimeError(f"harness run: must say where its seconds went, but said {said!r}.")
    return {name: float(text) for name, text in found.groupdict().items()} | {"all": wall}


def told(pair: dict[str, dict[str, float]]) -> str:
    """Returns a pair in words."""
    parts = []
    for name, seconds in pair.items():
        others = ", ".join(
            f"{part.replace('_', '-')} {s:.1f}"
            for part, s in seconds.items()
            if part not in ("all", "gflops")
        )
        parts.append(f"{name} {seconds['all']:.1f} s ({others})")
    return "; ".join(parts)


def _timed(command: list[str]) -> tuple[float, str]:
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[1]}: must end with 0, but ended with {done.stderr[-2000:]}")
    return time.perf_counter() - begun, done.stdout + done.stderr


if __name__ == "__main__":
    main()
