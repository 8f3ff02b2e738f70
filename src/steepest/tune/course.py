"""What a member of a population was trained with: values by step, and the strategy that does the same from scratch."""

from __future__ import annotations

from collections.abc import Mapping

from steepest.core.chain import Chain
from steepest.core.piece import Piece
from steepest.schedules import piecewise
from steepest.strategy.dimension import Range, SpaceError
from steepest.strategy.places import Key, put
from steepest.strategy.space import Point, Space
from steepest.strategy.value import Strategy, movable

Course = dict[str, list[tuple[int, float]]]
"""By path: (step from which it holds, value), in order; the first step is 0."""


def begun(point: Mapping[str, float]) -> Course:
    """The course of a member that starts."""
    return {path: [(0, value)] for path, value in point.items()}


def turned(course: Course, step: int, point: Mapping[str, float]) -> Course:
    """The course that goes on with other values from a step on."""
    return {
        path: [*past, (step, point[path])] if point[path] != past[-1][1] else list(past)
        for path, past in course.items()
    }


def names(space: Space) -> dict[str, str]:
    """For every searched path what a schedule calls it (``on``); an error where no schedule can move it.

    >>> from steepest.strategy.space import space
    >>> names(space("adamw(lr=log(1e-4, 1e-1), betas=(near_one(0.5, 0.99), 0.999)) | clip_norm(log(0.1, 10))"))
    {'adamw.lr': 'lr', 'adamw.beta1': 'beta1', 'clip_norm.max_norm': 'max_norm'}
    """
    found: dict[str, str] = {}
    base = space.base
    for (place, key, dimension), path in zip(space.open, space.dimensions, strict=True):
        piece, last = space.pieces[place], path.rpartition(".")[2]
        values = (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension.values
        still = piece.role == "schedule" or last not in movable(piece)
        if still or (isinstance(dimension, Range) and dimension.whole):
            raise SpaceError(
                f"{path} cannot change while training: population-based training searches numbers that schedules can "
                f"move ({', '.join(base.hyperparameters())}). Fix it, or search it with tune."
            )
        if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
            raise SpaceError(f"{path} is searched in {dimension}, which are no numbers: no schedule can move it.")
        if _other_form(piece, key, min(values), dimension.at(0.5)):
            raise SpaceError(
                f"{path}={min(values)!r} is another form of {piece.name}, without state that the others keep: no "
                f"schedule leads there. Begin its range above {min(values)!r}."
            )
        found[path] = next((on for on in (last, f"{piece.name}.{last}") if len(base.owners(on)) == 1), "")
        if not found[path]:
            raise SpaceError(f"several pieces of {base} have a {last}. Fix {path}, or search it with tune.")
    return found


def _other_form(piece: Piece, key: Key, low: float, middle: float) -> bool:
    """Whether a piece is made of other links at the low end of a range."""
    made = [put(piece, key, value).build() for value in (low, middle)]
    return all(isinstance(m, Chain) for m in made) and made[0].structure != made[1].structure


def steered(space: Space, course: Course, *, based: bool = True) -> Strategy:
    """The strategy that trains with these values.

    Args:
        space: Which values are searched, and everything else.
        course: Their values by step.
        based: Let the pieces hold the first value of each (the first that is not 0) and the schedules begin at 1, which
            is the form to read; else they hold the middles of the space, in which all members of a fleet agree.

    >>> from steepest.strategy.space import space
    >>> steered(space("sgd(lr=log(1e-3, 1), momentum=0.9) | cosine"), {"sgd.lr": [(0, 0.1), (40, 0.12)]})
    sgd(lr=0.1, momentum=0.9) | cosine() | piecewise(factors=(1.0, 1.2), at=(40,))
    """
    on = names(space)
    point: Point = {}
    schedules: list[Piece] = []
    middle = dict(zip(space.dimensions, (d.at(0.5) for d in space.dimensions.values()), strict=True))
    for path, past in course.items():
        values = [value for _, value in past]
        base = next((v for v in values if v), values[0]) if based else middle[path]
        point[path] = base
        if based and len(values) == 1:
            continue
        # rounded only where it is read: a factor with 12 digits gives the value to a part in 10^12
        factors = tuple(float(f"{v / base:.12g}") if based else v / base for v in values)
        schedules.append(piecewise(factors, tuple(step for step, _ in past[1:]), on=on[path]))
    return Strategy(*space.at(point).pieces, *schedules)
