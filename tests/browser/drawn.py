"""What a browser has drawn of a page, once it has."""

import io
import time
from collections.abc import Callable
from typing import Any

from PIL import Image
from playwright.sync_api import Error, Page

from harness.store import views

LOAD_MS = 180_000
"""A page takes a second or two; a machine that others use may stand still for a while."""
WHOLE = "e => [e, ...e.querySelectorAll('*')].every(x => x.scrollWidth <= x.clientWidth + 1)"
WORDS = """block => {
  const words = [], texts = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) for (const found of texts.currentNode.data.matchAll(/[^\\s-]+/g)) {
    const range = document.createRange();
    range.setStart(texts.currentNode, found.index);
    range.setEnd(texts.currentNode, found.index + found[0].length);
    const lines = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
    words.push([found[0], lines.size]);
  }
  return words;
}"""
"""Returns each word of an element, and in how many lines it stands."""


def soon(shows: Callable[[], Any]) -> Any:
    """Returns what a function returns once it raises nothing.

    MLflow's pages come in parts: a row before its cells, a chart before its last curve, texts
    before their last place. What must be there in the end is asked for until it is.
    """
    end = time.monotonic() + LOAD_MS / 1000
    while True:
        try:
            return shows()
        except (AssertionError, LookupError, TypeError, ValueError, Error):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def experiment_of(address: str) -> str:
    return address.split("/experiments/")[1].split("/")[0]


def page_of(address: str, experiment: str, key: str) -> str:
    start = address.partition("#")[0]
    return f"{start}#/experiments/{experiment}/runs?{views.address(key)}"


def titles(page: Page) -> list[str]:
    """Returns what stands over the charts."""
    return page.locator("h4").all_inner_texts()


def rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def pixels(png: bytes) -> set[tuple[int, ...]]:
    """Returns the colours that at least a hundred pixels of an image have."""
    counts = Image.open(io.BytesIO(png)).convert("RGB").getcolors(2**24)
    return {color for count, color in counts if count >= 100}


def plots(page: Page, count: int) -> list[list[dict[str, Any]]]:
    """Returns the traces of the first plots, once all of them are drawn."""
    drawn = (
        "count => [...document.querySelectorAll('.js-plotly-plot')]"
        ".filter(plot => plot.data).length >= count"
    )
    page.wait_for_function(drawn, arg=count)
    data = (
        "plots => plots.map(p => p.data.map(t => ({name: t.name, x: [...(t.x ?? [])],"
        " y: [...(t.y ?? [])], colors: [...new Set([t.marker?.color, t.line?.color].flat()"
        ".filter(c => c).map(c => c.slice(0, 7)))]})))"
    )
    return page.locator(".js-plotly-plot").evaluate_all(data)[:count]
