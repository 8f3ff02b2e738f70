"""A character language model: a small causal transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steepest.tasks.measures import bits, cross_entropy
from steepest.tasks.registry import builtin
from steepest.tasks.stdlib_text import ALPHABET, CONTEXT, language
from steepest.tasks.task import Task


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + perceptron(norm(x)). Shapes: (batch, time, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm_perceptron = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        qkv = self.query_key_value(self.norm_attention(x)).view(b, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(b, t, d))
        h: Tensor = self.contract(F.gelu(self.expand(self.norm_perceptron(x))))
        return x + h


class Transformer(nn.Module):
    """A causal transformer over characters, initialised as GPT-2: N(0, 0.02), residual outputs / sqrt(2 layers)."""

    def __init__(self, symbols: int, context: int, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.symbol = nn.Embedding(symbols, width)
        self.place = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols)
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.ndim > 1:
                residual = name.endswith(("attention_out.weight", "contract.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)

    def forward(self, text: Tensor) -> Tensor:
        """Logits (batch, time, symbols) of the next character, from characters (batch, time)."""
        x = self.symbol(text) + self.place(torch.arange(text.shape[1], device=text.device))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def transformer() -> nn.Module:
    """Width 64, 4 heads, 2 layers, context 64: 116 576 parameters."""
    return Transformer(len(ALPHABET), CONTEXT)


@builtin("char-transformer")
def char_transformer() -> Task:
    """The next character of Python source, with a pre-norm transformer of width 64 and 2 layers.

    Reason: attention, embeddings and layer norm, where warm-up and clipping are worth trying.
    Source: the Python standard library; the block follows Radford et al. 2019 (GPT-2).
    """
    text = language()
    return Task(
        name="char-transformer",
        model=transformer,
        loss=cross_entropy,
        metrics={"bits": bits},
        batch_size=32,
        steps=600,
        eval_every=60,
        description=f"Next character of Python source, transformer of width 64, text {text['facts']['corpus']}",
        **text,
    )
