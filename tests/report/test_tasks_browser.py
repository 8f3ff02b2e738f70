"""The page about several tasks in a real browser: drawn, silent, no wider than a phone."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steepest.report import draw

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
    pytest.mark.skipif(not importlib.util.find_spec("playwright"), reason="playwright is not installed"),
]


def record(m: int) -> dict[str, Any]:
    names = [f"task <{i}>" for i in range(m)]
    A = [
        [1.0 if i == j else 0.6 if i % 3 == j % 3 else -0.3 if i % 3 == 0 else 0.0 for j in range(m)] for i in range(m)
    ]
    noise = {"mean": 0.5, "low": 0.4, "high": 0.6}
    tasks = [
        {"name": n, "loss_first": 2.0, "loss_last": 0.1, "gradient": 3.0, "noise": noise, "cluster": i % 3}
        for i, n in enumerate(names)
    ]
    less = {"mean": -0.1, "low": -0.2, "high": -0.01, "separable": True}
    row = {"lost": 0, "values": [1.0], "cpu_seconds": 1.0, "mean": 0.0, "best plain": False, "compares": False}
    return {
        "kind": "tasks",
        "task": "many & more",
        "names": names,
        "strategy": "adamw()",
        "parameters": 10,
        "seeds": 3,
        "steps": 100,
        "moments": [1, 100],
        "clusters": [i % 3 for i in range(m)],
        "affinity": A,
        "helps": A,
        "tasks": tasks,
        "verdict": ["Surgery pays: upgrad."],
        "recommended": "adamw() | upgrad()",
        "trials": 4,
        "finals": 5,
        "trial": [
            {**row, "name": "sum", "best plain": True},
            {**row, "name": "upgrad", "compares": True, "pays": True, "against sum": less},
            {**row, "name": "nash", "compares": True, "values": [], "lost": 5},
        ],
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.mark.parametrize(("m", "width", "scheme"), [(3, 1280, "light"), (20, 390, "dark")])
def test_it_is_drawn_in_silence(browser: Any, tmp_path: Path, m: int, width: int, scheme: str) -> None:
    path = draw(record(m), tmp_path / "tasks.html")
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function("() => document.querySelectorAll('.plot:not(.js-plotly-plot)').length === 0")
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".plot").count() == 3
    assert page.evaluate("document.getElementById('heat').data[0].z.length") == m
    assert page.evaluate("document.getElementById('arms').data.map(t => t.x.length)") == [1, 1]
    assert "task <0>" in page.inner_text("table")
    labels = [page.get_attribute(f"#{name}", "aria-label") for name in ("graph", "heat", "arms")]
    assert all(labels) and "3 clusters" in str(labels[0])
