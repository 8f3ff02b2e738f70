"""A sick case: the adding problem, on which a plain recurrent network stays at the variance of the answer."""

from __future__ import annotations

from functools import partial

import torch

from steepest.tasks.measures import absolute_error, squared_error
from steepest.tasks.randomness import generator
from steepest.tasks.recurrent import Recurrent
from steepest.tasks.registry import builtin
from steepest.tasks.splits import Pair
from steepest.tasks.task import Task, TaskError


def additions(split: str, samples: int, length: int) -> Pair:
    """Sequences of (number in [0, 1), mark); two steps, one in each half, are marked, and their sum is wanted."""
    g = generator("adding", split, length)
    numbers = torch.rand(samples, length, generator=g)
    half = length // 2
    marked = torch.stack(
        [torch.randint(half, (samples,), generator=g), torch.randint(half, length, (samples,), generator=g)], 1
    )
    marks = torch.zeros(samples, length).scatter_(1, marked, 1.0)
    return torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True)


@builtin("adding-rnn")
def adding_rnn(length: int = 50) -> Task:
    """Sick: the adding problem with a plain recurrent network, which stays on a plateau at the variance, 1/6.

    Args:
        length: Steps of a sequence, >= 2; below about 15 the problem is learnt.

    Reason: a plateau: the loss of always answering 1 is reached at once, and hardly any setting gets below it.
    Source: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, section 5.4; as in Le et al. 2015,
    arXiv:1504.00941, section 4.1.
    """
    if length < 2:
        raise TaskError(f"adding-rnn needs length >= 2; given length={length}.")
    return Task(
        name="adding-rnn",
        model=partial(Recurrent, 2, 1),
        loss=squared_error,
        train=additions("train", 4096, length),
        validation=additions("validation", 512, length),
        test=additions("test", 512, length),
        metrics={"absolute": absolute_error},
        batch_size=64,
        steps=500,
        eval_every=25,
        description=f"The adding problem over {length} steps, recurrent network of 64 tanh units",
        source="Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735",
    )
