"""Small tasks whose networks use every layer that a fleet knows.

No bias stands where its gradient is zero but for rounding (before batch norm, in the keys of attention): rules that
divide by the size of the gradient make large steps of that rounding, alone too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.task import Task


class Recurrent(nn.Module):
    """Embedding, a recurrent layer of two levels with dropout between them, a readout of the last state."""

    def __init__(self, kind: Any = nn.LSTM, **kwargs: Any) -> None:
        super().__init__()
        self.symbol = nn.Embedding(7, 6)
        self.core = kind(6, 8, num_layers=2, dropout=0.2, batch_first=True, **kwargs)
        self.head = nn.Linear(8 * (1 + self.core.bidirectional), 5)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.core(self.symbol(x))
        return self.head(h[:, -1])


class Attention(nn.Module):
    """torch's own transformer layer, with dropout in every place it has, and a block with plain attention."""

    def __init__(self) -> None:
        super().__init__()
        self.symbol = nn.Embedding(7, 8)
        self.place = nn.Parameter(0.1 * torch.randn(6, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, bias=False)
        self.qkv = nn.Linear(8, 24, bias=False)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(self.symbol(x) + self.place)
        b, t, d = h.shape
        q, k, v = self.qkv(self.norm(h)).view(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        h = h + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        return self.head(h.mean(1))


class Noisy(nn.Module):
    """A perceptron with dropout, and noise on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + 0.1 * torch.randn_like(x) if self.training else x)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 5))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)),
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout2d(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


MODELS: dict[str, Any] = {
    "perceptron": (perceptron, (12,)),
    "convolutional": (convolutional, (36,)),
    "noisy": (Noisy, (12,)),
    "lstm": (Recurrent, None),
    "lstm-both-ways": (lambda: Recurrent(bidirectional=True), None),
    "gru": (lambda: Recurrent(nn.GRU), None),
    "rnn": (lambda: Recurrent(nn.RNN), None),
    "attention": (Attention, None),
}


def task(name: str, steps: int = 100, batch_size: int = 8) -> Task:
    """A task whose labels depend on the inputs, for a kind of network."""
    model, shape = MODELS[name]
    generator = torch.Generator().manual_seed(5)

    def split(n: int) -> tuple[Tensor, Tensor]:
        if shape is None:
            x = torch.randint(7, (n, 6), generator=generator)
            return x, (x[:, 0] + x[:, -1]) % 5
        x = torch.randn((n, *shape), generator=generator)
        return x, x[:, :5].argmax(1)

    return Task(
        name,
        model,
        cross_entropy,
        train=split(96),
        validation=split(40),
        test=split(24),
        metrics={"error": error},
        batch_size=batch_size,
        steps=steps,
        eval_every=25,
    )
