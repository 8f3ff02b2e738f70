"""The samplers that learn, each with the settings that it is used with here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from steepest.tune.box import Box
from steepest.tune.sampler import Sampler
from steepest.tune.samplers.covariance import Covariance
from steepest.tune.samplers.guest import Guest


def gp(study: int = 0, objectives: int = 1) -> Sampler:
    """A Gaussian process (Matern 5/2, a length scale for each dimension) and the logarithm of expected improvement.

    The best for few trials of numbers; its cost grows with the third power of their number. Arguments that are not
    always there it draws at random.
    """

    def make(seed: int, box: Box) -> BaseSampler:
        del box
        other = RandomSampler(seed=seed)
        return GPSampler(seed=seed, independent_sampler=other, n_startup_trials=0, warn_independent_sampling=False)

    return Guest(make, study, objectives=objectives)


def tpe(study: int = 0, objectives: int = 1) -> Sampler:
    """Tree-structured Parzen estimators: densities of the better and of the worse points, of all dimensions jointly.

    For choices, and for dimensions that are there only sometimes. Its first ten points are evenly spread: densities of
    fewer say little.
    """

    def make(seed: int, box: Box) -> BaseSampler:
        with warnings.catch_warnings():  # its options are called experimental
            warnings.simplefilter("ignore")
            return TPESampler(
                seed=seed, multivariate=True, group=bool(box.needs), n_startup_trials=0, warn_independent_sampling=False
            )

    return Guest(make, study, lambda _: 10, objectives)


def nsga2(study: int = 0, objectives: int = 2, size: int = 20) -> Sampler:
    """NSGA-II: a population that is pushed toward the front of what cannot be improved in one value for nothing."""

    def make(seed: int, box: Box) -> BaseSampler:
        del box
        return NSGAIISampler(population_size=size, seed=seed)

    return Guest(make, study, lambda _: 0, objectives, ("NSGAIISampler:generation",))


def cmaes(study: int = 0) -> Sampler:
    """CMA-ES: for hundreds of trials of numbers."""
    return Covariance(study)


def from_optuna(make: Callable[[int], BaseSampler], objectives: int = 1, keeps: Sequence[str] = ()) -> Sampler:
    """Any sampler that is written for optuna, as one of ours: BoTorch's, those of OptunaHub, one's own.

    Args:
        make: Makes the sampler for a seed; it is made anew for each question.
        objectives: How many values are made small.
        keeps: The attributes that the sampler leaves on its trials and needs to find there again.

    >>> from steepest.tune.minimize import minimize
    >>> asked = from_optuna(lambda seed: TPESampler(seed=seed, n_ei_candidates=64))
    >>> minimize(lambda p: (p["x"] - 2) ** 2, {"x": (-5.0, 5.0)}, sampler=asked, budget=30).value < 0.1
    True
    """
    return Guest(lambda seed, box: make(seed), 0, lambda _: 0, objectives, tuple(keeps))
