from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from steepest.tasks.data import Data, DataError, batches, checked, in_order, length, samples, to_device

N = 23
# Worker processes by fork: these datasets live in a test module that a fresh interpreter could not import.
PROCESSES = {"multiprocessing_context": "fork"}
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Numbers(Dataset[Any]):
    """Item i is (i, a random number of each generator): an augmentation that would differ if it were not fixed."""

    def __init__(self, n: int = N) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[int, float]:
        return i, float(torch.rand(())) + random.random() + float(np.random.rand())


class Stream(IterableDataset[Any]):
    """The same, as a stream whose epochs differ."""

    def __init__(self, n: int = N) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        skip, every = (info.id, info.num_workers) if info else (0, 1)
        for i in itertools.islice(torch.randperm(self.n).tolist(), skip, None, every):
            yield i, float(torch.rand(())) + random.random()


def tensors() -> tuple[Tensor, Tensor]:
    return torch.arange(N), torch.arange(N) * 10.0


KINDS: dict[str, Any] = {
    "tensors": tensors,
    "dataset": Numbers,
    "list": lambda: [(i, float(i)) for i in range(N)],
    "loader": lambda: DataLoader(Numbers(), 5, shuffle=True),
    "loader with a generator": lambda: DataLoader(Numbers(), 5, shuffle=True, generator=torch.Generator()),
    "loader with processes": lambda: DataLoader(Numbers(), 5, shuffle=True, num_workers=2, **PROCESSES),
    "weighted loader": lambda: DataLoader(Numbers(), 5, sampler=WeightedRandomSampler([1.0] * 9 + [5.0] * 14, N)),
    "unbatched loader": lambda: DataLoader(Numbers(), batch_size=None, shuffle=True),
    "stream": Stream,
    "loader of a stream": lambda: DataLoader(Stream(), 5),
}


def plain(batch: Any) -> list[list[float]]:
    return [torch.as_tensor(part).double().reshape(-1).tolist() for part in batch]


def run(data: Data, steps: range, seed: int = 3) -> list[list[list[float]]]:
    order = batches(data, 5, seed)
    out = []
    for step in steps:
        torch.rand(7)  # training draws too, and must not matter
        random.random()
        out.append(plain(order.batch(step)))
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_batches_depend_on_seed_and_step_alone(kind: str) -> None:
    whole = run(KINDS[kind](), range(13))
    torch.manual_seed(99)
    assert run(KINDS[kind](), range(13)) == whole, "the same seed again"
    assert run(KINDS[kind](), range(7, 13)) == whole[7:], "resumed at step 7"
    assert run(KINDS[kind](), range(13), seed=4) != whole, "another seed"
    assert whole[:4] != whole[4:8], "another epoch"


@pytest.mark.parametrize("kind", KINDS)
def test_batches_may_be_asked_for_in_any_order(kind: str) -> None:
    whole = run(KINDS[kind](), range(9))
    order = batches(KINDS[kind](), 5, 3)
    for step in (8, 0, 0, 5, 2):
        assert plain(order.batch(step)) == whole[step]


@pytest.mark.parametrize("kind", KINDS)
def test_reading_batches_leaves_random_states_alone(kind: str) -> None:
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = torch.rand(3).tolist(), random.random(), np.random.rand()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    order = batches(KINDS[kind](), 5, 0)
    for step in range(6):
        order.batch(step)
    assert (torch.rand(3).tolist(), random.random(), np.random.rand()) == expected


@pytest.mark.parametrize("kind", ["tensors", "dataset", "list"])
def test_an_epoch_holds_every_sample_once_and_leaves_out_the_last_batch(kind: str) -> None:
    order = batches(KINDS[kind](), 5, 0)
    assert order.steps_per_epoch == 4
    epochs = [[x for step in range(4) for x in plain(order.batch(4 * e + step))[0]] for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 20
    assert len({frozenset(epoch) for epoch in epochs}) > 1, "what is left out differs from epoch to epoch"


def test_kinds_of_data_see_the_same_order() -> None:
    a, b = (run(KINDS[kind](), range(8)) for kind in ("tensors", "dataset"))
    assert [x[0] for x in a] == [x[0] for x in b]


def test_processes_change_nothing() -> None:
    loaders = (DataLoader(Numbers(), 5, shuffle=True, num_workers=k, **(PROCESSES if k else {})) for k in (0, 1, 2))
    first, *others = (run(loader, range(3, 12)) for loader in loaders)
    assert others == [first, first]


def test_data_order_is_the_same_in_another_process() -> None:
    code = (
        "import json, torch; from steepest.tasks.data import batches\n"
        "print(json.dumps([batches((torch.arange(23),), 5, 3).batch(s)[0].tolist() for s in (0, 9, 41)]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    order = batches((torch.arange(23),), 5, 3)
    assert json.loads(out.stdout) == [order.batch(s)[0].tolist() for s in (0, 9, 41)]


def test_the_first_order_is_fixed_for_all_time() -> None:
    assert batches((torch.arange(10),), 4, 0).batch(0)[0].tolist() == [5, 1, 0, 6]


def test_data_smaller_than_a_batch_is_one_batch() -> None:
    for data in ((torch.arange(3),), [0, 1, 2]):
        order = batches(data, 8, 0)
        assert order.steps_per_epoch == 1
        batch = order.batch(5)
        assert sorted(torch.as_tensor(batch if isinstance(batch, Tensor) else batch[0]).tolist()) == [0, 1, 2]


def test_no_data_is_an_empty_batch() -> None:
    order = batches(None, 64, 0)
    assert order.batch(17) == () and order.steps_per_epoch is None


def test_a_loader_keeps_its_own_order_size_and_last_batch() -> None:
    order = batches(DataLoader(Numbers(), 10), 5, 0)
    assert [plain(order.batch(s))[0] for s in range(3)] == [list(range(10)), list(range(10, 20)), [20, 21, 22]]
    assert order.steps_per_epoch == 3
    assert batches(DataLoader(Numbers(), 10, drop_last=True), 5, 0).steps_per_epoch == 2


def test_a_loader_keeps_its_sampler_and_its_generator() -> None:
    part = DataLoader(Numbers(), 2, sampler=SubsetRandomSampler([3, 5, 7, 11]))
    order = batches(part, 5, 0)
    assert sorted(x for s in range(2) for x in plain(order.batch(s))[0]) == [3, 5, 7, 11]
    own = torch.Generator().manual_seed(8)
    before = own.get_state()
    run(DataLoader(Numbers(), 5, shuffle=True, generator=own), range(6))
    assert torch.equal(own.get_state(), before)


def test_a_loader_of_tensors_takes_the_short_way_to_the_same_batches() -> None:
    class Items(TensorDataset):
        """Not a TensorDataset exactly, so its items are collated one by one."""

    kinds = (TensorDataset, Items)
    short, long = (batches(DataLoader(kind(*tensors()), 5, shuffle=True), 5, 0) for kind in kinds)
    for step in range(8):
        assert type(short.batch(step)) is type(long.batch(step)) is list
        assert plain(short.batch(step)) == plain(long.batch(step))


def test_a_sampler_of_epochs_is_told_the_epoch() -> None:
    class ByEpoch(SequentialSampler):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[int]:
            return iter([(i + self.epoch) % N for i in range(N)])

    order = batches(DataLoader(Numbers(), N, sampler=ByEpoch(Numbers())), 5, 0)
    assert [plain(order.batch(e))[0][0] for e in (0, 1, 2)] == [0, 1, 2]


def test_a_batch_sampler_and_collate_function_are_used() -> None:
    sampler = BatchSampler(SequentialSampler(Numbers()), 4, drop_last=False)
    loader = DataLoader(
        Numbers(), batch_sampler=sampler, collate_fn=lambda rows: {"i": torch.tensor([r[0] for r in rows])}
    )
    order = batches(loader, 99, 0)
    assert order.steps_per_epoch == 6
    assert order.batch(5)["i"].tolist() == [20, 21, 22]


def test_a_dataset_that_fetches_many_at_once_is_asked_so() -> None:
    class Many(Numbers):
        asked: ClassVar[list[list[int]]] = []

        def __getitems__(self, rows: list[int]) -> list[int]:
            self.asked.append(rows)
            return rows

    data = Many()
    batch = batches(data, 5, 0).batch(0)
    assert batch.tolist() == data.asked[0] and len(data.asked) == 1


def test_a_stream_is_told_the_epoch_and_gives_its_length_where_it_has_one() -> None:
    class Told(Stream):
        epoch = -1

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[Any]:
            return iter([float(self.epoch)] * 10)

        def __len__(self) -> int:
            return 10

    order = batches(Told(), 5, 0)
    assert [order.batch(s)[0].item() for s in range(5)] == [0, 0, 1, 1, 2]
    assert order.steps_per_epoch == 2
    assert batches(Stream(), 5, 0).steps_per_epoch is None


def test_a_stream_leaves_out_the_last_batch_and_its_loader_may_keep_it() -> None:
    assert [len(b[0]) for b in run(Stream(), range(9))] == [5] * 9
    assert [len(b[0]) for b in run(DataLoader(Stream(), 5), range(6))] == [5, 5, 5, 5, 3, 5]


def test_streams_that_end_are_refused() -> None:
    with pytest.raises(DataError, match=r"no full batch in epoch 0.*shorter than a batch"):
        batches(Stream(3), 5, 0).batch(0)

    class Once(IterableDataset[Any]):
        rest = iter(range(10))

        def __iter__(self) -> Iterator[Any]:
            return self.rest

    order = batches(Once(), 5, 0)
    order.batch(1)
    with pytest.raises(DataError, match=r"epoch 1: it is empty.*or used up"):
        order.batch(2)


def test_a_loader_without_a_batch_is_refused() -> None:
    with pytest.raises(DataError, match=r"no batch.*drop_last=False"):
        batches(DataLoader(Numbers(3), 5, drop_last=True), 5, 0)


def test_a_sampler_whose_epochs_differ_in_length_is_refused() -> None:
    class Growing(SequentialSampler):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[int]:
            return iter(range(5 * (self.epoch + 1)))

    order = batches(DataLoader(Numbers(), 5, sampler=Growing(Numbers())), 5, 0)
    order.batch(0)
    with pytest.raises(DataError, match="epoch 0 has 1 batches and epoch 1 has 2"):
        order.batch(1)


def test_steps_count_from_zero() -> None:
    with pytest.raises(DataError, match="step -1"):
        batches(tensors(), 5, 0).batch(-1)


def test_a_broken_item_fails_each_time_and_the_others_can_be_read() -> None:
    class Broken(Numbers):
        def __getitem__(self, i: int) -> Any:
            if i == 12:
                raise OSError("unreadable")
            return i, 0.0

    class BrokenStream(Stream):
        broken = True

        def __iter__(self) -> Iterator[Any]:
            yield from range(6)
            if self.broken:
                raise OSError("unreadable")
            yield from range(6, N)

    order = batches(DataLoader(Broken(), 5), 5, 0)
    stream = BrokenStream()
    later = batches(stream, 5, 0)
    for _ in range(2):
        with pytest.raises(OSError, match="unreadable"):
            order.batch(2)
        with pytest.raises(OSError, match="unreadable"):
            later.batch(1)
    assert plain(order.batch(3))[0] == [15, 16, 17, 18, 19]
    stream.broken = False
    assert later.batch(1).tolist() == [5, 6, 7, 8, 9]


# ------------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "weighted loader"])
def test_in_order_gives_every_sample_once_with_its_count(kind: str) -> None:
    seen = [(plain(batch)[0], n) for batch, n in in_order(KINDS[kind](), 5)]
    assert sorted(x for rows, _ in seen for x in rows) == list(range(N))
    assert all(len(rows) == n for rows, n in seen)


def test_in_order_keeps_the_last_batch_of_a_loader_that_drops_it() -> None:
    assert sum(n for _, n in in_order(DataLoader(Numbers(), 5, drop_last=True), 5)) == N


def test_in_order_without_data_is_one_empty_batch() -> None:
    assert list(in_order(None, 5)) == [((), 1)]


# -------------------------------------------------------------------------------------------------- small functions


class Pair(NamedTuple):
    x: Tensor
    y: Any


def test_samples_and_to_device_look_inside_containers() -> None:
    batch = {"a": [Pair(torch.zeros(4, 2), (torch.zeros(4), "text"))], "b": 3}
    assert samples(batch) == 4 and samples(torch.tensor(1.0)) == 1 and samples("word") == 4 and samples(3) == 1
    moved = to_device(batch, torch.device("meta"))
    assert isinstance(moved["a"][0], Pair) and moved["a"][0].x.is_meta and moved["a"][0].y[0].is_meta
    assert moved["a"][0].y[1] == "text" and moved["b"] == 3
    x = torch.zeros(2)
    assert to_device((x,), torch.device("cpu"))[0] is x


def test_length() -> None:
    assert [length(KINDS[k]()) for k in ("tensors", "dataset", "list", "loader", "stream")] == [N, N, N, N, None]
    assert length(None) is None


BAD = [
    (torch.zeros(3), r"one tensor of shape \(3,\).*tuple"),
    ([torch.zeros(3), torch.zeros(3)], "list of tensors"),
    ((torch.zeros(3), torch.zeros(4)), "hold 3, 4 samples"),
    ((torch.zeros(0, 2), torch.zeros(0)), "empty: it holds 0 samples"),
    ((), "empty tuple"),
    ([], "empty: it holds 0 samples"),
    (Subset(Numbers(), []), "empty: it holds 0 samples"),
    ((torch.zeros(3), torch.tensor(1.0)), r"entry 1 has shape \(\)"),
    ((torch.zeros(3), np.zeros(3)), "entry 1 is a ndarray.*as_tensor"),
    ((torch.zeros(3), torch.zeros(3, device="meta")), "lie on cpu, meta"),
    (np.zeros(3), "is a ndarray"),
    ({"x": torch.zeros(3)}, "is a dict"),
    ("digits", "is a str"),
    (7, "is a int"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[m[:25] for _, m in BAD])
def test_bad_data_is_named(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^train of task 't'.*{message}"):
        checked(data, "train of task 't'")


def test_a_tensor_dataset_is_its_tensors() -> None:
    x, y = tensors()
    assert checked(TensorDataset(x, y), "train") == (x, y)
    part = checked(Subset(Subset(TensorDataset(x, y), [2, 3, 5, 7]), range(1, 4)), "train")
    assert [p.tolist() for p in part] == [[3, 5, 7], [30, 50, 70]]
    numbers = Subset(Numbers(), [1, 2])
    assert checked(numbers, "train") is numbers
