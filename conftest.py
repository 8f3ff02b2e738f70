"""For every test and every doctest: one thread, one seed, one hypothesis profile."""

from __future__ import annotations

import importlib.util
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background; tests send Ctrl-C to runs
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest
import torch

# Flower wants older versions of what the tests need, so it is not among them: its modules have nothing to collect.
collect_ignore_glob = [] if importlib.util.find_spec("flwr") else ["src/steepest/federated/flower/*.py"]
torch.set_num_threads(1)
# The default deadline of 200 ms fails on torch's first call; derandomised so that a red run can be repeated.
hypothesis.settings.register_profile("steepest", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("steepest")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_gpu = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)
