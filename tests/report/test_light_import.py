"""What a report loads: no torch, no store, no search; matplotlib for figures alone."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
HEAVY = {"matplotlib", "mlflow", "optuna", "scipy.optimize", "scipy.stats", "statsmodels", "torch"}
BUILT = """\
import io
from rich.console import Console
import planted
rows = planted.pair(0.01, 0.02) + planted.trial_rows("lstm", [1.5]) + planted.trial_rows("gru", [1])
timings = planted.timing_rows("lstm", 0.1) + planted.timing_rows("gru", 0.2)
study = planted.study("lstm", "gru", tune=planted.search_of(1))
built = planted.build(study, rows, timings, planted.curve_rows("lstm", 1.4))
assert built.results[1].seeds_to_decide is not None
"""


def loaded_after(code):
    """Returns which of the heavy packages a fresh process has loaded after ``code``."""
    script = f"import sys\nsys.path.insert(0, {str(TESTS)!r})\n{code}\n"
    script += f"print(*sorted({HEAVY!r} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


def test_a_report_and_its_texts_load_nothing_heavy():
    """In one process: what each of them loads stays loaded."""
    texts = (
        "from harness import report",
        "from harness.report.comparability import text_of",
        BUILT + "built.terminal(Console(file=io.StringIO()))",
        "built.markdown(), built.note(), built.csv(), built.latex(), built.overview",
    )
    assert loaded_after("\n".join(texts)) == []


def test_a_figure_loads_matplotlib_and_no_more():
    assert loaded_after(BUILT + "assert len(built.figures) >= 4") == ["matplotlib"]
