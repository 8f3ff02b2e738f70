"""``--device``: checked before anything is written."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer


def checked(text: str) -> str:
    """The device, if tensors can be put on it here."""
    from steepest.core.device import DeviceError, usable

    try:
        return usable(text)
    except DeviceError as error:
        raise typer.BadParameter(str(error)) from None


Device: TypeAlias = Annotated[str, typer.Option(callback=checked, help="Where to train, as torch names it.")]
