"""The callbacks inside the trainers they are made for: Lightning and Hugging Face, as installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from steepest.core.records import read_metrics
from steepest.monitor import Preset
from steepest.monitor.callbacks import lightning_callback, trainer_callback

OFTEN = Preset("often", every=2, probes=("gradients", "adam_health", "noise"), probe_every=5, budget=None)


def data() -> TensorDataset:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x.sum(1, keepdim=True))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def loss_of(model: Any, batch: Any) -> Tensor:
    x, y = batch
    return (model(x) - y).square().mean()


def seen(folder: Path, steps: int) -> None:
    """What the record of such a training holds."""
    lines = read_metrics(folder / "metrics.jsonl")
    monitored = [line for line in lines if line["kind"] == "monitor"]
    assert [line["step"] for line in monitored] == list(range(2, steps + 1, 2))
    assert all(line["grad_norm"] > 0 and line["total_update_ratio"] > 0 for line in monitored)
    assert json.loads((folder / "monitor.json").read_text())["preset"] == "often"
    assert {line["step"] for line in lines if line["kind"] == "probe"} == set(range(5, steps + 1, 5))


@pytest.mark.skipif(not importlib.util.find_spec("lightning"), reason="lightning is not installed (extra: test)")
@pytest.mark.filterwarnings("ignore")  # of Lightning, about loggers and workers
def test_inside_lightning(tmp_path: Path) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor) -> Any:
            return self.net(x)

        def training_step(self, batch: Any, index: int) -> Tensor:
            return loss_of(self, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    def train(*callbacks: Any) -> Module:
        lightning.seed_everything(0, verbose=False)
        module = Module()
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            gradient_clip_val=0.5,
        )
        trainer.fit(module, DataLoader(data(), batch_size=8, shuffle=True))
        return module

    plain, watched = train(), train(lightning_callback(preset=OFTEN, loss=loss_of, out=tmp_path / "run"))
    seen(tmp_path / "run", 16)
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    assert all("noise_trace" in line for line in lines if line["kind"] == "probe")
    assert all(line["grad_norm"] <= 0.5001 for line in lines if line["kind"] == "monitor"), "it is the clipped one"
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(
    not (importlib.util.find_spec("transformers") and importlib.util.find_spec("accelerate")),
    reason="transformers and accelerate are not installed (extra: test)",
)
@pytest.mark.filterwarnings("ignore")  # of transformers, about pinned memory and deprecations
def test_inside_the_hugging_face_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import transformers

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            out = self.net(x)
            return {"loss": (out - labels).square().mean(), "logits": out}

    rows = [{"x": x, "labels": y} for x, y in data()]

    def train(*callbacks: Any) -> Model:
        model = Model()
        options = transformers.TrainingArguments(
            output_dir=str(tmp_path / "hf"),
            num_train_epochs=2,
            per_device_train_batch_size=8,
            learning_rate=1e-2,
            max_grad_norm=0.5,
            logging_steps=4,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            seed=0,
        )
        transformers.Trainer(model=model, args=options, train_dataset=rows, callbacks=list(callbacks)).train()
        return model

    plain, watched = train(), train(trainer_callback(preset=OFTEN, out=tmp_path / "run"))
    seen(tmp_path / "run", 16)
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    logged = [line for line in lines if line["kind"] == "train"]
    assert len(logged) == 4 and all(line["loss"] > 0 for line in logged)
    assert [line["lr"] for line in logged] == pytest.approx([1e-2 * (1 - t / 16) for t in (3, 7, 11, 15)])
    assert max(line["grad_norm"] for line in logged) > 0.6, "the Trainer's own, before clipping"
    assert all(line["grad_norm"] <= 0.5001 for line in lines if line["kind"] == "monitor")
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)
