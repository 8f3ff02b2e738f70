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
from steepest.core.lbfgs import LBFGS as LBFGS
from steepest.optim.dropin import DropIn as DropIn


class SGD(DropIn, of=rules.sgd):
    """In place of ``torch.optim.SGD``; state dicts load both ways."""


class SGDW(DropIn, of=rules.sgdw):
    """torch.optim has no such class; the call is in its style."""


class SGDEma(DropIn, of=rules.sgd_ema):
    """torch.optim has no such class; the call is in its style."""


class Adagrad(DropIn, of=rules.adagrad):
    """In place of ``torch.optim.Adagrad``; state dicts load both ways."""


class RMSprop(DropIn, of=rules.rmsprop):
    """In place of ``torch.optim.RMSprop``; state dicts load both ways."""


class Adadelta(DropIn, of=rules.adadelta):
    """In place of ``torch.optim.Adadelta``; state dicts load both ways."""


class Adam(DropIn, of=rules.adam):
    """In place of ``torch.optim.Adam``; state dicts load both ways."""


class AdamW(DropIn, of=rules.adamw):
    """In place of ``torch.optim.AdamW``; state dicts load both ways."""


class AMSGrad(DropIn, of=rules.amsgrad, exports={"amsgrad": True}):
    """``Adam(amsgrad=True)``, whose torch.optim twin loads its state dict."""


class NAdam(DropIn, of=rules.nadam):
    """In place of ``torch.optim.NAdam``; state dicts load both ways."""


class NAdamW(DropIn, of=rules.nadamw):
    """torch.optim has no such class; the call is in its style."""


class RAdam(DropIn, of=rules.radam):
    """In place of ``torch.optim.RAdam``; state dicts load both ways."""


class Adamax(DropIn, of=rules.adamax):
    """In place of ``torch.optim.Adamax``; state dicts load both ways."""


class Lion(DropIn, of=rules.lion):
    """torch.optim has no such class; the call is in its style."""


class SignSGD(DropIn, of=rules.signsgd):
    """torch.optim has no such class; the call is in its style."""


class Signum(DropIn, of=rules.signum):
    """torch.optim has no such class; the call is in its style."""


class AdaBelief(DropIn, of=rules.adabelief):
    """torch.optim has no such class; the call is in its style."""


class LaProp(DropIn, of=rules.laprop):
    """torch.optim has no such class; the call is in its style."""


class ADOPT(DropIn, of=rules.adopt):
    """torch.optim has no such class; the call is in its style."""


class AdamAtan2(DropIn, of=rules.adam_atan2):
    """torch.optim has no such class; the call is in its style."""


class Adan(DropIn, of=rules.adan):
    """torch.optim has no such class; the call is in its style."""


class AdEMAMix(DropIn, of=rules.ademamix):
    """torch.optim has no such class; the call is in its style."""


class Yogi(DropIn, of=rules.yogi):
    """torch.optim has no such class; the call is in its style."""


class QHM(DropIn, of=rules.qhm):
    """torch.optim has no such class; the call is in its style."""


class QHAdam(DropIn, of=rules.qhadam):
    """torch.optim has no such class; the call is in its style."""


class LARS(DropIn, of=rules.lars):
    """torch.optim has no such class; the call is in its style."""


class LAMB(DropIn, of=rules.lamb):
    """torch.optim has no such class; the call is in its style."""


class StableAdamW(DropIn, of=rules.stable_adamw):
    """torch.optim has no such class; the call is in its style."""


class MARSAdamW(DropIn, of=rules.mars_adamw):
    """torch.optim has no such class; the call is in its style."""


class MARSLion(DropIn, of=rules.mars_lion):
    """torch.optim has no such class; the call is in its style."""


class Rprop(DropIn, of=rules.rprop):
    """In place of ``torch.optim.Rprop``; state dicts load both ways."""


class NovoGrad(DropIn, of=rules.novograd):
    """torch.optim has no such class; the call is in its style."""


class AggMo(DropIn, of=rules.aggmo):
    """torch.optim has no such class; the call is in its style."""


class AdamH(DropIn, of=rules.adamh):
    """torch.optim has no such class; the call is in its style."""


class DoG(DropIn, of=rules.dog):
    """torch.optim has no such class; the call is in its style."""


class LDoG(DropIn, of=rules.ldog):
    """torch.optim has no such class; the call is in its style."""


class DoWG(DropIn, of=rules.dowg):
    """torch.optim has no such class; the call is in its style."""


class Prodigy(DropIn, of=rules.prodigy):
    """torch.optim has no such class; the call is in its style."""


class DAdaptSGD(DropIn, of=rules.dadapt_sgd):
    """torch.optim has no such class; the call is in its style."""


class DAdaptAdam(DropIn, of=rules.dadapt_adam):
    """torch.optim has no such class; the call is in its style."""


class DAdaptLion(DropIn, of=rules.dadapt_lion):
    """torch.optim has no such class; the call is in its style."""


class Polyak(DropIn, of=rules.polyak):
    """torch.optim has no such class; the call is in its style."""


class MoMo(DropIn, of=rules.momo):
    """torch.optim has no such class; the call is in its style."""


class MoMoAdam(DropIn, of=rules.momo_adam):
    """torch.optim has no such class; the call is in its style."""


class Adafactor(DropIn, of=rules.adafactor):
    """In place of ``torch.optim.Adafactor``; state dicts load both ways."""


class CAME(DropIn, of=rules.came):
    """torch.optim has no such class; the call is in its style."""


class AdamMini(DropIn, of=rules.adam_mini):
    """torch.optim has no such class; the call is in its style."""


class APOLLO(DropIn, of=rules.apollo):
    """torch.optim has no such class; the call is in its style. For matrices and kernels."""


class APOLLOMini(DropIn, of=rules.apollo_mini):
    """torch.optim has no such class; the call is in its style. For matrices and kernels."""


class Kron(DropIn, of=rules.kron):
    """torch.optim has no such class; the call is in its style."""


class Shampoo(DropIn, of=rules.shampoo):
    """torch.optim has no such class; the call is in its style."""


class SM3(DropIn, of=rules.sm3):
    """torch.optim has no such class; the call is in its style."""


class SOAP(DropIn, of=rules.soap):
    """torch.optim has no such class; the call is in its style."""


class Muon(DropIn, of=rules.muon, preset={"lr": 1e-3}):
    """In place of ``torch.optim.Muon``, for matrices (and kernels, which torch refuses); state dicts load both ways.

    ``lr`` is 0.001 by default as in torch, which with the original scaling is small.
    """


class NorMuon(DropIn, of=rules.normuon):
    """torch.optim has no such class; the call is in its style. For matrices and kernels."""


class AdaMuon(DropIn, of=rules.adamuon):
    """torch.optim has no such class; the call is in its style. For matrices and kernels."""


class Scion(DropIn, of=rules.scion):
    """torch.optim has no such class; the call is in its style."""


class ScheduleFreeSGD(DropIn, of=rules.schedule_free_sgd):
    """In place of ``schedulefree.SGDScheduleFree``, without its ``train()`` and ``eval()``: use ``evaluating()``."""


class ScheduleFreeAdamW(DropIn, of=rules.schedule_free_adamw):
    """In place of ``schedulefree.AdamWScheduleFree``, without its ``train()`` and ``eval()``: use ``evaluating()``."""


class ScheduleFreeRAdam(DropIn, of=rules.schedule_free_radam):
    """In place of ``schedulefree.RAdamScheduleFree``, without its ``train()`` and ``eval()``: use ``evaluating()``."""


class ScheduleFreePlus(DropIn, of=rules.schedule_free_plus):
    """torch.optim has no such class; ``step(loss=loss)`` or ``step(closure)``."""


class Sophia(DropIn, of=rules.sophia):
    """torch.optim has no such class; ``optimizer.backward(loss)`` takes the place of ``loss.backward()``."""


class AdaHessian(DropIn, of=rules.adahessian):
    """torch.optim has no such class; ``optimizer.backward(loss)`` takes the place of ``loss.backward()``."""


class AdamP(DropIn, of=rules.adamp):
    """torch.optim has no such class; the call is in its style."""


class SGLD(DropIn, of=rules.sgld):
    """torch.optim has no such class; the call is in its style."""


class NeuronGraph(DropIn, of=rules.neuron_graph):
    """torch.optim has no such class; the call is in its style."""
