"""Recurrent layers, step by step in time: one batched product a step for all members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.fleet.layers.linear import products
from steepest.fleet.layers.noise import dropped
from steepest.fleet.lowering import Members, lowers


class LSTM(torch.autograd.Function):
    """One direction of one layer: ``x`` (K, T, B, 4H) are the gates from the input, ``u`` (K, 4H, H) acts on ``h``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, u: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        n = h.shape[-1]
        steps = x.shape[1]
        hs, cs = x.new_empty(x.shape[0], steps + 1, *h.shape[1:]), []
        gates = torch.empty_like(x)
        hs[:, 0], before = h, u.mT
        cs.append(c)
        for t in range(steps):
            a = gates[:, t]
            torch.baddbmm(x[:, t], hs[:, t], before, out=a)
            a[..., : 2 * n].sigmoid_()
            a[..., 2 * n : 3 * n].tanh_()
            a[..., 3 * n :].sigmoid_()
            i, f, g, o = torch.split(a, n, -1)
            c = (i * g).addcmul_(f, c)
            cs.append(c)
            torch.mul(o, c.tanh(), out=hs[:, t + 1])
        ctx.save_for_backward(u, gates, hs, *cs)
        return hs[:, 1:], c

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (to_h, to_c), (u, gates, hs, *cs) = grads, ctx.saved_tensors
        n = u.shape[-1]
        dx = torch.empty_like(gates)
        dh, dc = torch.zeros_like(cs[0]), to_c.clone()
        for t in range(gates.shape[1] - 1, -1, -1):
            i, f, g, o = torch.split(gates[:, t], n, -1)
            dh = dh + to_h[:, t]
            th = cs[t + 1].tanh()
            dc = dc.addcmul_(dh * o, 1 - th * th)
            a = dx[:, t]
            torch.mul(dc * g, i * (1 - i), out=a[..., :n])
            torch.mul(dc * cs[t], f * (1 - f), out=a[..., n : 2 * n])
            torch.mul(dc * i, 1 - g * g, out=a[..., 2 * n : 3 * n])
            torch.mul(dh * th, o * (1 - o), out=a[..., 3 * n :])
            dh = torch.bmm(a, u)
            dc = dc * f
        du = torch.bmm(dx.flatten(1, 2).mT, hs[:, :-1].flatten(1, 2))
        return dx, du, dh, dc


def _lstm(x: Tensor, u: Tensor, b: Tensor | None, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    if b is not None:
        x = x + b[:, None, None]
    hs, c = LSTM.apply(x, u, *state)  # type: ignore[no-untyped-call]
    return hs, [hs[:, -1], c]


def _gru(x: Tensor, u: Tensor, b: Tensor | None, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    (h,), n, out = state, u.shape[1] // 3, []
    b = u.new_zeros(len(u), 1, 1) if b is None else b[:, None]
    for t in range(x.shape[1]):
        a = x[:, t]
        past = torch.bmm(h, u.mT) + b
        r, z = torch.split((a[..., : 2 * n] + past[..., : 2 * n]).sigmoid(), n, -1)
        new = (a[..., 2 * n :] + r * past[..., 2 * n :]).tanh()
        h = new + z * (h - new)
        out.append(h)
    return torch.stack(out, 1), [h]


def _rnn(function: Any) -> Any:
    def rnn(x: Tensor, u: Tensor, b: Tensor | None, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        (h,), out = state, []
        x = x if b is None else x + b[:, None, None]
        for t in range(x.shape[1]):
            h = function(torch.baddbmm(x[:, t], h, u.mT))
            out.append(h)
        return torch.stack(out, 1), [h]

    return rnn


def _recurrent(function: Any, run: Any, many: bool) -> None:
    def recurrent(
        members: Members,
        input: Tensor,
        hx: Any,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> Any:
        states = list(hx) if many else [hx]
        per = (4 if has_biases else 2) * (2 if bidirectional else 1) * num_layers
        if not members.known(input, *states, *params) or input.ndim != 3 or len(params) != per:
            return NotImplemented  # a packed sequence, or an LSTM with a projection
        x = members.bare(input)
        x = x.transpose(1, 2) if batch_first else x
        begin = [members.bare(s) for s in states]
        weights = iter([members.bare(p) for p in params])
        ends: list[list[Tensor]] = []
        for layer in range(num_layers):
            both = []
            for way in range(2 if bidirectional else 1):
                w, u = next(weights), next(weights)
                b, c = (next(weights), next(weights)) if has_biases else (None, None)
                a = products(x, w, b)
                a = a.flip(1) if way else a
                at = len(ends)
                y, end = run(a, u, c, [s[:, at].contiguous() for s in begin])
                both.append(y.flip(1) if way else y)
                ends.append(end)
            x = torch.cat(both, -1) if bidirectional else both[0]
            if dropout and train and layer < num_layers - 1:
                x = dropped(members, x, dropout)
        x = x.transpose(1, 2) if batch_first else x
        last = [members.hide(torch.stack(column, 1)) for column in zip(*ends, strict=True)]
        return (members.hide(x), *last)

    lowers(function)(recurrent)


_recurrent(torch.lstm, _lstm, many=True)
_recurrent(torch.gru, _gru, many=False)
_recurrent(torch.rnn_tanh, _rnn(torch.tanh), many=False)
_recurrent(torch.rnn_relu, _rnn(torch.relu), many=False)
