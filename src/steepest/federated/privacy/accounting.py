"""What releases have cost: epsilon at a delta, by the privacy loss distribution, and by Rényi divergences beside it.

What is known is a ledger: kinds of releases and how often. All the maths of composition is dp-accounting's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any, Literal

from steepest.federated.errors import FederationError

Kind = Literal["poisson", "fixed", "tree", "banded", "alone"]
Way = Literal["pld", "rdp"]


@dataclass(frozen=True)
class Release:
    """One noisy sum.

    Args:
        kind: Who was in it, and what "neighbours" are. ``"poisson"``: each client with probability ``sample / of``, on
            its own; one client more or less. ``"fixed"``: exactly ``sample`` of ``of``; one client replaced.
            ``"tree"``: the noisy prefix sums of ``sample`` rounds, each client in one of them at most; one client's
            part set to zero. ``"banded"``: a share of correlated sums, that of the rounds in which a client takes part
            the first, second, ... time, ``of`` rounds apart, with ``sample`` bands; one client's part set to zero.
            ``"alone"``: one client's own noisy message; its rows replaced by any others.
        noise: Standard deviation of the noise over the most that one neighbour changes.
        sample: See ``kind``.
        of: See ``kind``.
    """

    kind: Kind
    noise: float
    sample: int = 1
    of: int = 1


Ledger = tuple[tuple[Release, int], ...]
"""What was released, and how often."""


def written(ledger: Ledger) -> list[list[Any]]:
    """A ledger as plain data."""
    return [[*astuple(release), count] for release, count in ledger]


def read(data: Sequence[Sequence[Any]]) -> Ledger:
    """What :func:`written` wrote.

    >>> ledger = ((Release("poisson", 1.0, 10, 100), 5),)
    >>> read(written(ledger)) == ledger
    True
    """
    return tuple((Release(*fields), count) for *fields, count in data)


def guest() -> Any:
    """The package ``dp_accounting``, or an error that says how it is had."""
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError as error:
        raise FederationError(
            f"what privacy costs is counted by dp-accounting, which is not here ({error}): "
            "pip install 'steepest[federated]'."
        ) from None
    return dp_accounting


@contextmanager
def _quiet() -> Iterator[None]:
    """dp-accounting warns of orders for which its series does not converge; those are left out of the minimum."""
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        yield
    finally:
        absl.setLevel(level)


def depth(steps: int) -> int:
    """How many nodes of a tree over ``steps`` rounds hold one round.

    >>> depth(1), depth(7), depth(8)
    (1, 3, 4)
    """
    return steps.bit_length()


def certain(release: Release) -> float | None:
    """How many Gaussian mechanisms a release is, where its sample hides nothing; None where it does."""
    if release.kind == "tree":
        return depth(release.sample)
    return 1 if release.kind in ("alone", "banded") or release.sample == release.of else None


def width(count: int) -> float:
    """The interval in which a loss distribution is written: rounding is to the safe side, and adds up over rounds."""
    return 1e-3 if count <= 300 else 3e-4 if count <= 3000 else 1e-4


@cache
def epsilon(ledger: Ledger, delta: float, way: Way = "pld") -> float | None:
    """What a ledger has cost; None where this way has no answer (PLD for samples of fixed size).

    Where no sample hides anything all releases together are one Gaussian mechanism, of which PLD is the closed form.

    Differs from: dp-accounting 0.6, whose PLD takes noise for "one replaced" over what one client *more* changes, and
    its RDP over what the *replaced* one changes. Noise is here always over what one neighbour changes.

    >>> import pytest; _ = pytest.importorskip("dp_accounting")
    >>> round(epsilon(((Release("poisson", 1.0, 1, 1), 1),), 1e-5), 4)
    4.3772
    """
    some = [(release, count) for release, count in ledger if count]
    if not some:
        return 0.0
    if any(release.noise == 0 for release, _ in some):
        return math.inf
    if len({release.kind for release, _ in some}) > 1:
        raise FederationError("a ledger has one kind of releases: kinds differ in what neighbours are.")
    dp = guest()
    known = [(certain(release), release, count) for release, count in some]
    if way == "pld" and all(times is not None for times, _, _ in known):
        once = sum((times or 0) * count / release.noise**2 for times, release, count in known)
        return float(dp.get_epsilon_gaussian(once**-0.5, delta))
    fixed = some[0][0].kind == "fixed"
    if way == "pld" and fixed:
        return None
    neighbours = dp.NeighboringRelation.REPLACE_ONE if fixed else dp.NeighboringRelation.ADD_OR_REMOVE_ONE
    with _quiet():
        if way == "pld":
            many = sum(count for _, count in some)
            accountant = dp.pld.PLDAccountant(neighbours, value_discretization_interval=width(many))
        else:
            accountant = dp.rdp.RdpAccountant(neighboring_relation=neighbours)
        for times, release, count in known:
            event = dp.GaussianDpEvent(release.noise)
            if times is None:
                share = release.sample / release.of
                event = (
                    dp.SampledWithoutReplacementDpEvent(release.of, release.sample, event)
                    if fixed
                    else dp.PoissonSampledDpEvent(share, event)
                )
            accountant.compose(event, count * int(times or 1))
        return float(accountant.get_epsilon(delta))


def cost(ledger: Ledger, delta: float) -> float:
    """What a ledger has cost by the best way that has an answer."""
    found = epsilon(ledger, delta, "pld")
    if found is None:
        found = epsilon(ledger, delta, "rdp")
    assert found is not None
    return found


def calibrated(make: Callable[[float], Ledger], budget: float, delta: float) -> float:
    """The least noise with which a ledger costs no more than a budget, to a thousandth above.

    Args:
        make: From noise to ledger.
        budget: Epsilon.
        delta: Delta.
    """
    high = 1.0
    while cost(make(high), delta) > budget:
        high *= 2
        if high > 2**30:
            raise FederationError(f"no noise keeps eps={budget:g} at delta={delta:g}.")
    low = high / 2
    while low > 2**-6 and cost(make(low), delta) <= budget:
        low, high = low / 2, low
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        if cost(make(middle), delta) <= budget:
            high = middle
        else:
            low = middle
    return high


def most(make: Callable[[int], Ledger], budget: float, delta: float, up_to: int) -> int:
    """How many rounds a budget allows, ``up_to`` at most.

    Args:
        make: From the number of rounds to the ledger.
        budget: Epsilon.
        delta: Delta.
        up_to: Rounds that are wanted.
    """
    if cost(make(up_to), delta) <= budget:
        return up_to
    low, high = 0, up_to
    while high - low > 1:
        middle = (low + high) // 2
        if cost(make(middle), delta) <= budget:
            low = middle
        else:
            high = middle
    return low
