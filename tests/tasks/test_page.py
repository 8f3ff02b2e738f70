"""docs/tasks.md: its figures are those of the tasks, and its examples with guests run against stand-ins of them."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def example(word: str) -> dict[str, Any]:
    (block,) = [b for b in BLOCKS if word in b]
    namespace: dict[str, Any] = {}
    exec(compile(block, "docs/tasks.md", "exec"), namespace)
    return namespace


def test_the_tables_are_those_of_the_tasks_and_of_what_was_measured() -> None:
    """Parameters, operations and steps are compared with the tasks themselves in test_every_task."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "tasks.py"))
    assert benchmark["table"](json.loads(benchmark["COSTS"].read_text())["tasks"]) in PAGE
    assert benchmark["purposes"]() in PAGE


class Pictures(Dataset[Any]):
    """What torchvision's CIFAR10 looks like from outside, with few images."""

    def __init__(self, folder: str, train: bool, download: bool, transform: Any) -> None:
        assert (folder, download) == ("data", True)
        self.transform, self.n = transform, 40 if train else 12

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(torch.full((3, 32, 32), i / 40)), i % 10


def test_the_cifar_example(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision: Any = ModuleType("torchvision")
    torchvision.datasets = SimpleNamespace(CIFAR10=Pictures)
    torchvision.models = SimpleNamespace(
        resnet18=lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))
    )

    def compose(steps: list[Any]) -> Any:
        def run(x: torch.Tensor) -> torch.Tensor:
            for step in steps:
                x = step(x)
            return x

        return run

    def noise(*_: Any, **__: Any) -> Any:
        return lambda x: x + torch.rand(())

    def nothing(*_: Any, **__: Any) -> Any:
        return lambda x: x

    torchvision.transforms = SimpleNamespace(
        Compose=compose, RandomCrop=noise, RandomHorizontalFlip=noise, ToTensor=nothing, Normalize=nothing
    )
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    task = example("cifar10")["cifar10"]()
    sizes = task.record()["samples"]
    assert sizes["train"] + sizes["validation"] == 40 and sizes["test"] == 12
    assert set(task.evaluate(task.build(0))) == {"loss", "error"}
    train, validation = task.train.dataset, task.validation.dataset
    assert not torch.equal(train[0][0], train[0][0]) and torch.equal(validation[0][0], validation[0][0])


def test_the_hugging_face_example(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows(list[Any]):
        def train_test_split(self, test_size: float, seed: int) -> dict[str, Any]:
            cut = round(len(self) * (1 - test_size))
            return {"train": Rows(self[:cut]), "test": Rows(self[cut:])}

    class News(dict[str, Rows]):
        def map(self, function: Any, remove_columns: str) -> News:
            return News({k: Rows({**r, **function(r)} for r in rows) for k, rows in self.items()}).without(
                remove_columns
            )

        def without(self, column: str) -> News:
            return News(
                {k: Rows({n: v for n, v in r.items() if n != column} for r in rows) for k, rows in self.items()}
            )

        def with_format(self, kind: str) -> News:
            assert kind == "torch"
            return News({k: Rows({n: torch.tensor(v) for n, v in r.items()} for r in rows) for k, rows in self.items()})

    def load_dataset(name: str) -> News:
        assert name == "ag_news"
        rows = [{"text": f"headline {i} – é", "label": i % 4} for i in range(300)]
        return News(train=Rows(rows[:200]), test=Rows(rows[200:]))

    datasets: Any = ModuleType("datasets")
    datasets.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    task = example("headlines")["headlines"]()
    assert task.batches(0).batch(0)["symbols"].shape == (128, 511)
    model = task.build(0)
    assert torch.isfinite(task.training_loss(model, task.batches(0).batch(0)))
    assert set(task.evaluate(model, "test")) == {"loss", "error"}
