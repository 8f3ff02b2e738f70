"""Monitors for trainers that own the loop: Lightning and Hugging Face. Neither is imported before it is asked for."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from typing import Any

from steepest.core.errors import SteepestError
from steepest.monitor.front import monitor
from steepest.monitor.monitor import Monitor

FIELDS = {"loss": "loss", "grad_norm": "grad_norm", "learning_rate": "lr"}
"""What the Trainer logs, and what it is called here."""


class Follower:
    """A monitor that begins and ends when a trainer says so; options are those of :func:`~steepest.monitor.monitor`."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.monitor: Monitor | None = None
        self._stack = ExitStack()

    def begin(self, model: Any, optimizer: Any) -> None:
        """Attach; wrappers that a trainer put around an optimizer are taken off."""
        while not hasattr(optimizer, "register_step_post_hook") or hasattr(optimizer, "accelerator_state"):
            inner = getattr(optimizer, "optimizer", None)
            if inner is None:
                break
            optimizer = inner
        self.end()
        self.monitor = self._stack.enter_context(monitor(model, optimizer, **self.options))

    def end(self) -> None:
        """Detach and close the record."""
        self._stack.close()
        self.monitor = None


def lightning_callback(**options: Any) -> Any:
    """A callback for Lightning: ``Trainer(callbacks=[lightning_callback(preset="normal", out="runs/one")])``.

    It watches the first optimizer; probes see each training batch, and run where ``loss=`` is given. The gradient norm
    is the one that reaches the optimizer: behind Lightning's own clipping.
    """
    base = _first("Lightning", "lightning.pytorch", "pytorch_lightning").Callback

    class MonitorCallback(base):  # type: ignore[misc, valid-type]
        follower = Follower(**options)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.follower.begin(pl_module, trainer.optimizers[0])

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if self.follower.monitor is not None:
                self.follower.monitor.see(batch)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.follower.end()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.follower.end()

    return MonitorCallback()


def trainer_callback(**options: Any) -> Any:
    """A callback for Hugging Face's Trainer: ``Trainer(..., callbacks=[trainer_callback(out="runs/one")])``.

    The gradient norm is the one that reaches the optimizer: behind the Trainer's own clipping. Its log is written as
    training lines, with the norm before clipping.
    """
    base = _first("Hugging Face's Trainer", "transformers").TrainerCallback

    class MonitorCallback(base):  # type: ignore[misc, valid-type]
        follower = Follower(**options)

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.follower.begin(kwargs["model"], kwargs["optimizer"])

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            values = {FIELDS[name]: float(x) for name, x in (logs or {}).items() if name in FIELDS}
            if self.follower.monitor is not None and values:
                self.follower.monitor.log(**values)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.follower.end()

    return MonitorCallback()


def _first(what: str, *names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise SteepestError(f"{what} is not installed: pip install {names[0].partition('.')[0]}.")
