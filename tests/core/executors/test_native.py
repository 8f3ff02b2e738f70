"""Native kernels: built once a rule, whatever the model; never again while hyperparameters move."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from steepest.core import toolchain
from steepest.core.executors import native
from steepest.optim import SGD, AdamW, NAdam

pytestmark = pytest.mark.skipif(toolchain.problem() is not None, reason=f"no kernels here: {toolchain.problem()}")


def parameters(count: int, size: int = 8) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(size + i % 3)) for i in range(count)]


def step(opt: torch.optim.Optimizer) -> None:
    for group in opt.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    opt.step()


def test_no_kernel_is_built_while_hyperparameters_move() -> None:
    opt = AdamW(parameters(3), lr=1e-3, clip_norm=1.0)
    opt.add_param_group({"params": parameters(2), "weight_decay": 0.0, "lr": 0.1})
    step(opt)
    built = len(native._kernels)
    for t in range(5):
        for group in opt.param_groups:
            group.update(lr=1e-3 * t, betas=(0.9 - 0.01 * t, 0.99), weight_decay=0.1 * t, eps=1e-8 * (t + 1))
        opt.gradients[0][1]["max_norm"] = 1.0 + t
        step(opt)
    assert len(native._kernels) == built


def test_the_number_of_tensors_does_not_matter() -> None:
    step(NAdam(parameters(1)))
    built = len(native._kernels)
    step(NAdam(parameters(200)))
    assert len(native._kernels) == built


def test_one_call_serves_groups_and_step_counts_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    update = native.Native.update
    monkeypatch.setattr(
        native.Native, "update", lambda self, chain, slots: calls.append(len(slots)) or update(self, chain, slots)
    )
    opt = AdamW([{"params": parameters(3)}, {"params": parameters(2), "lr": 0.5}])
    opt.param_groups[0]["params"][0].grad = torch.ones(8)
    opt.step()
    step(opt)
    assert calls == [1, 5]


def test_replaced_state_and_data_are_seen() -> None:
    """Somebody swaps a buffer or a parameter's storage between steps: the pointers must follow."""
    p, q = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    a, b = SGD([p], lr=1.0, momentum=0.5), torch.optim.SGD([q], lr=1.0, momentum=0.5)
    for opt in (a, b):
        step(opt)
        (x,) = opt.param_groups[0]["params"]
        opt.state[x]["momentum_buffer"] = torch.full((4,), 7.0)
        x.data = torch.full((4,), 3.0)
        step(opt)
    assert torch.equal(p, q)


def test_a_step_counts_as_a_change_in_place() -> None:
    """Backward through a value saved before the step is refused, as after any in-place operation."""
    w = nn.Parameter(torch.ones(3))
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    AdamW([w]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code], env=env, capture_output=True, text=True, check=True
    )


Fresh = tuple[subprocess.CompletedProcess[str], Path]

STEP = """
import sys
import torch
from steepest.optim import AdamW
torch.manual_seed(0)
for _ in range(2):
    p = torch.nn.Parameter(torch.randn(1000)); p.grad = torch.randn(1000)
    opt = AdamW([p], clip_norm=1.0); opt.step(); opt.step()
opt.state_dict()
opt.zero_grad()
print(p.double().sum().item())
print("compiler imported" if "torch._dynamo" in sys.modules else "no compiler")
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Two steps in a process of their own, and the folder where their kernels are kept."""
    cache = tmp_path_factory.mktemp("kernels")
    return run(STEP, STEEPEST_CACHE=str(cache)), cache


def test_training_does_not_import_the_compiler_of_torch(fresh: Fresh) -> None:
    """It would take two seconds of every process; a whole step takes milliseconds."""
    assert fresh[0].stdout.endswith("no compiler\n")


def test_without_a_compiler_there_is_one_warning_and_the_same_result(fresh: Fresh) -> None:
    with_kernels, without = fresh[0], run(STEP, STEEPEST_COMPILE="0")
    assert with_kernels.stdout == without.stdout
    assert "RuntimeWarning" not in with_kernels.stderr
    assert without.stderr.count("steepest runs without compiled kernels") == 1


def test_a_compiler_that_fails_is_a_warning(tmp_path: Path, fresh: Fresh) -> None:
    broken = tmp_path / "cxx"
    broken.write_text("#!/bin/sh\necho 'internal error' >&2\nexit 1\n")
    broken.chmod(0o755)
    done = run(STEP, CXX=str(broken), STEEPEST_CACHE=str(tmp_path / "kernels"))
    assert done.stdout == fresh[0].stdout
    assert "internal error" in done.stderr


def test_kernels_are_kept_on_disk_and_a_damaged_one_is_rebuilt(tmp_path: Path, fresh: Fresh) -> None:
    first, cache = fresh
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.so")}
    assert len(kept) == 3  # the probe, the measure and the update
    run(STEP, STEEPEST_CACHE=str(tmp_path))
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.so")}
    for path in kept:
        path.write_bytes(b"not a library")
    assert run(STEP, STEEPEST_CACHE=str(tmp_path)).stdout == first.stdout
    assert all(path.stat().st_size > 1000 for path in kept)


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    done = run(STEP, STEEPEST_CACHE=str(occupied / "kernels"))
    assert "without compiled kernels" not in done.stderr


def test_a_compiler_command_with_arguments(tmp_path: Path) -> None:
    launcher = tmp_path / "launcher"
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o755)
    compiler = " ".join(toolchain.compiler() or ())
    done = run(STEP, CXX=f"{launcher} {compiler} -g0", STEEPEST_CACHE=str(tmp_path / "kernels"))
    assert "without compiled kernels" not in done.stderr
    assert len(list((tmp_path / "kernels").glob("*.so"))) == 3


def test_processes_that_build_the_same_kernel_at_once(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "STEEPEST_CACHE": str(tmp_path / "kernels")}
    command = [sys.executable, "-W", "error", "-c", STEP]
    racers = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert len({racer.communicate()[0] for racer in racers}) == 1
    assert [racer.returncode for racer in racers] == [0, 0]
    assert {path.suffix for path in (tmp_path / "kernels").iterdir()} == {".so"}  # nothing half made is left


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("STEEPEST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    (only,) = toolchain.cache_folders()
    assert only.is_dir()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_steps_on(threads: int) -> None:
    """The child of a process that ran loops in threads has none of them; waiting for them would never end."""
    code = f"""
import os, signal, torch
from steepest.optim import AdamW
torch.set_num_threads({threads})
p = torch.nn.Parameter(torch.linspace(-1, 1, 100_000)); p.grad = torch.linspace(1, -1, 100_000)
opt = AdamW([p], clip_norm=1.0); opt.step()
child = os.fork()
if not child:
    signal.alarm(20)
opt.step()
numbers = p.detach().numpy()
os.write(1, f"{{numbers[:10].sum()}} {{numbers[-10:].sum()}}\\n".encode())
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    first, second = run(code).stdout.splitlines()
    assert first == second


def test_optimizers_in_many_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(_: int) -> torch.Tensor:
        p = nn.Parameter(torch.linspace(-1, 1, 500))
        opt = AdamW([p], clip_norm=1.0)
        for t in range(50):
            p.grad = (p.detach() * t).sin()
            opt.step()
        return p.detach()

    native._kernels.clear()
    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(work, range(8))
    assert all(torch.equal(first, other) for other in others)
