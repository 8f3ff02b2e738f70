"""IEEE square roots in eager code.

``torch.sqrt`` on a CPU is a vector-library routine whose last digit is wrong for about one entry in a hundred; a
compiled kernel's square root is correctly rounded. Inside :class:`Exact` the eager executors round correctly too, so
that a machine without a compiler computes the very same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

ROOTS = {torch.sqrt, Tensor.sqrt}
INVERSE_ROOTS = {torch.rsqrt, Tensor.rsqrt}
POWERS = {torch.pow, Tensor.pow, Tensor.__pow__}


def sqrt(x: Tensor) -> Tensor:
    """The correctly rounded square root."""
    plain = x.device.type == "cpu" and type(x) is Tensor
    return torch.from_numpy(np.asarray(np.sqrt(x.numpy()))) if plain else torch.sqrt(x)


class Exact(TorchFunctionMode):
    """Round square roots, and powers of one half, correctly on CPU tensors.

    >>> x = torch.linspace(0, 9, 1000)
    >>> with Exact():
    ...     y = x ** 0.5
    >>> bool((y.double() - x.double().sqrt()).abs().max() < 1.2e-7)
    True
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in ROOTS:
            return sqrt(args[0])
        if func in INVERSE_ROOTS:
            return 1.0 / sqrt(args[0])
        if (
            func in POWERS
            and len(args) == 2
            and isinstance(args[0], Tensor)
            and isinstance(args[1], float)
            and abs(args[1]) == 0.5
        ):
            root = sqrt(args[0])
            return root if args[1] == 0.5 else 1.0 / root
        return func(*args, **(kwargs or {}))
