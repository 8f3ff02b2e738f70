"""Claims, budgets, leases and retries, under every order of events that hypothesis finds."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as draw

from steepest.tune.box import Box
from steepest.tune.leg import ENDED, Leg
from steepest.tune.objective import BlackBox, Outcome
from steepest.tune.sampler import Proposal
from steepest.tune.samplers.quasi import Random, Sobol
from steepest.tune.scheduler import Move, Whole
from steepest.tune.search import RETRIES, Search
from steepest.tune.store import Memory
from steepest.tune.trial import Trial, best

BOX = Box.of({"x": (0.0, 1.0), "y": (0.0, 1.0)})


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def search(store, owner="elsewhere:1:a", clock=None, **options):
    return Search(store, BOX, Sobol(), owner=owner, clock=clock or Clock(), **{"budget": 5, **options})


def run(made, objective):
    while (leg := made.take()) is not None:
        made.tell(leg, objective(leg))


def test_a_search_spends_its_budget_and_finds_the_best():
    made = search(Memory(), budget=12)
    run(made, BlackBox(lambda p: (p["x"] - 0.3) ** 2 + p["y"]))
    assert len(made.trials()) == 12 and made.over() and made.spent() == 12
    values = [t.value for t in made.trials()]
    assert best(made.trials()).value == min(values)


def test_what_is_resumed_goes_on_with_other_points_and_ends_like_one_that_was_not():
    whole, parts = Memory(), Memory()
    f = BlackBox(lambda p: p["x"] + p["y"])
    run(search(whole, budget=8), f)
    for budget in (3, 3, 5, 8):  # a total: the same call does nothing more
        run(search(parts, budget=budget, owner=f"elsewhere:{budget}:b"), f)
    assert [leg.point for leg in parts.legs()] == [leg.point for leg in whole.legs()]
    assert len({tuple(leg.point.values()) for leg in parts.legs()}) == 8


def test_given_points_come_first():
    made = search(Memory(), first=[{"x": 0.5, "y": 0.25}])
    assert made.take().point == {"x": 0.5, "y": 0.25}
    assert made.take().point != {"x": 0.5, "y": 0.25}


def test_several_at_once_are_those_that_would_come_one_by_one():
    one, many = Memory(), Memory()
    single, several = search(one, budget=7), search(many, budget=7)
    legs = [single.take() for _ in range(7)]
    assert [leg.point for leg in several.take_some(5)] == [leg.point for leg in legs[:5]]
    assert [leg.point for leg in several.take_some(5)] == [leg.point for leg in legs[5:]]  # that is the budget
    assert several.take_some(5) == [] and single.take() is None
    assert all(leg.status == "open" for leg in many.legs())


def test_a_sampler_is_told_what_is_being_tried_by_the_same_batch():
    seen = []

    class Seeing:
        def ask(self, box, trials, seed):
            seen.append([t.status for t in trials])
            return Proposal({"x": len(trials) / 10, "y": 0.5})

    made = Search(Memory(), BOX, Seeing(), budget=4)
    made.take_some(3)
    assert seen == [[], ["open"], ["open", "open"]]


def test_what_does_not_go_with_the_first_waits():
    made = Search(Memory(), BOX, Random(), Halving(), 7.0, full=40)
    for leg in made.take_some(4):
        made.tell(leg, _outcome(leg, 40))
    first = made.take_some(9, lambda first, leg: leg.steps == first.steps)
    assert [leg.steps for leg in first] == [20, 20]


def test_a_point_is_not_tried_twice_where_there_are_others():
    class Stubborn:
        def ask(self, box, trials, seed):
            return Proposal({"x": 0.5, "y": 0.5})

    made = Search(Memory(), BOX, Stubborn(), budget=4)
    run(made, BlackBox(lambda p: 0.0))
    assert len({tuple(t.point.values()) for t in made.trials()}) == 4
    noisy = Search(Memory(), BOX, Stubborn(), budget=4, distinct=False)
    run(noisy, BlackBox(lambda p: 0.0))
    assert len({tuple(t.point.values()) for t in noisy.trials()}) == 1


def test_the_trial_of_a_dead_owner_is_retried_twice_then_given_up():
    store, clock = Memory(), Clock()
    points = []
    for attempt in range(RETRIES + 1):
        made = search(store, f"elsewhere:{attempt}:x", clock, budget=1)
        leg = made.take()
        assert leg.attempt == attempt
        points.append(leg.point)
        assert search(store, "elsewhere:9:y", clock, budget=1).take() is None  # it may be alive
        clock.now += made.lease + 1
    assert search(store, "elsewhere:9:y", clock, budget=1).take() is None
    assert len({str(p) for p in points}) == 1
    (trial,) = search(store, clock=clock).trials()
    assert trial.status == "failed" and "died 3 times" in trial.last.message


def test_a_leg_that_was_given_back_is_taken_up_and_counts_as_no_death():
    store = Memory()
    first = search(store, budget=1)
    leg = first.take()
    first.give_back(leg)
    again = search(store, "elsewhere:2:b", budget=1).take()
    assert (again.trial, again.point, again.attempt) == (leg.number, leg.point, 0)


def test_an_owner_that_was_only_slow_is_not_believed_twice():
    store, clock = Memory(), Clock()
    slow, other = search(store, clock=clock, budget=1), search(store, "elsewhere:2:b", clock, budget=1)
    late = slow.take()
    clock.now += 100
    leg = other.take()
    assert leg.attempt == 1
    assert slow.renew() == [late]
    assert not slow.tell(late, Outcome("finished", (1.0,)))
    assert other.tell(leg, Outcome("finished", (2.0,)))
    assert [t.value for t in other.trials()] == [2.0]


def test_a_process_of_this_machine_that_is_gone_is_noticed_at_once():
    import socket
    import subprocess
    import sys

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    store = Memory()
    search(store, f"{socket.gethostname()}:{gone.pid}:a", budget=1).take()
    assert search(store, budget=1).take().attempt == 1


class Halving:
    """Four trials of 10 steps, the better two of 20, the best one to the end."""

    def next(self, trials):
        if len(trials) < 4:
            return Move(steps=10, length=10)
        for below, at, keep in ((10, 20, 2), (20, None, 1)):
            there = [t for t in trials if below in t.rungs()]
            further = [t for t in trials if any(leg.steps == at for leg in t.main)]
            if len(further) < keep:
                if len(there) < 2 * keep:
                    return None
                ranked = sorted(there, key=lambda t: t.rungs()[below])
                left = [t for t in ranked[:keep] if t not in further]
                return Move(left[0].number, steps=at, length=at) if left else None
        return None

    def stops(self, trial, curve, trials):
        return False


@given(draw.integers(0, 10**9), draw.sampled_from([Whole(), Halving()]), draw.sampled_from([2.0, 4.5, 7.0]))
@settings(max_examples=60, deadline=None)
def test_whatever_dies_when_nothing_is_done_twice_and_no_budget_exceeded(seed, scheduler, budget):
    """Owners that take, tell, renew, die and come back at random, between any two operations of the store."""
    dice, clock = random.Random(seed), Clock()
    full = 40
    store = Interleaved(dice)

    def owner():
        name = f"elsewhere:{dice.getrandbits(30)}:x"
        return Search(store, BOX, Random(), scheduler, budget, owner=name, clock=clock, full=full)

    owners = [owner() for _ in range(3)]
    held = {id(o): [] for o in owners}

    def act(i):
        try:
            if dice.random() < 0.1:
                raise Killed
            _act(owners[i], dice, held, clock)
        except Killed:  # and another one in its place
            owners[i] = owner()
            held[id(owners[i])] = []

    store.others = lambda: act(dice.randrange(3))
    for _ in range(120):
        act(dice.randrange(3))
        clock.now += dice.choice([0, 1, 30])
    store.others = None
    clock.now += 1000
    last = owner()
    run(last, lambda leg: _outcome(leg, full))
    legs = store.legs()
    done = [leg for leg in legs if leg.status in ENDED]
    assert sum(leg.charge for leg in done) <= budget + 1e-9
    again = Counter((leg.trial, leg.steps, leg.seed) for leg in done)
    assert not again or max(again.values()) == 1
    assert last.over() and not any(leg.status == "open" for leg in legs)
    assert all(leg.point == next(o.point for o in legs if o.number == leg.trial) for leg in done)
    if scheduler == Whole() and not any(leg.status == "failed" for leg in legs):
        assert sum(leg.charge for leg in done) == int(budget)


def _outcome(leg, full):
    charge = 1.0 if leg.steps is None else leg.steps / full
    return Outcome("finished" if leg.steps is None else "paused", (leg.point["x"],), leg.steps or full, charge)


def _act(owner, dice, held, clock):
    mine = held.setdefault(id(owner), [])
    what = dice.choice(["take", "take", "tell", "renew", "back"])
    if what == "take" and len(mine) < 2:
        mine += owner.take_some(dice.choice([1, 1, 2, 5]))
    elif what == "tell" and mine:
        leg = mine.pop(dice.randrange(len(mine)))
        owner.tell(leg, _outcome(leg, 40))
    elif what == "renew":
        gone = {leg.number for leg in owner.renew()}
        mine[:] = [leg for leg in mine if leg.number not in gone or dice.random() < 0.5]
    elif what == "back" and mine and dice.random() < 0.3:
        owner.give_back(mine.pop())


class Killed(Exception):
    pass


class Interleaved(Memory):
    """Between any two operations of one owner something else may happen."""

    def __init__(self, dice):
        super().__init__()
        self.dice, self.others, self._deep = dice, None, 0

    def _between(self):
        if self.others is not None and self._deep < 2 and self.dice.random() < 0.2:
            self._deep += 1
            try:
                self.others()
            finally:
                self._deep -= 1
        if self.others is not None and self.dice.random() < 0.02:
            raise Killed

    def legs(self):
        self._between()
        return super().legs()

    def add(self, leg):
        number = super().add(leg)
        self._between()
        return number

    def close(self, number, status, **fields):
        self._between()
        return super().close(number, status, **fields)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_trial_without_a_value_is_never_the_best(status):
    legs = [Leg(0, 0, status="finished", values=(3.0,)), Leg(1, 1, status=status)]
    assert best([Trial(leg.number, i, (leg,)) for i, leg in enumerate(legs)]).number == 0
