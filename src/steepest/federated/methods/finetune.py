"""Local fine-tuning: each client trains the shared model on, for itself."""

from __future__ import annotations

from typing import ClassVar

from steepest.core.rule import hyper
from steepest.federated.method import Method, method


@method
class FineTune(Method):
    """FedAvg; where clients are measured, each first trains the global model on its own rows.

    Args:
        passes: How often it sees its rows then.

    Nothing is kept for clients, and the global model is FedAvg's, bit for bit. The training before a measurement is not
    counted among the gradients of the run.
    Source: Wang et al. 2019, arXiv:1910.10252.

    Example:
        >>> FineTune(passes=5)
        finetune(passes=5)
    """

    passes: int = hyper(1, "[1, inf)", whole=True)  # type: ignore[misc]

    personal: ClassVar[bool] = True
