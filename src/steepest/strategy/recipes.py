"""Recipes: named strategies, each one sentence with its source. They print, and are recorded, as what they stand for.

Lengths are fractions of the training, so a recipe fits a run of any number of steps. As in every strategy, weight decay
spares biases and normalisation parameters, and a step whose gradient is not finite is skipped.
"""

from __future__ import annotations

from steepest.core.piece import piece
from steepest.schedules.base import Duration
from steepest.strategy.pieces import (
    adam,
    adamw,
    clip_norm,
    cosine,
    decay_only,
    early_stopping,
    lion,
    nadamw,
    noam_decay,
    one_cycle,
    sgd,
    step,
    warmup_cosine,
    warmup_linear,
    wsd,
)
from steepest.strategy.value import Strategy


@piece("recipe")
def cnn(lr: float = 0.1, weight_decay: float = 5e-4, clip: float | None = None) -> Strategy:
    """Convolutional networks with batch norm: SGD with Nesterov momentum, weight decay on weights only, cosine.

    Args:
        lr: Learning rate at the start, for batches of about 128 images.
        weight_decay: L2 penalty.
        clip: Bound on the gradient norm; 5.0 helps where training starts unsteadily.

    Source: Zagoruyko and Komodakis 2016, arXiv:1605.07146, section 3 (momentum, decay); He et al. 2018,
    arXiv:1812.01187, sections 3.1 and 5.1 (no decay on biases and batch norm; cosine).

    >>> cnn(lr=0.05, clip=5.0).build()
    sgd(lr=0.05, momentum=0.9, weight_decay=0.0005, nesterov=True) | cosine() | clip_norm(max_norm=5.0)
    """
    strategy = sgd(lr, momentum=0.9, weight_decay=weight_decay, nesterov=True) | cosine()
    return strategy if clip is None else strategy | clip_norm(clip)


@piece("recipe")
def rnn(lr: float = 2e-3, clip: float = 1.0, every: Duration = 0.25, gamma: float = 0.5) -> Strategy:
    """Recurrent networks: clipping by the norm, Adam, step decay.

    Args:
        lr: Learning rate at the start.
        clip: Bound on the gradient norm.
        every: Distance between drops of the learning rate.
        gamma: Factor of a drop.

    Source: Pascanu et al. 2012, arXiv:1211.5063 (clipping); Zaremba et al. 2014, arXiv:1409.2329, section 4.1 (halving
    the learning rate late in training).

    >>> rnn().build()
    adam(lr=0.002) | step(every=0.25, gamma=0.5) | clip_norm()
    """
    return adam(lr) | step(every, gamma) | clip_norm(clip)


@piece("recipe")
def transformer(lr: float = 1e-3, warmup: Duration = 0.05, weight_decay: float = 0.01, clip: float = 1.0) -> Strategy:
    """Transformers of moderate size: warm-up, cosine, clipping by the norm, AdamW with a short second memory.

    Args:
        lr: Peak learning rate.
        warmup: Length of the warm-up.
        weight_decay: Decoupled weight decay.
        clip: Bound on the gradient norm.

    Source: Liu et al. 2019, arXiv:1907.11692, section 3.1 (betas, decay, warm-up); Radford et al. 2018 (cosine).

    >>> transformer(3e-4).build()
    adamw(lr=0.0003, betas=(0.9, 0.98)) | warmup_cosine() | clip_norm()
    """
    return adamw(lr, betas=(0.9, 0.98), weight_decay=weight_decay) | warmup_cosine(warmup) | clip_norm(clip)


@piece("recipe")
def gnn(lr: float = 0.01, weight_decay: float = 5e-4, patience: int = 10) -> Strategy:
    """Graph networks on few labels: Adam at a constant rate, an L2 penalty on the first layer alone, early stopping.

    Args:
        lr: Learning rate.
        weight_decay: L2 penalty on the first layer's weights.
        patience: Evaluations without a lower validation loss after which it ends; the paper evaluates at every step.

    Source: Kipf and Welling 2016, arXiv:1609.02907, section 5.2; a tenth of the labels or fewer, 200 steps at most.

    >>> gnn().build()
    adam(lr=0.01, weight_decay=0.0005) | early_stopping(watch='loss', restore=False) | decay_only('layer 0')
    """
    stop = early_stopping(patience, watch="loss", restore=False)
    return adam(lr, weight_decay=weight_decay) | stop | decay_only("layer 0")


@piece("recipe")
def noam(lr: float = 1.0, warmup: Duration = 4000, d_model: int = 512) -> Strategy:
    """The first transformer: Adam under a warm-up and an inverse square root.

    Args:
        lr: Factor of the schedule; the peak is ``lr / sqrt(d_model * warmup)``.
        warmup: Length of the warm-up; 4000 steps in the paper.
        d_model: Width of the model.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 5.3, equation 3.

    >>> noam().build()
    adam(lr=1.0, betas=(0.9, 0.98), eps=1e-09) | noam_decay(d_model=512)
    """
    return adam(lr, betas=(0.9, 0.98), eps=1e-9) | noam_decay(warmup, d_model)


@piece("recipe")
def llm(lr: float = 3e-4, warmup: Duration = 0.01, weight_decay: float = 0.1, clip: float = 1.0) -> Strategy:
    """Large language models from scratch: AdamW with strong decay, a short warm-up, cosine to a tenth, clipping.

    Source: Touvron et al. 2023, arXiv:2302.13971, section 2.3.

    >>> llm().build()
    adamw(lr=0.0003, betas=(0.9, 0.95), weight_decay=0.1) | warmup_cosine(warmup=0.01, end=0.1) | clip_norm()
    """
    return adamw(lr, betas=(0.9, 0.95), weight_decay=weight_decay) | warmup_cosine(warmup, end=0.1) | clip_norm(clip)


@piece("recipe")
def llm_wsd(
    lr: float = 1e-3, warmup: Duration = 0.01, decay: Duration = 0.2, weight_decay: float = 0.1, clip: float = 1.0
) -> Strategy:
    """As ``llm`` with a long plateau and a short fall, so that training can go on from the plateau.

    Source: Hägele et al. 2024, arXiv:2405.18392, section 3 (20 % cooldown of the form 1 - sqrt); Hu et al. 2024,
    arXiv:2404.06395.

    >>> llm_wsd().build()
    adamw(betas=(0.9, 0.95), weight_decay=0.1) | wsd(shape='1-sqrt') | clip_norm()
    """
    return (
        adamw(lr, betas=(0.9, 0.95), weight_decay=weight_decay) | wsd(warmup, decay, shape="1-sqrt") | clip_norm(clip)
    )


@piece("recipe")
def llm_lion(lr: float = 1e-4, warmup: Duration = 0.05, weight_decay: float = 1.0, clip: float = 1.0) -> Strategy:
    """Transformers with Lion: a third of AdamW's learning rate or less, and as many times its decay.

    Source: Chen et al. 2023, arXiv:2302.06675, section 5.

    >>> llm_lion().build()
    lion(betas=(0.95, 0.98), weight_decay=1.0) | warmup_cosine() | clip_norm()
    """
    return lion(lr, (0.95, 0.98), weight_decay) | warmup_cosine(warmup) | clip_norm(clip)


@piece("recipe")
def finetune(lr: float = 2e-5, warmup: Duration = 0.1, weight_decay: float = 0.01, clip: float = 1.0) -> Strategy:
    """Fine-tuning a pretrained transformer: a small learning rate, up for a tenth of the way and straight down.

    Source: Devlin et al. 2018, arXiv:1810.04805, appendix A.3; warm-up and clipping from its reference code.

    >>> finetune().build()
    adamw(lr=2e-05) | warmup_linear(warmup=0.1) | clip_norm()
    """
    return adamw(lr, weight_decay=weight_decay) | warmup_linear(warmup) | clip_norm(clip)


@piece("recipe")
def algoperf(lr: float = 1.75e-3, warmup: Duration = 0.02, weight_decay: float = 0.08) -> Strategy:
    """The baseline of the AlgoPerf competition, one setting for all its workloads: NAdamW, warm-up, cosine.

    Source: Dahl et al. 2023, arXiv:2306.07179; the self-tuning baseline's values, rounded.

    >>> algoperf().build()
    nadamw(lr=0.00175, betas=(0.93, 0.9955), weight_decay=0.08) | warmup_cosine(warmup=0.02)
    """
    return nadamw(lr, betas=(0.93, 0.9955), weight_decay=weight_decay) | warmup_cosine(warmup)


@piece("recipe")
def super_convergence(lr: float = 1.0, weight_decay: float = 1e-4) -> Strategy:
    """Few epochs at a large learning rate: SGD with momentum under one cycle.

    Source: Smith and Topin 2017, arXiv:1708.07120.

    >>> super_convergence().build()
    sgd(lr=1.0, momentum=0.9, weight_decay=0.0001) | one_cycle()
    """
    return sgd(lr, momentum=0.9, weight_decay=weight_decay) | one_cycle()
