"""Figures of a report, one concept a file; each is plain data made from records."""

from steepest.report.figures.base import Figure as Figure
