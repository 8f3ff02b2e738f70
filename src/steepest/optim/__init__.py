"""Every rule as a drop-in ``torch.optim.Optimizer``.

>>> import torch
>>> from steepest import optim
>>> model = torch.nn.Linear(2, 1)
>>> opt = optim.AdamW(model.parameters(), lr=1e-3, clip_norm=1.0)
>>> model(torch.ones(4, 2)).sum().backward()
>>> opt.step()
>>> sorted(opt.metrics)
['clip_factor', 'grad_norm']
"""

from __future__ import annotations

from steepest import rules
from steepest.optim.dropin import DropIn as DropIn


class SGD(DropIn, of=rules.sgd):
    pass


class SGDW(DropIn, of=rules.sgdw):
    pass


class SGDEma(DropIn, of=rules.sgd_ema):
    pass


class Adagrad(DropIn, of=rules.adagrad):
    pass


class RMSprop(DropIn, of=rules.rmsprop):
    pass


class Adadelta(DropIn, of=rules.adadelta):
    pass


class Adam(DropIn, of=rules.adam):
    pass


class AdamW(DropIn, of=rules.adamw):
    pass


class AMSGrad(DropIn, of=rules.amsgrad):
    pass


class NAdam(DropIn, of=rules.nadam):
    pass


class NAdamW(DropIn, of=rules.nadamw):
    pass


class RAdam(DropIn, of=rules.radam):
    pass


class Adamax(DropIn, of=rules.adamax):
    pass


class Lion(DropIn, of=rules.lion):
    pass
