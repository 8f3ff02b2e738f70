"""What the front door lifts: every piece and every recipe as a function that returns a strategy."""

from __future__ import annotations

from steepest.strategy.pieces import adadelta as adadelta
from steepest.strategy.pieces import adagrad as adagrad
from steepest.strategy.pieces import adam as adam
from steepest.strategy.pieces import adamax as adamax
from steepest.strategy.pieces import adamw as adamw
from steepest.strategy.pieces import amsgrad as amsgrad
from steepest.strategy.pieces import clip_norm as clip_norm
from steepest.strategy.pieces import clip_param_norm as clip_param_norm
from steepest.strategy.pieces import clip_value as clip_value
from steepest.strategy.pieces import decay_all as decay_all
from steepest.strategy.pieces import lion as lion
from steepest.strategy.pieces import nadam as nadam
from steepest.strategy.pieces import nadamw as nadamw
from steepest.strategy.pieces import nonfinite as nonfinite
from steepest.strategy.pieces import partition as partition
from steepest.strategy.pieces import radam as radam
from steepest.strategy.pieces import rmsprop as rmsprop
from steepest.strategy.pieces import sgd as sgd
from steepest.strategy.pieces import sgd_ema as sgd_ema
from steepest.strategy.pieces import sgdw as sgdw
