"""Stacked forms of the functions that networks spend their time in; importing a module registers what it holds."""

from steepest.fleet.layers import attention, convolution, linear, losses, noise, norms, recurrent

__all__ = ["attention", "convolution", "linear", "losses", "noise", "norms", "recurrent"]
