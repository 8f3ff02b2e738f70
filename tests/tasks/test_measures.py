from __future__ import annotations

import math

import pytest
import torch

from steepest.tasks.measures import absolute_error, accuracy, bits, cross_entropy, error, squared_error


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]], dtype=torch.float64)
    labels = torch.tensor([1, 1])  # probabilities 3/4 and 1/5
    by_hand = -(math.log(3 / 4) + math.log(1 / 5)) / 2
    assert cross_entropy(logits, (None, labels)).item() == pytest.approx(by_hand)
    assert bits(logits, (None, labels)).item() == pytest.approx(by_hand / math.log(2))


def test_every_position_of_a_sequence_counts_the_same() -> None:
    logits = torch.randn(3, 5, 7)
    labels = torch.randint(7, (3, 5))
    each = torch.stack(
        [cross_entropy(logits[i, j][None], (None, labels[i, j][None])) for i in range(3) for j in range(5)]
    )
    torch.testing.assert_close(cross_entropy(logits, (None, labels)), each.mean())


def test_error_and_accuracy() -> None:
    batch = (None, torch.tensor([0, 1, 1, 2]))
    logits = torch.eye(3)[[0, 1, 2, 0]]
    assert (error(logits, batch).item(), accuracy(logits, batch).item()) == (0.5, 0.5)


def test_errors_of_numbers() -> None:
    batch = (None, torch.tensor([[1.0], [4.0]]))
    out = torch.tensor([[2.0], [1.0]])
    assert (squared_error(out, batch).item(), absolute_error(out, batch).item()) == (5.0, 2.0)
