"""One search: who may do what next. Any number of processes may work on it through one store.

A process *claims* work by adding a leg, and then looks at what stands before it. The claim holds if, with those legs
alone, this is what had to be done next; otherwise it is withdrawn, and the process asks again. The store hands out the
numbers, so all processes see the same order and come to the same view: nothing is done twice and no budget is exceeded,
without any lock.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

from steepest.strategy.space import Point
from steepest.tune.box import Box
from steepest.tune.extension import Extension
from steepest.tune.leg import Leg
from steepest.tune.objective import Outcome
from steepest.tune.sampler import Proposal, Sampler, seed_of
from steepest.tune.samplers.quasi import Random
from steepest.tune.scheduler import Curve, Move, Scheduler, Whole
from steepest.tune.store import Store
from steepest.tune.trial import Trial, trials

RETRIES = 2
"""How often work whose owner died is begun again."""
LEASE = 60.0
"""Seconds after which an owner that gave no sign is taken for dead."""
STOPPED = "stopped by hand"
"""The message of a leg that its owner gave back; that is no death."""
OTHERS = 20
"""How many other points are drawn where a sampler repeats one."""


@dataclass
class Search:
    """One arm of a study.

    Args:
        store: Where the legs are.
        box: What is searched.
        sampler: Proposes points.
        scheduler: Decides what goes on.
        budget: What all legs together may cost, in whole runs' worth; a total, however often the search is resumed.
        seed: The study's.
        first: Points that are tried before the sampler is asked.
        full: The full length of the objective, where it has steps.
        cost: What a whole run at a point costs, in runs' worth (two gradients a step: 2).
        extend: Asked before each point whether a range goes on; None: the box stays as it is.
        resumes: Whether a leg that goes on from where its trial paused costs only what it goes further.
        distinct: Whether the same point on the same seed comes to the same value, so that trying it twice is a waste.
        open: Asked before anything is begun; False: nothing more is begun (the time is up).
        clock: Seconds since the epoch.
    """

    store: Store
    box: Box
    sampler: Sampler
    scheduler: Scheduler = field(default_factory=Whole)
    budget: float = float("inf")
    seed: int = 0
    first: Sequence[Point] = ()
    full: int | None = None
    cost: Callable[[Move], float] = lambda move: 1.0
    distinct: bool = True
    extend: Callable[[Box, Sequence[Leg]], Extension | None] | None = None
    resumes: bool = False
    open: Callable[[], bool] = lambda: True
    lease: float = LEASE
    clock: Callable[[], float] = time.time
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{random.getrandbits(32):08x}")

    def __post_init__(self) -> None:
        self.held: dict[int, Leg] = {}
        self._lock = Lock()

    # -------------------- what is there

    def trials(self) -> list[Trial]:
        """All trials so far."""
        return trials(self.store.legs())

    def spent(self) -> float:
        """What has been charged, open legs included."""
        return charged(self.store.legs())

    # -------------------- take and tell

    def take(self) -> Leg | None:
        """Claim what is to be done next; None where there is nothing, for now or for good (:meth:`over` says which)."""
        return next(iter(self.take_some(1)), None)

    def take_some(self, count: int, goes_with: Callable[[Leg, Leg], bool] = lambda first, leg: True) -> list[Leg]:
        """Claim up to so many legs at once, each as if those before it were being run already.

        Args:
            count: How many at most.
            goes_with: Asked of the first one and a further one; False: that one, and what comes after it, can wait.
        """
        while True:
            legs = self.reap()
            if self.extend is not None:
                self._widened(self.box_of([t for t in trials(legs) if t.point is not None]))
            claimed = self._claimed(legs, count, goes_with)
            if not claimed:
                return []
            if held := self._held(claimed):
                return held

    def _claimed(self, legs: Sequence[Leg], count: int, goes_with: Callable[[Leg, Leg], bool]) -> list[Leg]:
        """Add what is wanted next, one after the other."""
        claimed: list[Leg] = []
        seen = list(legs)
        while len(claimed) < count:
            wanted = self.wanted(seen) if self.open() else None
            if wanted is None or (claimed and not goes_with(claimed[0], wanted)):
                break
            leg = replace(wanted, owner=self.owner, until=self.clock() + self.lease)
            number = self.store.add(leg)
            leg = replace(leg, number=number, trial=number if leg.trial < 0 else leg.trial)
            claimed.append(leg)
            seen.append(leg)
        return claimed

    def ready(self, most: int) -> int:
        """How many legs could be begun at once now, counted up to ``most``."""
        seen = self.store.legs()
        number = max((leg.number for leg in seen), default=-1)
        for count in range(most):
            wanted = self.wanted(seen) if self.open() else None
            if wanted is None:
                return count
            number += 1
            seen = [*seen, replace(wanted, number=number, trial=number if wanted.trial < 0 else wanted.trial)]
        return most

    def _held(self, claimed: Sequence[Leg]) -> list[Leg]:
        """Those of the claims that stand: each was to be done next, given what stands before it. They get points."""
        last = claimed[-1].number
        order = sorted((leg for leg in self.store.legs() if leg.number < last), key=lambda leg: leg.number)
        stands: dict[int, Leg] = {}
        mine = {leg.number for leg in claimed}
        held = []
        for leg in claimed:
            before = [stands.get(b.number, b) for b in order if b.number < leg.number]
            before = [b for b in before if b.number not in mine or b.number in stands]
            again = self.wanted(before)
            if again is None or _work(again) != _work(leg):
                self.store.close(leg.number, "withdrawn", charge=0.0)
                continue
            self._hold(leg)
            if leg.point is None:
                leg = self._placed(leg, before)
                self._hold(leg)
            stands[leg.number] = leg
            held.append(leg)
        limits = self._limits(order) if any(leg.seed == 0 for leg in held) else ()
        return [replace(leg, limits=limits) if leg.seed == 0 else leg for leg in held]

    def _limits(self, legs: Sequence[Leg]) -> tuple[tuple[int, float], ...]:
        """What the scheduler wants runs to be better than on their way, from what is known now."""
        found: Any = getattr(self.scheduler, "limits", lambda _: ())
        return tuple(found(trials(legs)))

    def _hold(self, leg: Leg) -> None:
        with self._lock:
            self.held[leg.number] = leg

    def wanted(self, legs: Sequence[Leg]) -> Leg | None:
        """What is to be done next, given these legs and nothing else."""
        for lost in _to_retry(legs):
            by_hand = lost.message == STOPPED
            return Leg(
                -1, -1 if lost.point is None else lost.trial, lost.point, lost.seed, lost.steps, lost.length,
                lost.source, lost.attempt + (not by_hand), charge=self._cost(_move(lost), legs), notes=lost.notes,
            )  # fmt: skip
        known = trials(leg for leg in legs if leg.point is not None or leg.status == "open")
        move = self.scheduler.next(known)
        if move is None:
            return None
        charge = self._cost(move, legs)
        if charged(legs) + charge > self.budget + 1e-9:
            return None
        if move.trial is None:
            return Leg(-1, -1, move.point, move.seed, move.steps, move.length, charge=charge, notes=move.notes)
        trial = next(t for t in known if t.number == move.trial)
        point = trial.last.point if move.point is None else move.point
        return Leg(
            -1, move.trial, point, move.seed, move.steps, move.length, move.source, charge=charge, notes=move.notes
        )

    def tell(self, leg: Leg, outcome: Outcome) -> bool:
        """Write down what a leg came to; False where its owner was taken for dead: then it is somebody else's."""
        with self._lock:
            self.held.pop(leg.number, None)
        fields: dict[str, Any] = {"values": outcome.values, "reached": outcome.reached, "charge": outcome.charge}
        if outcome.curve:
            fields["notes"] = {**leg.notes, "curve": [list(pair) for pair in outcome.curve]}
        return self.store.close(leg.number, outcome.status, **fields, seconds=outcome.seconds, message=outcome.message)

    def give_back(self, leg: Leg) -> None:
        """Stop working on a leg; whoever goes on takes it up from its last checkpoint."""
        with self._lock:
            self.held.pop(leg.number, None)
        self.store.close(leg.number, "lost", charge=0.0, message=STOPPED)

    def stops(self, leg: Leg, curve: Curve) -> bool:
        """Whether the scheduler wants a leg that is being run to end here."""
        every = self.trials()
        mine = next((t for t in every if t.number == leg.trial), None)
        return mine is not None and self.scheduler.stops(mine, curve, every)

    def over(self) -> bool:
        """Whether nothing is being run, and nothing more will be."""
        legs = self.store.legs()
        return not any(leg.status == "open" for leg in legs) and (not self.open() or self.wanted(legs) is None)

    # -------------------- leases

    def reap(self) -> list[Leg]:
        """Declare legs of dead owners lost; returns all legs."""
        legs, now = self.store.legs(), self.clock()
        dead = [leg for leg in legs if leg.status == "open" and leg.number not in self.held and _dead(leg, now)]
        for leg in dead:
            if leg.attempt < RETRIES:
                self.store.close(leg.number, "lost", charge=0.0, message="its owner died")
            else:
                said = f"its process died {RETRIES + 1} times"
                self.store.close(leg.number, "failed", message=said)
        return self.store.legs() if dead else legs

    def renew(self) -> list[Leg]:
        """Extend the leases of what is held; returns the legs that were lost in spite of that."""
        with self._lock:
            held = list(self.held.values())
        gone = [leg for leg in held if not self.store.renew(leg.number, self.clock() + self.lease)]
        with self._lock:
            for leg in gone:
                self.held.pop(leg.number, None)
        return gone

    # -------------------- points

    def _placed(self, leg: Leg, before: Sequence[Leg]) -> Leg:
        known = [t for t in trials(before) if t.point is not None]
        box = self.box_of(known)
        longer = None if self.extend is None or len(known) < len(self.first) else self.extend(box, before)
        if longer is not None:
            box = box.longer(longer.ranges)
            proposal = Proposal(box.complete(longer.point), {"extended": longer.record()})
        elif len(known) < len(self.first):
            proposal = Proposal(self.box.complete(self.first[len(known)]))
        else:
            proposal = self.sampler.ask(box, known, seed_of(self.seed, leg.number))
            if self.distinct:
                proposal = self._another(box, proposal, known, leg.number)
        self._widened(box)
        notes = {**leg.notes, **proposal.notes, **({"full": self.full} if self.full else {})}
        self.store.place(leg.number, proposal.point, notes)
        return replace(leg, point=proposal.point, notes=notes)

    def box_of(self, known: Sequence[Trial]) -> Box:
        """What is searched after these trials: some of them may have made ranges longer."""
        box = self.box
        for t in known:
            if (ends := t.notes.get("extended")) is not None:
                box = box.longer({name: tuple(pair) for name, pair in ends.items()})
        return box

    def _widened(self, box: Box) -> None:
        """Tell a store that keeps values with their ranges what these are now."""
        if isinstance(getattr(self.store, "box", None), Box):
            self.store.box = box  # type: ignore[attr-defined]

    def _another(self, box: Box, proposal: Proposal, known: Sequence[Trial], number: int) -> Proposal:
        """The proposal, or a point at random where it was tried already; the same again where all were."""
        tried = [t.point for t in known]
        drawn = proposal
        for i in range(OTHERS):
            if drawn.point not in tried:
                return drawn
            drawn = Random().ask(box, known, seed_of(self.seed, number, i))
        return proposal

    def _cost(self, move: Move, legs: Sequence[Leg]) -> float:
        share = 1.0 if move.steps is None or not self.full else min(1.0, move.steps / self.full)
        if self.resumes and self.full and move.source is not None:
            source = next(leg for leg in legs if leg.number == move.source)
            share -= (source.steps or 0) / self.full if source.trial == move.trial else 0.0
        return share * self.cost(move)


def charged(legs: Sequence[Leg]) -> float:
    """What legs cost together; an open one what it will."""
    return sum(leg.charge for leg in legs if leg.status != "withdrawn")


def _to_retry(legs: Sequence[Leg]) -> list[Leg]:
    """Lost legs that nobody has taken up, oldest first."""
    newest: dict[tuple[object, ...], Leg] = {}
    for leg in legs:
        if leg.status == "withdrawn":
            continue
        if leg.status == "lost" and leg.point is None:
            continue  # it had begun nothing: a new trial takes its place
        newest[leg.trial, leg.seed, leg.steps, leg.length, leg.source] = leg
    return [leg for leg in newest.values() if leg.status == "lost"]


def _work(leg: Leg) -> Leg:
    """What a claim claims, whoever makes it."""
    return replace(leg, number=-1, trial=-1 if leg.first else leg.trial, owner="", until=0.0)


def _move(leg: Leg) -> Move:
    return Move(leg.trial, leg.steps, leg.length, leg.source, leg.point, leg.seed)


def _dead(leg: Leg, now: float) -> bool:
    """Whether the owner of a leg is gone: its lease has run out, or it was a process here and is none now."""
    if leg.until < now:
        return True
    host, _, rest = leg.owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit() or os.name == "nt":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class Keeper:
    """Renews the leases of a search from a thread, for as long as it is entered."""

    def __init__(self, *searches: Search, every: float | None = None) -> None:
        self.searches = searches
        self.every = every or min((s.lease for s in searches), default=LEASE) / 3
        self._end = Event()
        self._thread = Thread(target=self._keep, name="leases", daemon=True)

    def _keep(self) -> None:
        while not self._end.wait(self.every):
            for search in self.searches:
                with suppress(Exception):  # the next round may succeed; else the lease runs out, which is meant
                    search.renew()

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
