"""What a run was: commit and dirtiness, versions, machine.

Recorded with every run, never interpreted.
"""

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "optuna", "mlflow")
ON_CUDA = ("triton",)
"""Packages that a result depends on where it is computed on CUDA."""


@functools.cache
def commit() -> tuple[str, bool | None]:
    """Returns the commit of the code that runs, and whether it was changed since.

    Without git that is ("unknown", None): nobody can tell.

    A new file among the code is a change; one beside it, such as a study, is none.
    """
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if git(
            "rev-parse", "--show-prefix"
        ):  # installed somewhere below another project's repository
            return "unknown", None
        head = git("rev-parse", "HEAD")
        return (
            (head, bool(git("status", "--porcelain", "--", "cells", "harness")))
            if head
            else ("unknown", None)
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown", None


@functools.cache
def versions(device: str = "cpu") -> dict[str, str]:
    """Returns the versions of Python, packages and libraries that a result on a device depends on.

    What is absent is left out.
    """
    numbers = {"python": platform.python_version()}
    for package in (*PACKAGES, *(ON_CUDA if device.startswith("cuda") else ())):
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            continue
    if device.startswith("cuda"):  # a wheel of torch need not say which it was built for
        libraries = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        numbers |= {name: str(number) for name, number in libraries.items() if number}
    return numbers


@functools.cache
def device_name(device: str) -> str:
    """Returns the model of the processor or of the GPU."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe(device: str) -> dict[str, str]:
    """Returns all of it as flat text, ready for a record."""
    head, dirty = commit()
    return {
        "git_commit": head,
        "git_dirty": "unknown" if dirty is None else str(dirty).lower(),
        "device_name": device_name(device),
        **{f"version_{name}": number for name, number in versions(device).items()},
    }
