"""Muon: momentum, orthogonalised."""

from __future__ import annotations

from typing import Any, Literal

from steepest.core.chain import Chain, chain
from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.rules.adam import adamw
from steepest.rules.learning_rate import LearningRate
from steepest.rules.orthogonalize import JORDAN, Orthogonalize
from steepest.rules.sgd import EmaMomentum
from steepest.rules.weight_decay import WeightDecay


def coefficients(values: tuple[float, ...]) -> tuple[float, float, float]:
    """Three numbers, or an error that says so."""
    if not isinstance(values, (tuple, list)) or len(values) != 3:
        raise HyperparameterError(f"ns_coefficients are three numbers (a, b, c) such as {JORDAN}, got {values!r}.")
    a, b, c = values
    return a, b, c


REST = adamw(lr=3e-4, betas=(0.9, 0.95))
"""What the parameters get that are no hidden matrices."""


@piece("rule", takes=("matrix", "kernel"))
def muon(
    lr: float = 0.02,
    weight_decay: float = 0.1,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
    iteration: Literal["newton_schulz", "polar_express"] = "newton_schulz",
    experts: bool = False,
    rest: Any = REST,  # noqa: ARG001
) -> Chain:
    """Momentum whose singular values are set to one, with decoupled weight decay, as torch.optim.Muon.

    Hidden matrices and kernels of convolutions are trained so. What else there is goes to ``rest``: embeddings, the
    output layer, biases, normalisation.

    Family: matrix
    Usual lr: 0.005 to 0.1
    Use when: the model is a transformer or a convolutional network with hidden matrices of some size: fewer steps than
    adamw at the same loss, 1.4 times at 100 M parameters (arXiv:2509.02046). With adjust_lr_fn="match_rms_adamw" take
    adamw's lr.
    Not when: a pretrained model is fine-tuned that was trained by adamw, or the matrices are so large or thin that the
    products (three in each of ``ns_steps``) are no longer small beside the backward pass.
    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers"; arXiv:2502.16982.
    """
    link = Orthogonalize(*coefficients(ns_coefficients), ns_steps, eps, iteration, adjust_lr_fn or "original", experts)
    return chain(EmaMomentum(momentum, nesterov), link, WeightDecay(weight_decay), LearningRate(lr))
