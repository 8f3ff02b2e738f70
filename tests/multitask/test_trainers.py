"""Several losses inside what people train with: the textbook model, and Lightning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import steepest as st
from steepest.multitask import MGDA, MultiTask, Uncertainty, UPGrad, Weights


class Textbook(nn.Module):
    """Ten inputs, 64 shared units, a head for three classes and a head for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(10, 64), nn.ReLU())
        self.classes, self.value = nn.Linear(64, 3), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.shared(x)
        return self.classes(h), self.value(h)[:, 0]

    def losses(self, x: Tensor, label: Tensor, y: Tensor) -> dict[str, Tensor]:
        logits, value = self(x)
        return {"class": F.cross_entropy(logits, label), "value": F.mse_loss(value, y)}


def data(n: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(n, 10, generator=draw)
    return x, x[:, :3].argmax(1), 3 * x[:, 4] - x[:, 5]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_textbook_weighting_by_alpha(alpha: float) -> None:
    """alpha times the one, 1 - alpha times the other: the shared layer by hand, the heads too."""
    torch.manual_seed(0)
    model = Textbook()
    batch = data()
    found = model.losses(*batch)
    expected = torch.autograd.grad(alpha * found["class"] + (1 - alpha) * found["value"], list(model.parameters()))
    MultiTask(model, Weights((alpha, 1 - alpha))).backward(model.losses(*batch))
    for p, g in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(p.grad, g, atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [Weights((0.7, 0.3)), Uncertainty(), UPGrad(), MGDA(normalise="l2")], ids=repr)
def test_the_textbook_model_learns_both(method: Any) -> None:
    torch.manual_seed(0)
    model, batch = Textbook(), data(256)
    tasks, adam = MultiTask(model, method), torch.optim.Adam(model.parameters(), lr=1e-2)
    before = {n: float(v.detach()) for n, v in model.losses(*batch).items()}
    for _ in range(150):
        adam.zero_grad()
        tasks.backward(model.losses(*batch))
        adam.step()
    after = {n: float(v.detach()) for n, v in model.losses(*batch).items()}
    assert after["class"] < 0.4 * before["class"] and after["value"] < 0.1 * before["value"], after


def test_inside_lightning() -> None:
    """Manual optimisation: ``MultiTask`` where ``manual_backward`` would stand; the same weights as a loop by hand."""
    lightning = pytest.importorskip("lightning.pytorch")
    torch.manual_seed(0)
    batch = data()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch), batch_size=16)

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.model = Textbook()
            self.automatic_optimization = False
            self.tasks = MultiTask(self.model, UPGrad())

        def training_step(self, batch: Any, _: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.tasks.backward(self.model.losses(*batch))
            optimizer.step()
            self.log_dict(self.tasks.metrics)

        def configure_optimizers(self) -> Any:
            return st.adamw(lr=1e-2).optimizer(self.model)

    module = Module()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", devices=1, log_every_n_steps=1, **quiet)
    with pytest.MonkeyPatch.context() as patch:
        import warnings

        patch.setattr(warnings, "showwarning", lambda *_, **__: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(module, loader)
    assert {"loss_class", "weight_value", "conflicts"} <= set(trainer.callback_metrics)
    torch.manual_seed(1)
    model = Textbook()
    tasks, optimizer = MultiTask(model, UPGrad()), st.adamw(lr=1e-2).optimizer(model)
    for _ in range(2):
        for part in loader:
            optimizer.zero_grad()
            tasks.backward(model.losses(*part))
            optimizer.step()
    assert tasks.t == module.tasks.t == 8
    for p, q in zip(model.parameters(), module.model.parameters(), strict=True):
        assert torch.equal(p, q)
