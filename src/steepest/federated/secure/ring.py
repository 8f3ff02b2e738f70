"""Real numbers as whole numbers modulo a power of two, so that sums come out exactly, and never wrap unseen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steepest.federated.compress import Array
from steepest.federated.secure.crypto import Ring, SecureError


@dataclass(frozen=True)
class Scale:
    """How real numbers are written.

    Args:
        bits: Sums are taken modulo ``2 ** bits``.
        reach: The largest absolute value of an entry.
        many: How many are added at most.

    >>> scale = Scale(16, 1.0, 4)
    >>> x = np.array([0.5, -1.0])
    >>> total = scale.back((scale.whole(x) + scale.whole(x)) & scale.mask)
    >>> bool(abs(total - 2 * x).max() <= 2 * scale.step)
    True
    """

    bits: int
    reach: float
    many: int

    def __post_init__(self) -> None:
        if self.top < 1:
            raise SecureError(f"{self.bits} bits are too few for a sum of {self.many} clients; take more bits.")

    @property
    def top(self) -> int:
        """The largest whole number that one client may send: ``many`` of them stay below half the modulus."""
        return ((1 << (self.bits - 1)) - 1) // self.many

    @property
    def step(self) -> float:
        """What one stands for."""
        return self.reach / self.top

    @property
    def mask(self) -> np.uint64:
        """One below the modulus, for ``&``."""
        return np.uint64(2**self.bits - 1)

    def whole(self, x: Array, *, inwards: bool = False) -> Ring:
        """Numbers of the ring; ``inwards``: rounded towards zero, so that no vector becomes longer.

        Raises:
            SecureError: An entry is not finite, or larger than ``reach``: it would wrap around.
        """
        largest = float(np.abs(x).max(initial=0.0))
        if not largest <= self.reach:  # NaN too
            raise SecureError(
                f"an entry of {largest:.3g} is beyond reach={self.reach:g} and would wrap around; it is not sent. "
                "Give secure='secagg(reach=...)' more reach, or clip updates."
            )
        scaled = x / self.step
        found = (np.trunc(scaled) if inwards else np.rint(scaled)).astype(np.int64)
        return self.ring(np.clip(found, -self.top, self.top))

    def ring(self, numbers: Array) -> Ring:
        """Signed whole numbers in the ring."""
        return numbers.astype(np.int64).view(np.uint64) & self.mask

    def signed(self, numbers: Ring) -> Array:
        """Whole numbers with their signs again."""
        half = 2 ** (self.bits - 1)
        found = numbers.astype(np.int64)
        return np.where(found >= half, found - 2 * half, found)

    def back(self, numbers: Ring) -> Array:
        """Real numbers again."""
        return self.signed(numbers) * self.step
