"""Who evaluates a function: this process, copies of it, or an executor. One leg at a time each."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from multiprocessing import connection, get_context
from types import TracebackType
from typing import Any, Protocol

import torch

from steepest.tune.leg import Leg
from steepest.tune.objective import Outcome

Work = Callable[[Leg], Outcome]
Ended = list[tuple[Leg, Outcome | None]]
"""Legs that have ended, and what they came to; None: whoever had it died."""


class Hands(Protocol):
    """Evaluates legs, ``count`` at a time."""

    count: int

    def give(self, leg: Leg) -> None:
        """Begin a leg."""
        ...

    def ended(self, seconds: float) -> Ended:
        """What has ended; where nothing has, wait so long for it."""
        ...

    def __enter__(self) -> Hands: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Let go; after an error without waiting for what is being run, where that can be done."""
        ...


def hands(work: Work, count: int, executor: Executor | None = None) -> Hands:
    """Who there is to work."""
    if executor is not None:
        return Futures(work, count, executor)
    if count == 1:
        return Here(work)
    return Copies(work, count) if hasattr(os, "fork") else Futures(work, count)


class Here:
    """This process: giving it a leg is running it."""

    count = 1

    def __init__(self, work: Work) -> None:
        self._work, self._waiting = work, deque[Leg]()

    def give(self, leg: Leg) -> None:
        self._waiting.append(leg)

    def ended(self, seconds: float) -> Ended:
        del seconds
        leg = self._waiting.popleft()
        return [(leg, self._work(leg))]

    def __enter__(self) -> Here:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        pass


class Futures:
    """An executor: threads, processes, or other machines. It is its owner who shuts it down."""

    def __init__(self, work: Work, count: int, executor: Executor | None = None) -> None:
        self.count, self._work, self._running = count, work, dict[Future[Outcome], Leg]()
        self._own = None if executor else ThreadPoolExecutor(count)
        self._executor = executor or self._own

    def give(self, leg: Leg) -> None:
        assert self._executor is not None
        self._running[self._executor.submit(self._work, leg)] = leg

    def ended(self, seconds: float) -> Ended:
        done, _ = wait(self._running, seconds, FIRST_COMPLETED)
        return [(self._running.pop(future), _result(future)) for future in done]

    def __enter__(self) -> Futures:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for future in self._running:
            future.cancel()
        if self._own is not None:
            self._own.shutdown(wait=error is None)


def _result(future: Future[Outcome]) -> Outcome | None:
    try:
        return future.result()
    except BrokenExecutor:
        raise
    except Exception as error:  # it never got there: the function cannot be pickled, say
        return Outcome("failed", message=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


class Copies:
    """Copies of this process, so that the function may be any: a lambda, a method, one that holds a model.

    A copy computes on one thread of torch. One that dies takes nothing with it but its own evaluation, and another
    takes its place.
    """

    def __init__(self, work: Work, count: int) -> None:
        self.count, self._work = count, work
        self._idle: list[_Copy] = []
        self._busy: dict[Any, tuple[_Copy, Leg]] = {}

    def give(self, leg: Leg) -> None:
        copy = (
            self._idle.pop() if self._idle else _Copy(self._work, [*self._idle, *(c for c, _ in self._busy.values())])
        )
        copy.pipe.send(leg)
        self._busy[copy.pipe] = copy, leg

    def ended(self, seconds: float) -> Ended:
        found: Ended = []
        for pipe in connection.wait(list(self._busy), seconds):
            copy, leg = self._busy.pop(pipe)
            try:
                found.append((leg, copy.pipe.recv()))
                self._idle.append(copy)
            except (EOFError, OSError, pickle.UnpicklingError):
                copy.end()
                found.append((leg, None))
        return found

    def __enter__(self) -> Copies:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for copy in [*self._idle, *(c for c, _ in self._busy.values())]:
            copy.end()
        self._idle.clear()
        self._busy.clear()


class _Copy:
    def __init__(self, work: Work, others: list[_Copy]) -> None:
        context = get_context("fork")
        self.pipe, theirs = context.Pipe()
        ours = [self.pipe, *(copy.pipe for copy in others)]
        self._process = context.Process(target=_serve, args=(work, theirs, ours), daemon=True)
        with warnings.catch_warnings():  # Python 3.12 warns of threads: one renews leases, and holds nothing meanwhile
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(work: Work, pipe: Any, others: list[Any]) -> None:
    for other in others:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who gives the orders
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    while True:
        try:
            leg = pipe.recv()
        except EOFError:
            return
        pipe.send(work(leg))
