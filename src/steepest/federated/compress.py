"""What is sent in place of an update: real bytes, with indices, scales and framing, and back.

Every codec makes bytes of a vector and a vector of bytes; what is counted is the length of these bytes. One that is not
unbiased needs error feedback: what was not sent is kept, and added to what is sent next.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.errors import FederationError
from steepest.federated.named import Named, family, read

codec = dataclass(frozen=True, repr=False)
Array = np.ndarray[Any, Any]
HEAD = struct.Struct("<I")
"""In front of every message: the length of the vector."""


@dataclass(frozen=True, repr=False)
class Codec(Named):
    """A way to write a vector as bytes.

    Both sides know a ``key`` (the client, the round), from which they draw the same numbers, and the ``shapes`` of the
    model's parameters.
    """

    unbiased: ClassVar[bool] = False
    """True where the mean over its draws is the vector itself, so that nothing need be remembered."""
    linear: ClassVar[bool] = False
    """True where what is sent for a sum is the sum of what is sent, under one key: so it can be summed in secret."""

    def encode(self, x: Tensor, key: int, shapes: Sequence[tuple[int, ...]]) -> bytes:
        """The vector as bytes."""
        v = x.double().numpy()
        return HEAD.pack(len(v)) + self.write(v, np.random.default_rng(key), shapes)

    def decode(self, message: bytes, key: int, shapes: Sequence[tuple[int, ...]]) -> Tensor:
        """The vector that bytes say, in float64."""
        (size,) = HEAD.unpack_from(message)
        return torch.from_numpy(self.read(message[HEAD.size :], size, np.random.default_rng(key), shapes))

    def project(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        """The numbers that a linear codec sends, before they become bytes."""
        raise FederationError(f"{self} is not linear: what it sends of a sum is no sum.")

    def expand(self, values: Array, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        """A vector of such numbers, or of their sum."""
        raise FederationError(f"{self} is not linear: what it sends of a sum is no sum.")

    def write(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> bytes:
        """What a codec sends behind the number of entries."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a vector is written")

    def read(self, data: bytes, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        """What it makes of that again."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a vector is read")


class Linear:
    """A codec that sends numbers which may be added up: they are its bytes."""

    linear: ClassVar[bool] = True

    def write(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> bytes:
        data: bytes = self.project(v, random, shapes).astype("<f4").tobytes()  # type: ignore[attr-defined]
        return data

    def read(self, data: bytes, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        values = np.frombuffer(data, "<f4").astype(np.float64)
        found: Array = self.expand(values, size, random, shapes)  # type: ignore[attr-defined]
        return found


@codec
class Float32(Linear, Codec):
    """The numbers as they are, 4 bytes each: what is sent where nothing is compressed."""

    unbiased: ClassVar[bool] = True

    def project(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        return v

    def expand(self, values: Array, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        return values


@codec
class Topk(Codec):
    """The largest entries, with their places: gaps between them, 7 bits a byte, or a bit for each entry if shorter.

    Args:
        share: Which share of the entries; at least one.

    Source: Stich, Cordonnier and Jaggi 2018, arXiv:1809.07599 (sparsified SGD with memory).
    """

    share: float = hyper(0.01, "(0, 1]")

    def write(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> bytes:
        k = max(1, round(self.share * len(v)))
        places = np.sort(np.argpartition(np.abs(v), len(v) - k)[len(v) - k :])
        return packed_places(places, len(v)) + v[places].astype("<f4").tobytes()

    def read(self, data: bytes, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        places, at = unpacked_places(data, size)
        out = np.zeros(size)
        out[places] = np.frombuffer(data, "<f4", len(places), at)
        return out


@codec
class Randomk(Linear, Codec):
    """Entries drawn at random, the same on both sides, so that no places are sent.

    Args:
        share: Which share of the entries; at least one.
    """

    share: float = hyper(0.01, "(0, 1]")

    def _places(self, size: int, random: np.random.Generator) -> Array:
        return random.permutation(size)[: max(1, round(self.share * size))]

    def project(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        return v[self._places(len(v), random)]

    def expand(self, values: Array, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        places, out = self._places(size, random), np.zeros(size)
        out[places] = values
        return out


@codec
class Sketch(Linear, Codec):
    """Count sketch: every entry, with a random sign, is added to one number of a shorter table.

    An entry is read as its number with its sign; what else lies there is as often added as subtracted, so the mean over
    draws is right, and the squared error of an entry is the squared length of the vector over that of a table. Of
    several tables the mean is read.

    Args:
        share: Which share of the entries all tables have together; at least one number each.
        tables: How many.

    Source: Charikar, Chen and Farach-Colton 2002, doi:10.1007/3-540-45465-9_59; for updates: Rothchild et al. 2020,
    arXiv:2007.07682, which reads the median and keeps what is left at the server.
    """

    share: float = hyper(0.25, "(0, 1]")
    tables: int = hyper(1, "[1, 64]", whole=True)

    unbiased: ClassVar[bool] = True

    def _hashes(self, size: int, random: np.random.Generator) -> tuple[int, list[tuple[Array, Array]]]:
        wide = max(1, round(self.share * size / self.tables))
        return wide, [
            (random.integers(0, wide, size), 2.0 * random.integers(0, 2, size) - 1) for _ in range(self.tables)
        ]

    def project(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        wide, hashes = self._hashes(len(v), random)
        return np.concatenate([np.bincount(place, sign * v, wide) for place, sign in hashes])

    def expand(self, values: Array, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        wide, hashes = self._hashes(size, random)
        tables = values.reshape(self.tables, wide)
        found: Array = np.mean([sign * table[place] for table, (place, sign) in zip(tables, hashes, strict=True)], 0)
        return found


@codec
class Qsgd(Codec):
    """Each bucket's norm, and each entry as one of ``2 s + 1`` levels of it, rounded so that the mean is right.

    Args:
        levels: ``s``.
        bucket: Entries that share a norm.

    Differs from: the paper, which codes levels by Elias's code; here all take ``ceil(log2(2 s + 1))`` bits.
    Source: Alistarh et al. 2016, arXiv:1610.02132, section 3.1 and bucketing in section 4.
    """

    levels: int = hyper(7, "[1, 127]", whole=True)
    bucket: int = hyper(512, "[1, inf)", whole=True)

    unbiased: ClassVar[bool] = True

    def write(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> bytes:
        wide = _buckets(v, self.bucket)
        norms = np.linalg.norm(wide, axis=1).astype("<f4")
        sent = norms.astype(np.float64)
        scale = np.where(sent > 0, self.levels / np.maximum(sent, 1e-300), 0.0)
        level = np.floor(np.abs(wide) * scale[:, None] + random.random(wide.shape))
        signed = (np.sign(wide) * np.minimum(level, self.levels)).astype(np.int16).reshape(-1)[: len(v)]
        head: bytes = norms.tobytes()
        return head + packed(signed + self.levels, self._bits)

    def read(self, data: bytes, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        n = -(-size // self.bucket)
        norms = np.frombuffer(data, "<f4", n).astype(np.float64)
        signed = unpacked(data[4 * n :], size, self._bits).astype(np.float64) - self.levels
        return signed * np.repeat(norms, self.bucket)[:size] / self.levels

    @property
    def _bits(self) -> int:
        return (2 * self.levels).bit_length()


@codec
class Int8(Codec):
    """A byte an entry: a share of the bucket's largest, rounded at random so that the mean is right.

    Args:
        bucket: Entries that share a scale.
    """

    bucket: int = hyper(512, "[1, inf)", whole=True)

    unbiased: ClassVar[bool] = True

    def write(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> bytes:
        wide = _buckets(v, self.bucket)
        largest = np.abs(wide).max(1)
        scale = np.nextafter((largest / 127).astype("<f4"), np.float32(np.inf)) * (largest > 0)
        level = np.floor(wide / np.where(scale > 0, scale, 1.0)[:, None] + random.random(wide.shape))
        head: bytes = scale.astype("<f4").tobytes()
        return head + level.clip(-127, 127).astype(np.int8).reshape(-1)[: len(v)].tobytes()

    def read(self, data: bytes, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        n = -(-size // self.bucket)
        scale = np.frombuffer(data, "<f4", n).astype(np.float64)
        return np.frombuffer(data, np.int8, size, 4 * n) * np.repeat(scale, self.bucket)[:size]


@codec
class Sign(Codec):
    """A bit an entry, and for each parameter the mean size of its entries.

    Source: Karimireddy et al. 2019, arXiv:1901.09847, Algorithm 1 (scaled sign with error feedback).
    """

    def write(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> bytes:
        sizes = [max(1, int(np.prod(s))) for s in shapes]
        means = [np.abs(v[a:b]).mean() for a, b in _spans(sizes)]
        return np.array(means, "<f4").tobytes() + np.packbits(v >= 0).tobytes()

    def read(self, data: bytes, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        sizes = [max(1, int(np.prod(s))) for s in shapes]
        means = np.frombuffer(data, "<f4", len(sizes)).astype(np.float64)
        bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=4 * len(sizes)), count=size)
        return (2.0 * bits - 1.0) * np.repeat(means, sizes)


@codec
class PowerSgd(Codec):
    """Each matrix as a product of two thin ones, found by one step of the power method; vectors as they are.

    Args:
        rank: Columns of the thin matrices.

    Differs from: the paper, which begins at the last round's factor; here both sides draw the beginning, so that a
    client that was away has nothing to remember. What is sent of each client is its own two factors.
    Source: Vogels, Karimireddy and Jaggi 2019, arXiv:1905.13727, Algorithm 1.
    """

    rank: int = hyper(2, "[1, inf)", whole=True)

    def write(self, v: Array, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> bytes:
        out = []
        for own, shape in self._parts(v, shapes):
            if self._thin(shape):
                M = own.reshape(shape[0], -1)
                P = np.linalg.qr(M @ random.standard_normal((M.shape[1], self.rank)))[0]
                out += [P.astype("<f4").tobytes(), (M.T @ P).astype("<f4").tobytes()]
            else:
                out.append(own.astype("<f4").tobytes())
        return b"".join(out)

    def read(self, data: bytes, size: int, random: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> Array:
        values, at, found = np.frombuffer(data, "<f4").astype(np.float64), 0, []
        for own, shape in self._parts(np.zeros(size), shapes):
            if self._thin(shape):
                m, n = shape[0], own.size // shape[0]
                P = values[at : at + m * self.rank].reshape(m, self.rank)
                Q = values[at + P.size : at + P.size + n * self.rank].reshape(n, self.rank)
                at += P.size + Q.size
                found.append((P @ Q.T).reshape(-1))
            else:
                found.append(values[at : at + own.size])
                at += own.size
        return np.concatenate(found)

    def _thin(self, shape: tuple[int, ...]) -> bool:
        """Whether two thin factors are shorter than the matrix."""
        if len(shape) < 2:
            return False
        m, n = shape[0], int(np.prod(shape[1:]))
        return self.rank < min(m, n) and self.rank * (m + n) < m * n

    def _parts(self, v: Array, shapes: Sequence[tuple[int, ...]]) -> list[tuple[Array, tuple[int, ...]]]:
        sizes = [max(1, int(np.prod(s))) for s in shapes]
        return [(v[a:b], shape) for (a, b), shape in zip(_spans(sizes), shapes, strict=True)]


def _spans(sizes: Sequence[int]) -> list[tuple[int, int]]:
    ends = np.cumsum(sizes).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _buckets(v: Array, bucket: int) -> Array:
    n = -(-len(v) // bucket)
    wide = np.zeros(n * bucket)
    wide[: len(v)] = v
    return wide.reshape(n, bucket)


# ------------------------------------------------------------------------------------------------------ bits and places


def packed(values: Array, bits: int) -> bytes:
    """Whole numbers below ``2 ** bits``, side by side.

    >>> unpacked(packed(np.array([5, 0, 7]), 3), 3, 3).tolist()
    [5, 0, 7]
    """
    places = (values[:, None] >> np.arange(bits)) & 1
    data: bytes = np.packbits(places.astype(np.uint8).reshape(-1)).tobytes()
    return data


def unpacked(data: bytes, count: int, bits: int) -> Array:
    """What :func:`packed` wrote."""
    places = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits).reshape(count, bits)
    found: Array = (places.astype(np.int64) << np.arange(bits)).sum(1)
    return found


def packed_places(places: Array, size: int) -> bytes:
    """Increasing places below ``size``, in the shorter of two ways, with a byte that says which, and their number.

    >>> unpacked_places(packed_places(np.array([3, 200, 70000]), 10**6), 10**6)[0].tolist()
    [3, 200, 70000]
    """
    gaps = np.diff(places, prepend=-1) - 1
    width = max(1, -(-int(gaps.max(initial=0)).bit_length() // 7))
    digits = np.stack([gaps >> (7 * i) for i in range(width)], 1)
    more = np.cumsum((digits > 0)[:, ::-1], 1)[:, ::-1] > 0
    more[:, 0] = True
    last = np.concatenate([~more[:, 1:], np.ones((len(digits), 1), bool)], 1)
    data = ((digits & 127) | np.where(last, 0, 128)).astype(np.uint8)[more].tobytes()
    mask = np.zeros(size, np.uint8)
    mask[places] = 1
    bitmap = np.packbits(mask).tobytes()
    way, data = (0, data) if len(data) <= len(bitmap) else (1, bitmap)
    return struct.pack("<BI", way, len(places)) + data


def unpacked_places(data: bytes, size: int) -> tuple[Array, int]:
    """What :func:`packed_places` wrote, and where it ends."""
    way, count = struct.unpack_from("<BI", data)
    at = struct.calcsize("<BI")
    if way == 1:
        end = at + -(-size // 8)
        return np.flatnonzero(np.unpackbits(np.frombuffer(data[at:end], np.uint8), count=size)), end
    raw = np.frombuffer(data, np.uint8, offset=at)
    ends = np.flatnonzero(raw < 128)[:count]
    stop = int(ends[-1]) + 1 if count else 0
    raw = raw[:stop].astype(np.int64)
    number = np.concatenate([[0], np.cumsum(raw < 128)[:-1]])
    starts = np.concatenate([[0], ends[:-1] + 1])
    gaps = np.zeros(count, np.int64)
    np.add.at(gaps, number, (raw & 127) << (7 * (np.arange(stop) - starts[number])))
    return np.cumsum(gaps + 1) - 1, at + stop


@cache
def codecs() -> dict[str, type[Codec]]:
    """Every codec by its name in the text form."""
    return family(Codec)


def as_codec(given: Any) -> Codec | None:
    """A codec from itself or its text; None for none.

    >>> as_codec("topk:0.05"), as_codec("qsgd(levels=3)")
    (topk(share=0.05), qsgd(levels=3))
    """
    if given is None or isinstance(given, Codec):
        return given
    made: Codec = read("compression", given, codecs())
    return made
