"""Every piece as a function that returns a strategy, under the name of the text form."""

from __future__ import annotations

from steepest import gradients, rules
from steepest.strategy import decay_all as _decay_all
from steepest.strategy import partition as _partition
from steepest.strategy.value import lift

adadelta = lift(rules.adadelta)
adagrad = lift(rules.adagrad)
adam = lift(rules.adam)
adamax = lift(rules.adamax)
adamw = lift(rules.adamw)
amsgrad = lift(rules.amsgrad)
lion = lift(rules.lion)
nadam = lift(rules.nadam)
nadamw = lift(rules.nadamw)
radam = lift(rules.radam)
rmsprop = lift(rules.rmsprop)
sgd = lift(rules.sgd)
sgd_ema = lift(rules.sgd_ema)
sgdw = lift(rules.sgdw)

clip_norm = lift(gradients.clip_norm)
clip_param_norm = lift(gradients.clip_param_norm)
clip_value = lift(gradients.clip_value)
nonfinite = lift(gradients.nonfinite)

decay_all = lift(_decay_all.decay_all)
partition = lift(_partition.partition)
