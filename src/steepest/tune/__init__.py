"""tune: find the settings of a strategy, or of anything else, within a budget.

How the parts meet
------------------
The store holds *legs*: rows that say what was run, by whom, and what it came to. Everything else is a function of them.

.. code-block:: text

    store.legs() --> trials(legs) --> scheduler.next(trials)              which trial goes on, how far, from where
                                  --> sampler.ask(box, trials, seed)      at which point a new one begins
    search.take()  = claim a leg (store.add), place its point             nobody else gets the same work
    objective(leg) = run it: a run of a task in a folder, or a function
    search.tell(leg, outcome) = store.close(leg, ...)                     only the first word counts

- :class:`~steepest.tune.box.Box`: what is searched, by name; a strategy's space is one.
- :class:`~steepest.tune.leg.Leg` and :class:`~steepest.tune.trial.Trial`: what is run; what is tried.
- :class:`~steepest.tune.sampler.Sampler` and :class:`~steepest.tune.scheduler.Scheduler`: two decisions. Neither keeps
  any memory, so resuming needs nothing but the legs, and a decision can be asked for again at any time.
- :class:`~steepest.tune.store.Store`: memory, a journal file, sqlite, or any database that optuna can talk to.
- :class:`~steepest.tune.search.Search`: one arm of a study; its budget, its leases, the retries of what was lost.
- :class:`~steepest.tune.objective.Objective`: what is run.
"""

from typing import Any

from steepest.tune.ask_tell import AskTell
from steepest.tune.box import Box, when
from steepest.tune.fidelity import Asha, AtRung, Hyperband, Median, Rungs, TopK
from steepest.tune.gradient import Descent, by_gradient
from steepest.tune.minimize import Minimum, ObjectiveError, minimize
from steepest.tune.population import Population, population
from steepest.tune.result import Tuned
from steepest.tune.run import resumed, tune
from steepest.tune.samplers import sampler
from steepest.tune.samplers.host import as_optuna
from steepest.tune.samplers.models import from_optuna
from steepest.tune.storage import storage

__all__ = [
    "Asha",
    "AskTell",
    "AtRung",
    "Box",
    "Descent",
    "Hyperband",
    "Median",
    "Minimum",
    "ObjectiveError",
    "Population",
    "Rungs",
    "SearchCV",
    "TopK",
    "Tuned",
    "as_optuna",
    "by_gradient",
    "from_optuna",
    "minimize",
    "population",
    "resumed",
    "sampler",
    "storage",
    "tune",
    "when",
]


def __getattr__(name: str) -> Any:
    if name == "SearchCV":  # scikit-learn is asked for by those who use it
        from steepest.tune.search_cv import SearchCV

        return SearchCV
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
