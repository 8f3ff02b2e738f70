from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steepest.core.errors import HyperparameterError
from steepest.report.schedule_plot import LOOKED_AT, POINTS, lines, plot_schedules, schedule_text
from steepest.schedules import Constant, Cosine, Cyclic, Exponential, Rex, Schedule, Step, Warmup, plateau

ITEMS: list[tuple[str, Schedule]] = [("warm up", Warmup(100)), ("cosine", Cosine(end=0.1)), ("step", Step(300))]


def spec(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1])["figures"]["plot"])


def test_draws_every_schedule_with_its_values() -> None:
    figure = spec(plot_schedules(ITEMS, 1000))
    curves = [trace for trace in figure["data"] if trace["mode"] == "lines"]
    for (_, schedule), trace in zip(ITEMS, curves, strict=True):
        values = schedule.values(1000)
        assert trace["x"] == list(range(1000))
        assert trace["y"] == pytest.approx(values, rel=1e-5)
    assert len({(t["line"]["color"], t["line"]["dash"]) for t in curves}) == 3
    assert len({t["line"]["dash"] for t in curves}) == 3


def test_many_lines_stay_apart_without_colour_or_with_it() -> None:
    figure = spec(plot_schedules([(f"{i}", Constant(1 / (i + 1))) for i in range(28)], 10))
    curves = [trace for trace in figure["data"] if trace["mode"] == "lines"]
    assert len({(t["line"]["color"], t["line"]["dash"]) for t in curves}) == 28
    assert [t["text"] for t in figure["data"] if t["mode"] != "lines"][-1] == ["AB"]


def test_the_base_makes_factors_values() -> None:
    page = plot_schedules([("cosine", Cosine())], 100, base=3e-4)
    figure = spec(page)
    assert max(figure["data"][0]["y"]) == 3e-4
    assert figure["layout"]["yaxis"]["title"]["text"] == "lr"
    assert "base 0.0003" in page


def test_epochs_are_known_to_the_schedules() -> None:
    items = [("by epoch", Step(1, gamma=0.5, by="epoch"))]
    assert spec(plot_schedules(items, 100, 20))["data"][0]["y"][::20] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    with pytest.raises(HyperparameterError, match="counts epochs"):
        plot_schedules(items, 100)


def test_the_page_is_written_whole_and_needs_no_network(tmp_path: Path) -> None:
    path = tmp_path / "new" / "plot.html"
    page = plot_schedules(ITEMS, 1000, None, path)
    assert path.read_text(encoding="utf-8") == page
    assert not re.search(r"(src|href)=", re.sub(r">.*?</script>", ">", page, flags=re.DOTALL))
    assert "default-src &#x27;none&#x27;" in page


def test_labels_cannot_inject_markup() -> None:
    label = "<img src=x onerror=alert(1)></script>"
    assert label not in plot_schedules([(label, Cosine())], 10)


def test_words_for_those_who_do_not_see_it() -> None:
    page = plot_schedules(ITEMS, 1000)
    described = re.search(r'role="img" aria-label="([^"]*)"', page)
    assert described
    assert "A, warm up: starts at 0.01, ends at 1." in described[1]
    assert "B, cosine: starts at 1, ends at 0.1." in described[1]
    assert page.count('<th scope="row">') == 11


def test_a_long_training_is_looked_at_in_strides_and_thinned() -> None:
    (line,) = lines([("cyclic", Cyclic(up=50_000))], 1_000_000)
    assert len(line.steps) == LOOKED_AT
    assert line.steps[[0, -1]].tolist() == [0, 999_999]
    trace = spec(plot_schedules([("cyclic", Cyclic(up=50_000))], 1_000_000))["data"][0]
    assert len(trace["x"]) <= POINTS
    assert (min(trace["y"]), max(trace["y"])) == pytest.approx((0.1, 1.0), abs=1e-3)


def test_a_plateau_without_observations_is_flat() -> None:
    assert set(spec(plot_schedules([("plateau", plateau().build())], 50))["data"][0]["y"]) == {1.0}


@pytest.mark.parametrize("draw", [plot_schedules, schedule_text])
@pytest.mark.parametrize(
    ("items", "total", "message"),
    [([], 10, "nothing to plot"), (ITEMS, 0, "at least one step"), ([("x", Exponential(50.0))], 900, "not finite")],
)
def test_errors(draw: Callable[..., str], items: Any, total: int, message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        draw(items, total, base=1e10)


def test_text_has_every_schedule_on_one_scale() -> None:
    text = schedule_text([("warm up", Warmup(100)), ("half", Constant(0.5))], 1000, width=40)
    rows = text.splitlines()
    assert rows[0] == "A  warm up"
    assert rows[1] == "   starts at 0.01, ends at 1"
    assert all(len(row) <= 40 for row in rows)
    assert rows[-1].startswith("  └0─")
    assert rows[-1].endswith("─step 999")
    assert [row[0] for row in rows[2:6]] == ["1", " ", " ", "0"]


@pytest.mark.parametrize("total", [1, 2, 3])
def test_short_trainings(total: int) -> None:
    assert len(spec(plot_schedules([("rex", Rex())], total))["data"][0]["y"]) == total
    assert f"step {total - 1}" in schedule_text([("rex", Rex())], total, height=1)


def test_an_axis_starts_at_zero_unless_all_is_far_above() -> None:
    def bottom(schedule: Schedule) -> float:
        return float(spec(plot_schedules([("x", schedule)], 100))["layout"]["yaxis"]["range"][0])

    assert bottom(Cosine(end=0.5)) == pytest.approx(-0.04)
    assert bottom(Cosine(end=0.95)) == pytest.approx(0.948, abs=1e-4)
    assert bottom(Constant(0.0)) < 0


def test_lines_are_values_at_steps() -> None:
    (line,) = lines([("cosine", Cosine())], 4)
    np.testing.assert_allclose(line.values, Cosine().values(4))
    assert line.letter == "A"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=flags)
        yield found
        found.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_draws_it(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    path = tmp_path / "plot.html"
    plot_schedules(ITEMS, 1000, 100, path)
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(path.as_uri())
    page.wait_for_selector("#plot .scatterlayer .trace")
    assert page.locator("#plot .scatterlayer .trace").count() == 2 * len(ITEMS)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#plot").bounding_box()
    assert box["y"] + box["height"] < 800  # the plot is seen without scrolling
    assert said == []
    page.close()
