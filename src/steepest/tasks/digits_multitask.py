"""Three tasks at once on the digits: which one, odd or even, and the image again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from steepest.tasks import measures
from steepest.tasks.digits import SOURCE, digits
from steepest.tasks.registry import builtin
from steepest.tasks.task import Task


class Heads(nn.Module):
    """A trunk that all tasks share, and a head for each."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.heads = nn.ModuleDict(
            {"class": nn.Linear(64, 10), "parity": nn.Linear(64, 1), "reconstruction": nn.Linear(64, 64)}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """By task: logits of the digit, the logit of "odd", pixels."""
        h = self.trunk(x)
        return {name: head(h) for name, head in self.heads.items()}


def class_loss(output: dict[str, Tensor], batch: Any) -> Tensor:
    """Cross-entropy of the digit."""
    return measures.cross_entropy(output["class"], batch)


def parity_loss(output: dict[str, Tensor], batch: Any) -> Tensor:
    """Cross-entropy of odd against even."""
    logit = output["parity"][:, 0]
    return F.binary_cross_entropy_with_logits(logit, (batch[1] % 2).to(logit.dtype))


def reconstruction_loss(output: dict[str, Tensor], batch: Any) -> Tensor:
    """Mean squared error of the pixels."""
    loss: Tensor = (output["reconstruction"] - batch[0]).square().mean()
    return loss


LOSSES: dict[str, Callable[[dict[str, Tensor], Any], Tensor]] = {
    "class": class_loss,
    "parity": parity_loss,
    "reconstruction": reconstruction_loss,
}


def total(output: dict[str, Tensor], batch: Any) -> Tensor:
    """The plain sum of the three."""
    return class_loss(output, batch) + parity_loss(output, batch) + reconstruction_loss(output, batch)


def class_error(output: dict[str, Tensor], batch: Any) -> Tensor:
    """The share of digits that are taken for another."""
    return measures.error(output["class"], batch)


def parity_error(output: dict[str, Tensor], batch: Any) -> Tensor:
    """The share of digits that are on the wrong side of odd and even."""
    missed: Tensor = (output["parity"][:, 0] > 0) != (batch[1] % 2 == 1)
    return missed.float().mean()


@builtin("digits-multitask")
def digits_multitask() -> Task:
    """Three tasks at once on the digits: class, parity and reconstruction from one trunk; the loss is their sum.

    The losses are of different size (2.3, 0.7 and 0.2 at the start) and pull the trunk apart; each is at hand by
    itself in ``Task.losses``.

    Reason: several losses in one model, of unequal scale and partly in conflict.
    Source: Caruana 1997, doi:10.1023/A:1007379606734 (shared trunk); digits as shipped with scikit-learn.
    """
    train, validation, test = digits()
    return Task(
        name="digits-multitask",
        model=Heads,
        loss=total,
        losses=LOSSES,
        train=train,
        validation=validation,
        test=test,
        metrics={**LOSSES, "error": class_error, "parity_error": parity_error},
        batch_size=64,
        steps=800,
        eval_every=40,
        description="Digits: class, parity and reconstruction from one trunk 64-128-64",
        source=SOURCE,
    )
