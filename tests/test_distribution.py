"""What is installed is what lies in the tree."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cells", "harness")


def files_of(root):
    """The files of the packages below a folder, without what Python or the system leaves there."""
    return {
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and not any(p.startswith((".", "__pycache__")) for p in path.parts)
    }


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_packages(tmp_path):
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    build = ["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    build += ["--no-build-isolation", "--no-index", "--wheel-dir", str(wheels), str(source)]
    subprocess.run([sys.executable, *build], check=True)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    expected = files_of(source)
    assert "harness/data/texts/timemachine.txt" in expected
    assert files_of(tmp_path / "installed") == expected
    # The corpus is read from what a wheel installs, with nothing else of the bench in sight.
    code = (
        "from harness import data; from harness.settings import Settings;"
        "print(data.__file__, len(data.load(Settings('lstm', 'time-machine')).vocabulary))"
    )
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": str(tmp_path / "installed"), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [str(tmp_path / "installed/harness/data/__init__.py"), "44"]
