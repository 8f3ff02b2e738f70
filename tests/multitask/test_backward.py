"""``MultiTask.backward`` against gradients taken one loss at a time: every level, every kind of layer."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import steepest.multitask as M
from steepest.core.errors import CheckpointError
from steepest.multitask import Method, MultiTask, MultiTaskError

LEVELS = ("jacobian", "gramian")


class Net(nn.Module):
    """A trunk of some kind, and three heads."""

    def __init__(self, trunk: nn.Module, width: int = 6) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(nn.Linear(width, 2) for _ in range(3))

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        h = self.trunk(x)
        h = h[0] if isinstance(h, tuple) else h
        return {
            n: (head(h) - i).square().mean() * 10**i for i, (n, head) in enumerate(zip("abc", self.heads, strict=True))
        }


class Attention(nn.Module):
    """Attention over the positions of a sequence, then a feed-forward layer with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(6, 2, batch_first=True, dropout=0.2)
        self.norm, self.up, self.down = nn.LayerNorm(6), nn.Linear(6, 8), nn.Linear(8, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x + self.mix(x, x, x)[0])
        return h + self.down(torch.relu(self.up(h)))


class Tied(nn.Module):
    """One weight used twice, one layer used by hand, and one under a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(torch.tanh(self.one(x))))
        return torch.addmm(self.two.bias, h, self.two.weight.T, alpha=0.5) * self.scale


TRUNKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6, bias=False), nn.Tanh()), (7, 5)),
    "batch of one": (lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6)), (1, 5)),
    "large batch": (lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6)), (300, 5)),
    "batch norm": (lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU()), (7, 5)),
    "dropout": (lambda: nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.5), nn.Linear(6, 6)), (7, 5)),
    "lstm": (lambda: nn.LSTM(5, 6, batch_first=True), (3, 4, 5)),
    "gru": (lambda: nn.GRU(5, 6, num_layers=2, batch_first=True), (3, 4, 5)),
    "attention": (Attention, (3, 4, 6)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 6)),
        (4, 1, 6, 6),
    ),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 6), nn.ReLU()), (3, 4)),
    "tied": (Tied, (5, 6)),
    "features that are a parameter's": (lambda: nn.Linear(5, 6), (7, 5)),
}


def setting(name: str, dtype: torch.dtype = torch.float64) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    make, shape = TRUNKS[name]
    net = Net(make()).to(dtype)
    return net, torch.randint(9, shape) if name == "embedding" else torch.randn(shape, dtype=dtype)


def by_hand(net: Net, losses: dict[str, Tensor], method: Method) -> dict[str, Tensor]:
    """Rows by ``torch.autograd.grad``, one loss at a time; heads get their plain gradients."""
    shared = dict(net.trunk.named_parameters())
    rows = []
    for loss in losses.values():
        grads = torch.autograd.grad(loss, list(shared.values()), retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in grads]))
    L = torch.stack([loss.detach() for loss in losses.values()])
    d = method(torch.stack(rows), L)
    parts = dict(zip(shared, d.split([p.numel() for p in shared.values()]), strict=True))
    found = {f"trunk.{n}": parts[n].view_as(p) for n, p in shared.items()}
    heads = dict(net.heads.named_parameters())
    plain = torch.autograd.grad(sum(losses.values()), list(heads.values()), retain_graph=True)
    return found | {f"heads.{n}": g for n, g in zip(heads, plain, strict=True)}


def filled(net: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


def same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    assert a.keys() == b.keys()
    for name, g in a.items():
        assert g.shape == b[name].shape, name
        assert float((g - b[name]).norm()) <= tolerance * (1 + float(b[name].norm())), name


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TRUNKS)
def test_every_layer_exactly(name: str, level: Any) -> None:
    net, x = setting(name)
    losses = net.losses(x)
    expected = by_hand(net, losses, M.UPGrad())
    MultiTask(net, M.UPGrad(), level=level).backward(losses)
    same(filled(net), expected)


@pytest.mark.parametrize("chunk", [2, 3])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["mlp", "batch norm", "dropout", "convolution", "attention"])
def test_several_at_once(name: str, level: Any, chunk: int) -> None:
    net, x = setting(name)
    losses = net.losses(x)
    expected = by_hand(net, losses, M.DualProj())
    MultiTask(net, M.DualProj(), level=level, chunk=chunk).backward(losses)
    same(filled(net), expected)


@pytest.mark.parametrize("method", [M.PCGrad(), M.GradDrop(), M.DBMTL(), M.TrimmedMean(1), M.ExcessMTL()], ids=repr)
def test_methods_of_every_kind(method: Method) -> None:
    net, x = setting("mlp")
    losses = net.losses(x)
    expected = by_hand(net, losses, method)
    MultiTask(net, method).backward(losses)
    same(filled(net), expected)


def test_loss_weights_reach_the_heads_too() -> None:
    net, x = setting("mlp")
    losses = net.losses(x)
    total = sum(w * loss for w, loss in zip((1.0, 2.0, 0.5), losses.values(), strict=True))
    expected = torch.autograd.grad(total, list(net.parameters()), retain_graph=True)
    MultiTask(net, M.Weights((1.0, 2.0, 0.5))).backward(losses)
    same(filled(net), dict(zip(dict(net.named_parameters()), expected, strict=True)))


def test_features_are_where_the_tasks_part() -> None:
    """MGDA-UB: the Gramian of the gradients of the trunk's output, and one backward pass with the weights."""
    net, x = setting("mlp")
    h = net.trunk(x)
    Z = torch.stack([torch.autograd.grad(loss, h)[0].flatten() for loss in _heads(net, h)])
    w = M.MGDA().weigh(M.Seen(gramian=Z @ Z.T, losses=torch.ones(3).double()), M.MGDA().start(3))[0]
    losses = net.losses(x)
    total = sum(wi * loss for wi, loss in zip(w, losses.values(), strict=True))
    expected = torch.autograd.grad(total, list(net.trunk.parameters()), retain_graph=True)
    tasks = MultiTask(net, M.MGDA(), level="features")
    tasks.backward(losses)
    got = {n: g for n, g in filled(net).items() if n.startswith("trunk")}
    same(got, {f"trunk.{n}": g for (n, _), g in zip(net.trunk.named_parameters(), expected, strict=True)})
    assert list(tasks.weights.values()) == pytest.approx(w.tolist())


def _heads(net: Net, h: Tensor) -> list[Tensor]:
    return [(head(h) - i).square().mean() * 10**i for i, head in enumerate(net.heads)]


def test_a_tree_of_tasks() -> None:
    """Two tasks share a layer of their own above what all share; it is compared as well, with a row of zeros."""
    torch.manual_seed(0)
    trunk, branch, heads = nn.Linear(4, 5), nn.Linear(5, 5), [nn.Linear(5, 1) for _ in range(3)]
    model = nn.ModuleList([trunk, branch, *heads]).double()
    x = torch.randn(6, 4).double()

    def losses() -> dict[str, Tensor]:
        h = trunk(x).relu()
        k = branch(h).relu()
        return {"a": heads[0](k).square().mean(), "b": (heads[1](k) - 1).square().mean(), "c": heads[2](h).mean()}

    shared = [*trunk.parameters(), *branch.parameters()]
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, materialize_grads=True, allow_unused=True)])
        for loss in (losses()[n] for n in "abc")
    ]
    d = M.UPGrad()(torch.stack(rows))
    for level in LEVELS:
        model.zero_grad()
        MultiTask(None, M.UPGrad(), level=level).backward(losses())
        assert torch.allclose(torch.cat([p.grad.flatten() for p in shared if p.grad is not None]), d, atol=1e-9)


def test_a_head_that_reaches_past_the_features() -> None:
    """As the decoders of a U-Net: a head takes the features and what they are made of."""
    torch.manual_seed(0)
    low, high, heads = nn.Linear(4, 5), nn.Linear(5, 5), [nn.Linear(10, 1) for _ in range(2)]
    model = nn.ModuleList([low, high, *heads]).double()
    x = torch.randn(6, 4).double()

    def losses() -> dict[str, Tensor]:
        h = low(x).tanh()
        both = torch.cat([h, high(h).tanh()], 1)
        return {
            "a": heads[0](both).square().mean(),
            "b": (heads[1](torch.cat([h, high(h).tanh()], 1)) + both.mean()).mean(),
        }

    shared = [*low.parameters(), *high.parameters()]
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(losses()[n], shared)]) for n in "ab"]
    plain = torch.autograd.grad(sum(losses().values()), [p for head in heads for p in head.parameters()])
    for level in LEVELS:
        model.zero_grad()
        MultiTask(model, M.MGDA(), level=level).backward(losses())
        got = torch.cat([p.grad.flatten() for p in shared])  # type: ignore[union-attr]
        assert torch.allclose(got, M.MGDA()(torch.stack(rows)), atol=1e-9)
        for p, g in zip((p for head in heads for p in head.parameters()), plain, strict=True):
            assert torch.allclose(p.grad, g, atol=1e-9)  # type: ignore[arg-type]
    model.zero_grad()
    tasks = MultiTask(model, M.MGDA(), level="features")
    tasks.backward(losses())
    w = torch.tensor(list(tasks.weights.values())).double()
    assert torch.allclose(torch.cat([p.grad.flatten() for p in shared]), w @ torch.stack(rows), atol=1e-9)  # type: ignore[union-attr]


def test_a_loss_made_of_another() -> None:
    net, x = setting("mlp")

    def losses() -> dict[str, Tensor]:
        found = net.losses(x)
        return {"a": found["a"], "both": found["a"] + found["b"]}

    shared = list(net.trunk.parameters())
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(losses()[n], shared)]) for n in ("a", "both")]
    for level in LEVELS:
        net.zero_grad()
        MultiTask(net, M.UPGrad(), shared=net.trunk, level=level).backward(losses())
        got = torch.cat([p.grad.flatten() for p in shared])  # type: ignore[union-attr]
        assert torch.allclose(got, M.UPGrad()(torch.stack(rows)), atol=1e-9)


def test_only_the_shared_that_are_given_are_compared() -> None:
    """The last layer of the trunk is compared, as in GradNorm; the first gets the plain gradient of the sum."""
    net, x = setting("mlp")
    last = net.trunk[2]  # type: ignore[index]
    losses = net.losses(x)
    rows = torch.stack([torch.autograd.grad(v, last.weight, retain_graph=True)[0].flatten() for v in losses.values()])
    plain = torch.autograd.grad(sum(losses.values()), list(net.trunk[0].parameters()), retain_graph=True)  # type: ignore[index]
    for level in LEVELS:
        net.zero_grad()
        MultiTask(net, M.MGDA(), shared=last, level=level).backward(net.losses(x))
        assert torch.allclose(last.weight.grad.flatten(), M.MGDA()(rows), atol=1e-10)
        for p, g in zip(net.trunk[0].parameters(), plain, strict=True):  # type: ignore[index]
            assert torch.allclose(p.grad, g, atol=1e-10)  # type: ignore[arg-type]


def test_the_affinity_is_the_cosines() -> None:
    net, x = setting("mlp")
    losses = net.losses(x)
    grads = [torch.autograd.grad(v, list(net.trunk.parameters()), retain_graph=True) for v in losses.values()]
    rows = torch.stack([torch.cat([g.flatten() for g in row]) for row in grads])
    tasks = MultiTask(net, M.UPGrad())
    tasks.backward(losses)
    rows = rows / rows.norm(dim=1, keepdim=True)
    assert torch.allclose(tasks.affinity, rows @ rows.T, atol=1e-9)
    with pytest.raises(MultiTaskError, match="compared no gradients"):
        _ = MultiTask(net, M.Sum()).affinity


def test_gradients_accumulate() -> None:
    net, x = setting("mlp")
    tasks = MultiTask(net, M.DualProj())
    tasks.backward(net.losses(x))
    once = filled(net)
    tasks.backward(net.losses(x))
    same(filled(net), {n: 2 * g for n, g in once.items()})


def test_one_loss_is_an_ordinary_backward() -> None:
    net, x = setting("mlp")
    loss = net.losses(x)["b"]
    grads = torch.autograd.grad(loss, list(net.trunk.parameters()), retain_graph=True)
    MultiTask(net, M.Sum()).backward({"b": loss})
    same(
        {n: p.grad for n, p in net.trunk.named_parameters()},
        dict(zip(dict(net.trunk.named_parameters()), grads, strict=True)),
    )  # type: ignore[arg-type, misc]


# -- precision ----------------------------------------------------------------------------------------------------


def test_the_scaler_scales_and_the_method_does_not_see_it() -> None:
    """.grad comes out scaled, as after ``scaler.scale(loss).backward()``; weights are those without a scaler."""
    net, x = setting("mlp", torch.float32)
    plain, scaled = MultiTask(net, M.NashMTL()), MultiTask(net, M.NashMTL())
    plain.backward(net.losses(x))
    expected = filled(net)
    net.zero_grad()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scaled.backward(net.losses(x), scaler=scaler)
    assert list(scaled.weights.values()) == pytest.approx(list(plain.weights.values()), rel=1e-5)
    same({n: g / 2**10 for n, g in filled(net).items()}, expected, 1e-5)
    before = copy.deepcopy(net.state_dict())
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler.step(opt)
    for n, p in net.named_parameters():
        assert torch.allclose(p, before[n] - 0.1 * expected[n], atol=1e-5)


@pytest.mark.parametrize("method", [M.UPGrad(), M.Sum(), M.GradDrop()], ids=repr)
def test_an_overflow_is_the_scalers_to_skip(method: Method) -> None:
    net, x = setting("mlp", torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    MultiTask(net, method).backward({n: 1e4 * v for n, v in net.losses(x).items()}, scaler=scaler)
    before = copy.deepcopy(net.state_dict())
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler.step(opt)
    scaler.update()
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())
    assert scaler.get_scale() < 2.0**127


def test_under_autocast() -> None:
    net, x = setting("mlp", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        losses = net.losses(x)
    exact = by_hand(net, net.losses(x), M.UPGrad())
    for level in LEVELS:
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            losses = net.losses(x)
        MultiTask(net, M.UPGrad(), level=level).backward(losses)
        for n, g in filled(net).items():
            assert g.dtype == torch.float32
            assert float((g - exact[n]).norm()) <= 0.1 * float(exact[n].norm()) + 0.05, n


# -- state --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [M.FAMO(), M.GradNorm(), M.GradVac(), M.NashMTL(every=2), M.DWA(every=2), M.MoCo(), M.CRMOGM(M.UPGrad()), M.RLW()],
    ids=lambda m: type(m).__name__,
)
def test_resumed_bit_for_bit(method: Method) -> None:
    net, x = setting("mlp")

    def train(net: Net, tasks: MultiTask, steps: int) -> None:
        opt = torch.optim.SGD(net.parameters(), lr=1e-4)
        for _ in range(steps):
            opt.zero_grad()
            tasks.backward(net.losses(x))
            opt.step()
            if tasks.listens:
                with torch.no_grad():
                    tasks.after(net.losses(x))

    whole, part = copy.deepcopy(net), copy.deepcopy(net)
    train(whole, MultiTask(whole, method), 7)
    first = MultiTask(part, method)
    train(part, first, 4)
    file = io.BytesIO()
    torch.save({"net": part.state_dict(), "tasks": first.state_dict()}, file)
    file.seek(0)
    data = torch.load(file, weights_only=True)
    resumed = copy.deepcopy(net)
    second = MultiTask(resumed, method)
    resumed.load_state_dict(data["net"])
    second.load_state_dict(data["tasks"])
    train(resumed, second, 3)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_checkpoint_of_another_method() -> None:
    with pytest.raises(CheckpointError, match=r"the checkpoint is of UPGrad.*this is CAGrad"):
        MultiTask(None, M.CAGrad()).load_state_dict(MultiTask(None, M.UPGrad()).state_dict())


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [M.UPGrad(), M.Sum(), M.GradDrop()], ids=repr)
def test_after_an_ordinary_backward_it_refuses(method: Method) -> None:
    net, x = setting("mlp")
    losses = net.losses(x)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    with pytest.raises(MultiTaskError, match=r"have been through backward\(\) already"):
        MultiTask(net, method).backward(losses)


def test_what_is_no_losses() -> None:
    net, x = setting("mlp")
    tasks = MultiTask(net, M.UPGrad())
    losses = net.losses(x)
    with pytest.raises(MultiTaskError, match="give the losses by name"):
        tasks.backward(sum(losses.values()))  # type: ignore[arg-type]
    with pytest.raises(MultiTaskError, match="'b' does not depend on any parameter"):
        tasks.backward({**losses, "b": losses["b"].detach()})
    with pytest.raises(MultiTaskError, match=r"'a' must be a tensor with one number; got shape \(2,\)"):
        tasks.backward({"a": torch.ones(2, requires_grad=True) * 1})
    with pytest.raises(MultiTaskError, match="depend on no parameter together"):
        other = nn.Linear(5, 1).double()
        tasks.backward({"a": losses["a"], "z": other(x).mean()})
    fresh = MultiTask(net, M.UPGrad())
    fresh.backward(losses)
    with pytest.raises(MultiTaskError, match="the tasks are a, b, c; this step has a, b"):
        fresh.backward({n: v for n, v in net.losses(x).items() if n != "c"})


def test_what_is_no_method_or_level() -> None:
    with pytest.raises(MultiTaskError, match="such as UPGrad"):
        MultiTask(None, "upgrad")  # type: ignore[arg-type]
    with pytest.raises(MultiTaskError, match="level is one of"):
        MultiTask(None, M.UPGrad(), level="rows")  # type: ignore[arg-type]
    with pytest.raises(MultiTaskError, match="GradDrop takes the gradients apart"):
        MultiTask(None, M.GradDrop(), level="features")
    with pytest.raises(MultiTaskError, match="chunk is a whole number"):
        MultiTask(None, M.UPGrad(), chunk=0)
    with pytest.raises(MultiTaskError, match="needs at least 3 tasks"):
        net, x = setting("mlp")
        MultiTask(None, M.Krum()).backward({n: v for n, v in net.losses(x).items() if n != "c"})


def test_who_learns_from_the_step_and_hears_nothing_says_so() -> None:
    net, x = setting("mlp")
    tasks = MultiTask(net, M.FAMO())
    tasks.backward(net.losses(x))
    tasks.backward(net.losses(x))
    with pytest.warns(RuntimeWarning, match=r"Call tasks.after\(\{...\}\)"):
        tasks.backward(net.losses(x))


def test_the_second_batch_of_sdmgrad() -> None:
    """The products are those of two batches' gradients; the direction is the first one's."""
    net, x = setting("mlp")
    y = torch.randn_like(x)
    shared = list(net.trunk.parameters())

    def rows(x: Tensor) -> Tensor:
        grads = [torch.autograd.grad(v, shared, retain_graph=True) for v in net.losses(x).values()]
        return torch.stack([torch.cat([g.flatten() for g in row]) for row in grads])

    J, K = rows(x), rows(y)
    w = M.MoDo().weigh(M.Seen(gramian=J @ K.T), M.MoDo().start(3))[0]
    tasks = MultiTask(net, M.MoDo(), level="jacobian")
    tasks.backward(net.losses(x), other=net.losses(y))
    got = torch.cat([p.grad.flatten() for p in shared])  # type: ignore[union-attr]
    assert torch.allclose(got, w @ J, atol=1e-9)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["plain", "rows twice", "zeros", "sizes over 20 decades"])
def test_fewer_samples_than_inputs(kind: str, bias: bool) -> None:
    """Then the products come from a QR of the inputs, of whatever rank."""
    torch.manual_seed(0)
    x = torch.randn(6, 30)
    if kind == "rows twice":
        x[3:] = x[:3]
    elif kind == "zeros":
        x[1:] = 0
    elif kind == "sizes over 20 decades":
        x *= 10 ** torch.linspace(-10, 10, 6)[:, None]
    trunk = nn.Linear(30, 9, bias=bias)
    heads = nn.ModuleList(nn.Linear(9, 1) for _ in range(4))

    def losses() -> dict[str, Tensor]:
        h = trunk(x).tanh()
        return {str(i): head(h).square().mean() for i, head in enumerate(heads)}

    found = []
    for level in ("gramian", "jacobian"):
        tasks = MultiTask(trunk, M.UPGrad(), level=level)  # type: ignore[arg-type]
        tasks.backward(losses())
        assert tasks.gramian is not None
        found.append(tasks.gramian)
    assert torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-5 * float(found[1].diagonal().max()))


# ----------------------------------------------------------------------------------------------- memory, compiled parts

STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def kilobytes(what: str) -> int:
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(what))


def peak(tasks: int, level: Any, width: int = 3200) -> float:
    """What ``backward`` takes at its highest, in gradients of the trunk."""
    trunk, heads = nn.Linear(width, width), nn.ModuleList(nn.Linear(width, 1) for _ in range(tasks))
    h = trunk(torch.randn(8, width)).tanh()
    losses = {str(i): head(h).square().mean() for i, head in enumerate(heads)}
    mt = MultiTask(nn.ModuleList([trunk, heads]), M.UPGrad(level=level))
    PEAK.write_text("5")  # the peak is counted from here on
    before = kilobytes("VmRSS")
    mt.backward(losses)
    return (kilobytes("VmHWM") - before) * 1024 / (4 * width * width)


@pytest.mark.skipif(not PEAK.exists(), reason="the peak of a process's memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_tasks_but_for_rows_of_their_gradients() -> None:
    peak(2, "features")  # what the first call takes for good
    assert peak(8, "gramian") < 1.5
    assert peak(8, "features") < 1.5
    assert peak(8, "jacobian") > 8 - 0.5


@pytest.mark.slow
def test_a_compiled_trunk_gives_the_same() -> None:
    for level in (*LEVELS, "features"):
        found = []
        for compiled in (False, True):
            torch.manual_seed(0)
            net, x = Net(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))), torch.randn(16, 6)
            parameters = list(net.parameters())
            if compiled:
                net.trunk.compile(backend="aot_eager")
            MultiTask(net, M.UPGrad(level=level)).backward(net.losses(x))
            found.append([p.grad for p in parameters])
        torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
