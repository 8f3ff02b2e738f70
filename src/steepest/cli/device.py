"""``--device``: checked before anything is written."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer


def checked(text: str) -> str:
    """The device, if tensors can be put on it here."""
    import torch

    try:
        torch.empty(1, device=text)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise typer.BadParameter(f"no tensor can be put on {text!r} here: {reason}. cpu always works.") from None
    return text


Device: TypeAlias = Annotated[str, typer.Option(callback=checked, help="Where to train, as torch names it.")]
