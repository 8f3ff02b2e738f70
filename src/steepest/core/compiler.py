"""torch's compiler, kept out of processes that do not compile.

torch marks methods of its ``Optimizer``, and what watches calls (dispatch modes), as not to be compiled, and the first
call of any of them imports the compiler to say so: two seconds of processor time in each process, and a little at every
``zero_grad()``. While nobody has imported it, nothing is being compiled, and there is nothing to say.
"""

from __future__ import annotations

import sys
from typing import Any, TypeVar

F = TypeVar("F")


def unmarked(method: F) -> F:
    """A method of torch's as it was before it was marked, as long as this process does not compile.

    >>> import torch
    >>> unmarked(torch.optim.Optimizer.step) is torch.optim.Optimizer.step  # bears no mark
    True
    """
    found: Any = method if "torch._dynamo" in sys.modules else getattr(method, "__wrapped__", method)
    return found  # type: ignore[no-any-return]
