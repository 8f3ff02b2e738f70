"""What to train: a model, data, a loss, and how it is judged. Tasks know no optimizer.

``load("digits-mlp")`` gives a built-in task, ``load("my_module:my_task")`` your own, ``names()`` the built-in names.
"""

from steepest.tasks.data import Batches, DataError, to_device
from steepest.tasks.randomness import get_state, seed_all, seeded, set_state
from steepest.tasks.registry import Builtin, builtin, catalogue, load, names
from steepest.tasks.task import Task, TaskError

__all__ = [
    "Batches",
    "Builtin",
    "DataError",
    "Task",
    "TaskError",
    "builtin",
    "catalogue",
    "get_state",
    "load",
    "names",
    "seed_all",
    "seeded",
    "set_state",
    "to_device",
]
