"""compare: strategies x tasks x seeds, with the same luck for all, and a verdict in words."""

from steepest.compare.board import Board
from steepest.compare.plan import ComparisonError
from steepest.compare.run import compare

__all__ = ["Board", "ComparisonError", "compare"]
