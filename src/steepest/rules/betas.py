"""The two or three decay rates that one argument, ``betas``, holds."""

from __future__ import annotations

from collections.abc import Sequence

from steepest.core.errors import HyperparameterError


def pair(betas: Sequence[float]) -> tuple[float, float]:
    """``(beta1, beta2)``, or an error that says what was given.

    >>> pair([0.9, 0.999])
    (0.9, 0.999)
    >>> pair((0.9,))
    Traceback (most recent call last):
    ...
    steepest.core.errors.HyperparameterError: betas must be two numbers, got (0.9,). Write betas=(0.9, 0.999).
    """
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise HyperparameterError(f"betas must be two numbers, got {betas!r}. Write betas=(0.9, 0.999).")
    beta1, beta2 = betas
    return beta1, beta2


def triple(betas: Sequence[float]) -> tuple[float, float, float]:
    """``(beta1, beta2, beta3)``, or an error that says what was given.

    >>> triple([0.98, 0.92, 0.99])
    (0.98, 0.92, 0.99)
    >>> triple((0.9,))
    Traceback (most recent call last):
    ...
    steepest.core.errors.HyperparameterError: betas must be three numbers, got (0.9,). Write betas=(0.98, 0.92, 0.99).
    """
    if not isinstance(betas, (tuple, list)) or len(betas) != 3:
        raise HyperparameterError(f"betas must be three numbers, got {betas!r}. Write betas=(0.98, 0.92, 0.99).")
    beta1, beta2, beta3 = betas
    return beta1, beta2, beta3
