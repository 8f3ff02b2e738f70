"""What clients compute in a round, in several processes: each trains some of them, one after the other.

Workers are forked, so they have the task and its rows without a message; a round's messages hold batches' row numbers,
weights and what a method adds. A client computes what it computes in the plain loop, to the bit.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from steepest.federated.clients import Clients, Work
from steepest.federated.errors import FederationError
from steepest.federated.local import Found, Loop, Pull
from steepest.strategy.value import Strategy
from steepest.tasks.task import Task


class Processes:
    """Clients over worker processes.

    Args:
        task, clients, strategy, rounds, seed: As for :class:`~steepest.federated.local.Loop`.
        workers: How many; None: one for each core.
    """

    name = "processes"

    def __init__(
        self, task: Task, clients: Clients, strategy: Strategy, rounds: int, seed: int, workers: int | None = None
    ) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise FederationError("engine='processes' forks, and this system cannot. Take engine='stacked' or 'loop'.")
        loop = Loop(task, clients, strategy, rounds, seed)
        context = multiprocessing.get_context("fork")
        self.dims = {name: b.ndim for name, b in loop.model.named_buffers()}
        many = workers or len(os.sched_getaffinity(0))
        pipes = [context.Pipe() for _ in range(many)]
        self.pipes = [ours for ours, _ in pipes]
        self.workers = []
        for number in range(many):
            worker = context.Process(target=_serve, args=(loop, pipes, number), daemon=True)
            worker.start()
            self.workers.append(worker)
        for _, theirs in pipes:
            theirs.close()

    def close(self) -> None:
        """Let the workers go."""
        for pipe in self.pipes:
            pipe.close()
        for worker in self.workers:
            worker.join(5)

    def train(self, work: Work, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull) -> Found:
        shares = self._shares(work)
        found: list[Found] = self._ask("train", shares, work, start, buffers, (turn,), pull)
        order = torch.argsort(torch.cat(shares))

        def whole(name: str) -> Tensor:
            return torch.cat([getattr(own, name) for own in found])[order]

        ends = {name: torch.cat([own.buffers[name] for own in found])[order] for name in found[0].buffers}
        moments = None if found[0].moments is None else whole("moments")
        return Found(whole("weights"), ends, whole("steps"), whole("losses"), moments)

    def gradients(
        self, work: Work, step: int, turn: int, at: Tensor, buffers: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        shares = self._shares(work)
        found: list[tuple[Tensor, Tensor]] = self._ask("gradients", shares, work, at, buffers, (step, turn))
        order = torch.argsort(torch.cat(shares))
        losses, gradients = (torch.cat(column)[order] for column in zip(*found, strict=True))
        return losses, gradients

    def _shares(self, work: Work) -> list[Tensor]:
        """Which places each worker takes: the longest first, each to whoever has least to do."""
        loads, shares = [0] * len(self.pipes), [list[int]() for _ in self.pipes]
        steps = work.steps.tolist()
        for place in sorted(range(len(steps)), key=lambda i: -steps[i]):
            least = loads.index(min(loads))
            loads[least] += steps[place]
            shares[least].append(place)
        return [torch.tensor(own) for own in shares if own]

    def _ask(
        self,
        what: str,
        shares: list[Tensor],
        work: Work,
        w: Tensor,
        buffers: Mapping[str, Tensor],
        more: tuple[int, ...],
        pull: Pull | None = None,
    ) -> list[Any]:
        for pipe, own in zip(self.pipes, shares, strict=False):
            rows = Work(work.clients[own.numpy()], work.rows[own], work.counts[own], work.part)
            begin = w if w.ndim == 1 else w[own]
            parts = {n: b if b.ndim == self.dims[n] else b[own] for n, b in buffers.items()}
            pipe.send_bytes(pickle.dumps((what, rows, more, begin, parts, None if pull is None else pull.of(own))))
        found = []
        for pipe in self.pipes[: len(shares)]:
            try:
                answer = pickle.loads(pipe.recv_bytes())
            except EOFError:
                raise FederationError("a worker process ended in the middle of a round (out of memory?).") from None
            found.append(answer)
        for answer in found:
            if isinstance(answer, BaseException):
                raise answer
        return found


def _serve(loop: Loop, pipes: Any, number: int) -> None:
    """Train whoever comes, until the other end is closed."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops, and closes the pipe
    pipe = pipes[number][1]
    _alone(pipe.fileno())
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            os._exit(0)
        try:
            what, work, more, w, buffers, pull = pickle.loads(message)
            if what == "train":
                answer: Any = loop.train(work, more[0], w, buffers, pull)
            else:
                answer = loop.gradients(work, more[0], more[1], w, buffers)
        except BaseException as error:
            answer = error
        try:
            pipe.send_bytes(pickle.dumps(answer))
        except OSError:  # nobody waits for it any more
            os._exit(0)


def _alone(kept: int) -> None:
    """Close what was inherited but for one file: other workers' pipes, and the lock of the run's folder."""
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else map(str, range(3, 4096)):
        if int(name) > 2 and int(name) != kept:
            with suppress(OSError):
                os.close(int(name))
