"""A character language model: an LSTM."""

from __future__ import annotations

from torch import Tensor, nn

from steepest.tasks.measures import bits, cross_entropy
from steepest.tasks.registry import builtin
from steepest.tasks.stdlib_text import ALPHABET, language
from steepest.tasks.task import Task


class CharacterLSTM(nn.Module):
    """Embedding, one LSTM layer that starts each window from zero, and a linear readout."""

    def __init__(self, symbols: int, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.symbol = nn.Embedding(symbols, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, text: Tensor) -> Tensor:
        """Logits (batch, time, symbols) of the next character, from characters (batch, time)."""
        h, _ = self.lstm(self.symbol(text))
        logits: Tensor = self.head(h)
        return logits


def lstm() -> nn.Module:
    """Width 64, hidden 128: 117 856 parameters."""
    return CharacterLSTM(len(ALPHABET))


@builtin("char-lstm")
def char_lstm() -> Task:
    """The next character of Python source, with an LSTM of 128 units over 64 characters.

    Reason: recurrence through 64 steps, where clipping is worth trying.
    Source: the Python standard library; Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735.
    """
    text = language()
    return Task(
        name="char-lstm",
        model=lstm,
        loss=cross_entropy,
        metrics={"bits": bits},
        batch_size=32,
        steps=800,
        eval_every=80,
        description=f"Next character of Python source, LSTM of 128 units, text {text['facts']['corpus']}",
        **text,
    )
