"""A plain recurrent network, for the sick cases."""

from __future__ import annotations

from torch import Tensor, nn


class Recurrent(nn.Module):
    """h_t = tanh(U x_t + W h_{t-1} + b), read out after the last step.

    Args:
        inputs: Numbers a step.
        outputs: Numbers at the end.
        hidden: Length of ``h``.
        gain: W is drawn from N(0, gain^2 / hidden); None: torch's own start.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int = 64, gain: float | None = None) -> None:
        super().__init__()
        self.cell = nn.RNN(inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)
        if gain is not None:
            nn.init.normal_(self.cell.get_parameter("weight_hh_l0"), std=gain / hidden**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (batch, outputs) of sequences (batch, time, inputs)."""
        h, _ = self.cell(x)
        out: Tensor = self.head(h[:, -1])
        return out
