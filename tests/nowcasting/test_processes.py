"""Two processes that hold out different batches decide alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from steepest.nowcasting import Nowcaster

pytestmark = pytest.mark.slow


def work(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    p = nn.Parameter(torch.tensor([100.0]))
    opt = torch.optim.SGD([p], lr=1.0)
    ahead, taken = Nowcaster(opt, every=10), []
    for _ in range(20):
        p.grad = torch.ones(1)
        opt.step()
        # alone, process 1 would stay where it is
        look = ahead.after(lambda i: 3 * p.detach() if rank == 0 else -p.detach())
        taken += [] if look is None else [look.accepted]
    torch.save((p.detach(), taken), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_decide_alike(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    (a, first), (b, second) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(a, b) and first == second == [True, True]
