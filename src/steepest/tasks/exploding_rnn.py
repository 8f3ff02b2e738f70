"""A sick case: a recurrent network whose gradients grow with every step back in time."""

from __future__ import annotations

from functools import partial

from torch import nn

from steepest.tasks.digits import SOURCE, digits
from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.recurrent import Recurrent
from steepest.tasks.registry import builtin
from steepest.tasks.splits import Pair
from steepest.tasks.task import Task, TaskError


def in_rows(pair: Pair) -> Pair:
    """Images as sequences of 64 pixels."""
    return pair[0][:, :, None], pair[1]


def network(gain: float) -> nn.Module:
    """One number a step, 64 units, ten logits at the end: 4 938 parameters."""
    return Recurrent(1, 10, gain=gain)


@builtin("exploding-rnn")
def exploding_rnn(gain: float = 2.0) -> Task:
    """Sick: digits read pixel by pixel by a recurrent network in its chaotic regime, whose gradients explode.

    Args:
        gain: Size of the recurrent matrix at the start, > 0: above about 1 the gradient grows with each step back in
            time, below it vanishes.

    Reason: exploding gradients: the loss looks sound at the start, its gradient is not; made for clipping.
    Source: Pascanu, Mikolov and Bengio 2012, arXiv:1211.5063, section 2; digits as shipped with scikit-learn.
    """
    if gain <= 0:
        raise TaskError(f"exploding-rnn needs gain > 0; given gain={gain}.")
    train, validation, test = map(in_rows, digits())
    return Task(
        name="exploding-rnn",
        model=partial(network, gain),
        loss=cross_entropy,
        train=train,
        validation=validation,
        test=test,
        metrics={"error": error},
        batch_size=64,
        steps=300,
        eval_every=15,
        description=f"Digits pixel by pixel, recurrent network of 64 tanh units, recurrent gain {gain:g}",
        source=SOURCE,
    )
