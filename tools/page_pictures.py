"""Takes the pictures of MLflow's pages in docs/images: of a study that has been run.

    harness run studies/quickstart.yaml --folder FOLDER
    python tools/page_pictures.py quickstart FOLDER

It needs Chromium. `harness ui` serves the pages, so a picture shows what a person sees there at a
first visit.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from harness.store import views

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
WIDTH, HEIGHT = 1440, 900
SETTLE_MS = 2000  # charts move into place
PICTURES = {
    "mlflow-answer": views.ANSWER,
    "mlflow-curves": views.CURVES,
    "mlflow-trials": views.TRIALS,
}
"""File -> the view that it shows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--into", type=Path, default=IMAGES)
    parser.add_argument("--width", type=int, default=WIDTH)
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "harness.cli", "ui", asked.study]
    command += ["--folder", str(asked.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            if not said.startswith("MLflow: http"):
                sys.exit(f"harness ui must say its address, but said {said!r}.")
            take(said.split()[1], asked.into, asked.width)
        finally:
            server.terminate()


def take(address: str, folder: Path, width: int) -> None:
    """Takes every picture."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, key in PICTURES.items():
            page = browser.new_page(viewport={"width": width, "height": HEIGHT})
            page.goto(address.partition("?")[0] + "?" + views.address(key))
            wait(page, has_charts=key in (views.CURVES, views.TRIALS))
            page.screenshot(path=folder / f"{name}.png")
            page.close()
            print(folder / f"{name}.png")
        browser.close()


def wait(page: Page, has_charts: bool) -> None:
    """Waits until rows and charts are drawn."""
    page.locator(".ag-row").first.wait_for()
    if has_charts:
        page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.wait_for_timeout(SETTLE_MS)


if __name__ == "__main__":
    main()
