"""Landscapes, ranges and layers in a real browser: drawn, silent, moved by their slider, no wider than a phone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from steepest.landscape import landscape
from steepest.lr_find import lr_find
from steepest.normalization import explain_batchnorm
from steepest.report import draw

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
DRIVER = ("GL Driver Message", "willReadFrequently", "GPU stall")
"""What Chromium says of drawing 3-d without a graphics card."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
    pytest.mark.skipif(not importlib.util.find_spec("playwright"), reason="playwright is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=[*QUIET, "--no-first-run"])
        yield chromium
        chromium.close()


PAUSE = """() => new Promise((done) => {
  const [play, moment] = ["play", "moment"].map((name) => document.getElementById(name));
  const words = [play.textContent];
  play.click();
  words.push(play.textContent);
  const look = () => {
    if (Number(moment.value) <= 5 || Number(moment.value) >= 40) return requestAnimationFrame(look);
    play.click();
    words.push(play.textContent);
    done([words, Number(moment.value)]);
  };
  requestAnimationFrame(look);
})"""
"""Play, and press again as soon as the walk is past its first steps; what the button said, and where the slider is."""


class Tab:
    """A page with what it said and asked for."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: None if any(w in m.text for w in DRIVER) else self.said.append(m.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_function("() => document.querySelectorAll('.plot:not(.js-plotly-plot)').length === 0")

    def trail(self, figure: str, trace: int) -> int:
        return int(self.page.evaluate(f"document.getElementById('{figure}').data[{trace}].x.length"))


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    made: list[Tab] = []

    def make(path: Path, width: int = 1280, scheme: str = "light") -> Tab:
        made.append(Tab(browser, path, width, scheme))
        return made[-1]

    yield make
    for one in made:
        one.context.close()


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = ["adam(lr=0.1)", "sgd(lr=0.01)", "schedule_free_adamw(lr=0.1)"]
    made = landscape("himmelblau", texts, steps=40, grid=41)
    return draw(made, tmp_path_factory.mktemp("pages") / "walks.html")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = lr_find("quadratic(condition=5)", "sgd(lr=0.1)", seeds=1, steps=20)
    return draw(made, tmp_path_factory.mktemp("pages") / "range.html")


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = explain_batchnorm(nn.BatchNorm1d(5), torch.arange(200.0).view(40, 5).sin() + 2)
    return draw(made, tmp_path_factory.mktemp("pages") / "layer.html")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("which", ["walks", "found", "layer"])
def test_everything_is_drawn_in_silence_and_fits(
    which: str, width: int, scheme: str, tab: Callable[..., Tab], request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(which)
    one = tab(path, width, scheme)
    assert one.said == [] and one.asked == [path.as_uri()]
    plots = one.page.locator(".js-plotly-plot").all()
    assert len(plots) == (3 if which == "walks" else 1)
    for plot in plots:
        box = plot.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width + 1 and box["height"] >= 200
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    assert one.page.locator(".plot").first.get_attribute("aria-label")


def test_the_surface_is_drawn(walks: Path, tab: Callable[..., Tab]) -> None:
    one = tab(walks)
    assert one.page.locator("#surface canvas").count() >= 1
    assert one.page.evaluate("document.getElementById('surface')._fullData[0].type") == "surface"


def test_the_slider_moves_every_way_in_every_figure(walks: Path, tab: Callable[..., Tab]) -> None:
    one = tab(walks)
    assert one.trail("contour", 1) == one.trail("surface", 1) == one.trail("fall", 0) == 41
    one.page.evaluate(
        "(() => { const s = document.getElementById('moment'); s.value = 7; s.dispatchEvent(new Event('input')); })()"
    )
    assert one.page.locator("#step").inner_text() == "step 7 of 40"
    assert one.trail("contour", 1) == one.trail("surface", 1) == one.trail("fall", 0) == 8
    assert one.trail("contour", 5) == 1  # the head is at one place
    assert one.said == []


def test_play_runs_to_the_end_and_can_be_paused(walks: Path, tab: Callable[..., Tab]) -> None:
    one = tab(walks)
    words, place = one.page.evaluate(PAUSE)
    assert words == ["Play", "Pause", "Play"]
    assert one.page.locator("#moment").input_value() == str(place)
    one.page.locator("#play").click()
    one.page.wait_for_function("() => document.getElementById('play').textContent === 'Play'", timeout=30_000)
    assert one.page.locator("#step").inner_text() == "step 40 of 40" and one.trail("contour", 1) == 41
    assert one.said == []


def test_dark_and_light_change_while_it_is_open(walks: Path, tab: Callable[..., Tab]) -> None:
    one = tab(walks)
    low = "document.getElementById('contour').data[0].colorscale[0][1]"
    assert one.page.evaluate(low) == "#ffffff"
    one.page.emulate_media(color_scheme="dark")
    one.page.wait_for_function(f"() => {low} === '#14181d'")
    assert one.said == []
