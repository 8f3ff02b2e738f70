"""What the front door lifts: every piece and every recipe as a function that returns a strategy."""

from __future__ import annotations

from steepest.strategy.pieces import clip_norm as clip_norm
from steepest.strategy.pieces import clip_param_norm as clip_param_norm
from steepest.strategy.pieces import clip_value as clip_value
from steepest.strategy.pieces import decay_all as decay_all
from steepest.strategy.pieces import lion as lion
from steepest.strategy.pieces import nonfinite as nonfinite
