"""Every piece as a function that returns a strategy, under the name of the text form."""

from __future__ import annotations

from steepest import gradients, rules
from steepest.strategy.decay_all import decay_all as _decay_all
from steepest.strategy.value import lift

lion = lift(rules.lion)

clip_norm = lift(gradients.clip_norm)
clip_param_norm = lift(gradients.clip_param_norm)
clip_value = lift(gradients.clip_value)
nonfinite = lift(gradients.nonfinite)

decay_all = lift(_decay_all)
