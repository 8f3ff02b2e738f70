"""The report of a tuning, from its records alone: what it shows, and that nothing in them breaks it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from steepest.core.records import write_json
from steepest.report.data import Strategy, load
from steepest.report.figures.search import best_figure, curse_figure, race_figure, timeline_figure
from steepest.report.figures.space import (
    axis_figure,
    contour_figure,
    importance_figure,
    isolation_figure,
    parallel_figure,
)
from steepest.report.page import page, render
from steepest.report.trials import Dim

CHROMIUM = Path("/usr/bin/chromium")
LR = {"low": 1e-4, "high": 1.0, "scale": "log", "whole": False}
MOMENTUM = {"low": 0.0, "high": 0.99, "scale": "near_one", "whole": False}
WARMUP = {"low": 0.0, "high": 0.2, "scale": "linear", "whole": False}
KIND = {"values": ["cosine", "linear", "<none>"]}
DIMS = {"sgd.lr": LR, "sgd.momentum": MOMENTUM, "warmup_cosine.warmup": WARMUP, "sgd.kind": KIND}


def leg(number: int, value: float | None, **changes: Any) -> dict[str, Any]:
    """A row of ``trials.json``; of a finished trial unless told otherwise."""
    status = "finished" if value is not None else "diverged"
    usual = {
        "number": number, "trial": number, "point": {"sgd.lr": 0.01}, "seed": 0, "steps": None, "attempt": 0,
        "status": status, "value": value, "reached": 60, "charge": 1.0, "seconds": 2.0, "message": "",
        "folder": f"trials/t/a/trial-{number:03d}",
    }  # fmt: skip
    return {**usual, **changes}


def points(count: int, dims: Sequence[str] = tuple(DIMS)) -> list[dict[str, Any]]:
    """Points that cover the dimensions."""
    made = []
    for i in range(count):
        u = (i * 0.618) % 1
        whole = {
            "sgd.lr": float(f"{10 ** (-4 + 4 * u):.3g}"),
            "sgd.momentum": round(0.98 * ((i * 0.37) % 1), 3),
            "warmup_cosine.warmup": round(0.2 * ((i * 0.77) % 1), 3),
            "sgd.kind": KIND["values"][i % 3],
        }
        made.append({name: whole[name] for name in dims})
    return made


def arm(
    legs: Sequence[Mapping[str, Any]],
    label: str = "sgd, tuned",
    dims: Mapping[str, Any] = DIMS,
    choice: Mapping[str, Any] | None = None,
    importance: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """An arm of ``trials.json``."""
    return {
        "label": label, "given_label": label.replace("tuned", "as given"), "space": f"sgd(...)  # {label}",
        "given": "sgd()", "gradients": 1.0, "first": {}, "dimensions": dict(dims), "legs": list(legs),
        "importance": importance, "chosen": choice,
    }  # fmt: skip


def chosen(trial: int, value: float, luckiest: float, near: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
    """What an arm chose."""
    return {"trial": trial, "strategy": "sgd(lr=0.1)", "value": value, "seeds": 3, "first": luckiest,
            "luckiest": luckiest, "near_edges": [list(e) for e in near]}  # fmt: skip


def rough_arm(label: str = "sgd, tuned", sign: int = 1) -> dict[str, Any]:
    """Twelve trials: three diverge, one failed, one is open, some paused at a rung; two of them raced."""
    legs = []
    for i, point in enumerate(points(12)):
        value = None if point["sgd.lr"] > 0.3 else sign * (0.2 + abs(point["sgd.lr"] - 0.05) * (1 + i / 9))
        legs.append(leg(i, value, point=point, steps=20 if i in (3, 4) else None,
                        status="diverged" if value is None else "paused" if i in (3, 4) else "finished"))  # fmt: skip
    legs[5] |= {"status": "failed", "value": None, "message": "out of <memory>"}
    best = min((row for row in legs if row["status"] == "finished"), key=lambda row: sign * row["value"])
    number, top = int(best["number"]), float(best["value"])
    again = {"trial": number, "point": best["point"]}
    legs += [leg(12 + s, top + sign * 0.01 * s, seed=s, **again) for s in (1, 2)]
    legs.append(leg(15, None, seed=0, status="lost", point=points(16)[15], charge=0.0))
    legs.append(leg(16, None, trial=15, seed=0, status="open", point=points(16)[15], attempt=1))
    weighed = {"sgd.lr": 0.7, "sgd.momentum": 0.2, "warmup_cosine.warmup": 0.06, "sgd.kind": 0.04}
    near = [["sgd.lr", "high"]]
    return arm(legs, label, choice=chosen(number, top + sign * 0.01, top, near), importance=weighed)


def study(
    folder: Path,
    arms: Sequence[Mapping[str, Any]] | None,
    answer: Mapping[str, Any] | None = None,
    goal: str = "min",
    begun: bool = True,
) -> Path:
    """The folder of a study; without arms one that was killed before anything of what was tried was written."""
    task = {"name": "digits-mlp", "metric": "loss", "goal": goal, "steps": 60}
    said = [{"label": a["label"], "space": a["space"], "given": a["given"]} for a in arms or [arm([])]]
    record = {
        "schema": 1, "kind": "tuning", "task": task, "spelling": "digits-mlp", "steps": None, "strategies": said,
        "sources": ["sgd(lr=log(1e-4, 1.0))"], "sampler": "auto", "seed": 0, "device": "cpu", "storage": None,
        "final": True, "budget": "40 runs", "spent": 3.0, "deadline": None, "command": "steepest tune digits-mlp",
        "created": "2026-11-20T12:00:00+00:00", "versions": {"steepest": "1"}, "machine": {}, "commit": "",
    }  # fmt: skip
    write_json(folder / "tune.json", {**record, **({} if answer is None else {"answer": dict(answer)})})
    if arms is None:
        return folder
    share = {"explore": 12.0, "race": 4.0, "finals": 3}
    ledger = {"schema": 1, "kind": "trials", "task": "digits-mlp", "metric": "loss", "goal": goal, "steps": 60}
    write_json(folder / "trials.json", {**ledger, "share": share, "arms": list(arms)})
    for place, row in enumerate([row for a in arms for row in a["legs"]] if begun else []):
        created = f"2026-11-20T12:{place // 60:02d}:{place % 60:02d}+00:00"
        (folder / row["folder"]).mkdir(parents=True, exist_ok=True)
        (folder / row["folder"] / "run.json").write_text(json.dumps({"created": created}))
    return folder


VERDICT = "Take sgd(lr=0.1). On digits-mlp, 'sgd, tuned' is best: validation loss 0.21. 14 runs were tried."
ONE = {"sgd.lr": LR}
STRATEGY = Strategy(0, "sgd, tuned", "")


def shown(folder: Path) -> tuple[str, dict[str, Any]]:
    """The page without its scripts, and its figures by title; every number in them is one that JSON can hold."""
    text = page(load(folder))
    data = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    figures = json.loads(data.group(1), parse_constant=lambda word: pytest.fail(f"{word} in a figure"))["figures"]
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL)
    titles = re.findall(r"<h4>(.*?)</h4>", body)
    assert len(titles) == len(figures) == body.count('role="img"')
    assert all(len(alt) > 20 for alt in re.findall(r'role="img" aria-label="(.*?)"', body))
    return body, dict(zip(titles, figures.values(), strict=True))


@pytest.fixture
def rough(tmp_path: Path) -> Path:
    answer = {"strategy": "sgd(lr=0.1)", "verdict": VERDICT, "seeds": 0}
    return study(tmp_path / "first", [rough_arm(), rough_arm("other, tuned")], answer)


def test_the_verdict_comes_first_then_what_to_paste_and_the_command(rough: Path) -> None:
    body, _ = shown(rough)
    order = ["On digits-mlp,", "To paste", "sgd(lr=0.1)", "To train it", "To tune again", 'id="search"', 'id="race"',
             'id="arm-1"', 'id="arm-2"', 'id="settings"', 'id="notes"']  # fmt: skip
    places = [body.index(words) for words in order]
    assert places == sorted(places)
    assert "steepest tune digits-mlp -s &#x27;sgd(lr=log(1e-4, 1.0))&#x27; --budget 40 --out runs/first-again" in body
    assert "There was no final" in body and 'id="task-1"' not in body


def test_the_command_is_one_that_the_command_line_takes(rough: Path) -> None:
    import shlex

    import typer

    from steepest.cli.tune import tune

    tuning = load(rough).tuning
    assert tuning is not None
    words = shlex.split(tuning.command("x") or "")
    app = typer.Typer()
    app.command()(tune)
    parsed = typer.main.get_command(app).make_context("tune", words[2:])
    assert parsed.params["task"] == "digits-mlp" and parsed.params["budget"] == "40"
    assert parsed.params["strategies"] == ["sgd(lr=log(1e-4, 1.0))"]


def test_the_budget_counts_what_was_charged_and_lost(rough: Path) -> None:
    body, _ = shown(rough)
    table = body[body.index('id="tuning-budget"') :].partition("</table>")[0]
    row = table[table.index("<tbody>") :].partition("</tr>")[0]
    cells = re.findall(r'data-sort="(.*?)"', row)
    legs = rough_arm()["legs"]
    diverged = sum(entry["status"] == "diverged" for entry in legs)
    assert [float(c) for c in cells[1:6]] == [16.0, 14.0, 13.0, diverged + 1.0, 1.0]
    assert f"{diverged} diverged and 1 failed" in row and "12 + 2" in row


def test_the_best_so_far_never_gets_worse_and_ignores_shorter_rungs(rough: Path) -> None:
    records = load(rough)
    assert records.tuning is not None
    made = best_figure(records, records.tuning)
    assert made is not None
    lines = [t for t in made.data if t.get("line", {}).get("shape") == "hv" and t["line"]["width"]]
    assert len(lines) == 2
    for line in lines:
        assert line["y"] == sorted(line["y"], reverse=True) and line["x"] == sorted(line["x"])
    full = [e["value"] for e in rough_arm()["legs"] if e["status"] == "finished" and not e["seed"]]
    assert lines[0]["y"][-1] == min(full)
    assert {v for t in made.data if t["mode"] == "markers" and "yaxis" not in t for v in t["y"]} == {*full}


def test_what_diverged_is_a_cross_at_the_bad_edge(tmp_path: Path) -> None:
    for goal, edge in (("min", 0.965), ("max", 0.035)):
        records = load(study(tmp_path / goal, [rough_arm(sign=1 if goal == "min" else -1)], goal=goal))
        tuning = records.tuning
        assert tuning is not None
        lost = sum(e["status"] in ("diverged", "failed") for e in rough_arm()["legs"])
        for made in (
            best_figure(records, tuning),
            axis_figure(STRATEGY, tuning, tuning.arms[0], tuning.arms[0].dims[0]),
        ):
            assert made is not None
            (cross,) = [t for t in made.data if t.get("yaxis") == "y2"]
            assert cross["y"] == [edge] * lost and cross["marker"]["symbol"] == "x-thin-open"


def test_the_axis_has_its_bounds_and_says_where_the_choice_is_at_an_end(rough: Path) -> None:
    tuning = load(rough).tuning
    assert tuning is not None
    first = tuning.arms[0]
    made = axis_figure(STRATEGY, tuning, first, first.dims[0])
    assert made is not None and "next to the high end" in made.caption
    assert [s["x0"] for s in made.layout["shapes"]] == [0, 1]
    lr = {e["number"]: Dim("sgd.lr", 1e-4, 1.0, "log").place(e["point"]["sgd.lr"]) for e in rough_arm()["legs"]}
    assert {x for t in made.data for x in t["x"]} <= {*lr.values()}
    choice = axis_figure(STRATEGY, tuning, first, first.dims[3])
    assert choice is not None and "shapes" not in choice.layout
    assert choice.x["ticktext"] == ["cosine", "linear", "&lt;none&gt;"]


def test_the_isolation_is_the_best_of_each_stretch(rough: Path) -> None:
    tuning = load(rough).tuning
    assert tuning is not None
    first = tuning.arms[0]
    made = isolation_figure(STRATEGY, tuning, first, first.dims[3])
    assert made is not None
    by_kind: dict[str, list[float]] = {}
    for e in rough_arm()["legs"]:
        if e["status"] == "finished" and not e["seed"]:
            by_kind.setdefault(e["point"]["sgd.kind"], []).append(e["value"])
    assert made.data[1]["y"] == [min(by_kind[kind]) for kind in KIND["values"] if kind in by_kind]
    assert made.data[1]["text"] == [str(len(by_kind[kind])) for kind in KIND["values"] if kind in by_kind]


def test_importance_orders_everything_of_an_arm(rough: Path) -> None:
    tuning = load(rough).tuning
    assert tuning is not None
    first = tuning.arms[0]
    assert [d.name for d in first.ordered()] == ["sgd.lr", "sgd.momentum", "warmup_cosine.warmup", "sgd.kind"]
    made, contour = importance_figure(STRATEGY, first), contour_figure(tuning, first)
    assert made is not None and made.data[0]["x"] == [0.7, 0.2, 0.06, 0.04]
    assert contour is not None and contour.title == "lr and momentum"
    z = [v for row in contour.data[0]["z"] for v in row if v is not None]
    assert z and None in [v for row in contour.data[0]["z"] for v in row]


def test_the_race_and_what_luck_was_worth(rough: Path) -> None:
    records = load(rough)
    assert records.tuning is not None
    first = records.tuning.arms[0]
    made = race_figure(records, records.tuning, first)
    number = first.chosen["trial"]
    assert made is not None and made.y["ticktext"] == [f"{number} ✓"]
    assert len(made.data[0]["x"]) == 3
    curse = curse_figure(records, records.tuning, None)
    assert curse is not None and curse.data[0]["y"] == [first.chosen["luckiest"], first.chosen["value"]]


def test_the_time_line_has_every_run_once_and_no_two_at_one_place(rough: Path) -> None:
    records = load(rough)
    assert records.tuning is not None
    made = timeline_figure(records, records.tuning)
    assert made is not None
    bars = [(y, b, b + x) for t in made.data for y, b, x in zip(t["y"], t["base"], t["x"], strict=True)]
    places = {(row["folder"]) for a in (rough_arm(),) for row in a["legs"]}
    assert len(bars) == 2 * len(rough_arm()["legs"]) and places
    ends = max(end for _, _, end in bars)
    for lane in {y for y, _, _ in bars}:
        mine = sorted((b, e) for y, b, e in bars if y == lane)
        assert all(e <= b + 0.03 * ends for (_, e), (b, _) in itertools.pairwise(mine))


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        pytest.param(None, "trials.json is missing", id="killed before the first record"),
        pytest.param([arm([])], "No run has ended yet", id="nothing has ended"),
        pytest.param([arm([leg(0, None, status="open", point=None)])], "1 running", id="the first is running"),
        pytest.param(
            [arm([leg(i, None, point=p) for i, p in enumerate(points(9))])],
            "None came to anything: 9 diverged or failed",
            id="all diverged",
        ),
        pytest.param(
            [arm([leg(i, 0.1 * i, point=p) for i, p in enumerate(points(9, ["sgd.lr"]))], dims=ONE,
                 choice=chosen(0, 0.0, 0.0))],
            "Best so far",
            id="one dimension",
        ),
        pytest.param(
            [arm([leg(i, 0.3, point=p) for i, p in enumerate(points(7, ["sgd.kind"]))], dims={"sgd.kind": KIND},
                 choice=chosen(0, 0.3, 0.3))],
            "Best so far",
            id="only choices, all alike",
        ),
        pytest.param(
            [arm([leg(i, 1.0 + i, point={k: v for k, v in p.items() if k != "sgd.momentum" or i % 2})
                  for i, p in enumerate(points(10))], choice=chosen(0, 1.0, 1.0))],
            "Best so far",
            id="conditional",
        ),
        pytest.param(
            [arm([leg(i, -1.0 - i, point=p, steps=20, status="paused") for i, p in enumerate(points(8))],
                 choice=None)],
            "No run has ended yet",
            id="only short rungs, negative values",
        ),
    ],
)  # fmt: skip
def test_a_page_whatever_the_search_came_to(tmp_path: Path, arms: Any, words: str) -> None:
    folder = study(tmp_path / "study", arms, begun=arms is None)
    (folder / "study.journal").write_bytes(b'{"op_code":0}\n{"op_co')  # torn; not what a report is made from
    body, _ = shown(folder)
    assert words in body and "has not ended" in body


def test_many_arms_without_any_finding_and_hostile_words(tmp_path: Path) -> None:
    legs = [leg(i, 0.5 + i, point={"<b>x</b>": i / 4}, message="<script>") for i in range(5)]
    dims = {"<b>x</b>": {"low": 0.0, "high": 1.0, "scale": "linear"}}
    arms = [arm(legs, f"<i>{i}</i>, tuned", dims, chosen(0, 0.5, 0.5)) for i in range(4)]
    body, figures = shown(study(tmp_path / "study", arms))
    assert "<b>x</b>" not in body and "<i>0</i>" not in body and "<script" not in body
    assert "<script>" not in json.dumps(figures)


def test_damaged_records_are_named_and_the_rest_is_shown(rough: Path) -> None:
    (rough / "trials.json").write_text("{ torn")
    body, _ = shown(rough)
    assert "trials.json could not be read" in body and "On digits-mlp," in body


def test_where_a_dimension_has_its_places() -> None:
    assert set(DIMS) == {"sgd.lr", "sgd.momentum", "warmup_cosine.warmup", "sgd.kind"}
    for dim in (Dim("a", 1e-4, 1.0, "log"), Dim("b", 0.0, 0.99, "near_one"), Dim("c", 0.3, 0.7), Dim("d", 2, 5, "log")):
        places, texts = dim.ticks()
        assert len(places) == len(texts) >= 2 and places == sorted(places)
        assert places[0] >= -1e-9 and places[-1] <= 1 + 1e-9
        assert dim.place(dim.low) == 0 and dim.place(dim.high) == 1
        assert dim.place(None) is None and dim.place("word") is None and dim.place(True) is None
    assert Dim("log", 1e-3, 1, "log").place(-1.0) is None


def test_the_figures_of_nothing_are_none(tmp_path: Path) -> None:
    records = load(study(tmp_path / "study", [arm([])]))
    tuning = records.tuning
    assert tuning is not None
    (empty,) = tuning.arms
    assert (
        best_figure(records, tuning) is timeline_figure(records, tuning) is curse_figure(records, tuning, None) is None
    )
    assert race_figure(records, tuning, empty) is parallel_figure(STRATEGY, tuning, empty) is None
    assert contour_figure(tuning, empty) is importance_figure(STRATEGY, empty) is None
    assert axis_figure(STRATEGY, tuning, empty, empty.dims[0]) is isolation_figure(
        STRATEGY, tuning, empty, empty.dims[0]
    ) is None  # fmt: skip


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}")
def test_every_figure_is_drawn_in_silence_and_no_wider_than_a_phone(rough: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = render(rough)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_context(viewport={"width": 390, "height": 900}, color_scheme="dark").new_page()
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(path.as_uri())
        tab.wait_for_function("() => document.querySelectorAll('.plot:not(.js-plotly-plot)').length === 0")
        plots = tab.locator(".js-plotly-plot").all()
        assert said == [] and len(plots) == shown(rough)[0].count('role="img"') > 20
        boxes = [plot.bounding_box() for plot in plots]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 140 for box in boxes)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
