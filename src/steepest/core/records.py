"""A run as plain data in a folder: what ran, what was measured, and where to go on.

.. code-block:: text

    run.json                 what ran: task, strategy, seed, steps (or experiment.json, for many runs)
    metrics.jsonl            one JSON object a line, append-only
    checkpoint.pt            the newest state; checkpoint.previous.pt is the one before it
    result.json              how it ended; written last

Every file but ``metrics.jsonl`` appears whole or not at all: it is written under another name, flushed to the disk and
renamed. A line of ``metrics.jsonl`` that was torn by a crash is dropped when the file is next opened. So a process may
be killed at any moment, and what is left on the disk is a state that it passed through.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import platform
import re
import shlex
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.errors import CheckpointError, RecordError

SCHEMA = 1
"""The version of the folder layout that this module writes."""

EXPERIMENT, RUN, RESULT = "experiment.json", "run.json", "result.json"
METRICS, SUMMARY = "metrics.jsonl", "summary.json"
FINDINGS = "findings.json"
"""What the doctor found, in the folder of a run or of a comparison."""
RECOMMENDATION = "recommend.json"
"""What was tried, kept and rejected on the way to a recommendation."""
CHECKPOINT, PREVIOUS, DAMAGED = "checkpoint.pt", "checkpoint.previous.pt", "checkpoint.damaged.pt"
STABLE = "checkpoint.stable.pt"
"""The last checkpoint that a longer run would have had too; kept where the schedule knows of one before the end."""

# ---------------------------------------------------------------------------------------------- whole files


@contextlib.contextmanager
def _says_disk_full(path: Path) -> Iterator[None]:
    """Turn "no space left" into an error that says what is still there."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise RecordError(
            f"no space left to write {path} ({os.strerror(error.errno)}). What was there before is intact: "
            "free some space and go on from the last checkpoint."
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file as a whole: after a crash it holds the old bytes or the new ones, never a mixture."""
    os.replace(_draft(path, data), path)
    _sync_folder(path.parent)


def _draft(path: Path, data: bytes) -> Path:
    """The bytes under a name beside ``path``, on the disk before anything takes that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _says_disk_full(path):
        try:
            with open(draft, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    return draft


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written; only for who holds the :func:`lock`."""
    for draft in folder.glob(".*.tmp"):
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def plain(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinities become null, tensors and tuples lists, paths text.

    >>> plain({"loss": float("nan"), "betas": (0.9, 0.99)})
    {'loss': None, 'betas': [0.9, 0.99]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file as a whole."""
    write_bytes(path, (json.dumps(plain(value), indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; a missing or torn file is a :class:`RecordError` that names it."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(f"{path} is not there. {_what_is_there(path.parent)}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is not JSON ({error}). It was cut or changed; delete it to write it anew.") from None
    if not isinstance(value, dict):
        raise RecordError(f"{path} holds a {type(value).__name__}, not an object.")
    return value


def _what_is_there(folder: Path) -> str:
    if not folder.exists():
        return f"There is no folder {folder}."
    if not folder.is_dir():
        return f"{folder} is not a folder."
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))[:8]
    return f"The folder holds: {', '.join(names)}." if names else "The folder is empty."


def read_run(folder: Path) -> dict[str, Any]:
    """The ``run.json`` of a run folder, or a :class:`RecordError` that says what is there instead."""
    return read_json(Path(folder) / RUN)


def read_result(folder: Path) -> dict[str, Any] | None:
    """The ``result.json`` of a run folder; None while the run has not ended (or the file cannot be read)."""
    try:
        return read_json(Path(folder) / RESULT)
    except RecordError:
        return None


def slug(text: str) -> str:
    """A folder name for a text: readable, and different for different texts.

    >>> slug("adamw(lr=3e-3) | cosine")
    'adamw-lr-3e-3-cosine-6c67b867'
    """
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:48].rstrip("-.")
    return f"{readable or 'run'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


# ------------------------------------------------------------------------------------------------- metrics


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every line of a metrics file. A last line that was torn is left out; a damaged line elsewhere is an error."""
    entries, _ = _scan(path)
    return [entry for entry, _ in entries]


def _scan(path: Path) -> tuple[list[tuple[dict[str, Any], int]], int]:
    """Each entry with the offset behind it, and the size of the sound part."""
    data = path.read_bytes() if path.exists() else b""
    entries: list[tuple[dict[str, Any], int]] = []
    end, pieces = 0, data.split(b"\n")
    for number, line in enumerate(pieces, start=1):
        last = number >= len(pieces) - 1  # the last whole line, or what follows the last line break
        try:
            entry = json.loads(line)
            whole = isinstance(entry, dict) and number < len(pieces)
        except (json.JSONDecodeError, UnicodeDecodeError):
            whole = False
        if not whole:
            if not last:
                raise RecordError(
                    f"{path}, line {number} is damaged: {line[:60]!r}. Restore the file or start a new run."
                )
            break
        end += len(line) + 1
        entries.append((entry, end))
    return entries, end


class Metrics:
    """An append-only file of JSON lines.

    Opening repairs a torn last line; ``keep_until`` also drops every line of a later step, which is how a run that goes
    on from a checkpoint forgets what came after it.

    Args:
        path: The file, made if it is not there.
        keep_until: Keep lines whose ``"step"`` is at most this.
    """

    def __init__(self, path: Path, keep_until: int | None = None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        entries, size = _scan(path)
        if keep_until is not None:
            kept = [end for entry, end in entries if entry.get("step", 0) <= keep_until]
            size = kept[-1] if kept else 0
        if path.exists() and path.stat().st_size != size:
            os.truncate(path, size)
        self._file = open(path, "ab")  # noqa: SIM115 (closed by close)
        self._flushed = time.monotonic()

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append one line; it reaches the file within about a second, or at :meth:`flush`."""
        try:
            line = json.dumps(entry, allow_nan=False)
        except (ValueError, TypeError):  # rare: a NaN, a tensor
            line = json.dumps(plain(entry), allow_nan=False)
        with _says_disk_full(self.path):
            self._file.write(line.encode() + b"\n")
        if time.monotonic() - self._flushed > 1.0:
            self.flush()

    def flush(self, *, sync: bool = False) -> None:
        """Hand all lines to the system; ``sync`` waits until they are on the disk."""
        self._flushed = time.monotonic()
        with _says_disk_full(self.path):
            self._file.flush()
            if sync:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close."""
        with _says_disk_full(self.path):
            self._file.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(RecordError) if error is not None else contextlib.nullcontext():
            self.close()


# --------------------------------------------------------------------------------------------- checkpoints

_SEAL = b"steepest sha256 "
_SEAL_LENGTH = len(_SEAL) + 64


def _seal(data: bytes) -> bytes:
    """Append the checksum as the comment of the zip archive that ``torch.save`` makes; ``torch.load`` reads it."""
    seal = _SEAL + hashlib.sha256(data).hexdigest().encode()
    return data[:-2] + struct.pack("<H", len(seal)) + seal


def _unseal(data: bytes) -> bytes:
    """What was sealed; :class:`CheckpointError` when a byte is missing or different."""
    seal = data[-_SEAL_LENGTH:]
    if not seal.startswith(_SEAL):
        raise CheckpointError(f"it is cut short or not a checkpoint ({len(data)} bytes, no checksum at the end)")
    body = data[: -_SEAL_LENGTH - 2] + b"\0\0"
    if _SEAL + hashlib.sha256(body).hexdigest().encode() != seal:
        raise CheckpointError("its checksum does not fit its content")
    return body


def save_checkpoint(folder: Path, state: Mapping[str, Any], name: str = CHECKPOINT) -> None:
    """Write ``checkpoint.pt``, keeping the one before it as ``checkpoint.previous.pt``; or one of another name.

    ``state`` holds tensors, numbers, text, lists, tuples and dicts of them. The file can be read by ``torch.load`` too.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    draft = _draft(folder / name, _seal(buffer.getvalue()))
    if name == CHECKPOINT and (folder / CHECKPOINT).exists():
        _second_name(folder / CHECKPOINT, folder / PREVIOUS)
    os.replace(draft, folder / name)
    _sync_folder(folder)


def _second_name(path: Path, other: Path) -> None:
    """Give a file a second name, in place of what had it; its only name where the system has no links."""
    link = other.with_name(f".{other.name}.link")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        link = path
    os.replace(link, other)


def read_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """The content of one checkpoint file; :class:`CheckpointError` when it is damaged."""
    data = _unseal(path.read_bytes())
    try:
        state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} is sound but cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not the state of a run")
    return state


def load_checkpoint(folder: Path, device: str = "cpu") -> tuple[dict[str, Any] | None, str | None]:
    """The newest sound checkpoint of a run folder, and a sentence about what was wrong with a newer one.

    ``(None, None)`` when the run has none yet. A damaged ``checkpoint.pt`` is kept as ``checkpoint.damaged.pt``, so
    that it never takes the place of a sound one. When both are damaged: :class:`CheckpointError`.
    """
    reasons: list[str] = []
    for name in (CHECKPOINT, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            state = read_checkpoint(path, device)
        except CheckpointError as error:
            reasons.append(f"{path} is damaged: {error}")
            continue
        if name == PREVIOUS and (folder / CHECKPOINT).exists():
            os.replace(folder / CHECKPOINT, folder / DAMAGED)
        if name == PREVIOUS and not reasons:
            reasons.append(f"{folder / CHECKPOINT} is missing (the run was killed while replacing it)")
        step = f" of step {state['step']}" if "step" in state else ""
        note = f"{reasons[0]}. Went back to the previous checkpoint{step}." if reasons else None
        return state, note
    if reasons:
        raise CheckpointError("; ".join(reasons) + ". No sound checkpoint is left: start the run in a new folder.")
    return None, None


def load_model(model: nn.Module, state: Mapping[str, Tensor], source: str = "the checkpoint") -> None:
    """``model.load_state_dict`` that names the first parameter that differs.

    >>> load_model(nn.Linear(2, 3), nn.Linear(2, 4).state_dict())
    Traceback (most recent call last):
        ...
    steepest.core.errors.CheckpointError: the checkpoint is of another model: 'weight' has shape (4, 2) there
    and (3, 2) here.
    """
    here = model.state_dict()
    for name, value in here.items():
        if name not in state:
            raise CheckpointError(f"{source} is of another model: {name!r} {_shape(value)} is missing there.")
        if isinstance(value, Tensor) and state[name].shape != value.shape:
            raise CheckpointError(
                f"{source} is of another model: {name!r} has shape {tuple(state[name].shape)} there "
                f"and {tuple(value.shape)} here."
            )
    for name in state:
        if name not in here:
            raise CheckpointError(
                f"{source} is of another model: it holds {name!r} {_shape(state[name])}, unknown here."
            )
    model.load_state_dict(state)


def _shape(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""


# ------------------------------------------------------------------------------------- whose folder is this


def differences(there: Mapping[str, Any], here: Mapping[str, Any], fields: Sequence[str]) -> list[str]:
    """Which of the fields differ, in words, the first first."""
    found = []
    for field in fields:
        old, new = there.get(field), plain(here.get(field))
        if old != new:
            found.append(f"{field}: {_first_difference(old, new)}")
    return found


def _first_difference(old: Any, new: Any) -> str:
    """Where two JSON values part, and both values there."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            if a != b:
                return f"number {i + 1}, {_first_difference(a, b)}"
    if isinstance(old, dict) and isinstance(new, dict):
        for key in (*old, *(k for k in new if k not in old)):
            if key not in new or key not in old:
                return f"{key!r} is only {'there' if key in old else 'here'}"
            if old.get(key) != new.get(key):
                return f"{key} {_first_difference(old.get(key), new.get(key))}"
    return f"there {json.dumps(old)}, here {json.dumps(new)}"


def refuse_other(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Raise :class:`RecordError` when a folder belongs to an experiment with other settings."""
    found = differences(there, here, fields)
    if found:
        raise RecordError(
            f"{folder} belongs to a different experiment. {found[0]}. "
            "Give another output folder, or repeat the settings of that one."
        )


@contextlib.contextmanager
def lock(folder: Path, patience: float = 0.0) -> Iterator[int | None]:
    """Hold a folder for one process; the system lets go when the process ends, however it ends.

    Args:
        folder: Made if it is not there.
        patience: Seconds to wait for another holder (a worker whose parent was killed leaves within a step).

    Yields the handle (a forked child must close it), or None where the system knows no such locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield None
        return
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise RecordError(f"another process is at work in {folder}. Wait for it, or stop it.") from None
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
        yield handle
    finally:
        os.close(handle)


# ------------------------------------------------------------------------------------------------ provenance


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    try:
        own = metadata.version("steepest")
    except metadata.PackageNotFoundError:
        own = "unknown"
    return {"steepest": own, "torch": torch.__version__, "python": platform.python_version()}


def machine() -> dict[str, Any]:
    """The processor, its cores that this process may use, and the system; no host or user name."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found.group(1).strip() if found else name
    return {"cpu": name, "cores": cores(), "system": f"{platform.system()} {platform.release()}"}


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def commit() -> str | None:
    """The git commit of the working folder, with ``+`` when files differ from it; None outside a repository."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def command() -> str:
    """The command that runs here, as it would be typed again: ``python -m steepest.cli`` is ``steepest``."""
    if not sys.argv:
        return ""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = getattr(spec, "name", "") or ""
    name = Path(sys.argv[0]).name
    if module.split(".")[0] == "steepest":
        name = "steepest"
    return shlex.join([name, *sys.argv[1:]])


def provenance() -> dict[str, Any]:
    """What every record says of its origin: command, versions, machine, commit, time."""
    return {
        "command": command(),
        "versions": versions(),
        "machine": machine(),
        "commit": commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
