"""The page in a real browser: values under the pointer, zoom, dark mode, a phone, paper."""

import pytest
import report_pictures
from page_contrast import FAINT_PARTS
from planted import full, two_conditions

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(report_pictures.CHROMIUM is None, reason="no Chromium"),
]
CURVES = "learning-curves-tokens"
BARELY = {"light": "#e69f00", "dark": "#4a3600"}
"""Colours that are hardly seen."""
PAPER = 688
"""Pixels between the margins of a sheet of A4."""


@pytest.fixture(scope="module")
def browser():
    with report_pictures.opened() as browser:
        yield browser


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two pages: of a study, and of one under several conditions."""
    folder = tmp_path_factory.mktemp("pages")
    for name, built in (("one", full()), ("two", two_conditions())):
        (folder / f"{name}.html").write_text(built.html(), encoding="utf-8")
    return folder


@pytest.fixture
def page(browser, paths):
    """The page of a study; it must ask for nothing and raise no error."""
    page, wrong = browser.new_page(viewport={"width": 1440, "height": 900}), []
    page.set_default_timeout(report_pictures.LOAD_MS)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    address = (paths / "one.html").as_uri()
    page.on("request", lambda asked: wrong.append(asked.url) if asked.url != address else None)
    page.goto(address)
    yield page
    page.close()
    assert wrong == []


def test_the_pointer_is_told_the_value_that_is_drawn_there(page):
    told = report_pictures.hover(page, CURVES)
    assert told.startswith("lstm: ") and told.endswith(" at 100 k tokens")
    assert page.locator(".ring").count() == 1
    page.mouse.move(5, 5)
    page.locator(".tip").wait_for(state="hidden")
    assert page.locator(".ring").count() == 0


def test_the_arrow_keys_go_from_value_to_value(page):
    page.locator(f"[id='{CURVES}'] svg").focus()
    told = []
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        told.append(page.locator(".tip").inner_text())
    assert len(set(told)) == 5 and sum("100 k tokens" in text for text in told) == 4


def test_a_figure_is_enlarged_zoomed_and_put_back(page):
    box = f"document.getElementById('{CURVES}').querySelector('svg').getAttribute('viewBox')"
    before = page.evaluate(box)
    report_pictures.enlarge(page, CURVES)
    svg = page.locator("dialog svg")
    x, y, width, height = map(float, svg.get_attribute("viewBox").split())
    whole = list(map(float, before.split()))
    assert width < whole[2] / 2 and x > 0 and y > 0
    ticks = [float(t.replace(",", "")) for t in page.locator(".tick").all_text_contents()]
    assert len(ticks) >= 3 and all(3.5 < t < 1e6 for t in ticks)
    page.mouse.move(700, 450)
    page.mouse.down()
    page.mouse.move(800, 450)
    page.mouse.up()
    assert float(svg.get_attribute("viewBox").split()[0]) < x
    page.keyboard.press("Escape")
    svg.wait_for(state="detached")  # a dialog tells of its end in a task of its own
    assert page.evaluate(box) == before and page.locator(".tick").count() == 0


def test_the_keyboard_zooms_a_figure_and_moves_to_values_that_are_outside(page):
    page.locator(f"[id='{CURVES}'] .enlarge").press("Enter")
    svg = page.locator("dialog svg")
    svg.focus()
    for _ in range(4):
        page.keyboard.press("+")
    box = list(map(float, svg.get_attribute("viewBox").split()))
    page.keyboard.press("ArrowRight")  # the first value, at the left end of the curves
    moved = list(map(float, svg.get_attribute("viewBox").split()))
    assert moved[0] < box[0] and moved[2:] == box[2:]
    ring = {name: float(page.locator(".ring").get_attribute(name)) for name in ("cx", "cy")}
    assert moved[0] < ring["cx"] < moved[0] + moved[2]
    assert moved[1] < ring["cy"] < moved[1] + moved[3]
    page.keyboard.press("0")
    assert float(svg.get_attribute("viewBox").split()[2]) > 2 * box[2]
    assert page.locator("dialog").get_attribute("aria-label") == svg.get_attribute("aria-label")
    page.keyboard.press("Escape")
    svg.wait_for(state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_nothing_is_wider_than_the_window_and_all_is_legible(browser, paths, name, scheme):
    page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(report_pictures.LOAD_MS)
    page.goto((paths / f"{name}.html").as_uri())
    verdicts = page.locator(".stacked")
    for width in (1440, 1280, 820, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width != 820:
            assert all(verdicts.evaluate_all("all => all.map(e => e.scrollWidth <= e.clientWidth)"))
    glance = page.locator(".glance")
    page.set_viewport_size({"width": 1440, "height": 900})
    assert glance.evaluate("each => each.scrollWidth <= each.clientWidth")
    figure, answer = page.locator(".result figure"), page.locator(".answer")
    assert figure.bounding_box()["x"] > answer.bounding_box()["x"] + 300  # beside it
    page.set_viewport_size({"width": 390, "height": 900})
    assert glance.evaluate("each => each.scrollWidth <= each.clientWidth")
    assert figure.bounding_box()["y"] > answer.bounding_box()["y"]  # below it
    dark = scheme == "dark"
    paper, ink = (
        page.evaluate(f"getComputedStyle(document.body).{name}")
        for name in ("backgroundColor", "color")
    )
    brightness = [sum(map(int, c[4:-1].split(", "))) / 3 for c in (paper, ink)]
    assert (brightness[0] < 60 and brightness[1] > 200) if dark else brightness[0] == 255
    fill = "getComputedStyle(document.querySelector('figure svg text')).fill"
    assert (sum(map(int, page.evaluate(fill)[4:-1].split(", "))) / 3 > 150) == dark
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_what_figures_show_stands_out_from_the_page(browser, paths, name, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.goto((paths / f"{name}.html").as_uri())
    assert page.locator("figure svg text").count() > 50
    assert page.evaluate(FAINT_PARTS) == []
    for part in ("text", "use[style*=stroke]"):
        style = f"fill: {BARELY[scheme]}; stroke: {BARELY[scheme]}"
        page.evaluate(f"document.querySelector('figure svg {part}').style.cssText = '{style}'")
    assert len(page.evaluate(FAINT_PARTS)) == 2
    page.close()


@pytest.mark.parametrize(
    "colors", ["background: #ffffff; color: #000", "background: #111; color: #fff"]
)
def test_a_notebook_shows_its_figure_in_the_colour_of_its_text(browser, colors):
    page = browser.new_page()
    page.set_content(f'<body style="{colors}">{full()._repr_html_()}</body>')
    text = page.locator("svg[role=img] text").first
    fill = text.evaluate("e => getComputedStyle(e).fill")
    assert fill == page.evaluate("getComputedStyle(document.body).color")
    assert page.evaluate(FAINT_PARTS) == []
    page.close()


def test_paper_is_light_and_shows_no_buttons(browser, paths):
    page = browser.new_page(color_scheme="dark")
    page.set_default_timeout(report_pictures.LOAD_MS)
    page.goto((paths / "one.html").as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".enlarge").first.is_hidden() and page.locator("nav").first.is_hidden()
    page.set_viewport_size({"width": PAPER, "height": 1000})
    cut = "all => all.filter(e => e.getBoundingClientRect().right > innerWidth).length"
    assert page.locator("td, th, p, li, pre, figure").evaluate_all(cut) == 0
    page.close()


def test_what_has_the_keyboard_is_seen(page):
    for place in ("nav a", ".scroll", "summary", "pre", ".enlarge", "figure svg"):
        page.keyboard.press("Tab")  # the keyboard is what is used
        page.locator(place).first.focus()
        outline = "e => getComputedStyle(e).outlineStyle + getComputedStyle(e).outlineWidth"
        assert page.locator(place).first.evaluate(outline) == "solid2px", place
