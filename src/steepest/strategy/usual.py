"""The space in which a strategy is searched when nobody says another: the same five meanings for every rule.

============== =========================================================================== ==========================
meaning        what is searched                                                            range
============== =========================================================================== ==========================
learning rate  ``lr`` of the rule, and of rules inside it                                  the rule's *Usual lr*
momentum       ``momentum``, ``beta``, or the first of ``betas``                           remembers 1 to 100 steps
decay          ``weight_decay``                                                            takes 1e-7 to 1e-3 of a
                                                                                           weight a step, at the middle
                                                                                           of the usual lr
warm-up        ``warmup`` of the schedule, else one multiplied onto it                     0 to 0.2 of the run
clip           ``max_norm`` of ``clip_norm``                                               0.1 to 10
============== =========================================================================== ==========================

A value that the strategy has itself is always inside: a range is made longer where it is not. What a rule does not
have is not searched; a rule whose usual learning rate is one number (1 for Prodigy) keeps it. A strategy without
schedule gets ``warmup_cosine``, or ``warmup_constant`` where the rule averages in place of a falling rate.

Sources: tuning the same meanings in each rule's own units, arXiv:1910.05446 and arXiv:2306.07179, section 5; the
decay in units of the learning rate, arXiv:2405.13698.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

from steepest.core.about import about
from steepest.core.errors import SteepestError
from steepest.core.piece import Piece
from steepest.gradients import clip_norm
from steepest.schedules import warmup, warmup_constant, warmup_cosine
from steepest.strategy.dimension import Range, log, near_one
from steepest.strategy.lbfgs import QuasiNewton
from steepest.strategy.places import Key, put
from steepest.strategy.space import Space
from steepest.strategy.value import Strategy

MEANINGS = ("learning rate", "momentum", "decay", "warm-up", "clip")
SHARE = (1e-7, 1e-3)
"""How much of a weight a step's decay takes, at the usual learning rate."""
LONGEST = 0.2
"""Warm-up, as a share of the run."""
TYPICAL = 1e-3
"""The size of a step where a rule finds its learning rate by itself."""


def default_space(strategy: Strategy | Piece) -> Space:
    """The usual space around a strategy.

    >>> from steepest.strategy.front import lion, prodigy
    >>> default_space(lion())
    lion(lr=log(1e-05, 0.001), betas=(near_one(0.0, 0.99), 0.99), weight_decay=log(0.001, 10.0))
    | warmup_cosine(warmup=(0.0, 0.2)) | clip_norm(max_norm=log(0.1, 10.0))
    >>> sorted(default_space(prodigy()).dimensions)
    ['clip_norm.max_norm', 'prodigy.beta1', 'prodigy.weight_decay', 'warmup_cosine.warmup']
    """
    strategy = Strategy(strategy) if isinstance(strategy, Piece) else strategy
    pieces = list(strategy.check().pieces)
    pieces += _schedule(strategy)
    if not any(p.kind is clip_norm for p in pieces) and not isinstance(strategy.rule.build(), QuasiNewton):
        pieces.append(clip_norm())
    space = Space(tuple(pieces))
    for place, piece in enumerate(pieces):
        for key, dimension in _searched(piece):
            space = _with(space, place, key, dimension)
    return space


def defaults(searched: Space) -> Strategy:
    """The strategy of a space with the default of each value that is searched, the middle where there is none.

    >>> from steepest.strategy.space import space
    >>> defaults(space("adamw(lr=log(1e-5, 1e-1), betas=(0.8, (0.9, 0.99))) | step(every=(0.1, 0.5))"))
    adamw(betas=(0.8, 0.999)) | step(every=0.3)
    """
    pieces = list(searched.pieces)
    for place, key, dimension in searched.open:
        usual = _default(pieces[place], key)
        middle = dimension.at(0.5 if isinstance(dimension, Range) else 0.0)
        pieces[place] = put(pieces[place], key, middle if usual is None else usual)
    return Strategy(*pieces).check()


def _default(piece: Piece, key: tuple[str | int, ...]) -> Any:
    if not key:
        return None
    parameter = piece.kind.signature.parameters[str(key[0])]
    value: Any = dict(piece.arguments)[str(key[0])]
    if isinstance(value, Piece):
        return _default(value, key[1:])
    value = None if parameter.default is inspect.Parameter.empty else parameter.default
    for part in key[1:]:
        value = (
            value[part] if isinstance(value, (tuple, list)) and isinstance(part, int) and part < len(value) else None
        )
    return value


def meaning(path: str) -> str:
    """Which of the five a dimension of :func:`default_space` is.

    >>> [meaning(p) for p in ("adamw.lr", "muon.rest.lr", "sgd.momentum", "adan.beta1", "warmup.steps")]
    ['learning rate', 'learning rate', 'momentum', 'momentum', 'warm-up']
    """
    last = path.rpartition(".")[2]
    known = {"lr": 0, "momentum": 1, "beta": 1, "beta1": 1, "weight_decay": 2, "warmup": 3, "steps": 3, "max_norm": 4}
    return MEANINGS[known[last]] if last in known else last


def _schedule(strategy: Strategy) -> Iterator[Piece]:
    """What gives the learning rate a warm-up where the strategy says nothing of one."""
    own = [p for p in strategy.role("schedule") if dict(p.arguments).get("on", "lr") == "lr"]
    if not own:
        yield (warmup_constant if about(strategy.rule.kind).family == "averaging" else warmup_cosine)()
    elif not any("warmup" in p.kind.signature.parameters or p.kind is warmup for p in own):
        yield warmup(steps=0.0)


def _searched(piece: Piece) -> Iterator[tuple[Key, Range]]:
    """What is searched in a piece, and where."""
    arguments = dict(piece.arguments)
    if piece.role == "rule":
        yield from _rate(piece)
        for key in (("momentum",), ("betas", 0), ("beta",)):
            if key[0] in arguments:
                given = arguments[key[0]][0] if len(key) > 1 else arguments[key[0]]
                yield key, near_one(0.0, max(0.99, given))
                break
        if "weight_decay" in arguments:
            yield ("weight_decay",), _decay(piece)
        yield from (((name, *key), r) for name, v in arguments.items() if _is_rule(v) for key, r in _rate(v))
    elif piece.role == "schedule" and arguments.get("on", "lr") == "lr":
        name = "steps" if piece.kind is warmup else "warmup"
        given = arguments.get(name)
        if isinstance(given, (int, float)) and 0 <= given < 1:
            yield (name,), Range(0.0, max(LONGEST, float(given)))
    elif piece.kind is clip_norm:
        yield ("max_norm",), _around(0.1, 10.0, arguments["max_norm"])


def _is_rule(value: Any) -> bool:
    return isinstance(value, Piece) and value.role == "rule"


def _rate(piece: Piece) -> Iterator[tuple[Key, Range]]:
    usual, given = about(piece.kind).usual_lr, dict(piece.arguments).get("lr")
    if usual is not None and usual[0] < usual[1] and given is not None:
        yield ("lr",), _around(*usual, given)


def _decay(piece: Piece) -> Range:
    """The decay in this rule's units: what a step takes away is ``lr * weight_decay``."""
    arguments, usual = dict(piece.arguments), about(piece.kind).usual_lr
    rate = math.sqrt(usual[0] * usual[1]) if usual is not None and usual[0] < usual[1] else TYPICAL
    if arguments.get("fully_decoupled"):
        rate = 1.0
    low, high = (float(f"{share / rate:.0e}") for share in SHARE)
    return _around(low, high, arguments["weight_decay"])


def _around(low: float, high: float, given: float) -> Range:
    """The range, longer where it does not hold the value that the strategy has (0 lies on no such scale)."""
    inside = given > 0 and math.isfinite(given)
    return log(min(low, given) if inside else low, max(high, given) if inside else high)


def _with(space: Space, place: int, key: Key, dimension: Range) -> Space:
    """The space with this range too; it begins above 0 where the piece refuses that (Nesterov without momentum)."""
    lows = [dimension.low] if dimension.low else [0.0, 0.01]
    for low in lows:
        try:
            return Space(space.pieces, (*space.open, (place, key, Range(low, dimension.high, dimension.scale))))
        except (SteepestError, ValueError):
            continue
    return space
