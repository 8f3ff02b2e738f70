"""Batches as a pure function of (seed, step): the data order of a run is not a state, so there is nothing to save.

The order of epoch ``e`` comes from (seed, e) alone, and whatever a dataset draws while it loads batch ``b`` (crops,
flips, noise) comes from (seed, e, b). A resumed run asks for ``batch(step)`` and gets what the uninterrupted run got;
two strategies with the same seed see the same batches; loader processes change the speed and not the numbers.

=======================  ============================================================  =========================
data                     a batch in training                                           last, incomplete batch
=======================  ============================================================  =========================
tuple of tensors         tuple of tensors, rows gathered by one ``index_select`` each  left out
map-style ``Dataset``    ``default_collate`` of the items                              left out
``DataLoader``           what the loader gives: its sampler, collate and processes     as its ``drop_last`` says
``IterableDataset``      ``default_collate`` of the next items                         left out
``None``                 ``()``                                                        there is none
=======================  ============================================================  =========================

The last batch is left out in training because a step over 1 sample is noisier than its neighbours and batch
normalisation cannot use it; the samples differ from epoch to epoch. Evaluation leaves nothing out.
A training set smaller than one batch is one batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from steepest.core.errors import SteepestError
from steepest.tasks.randomness import generator, get_state, mix, seed_all, seeded, set_state

Data: TypeAlias = tuple[Tensor, ...] | Dataset[Any] | DataLoader[Any] | None


class DataError(SteepestError, ValueError):
    """Data that cannot be trained on: empty, of unequal lengths, or of a type that is not known."""


# --------------------------------------------------------------------------------------------------- training order


class Batches(ABC):
    """The training batches of one seed: ``batch(0), batch(1), ...``, any of them at any time."""

    steps_per_epoch: int | None = None

    def batch(self, step: int) -> Any:
        """The batch of a step; steps count from 0."""
        if step < 0:
            raise DataError(f"steps count from 0; there is no batch of step {step}.")
        return self._at(step)

    @abstractmethod
    def _at(self, step: int) -> Any: ...


class NoBatches(Batches):
    """The batches of a task without data: always ``()``."""

    def _at(self, step: int) -> tuple[()]:
        return ()


class TensorBatches(Batches):
    """Rows of tensors, shuffled anew each epoch; the permutation of an epoch is drawn once and kept."""

    def __init__(self, tensors: tuple[Tensor, ...], batch_size: int, seed: int) -> None:
        self.tensors, self.seed = tensors, seed
        self.length = len(tensors[0])
        self.batch_size = min(batch_size, self.length)
        self.steps_per_epoch: int = self.length // self.batch_size
        self._epoch = -1
        self._parts: tuple[Tensor, ...] = ()

    def _at(self, step: int) -> tuple[Tensor, ...]:
        epoch, b = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._parts = epoch, torch.split(self.order(epoch), self.batch_size)
        rows = self._parts[b]
        return tuple(t.index_select(0, rows) for t in self.tensors)

    def order(self, epoch: int) -> Tensor:
        """The rows of an epoch, one batch after the other."""
        order = torch.randperm(self.length, generator=generator(self.seed, "order", epoch))
        return order[: self.steps_per_epoch * self.batch_size].to(self.tensors[0].device)


class Epoch(Dataset[Any]):
    """One epoch of a map-style dataset, as a dataset of whole batches: item ``b`` is batch ``b``, collated.

    What the dataset draws while it loads a batch depends on (seed, epoch, b) alone, so it does not matter which
    process loads it, nor what was loaded before.
    """

    def __init__(self, dataset: Any, plan: Sequence[Any], collate: Callable[[Any], Any], seed: int, epoch: int) -> None:
        self.dataset, self.plan, self.collate, self.seed, self.epoch = dataset, plan, collate, seed, epoch

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, b: int) -> Any:
        rows = self.plan[b]
        if type(self.dataset) is TensorDataset and self.collate is default_collate and isinstance(rows, list):
            return [t[rows] for t in self.dataset.tensors]  # what collating the items gives, without the items
        with seeded(self.seed, "items", self.epoch, b):
            return self.collate(items(self.dataset, rows))

    def stream(self, start: int, loader: DataLoader[Any] | None) -> Iterator[Any]:
        """Batches ``start, start + 1, ...``, made ahead of time by as many processes as the loader has."""
        if loader is None or not loader.num_workers:
            return (self[b] for b in range(start, len(self)))
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=range(start, len(self)),
                collate_fn=_unchanged,
                num_workers=loader.num_workers,
                pin_memory=loader.pin_memory,
                timeout=loader.timeout,
                worker_init_fn=loader.worker_init_fn,
                multiprocessing_context=loader.multiprocessing_context,
                prefetch_factor=loader.prefetch_factor,
                generator=generator(self.seed, "processes", self.epoch),
            )
        )


def _unchanged(batch: Any) -> Any:
    return batch


class MapBatches(Batches):
    """Items of a map-style dataset: an epoch is a list of lists of indices, a batch is the collated items."""

    def __init__(
        self,
        dataset: Any,
        plan: Callable[[int], Sequence[Any]],
        collate: Callable[[Any], Any],
        seed: int,
        loader: DataLoader[Any] | None = None,
    ) -> None:
        self.dataset, self.plan, self.collate, self.seed, self.loader = dataset, plan, collate, seed, loader
        self._epoch = Epoch(dataset, plan(0), collate, seed, 0)
        self.steps_per_epoch: int = len(self._epoch)
        if not self.steps_per_epoch:
            raise DataError("the loader gives no batch. Give it more samples, a smaller batch or drop_last=False.")
        self._stream: Iterator[Any] = iter(())
        self._next = (-1, -1)

    def _at(self, step: int) -> Any:
        epoch, b = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch.epoch:
            self._epoch = Epoch(self.dataset, self.plan(epoch), self.collate, self.seed, epoch)
            if len(self._epoch) != self.steps_per_epoch:
                raise DataError(
                    f"epoch 0 has {self.steps_per_epoch} batches and epoch {epoch} has {len(self._epoch)}. "
                    "A sampler must give the same number of batches in every epoch."
                )
        if self._next != (epoch, b):
            self._stream = self._epoch.stream(b, self.loader)
        self._next = (-1, -1)  # a batch that fails to load leaves a stream that has ended
        batch = next(self._stream)
        self._next = (epoch, b + 1)
        return batch


class StreamBatches(Batches):
    """Batches of a stream, which can only be read forwards: going back, or resuming, reads again from the start."""

    def __init__(self, loader: DataLoader[Any], seed: int) -> None:
        self.loader, self.seed = loader, seed
        with suppress(TypeError, NotImplementedError):
            self.steps_per_epoch = len(loader)
        self._restart()

    def _restart(self) -> None:
        self._step, self._epoch, self._kept = -1, -1, None
        self._stream: Iterator[Any] = iter(())
        self._random = get_state()

    def _begin_epoch(self) -> None:
        self._epoch += 1
        seed = mix(self.seed, "stream", self._epoch)
        seed_all(seed)
        if self.loader.generator is not None:
            self.loader.generator.manual_seed(seed)
        if callable(set_epoch := getattr(self.loader.dataset, "set_epoch", None)):
            set_epoch(self._epoch)
        self._stream = iter(self.loader)

    def _advance(self) -> Any:
        """The next batch of this epoch, or the first of the next; the stream has a random state of its own."""
        outside = get_state()
        set_state(self._random)
        try:
            for batch in self._stream:
                return batch
            self._begin_epoch()
            for batch in self._stream:
                return batch
        finally:
            self._random = get_state()
            set_state(outside)
        raise DataError(
            f"the stream gives no full batch in epoch {self._epoch}: it is empty, shorter than a batch, or used up."
        )

    def _at(self, step: int) -> Any:
        if step < self._step:
            self._restart()
        while self._step < step:
            try:
                self._kept = self._advance()
            except BaseException:
                self._restart()
                raise
            self._step += 1
        return self._kept


def batches(data: Data, batch_size: int, seed: int) -> Batches:
    """The training batches of ``data`` under a seed (see the table above).

    Example:
        >>> order = batches((torch.arange(10),), batch_size=4, seed=0)
        >>> order.steps_per_epoch, torch.equal(order.batch(7)[0], batches((torch.arange(10),), 4, 0).batch(7)[0])
        (2, True)
    """
    if data is None:
        return NoBatches()
    if isinstance(data, tuple):
        return TensorBatches(data, batch_size, seed)
    if isinstance(data, DataLoader):
        if isinstance(data.dataset, IterableDataset):
            return StreamBatches(data, seed)
        return MapBatches(data.dataset, partial(loader_plan, data, seed), data.collate_fn, seed, data)
    if isinstance(data, IterableDataset):
        return StreamBatches(DataLoader(data, batch_size, drop_last=True), seed)
    n = len(cast(Any, data))
    return MapBatches(data, partial(shuffled_plan, n, batch_size, seed), default_collate, seed)


def shuffled_plan(n: int, batch_size: int, seed: int, epoch: int) -> Sequence[list[int]]:
    """The rows of each full batch of an epoch."""
    size = min(batch_size, n)
    order = torch.randperm(n, generator=generator(seed, "order", epoch)).tolist()
    return [order[i : i + size] for i in range(0, n - size + 1, size)]


def loader_plan(loader: DataLoader[Any], seed: int, epoch: int, keep_last: bool = False) -> Sequence[Any]:
    """What a loader's own samplers choose for an epoch, with their randomness fixed by (seed, epoch)."""
    sampler: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    if keep_last and type(sampler) is BatchSampler and sampler.drop_last:
        sampler = BatchSampler(sampler.sampler, sampler.batch_size, drop_last=False)
    parts = [sampler, getattr(sampler, "sampler", None)]
    own = [g for g in {id(g): g for g in (getattr(p, "generator", None) for p in parts)}.values() if g is not None]
    before = [g.get_state() for g in own]
    with seeded(seed, "order", epoch):
        for part in parts:
            if callable(set_epoch := getattr(part, "set_epoch", None)):
                set_epoch(epoch)
        for g in own:
            g.manual_seed(mix(seed, "order", epoch))
        plan = list(sampler)
    for g, state in zip(own, before, strict=True):
        g.set_state(state)
    return plan


def items(dataset: Any, rows: Any) -> Any:
    """The items at ``rows``: a list of indices, or a single index where the loader does not batch."""
    if not isinstance(rows, (list, tuple)):
        return dataset[rows]
    if callable(many := getattr(dataset, "__getitems__", None)):
        return many(list(rows))
    return [dataset[i] for i in rows]


# ------------------------------------------------------------------------------------------------------- evaluation


def in_order(data: Data, batch_size: int) -> Iterator[tuple[Any, int]]:
    """Every sample of ``data`` once, as (batch, number of samples); the last batch may be smaller."""
    if data is None:
        yield (), 1
    elif isinstance(data, tuple):
        for parts in zip(*(torch.split(t, batch_size) for t in data), strict=True):
            yield tuple(part.clone() for part in parts), len(parts[0])  # a model may write to its input
    elif isinstance(data, IterableDataset) or (
        isinstance(data, DataLoader) and isinstance(data.dataset, IterableDataset)
    ):
        loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size)
        for batch in loader:
            yield batch, samples(batch)
    elif isinstance(data, DataLoader):
        plan = loader_plan(data, 0, 0, keep_last=True)
        stream = Epoch(data.dataset, plan, data.collate_fn, 0, 0).stream(0, data)
        for rows, batch in zip(plan, stream, strict=True):
            yield batch, len(rows) if isinstance(rows, (list, tuple)) else samples(batch)
    else:
        n = len(cast(Any, data))
        for start in range(0, n, batch_size):
            rows = list(range(start, min(start + batch_size, n)))
            yield default_collate(items(data, rows)), len(rows)


def length(data: Data) -> int | None:
    """The number of samples in a split, or None where it is not known (no data, a stream)."""
    if data is None:
        return None
    if isinstance(data, tuple):
        return len(data[0])
    try:
        return len(cast(Any, data.dataset if isinstance(data, DataLoader) else data))
    except (TypeError, NotImplementedError):
        return None


def samples(batch: Any) -> int:
    """How many samples a batch holds: the length of the first tensor found in it.

    >>> samples({"x": torch.zeros(5, 2), "y": torch.zeros(5)})
    5
    """
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)) and batch:
        return samples(batch[0])
    return len(batch) if hasattr(batch, "__len__") else 1


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on ``device``; lists and tuples keep their type, mappings become dicts."""
    if isinstance(batch, Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: to_device(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch.to(device) if hasattr(batch, "to") else batch


def checked(data: Any, what: str) -> Data:
    """``data`` in the form that the rest relies on, or an error that names the split."""
    data = _as_tensors(data)
    if isinstance(data, tuple):
        _check_tensors(data, what)
    elif isinstance(data, Tensor):
        raise DataError(f"{what} is one tensor of shape {tuple(data.shape)}. Give a tuple: (inputs, targets).")
    elif isinstance(data, list) and data and all(isinstance(t, Tensor) for t in data):
        raise DataError(f"{what} is a list of tensors. Give a tuple, (inputs, targets), or a list of samples.")
    elif data is not None and not isinstance(data, (DataLoader, Dataset)) and not _is_map_style(data):
        raise DataError(
            f"{what} is a {type(data).__name__}. Give a tuple of tensors, a Dataset, a DataLoader, or None (no data)."
        )
    if length(data) == 0:
        raise DataError(f"{what} is empty: it holds 0 samples.")
    return cast(Data, data)


def _as_tensors(data: Any) -> Any:
    """The tensors of a ``TensorDataset``, or of a part of one: rows of tensors need no loader."""
    if type(data) is TensorDataset:
        return data.tensors
    if type(data) is Subset and isinstance(tensors := _as_tensors(data.dataset), tuple):
        rows = torch.as_tensor(data.indices, dtype=torch.int64)
        return tuple(t[rows.to(t.device)] for t in tensors)
    return data


def _is_map_style(data: Any) -> bool:
    """Whether ``data[i]`` is a sample: so for lists and Hugging Face datasets, not for arrays, frames and dicts."""
    table = isinstance(data, (str, bytes, Mapping)) or hasattr(data, "dtype") or hasattr(data, "iloc")
    return not table and hasattr(data, "__len__") and hasattr(data, "__getitem__")


def _check_tensors(tensors: tuple[Any, ...], what: str) -> None:
    if not tensors:
        raise DataError(f"{what} is an empty tuple. Give at least one tensor, or None for a task without data.")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise DataError(f"{what}: entry {i} is a {type(t).__name__}, not a tensor. Use torch.as_tensor(...).")
        if t.ndim == 0:
            raise DataError(f"{what}: entry {i} has shape (): its first dimension must count the samples.")
    devices = sorted({str(t.device) for t in tensors})
    if len(devices) > 1:
        raise DataError(f"{what}: the tensors lie on {', '.join(devices)}. Put them on one device.")
    lengths = [len(t) for t in tensors]
    if len(set(lengths)) > 1:
        raise DataError(f"{what}: the tensors hold {', '.join(map(str, lengths))} samples. They must agree.")
