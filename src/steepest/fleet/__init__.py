"""fleet: many runs of one model at once, each the same as alone.

>>> from steepest.fleet import Fleet, Member
>>> fleet = Fleet("quadratic", [Member("sgd(lr=0.1)", seed=k) for k in range(3)], steps=20, executor="stacked")
>>> len(fleet.run())
3
"""

from steepest.fleet.choice import Choice
from steepest.fleet.fleet import Fleet
from steepest.fleet.members import Member
from steepest.fleet.stack import Stack, StackError
from steepest.fleet.stacked import Stacked

__all__ = ["Choice", "Fleet", "Member", "Stack", "StackError", "Stacked"]
