"""Whether a rule can step a parameter of such a shape, said when the parameter is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from steepest.core.chain import Chain

FEWEST = {1: "a vector", 2: "a matrix"}


def check_shapes(method: str, chain: Chain, owners: Sequence[str], params: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse a parameter that has too few dimensions for a link, or complex entries where the shape matters.

    ``owners`` says for each link which piece it comes from, so that the message names what is at fault.
    """
    fewest = max((link.ndim_min for link in chain), default=0)
    whole = [owner for link, owner in zip(chain, owners, strict=True) if link.scope == "tensor"]
    for name, p in params:
        if p.ndim < fewest:
            raise ValueError(
                f"{method} needs {FEWEST.get(fewest, f'{fewest} dimensions')}; {name!r} has shape {tuple(p.shape)}. "
                f"Route the rest elsewhere: partition(matrix={method}(...), rest=adamw(...))."
            )
        if p.is_complex() and whole:
            other = "Route it elsewhere" if whole[0] == method else f"Leave {whole[0]} away"
            raise ValueError(
                f"{whole[0]} works on whole tensors and knows no complex ones; {name!r} is {str(p.dtype)[6:]}. "
                f"{other}, or keep its real and imaginary parts as two parameters."
            )
