"""The parts of ``make gpu`` that are ours alone; each is a program that ends with 1 if it fails."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import gpu_compare
import torch

import cells
from cells.registry import shipped_names
from harness import engine, provenance
from harness.training.plan import plans_from_json, plans_to_json

PLAN = Path(__file__).resolve().parent / "gpu"
MOST_APART = 0.02
"""Of end losses on two devices, relative: training amplifies roundings."""
SECONDS = 30
"""What the worker has, less than its part, so that what it did is compared all the same."""


def machine(options: argparse.Namespace) -> bool:
    """Prints versions, device and commit, and whether Triton and NVRTC work."""
    from harness.engine.gpu import trial
    from harness.engine.persistent import nvrtc

    facts = provenance.describe(options.device)
    facts |= {"torch": torch.__version__, "cuda": str(torch.version.cuda)}
    facts |= {"cores": str(os.cpu_count()), "compiler": str(shutil.which("cc"))}
    try:
        import triton

        facts["triton"] = triton.__version__
    except ImportError as error:
        facts["triton"] = f"none: {error}"
    try:
        facts["NVRTC"] = f"{nvrtc.version()}, {nvrtc.find()}"
    except nvrtc.NvrtcError as error:
        facts["NVRTC"] = f"none: {error}"
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    if shutil.which("nvidia-smi"):
        words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv"]
        done = subprocess.run(words, capture_output=True, text=True)
        print(f"nvidia-smi: {' | '.join(done.stdout.splitlines())}", flush=True)
    begun = time.monotonic()
    failure = trial.failure(options.device)
    seconds = time.monotonic() - begun
    print(f"trial of Triton: {failure or 'it works'}, after {seconds:.1f} s")
    return options.device == "cpu" or failure is None


def kernels(options: argparse.Namespace) -> bool:
    """Compiles what the other parts need into Triton's cache, by as many processes as cores."""
    import gpu_check
    from gpu_kernels import Job, Kernel

    architecture = 90
    if options.device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        architecture = 10 * major + minor
    jobs = [
        Job(name, cells.find(name), size, precision, architecture, biases)
        for name, size, precision, biases in _needed(options.small)
    ]
    begun = time.monotonic()
    found: list[Kernel] = []
    for job, made in zip(jobs, gpu_check.compiled(jobs, os.cpu_count() or 1), strict=True):
        found += made
        told = f"{job.name}, H = {job.hidden_size}, {job.precision}: {len(made)} kernels"
        wrong = gpu_check.problems(made)
        print(f"{time.monotonic() - begun:.0f} s: {told}", *wrong, sep="\n", flush=True)
    lines = gpu_check.problems(found)
    print(*gpu_check.summary(found), *gpu_check.borne(found), *lines, sep="\n")
    return not lines


def _needed(small: bool) -> list[tuple[str, int, str, int]]:
    """Returns the cell, hidden size, precision and biases of each job, the most wanted first."""
    from harness.bench.wanted import WANTED

    if small:
        return [("rnn-tanh", 7, "float64", 2), ("lstm", 16, "bf16", 1)]
    measured = [(r.cell, r.shape.hidden_size, _dtype(r.precision), 1) for r in WANTED]
    tested = [
        (name, 7, precision, biases)
        for precision, biases in (("float64", 2), ("float32", 2), ("float64", 1))
        for name in shipped_names()
    ]
    return list(dict.fromkeys([*measured, *tested]))


def _dtype(precision: str) -> str:
    return "float32" if precision == "tf32" else precision


def smoke(options: argparse.Namespace) -> bool:
    """Compares one update of LSTM, replayed where there is CUDA, with `reference` on the CPU."""
    from harness.engine.gpu.gpu import Gpu

    rung = gpu_compare.SMALL if options.small else gpu_compare.USUAL
    return gpu_compare.is_the_definitions(Gpu((options.device,)), rung, options.device)


def persistent(options: argparse.Namespace) -> bool:
    """Compares engine `persistent` likewise, the simplest layers first, each in its process."""
    words = [sys.executable, __file__, "one_kernel", "--device", options.device]
    words += [*(["--small"] if options.small else []), "--rung"]
    return gpu_compare.climbed(words, len(gpu_compare.ladder(options.small)))


def one_kernel(options: argparse.Namespace) -> bool:
    """Compares one rung of that."""
    return gpu_compare.one_kernel(options.rung, options.small, options.device)


def persistent_figures(options: argparse.Namespace) -> bool:
    """Measures engine `persistent` beside engine `gpu` and torch.nn."""
    from harness.bench.command import main as bench
    from harness.bench.wanted import BASE, LONG
    from harness.engine.persistent.persistent import Persistent

    # The part `persistent` compares; here a trial of each layer would take the seconds of a figure.
    ours = Persistent((options.device,), tried=lambda *_: None)
    engine.ENGINES = (ours, *(each for each in engine.ENGINES if each.name != ours.name))
    usual = ["--cells", "lstm,gru,rnn-tanh", "--budget", "48", "--shape", BASE.name]
    long = ["--cells", "lstm", "--budget", "24", "--shape", LONG.name]
    both = ["--device", options.device, "--engines", "gpu,persistent", "--kinds", "peer,engine"]
    if options.small:
        usual = ["--cells", "rnn-tanh", "--budget", "100", "--shape", "B2,T3,H7,V5"]
        long = ["--cells", "rnn-tanh", "--budget", "100", "--shape", "B2,T9,H7,V5"]
        both = ["--device", options.device, "--engines", "cpu,persistent", "--kinds", "engine"]
        both += ["--rounds", "1", "--seconds", "0.01"]
    long += ["--packs", "1", "--precision", "bf16"]
    ends = [
        bench([*both, *words, "--json", str(options.out / name)])
        for words, name in ((usual, "persistent.jsonl"), (long, "persistent-long.jsonl"))
    ]
    return ends == [0, 0]


def plan(options: argparse.Namespace) -> bool:
    """Trains the plan as a worker does, and prints its end losses beside the CPU's."""
    plans = plans_from_json((PLAN / "plan.json").read_text(encoding="utf-8"))
    plans = plans[:1] if options.small else plans
    asked, records = options.out / "plan.json", options.out / "records.jsonl"
    asked.write_text(plans_to_json(plans), encoding="utf-8")
    there = end_losses(PLAN / "cpu.jsonl")
    wanted = {run.id: there[run.id] for each in plans for run in each.runs}
    words = [sys.executable, "-m", "harness.train", str(asked)]
    with records.open("w", encoding="utf-8") as file:
        try:
            how = f"ended with {subprocess.run(words, stdout=file, timeout=SECONDS).returncode}"
        except subprocess.TimeoutExpired:
            how = f"was stopped after {SECONDS} s"
    lines, all_well = compared(end_losses(records), wanted)
    print("\n".join([*lines, f"the worker {how}"]))
    return all_well and how == "ended with 0"


def end_losses(path: Path) -> dict[str, float]:
    """Returns the objective of each run that finished."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]  # a worker may have been stopped
    ends = [record for record in map(json.loads, whole) if record["kind"] == "end"]
    return {r["run"]: r["metrics"]["objective"] for r in ends if "objective" in r["metrics"]}


def compared(here: dict[str, float], there: dict[str, float]) -> tuple[list[str], bool]:
    """Returns a line a run, and whether all are there and near the CPU's."""
    lines, all_well = [], True
    for run, of_cpu in there.items():
        if run not in here:
            lines.append(f"{run}: not finished here; on the CPU {of_cpu:.4f}")
            all_well = False
            continue
        apart = here[run] / of_cpu - 1
        lines.append(f"{run}: {here[run]:.4f}, on the CPU {of_cpu:.4f}, apart {apart:+.2e}")
        all_well &= abs(apart) < MOST_APART
    return lines, all_well


def main(words: Sequence[str]) -> int:
    """Runs one part and returns the exit code."""
    named = {
        part.__name__: part
        for part in (machine, kernels, smoke, persistent, one_kernel, persistent_figures, plan)
    }
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("part", choices=named)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument(
        "--rung", type=int, default=0, help="the number of what one_kernel compares"
    )
    options = parser.parse_args(words)
    return 0 if named[options.part](options) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
