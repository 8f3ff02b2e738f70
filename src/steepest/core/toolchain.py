"""Build a C++ source into a library once, keep it on disk, load it at once the next time."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from steepest.core.errors import SteepestError

# Most of the time goes into reading headers: <algorithm>, and what C++17 adds to <cmath>, took two thirds of it.
COMMON = ("-O3", "-std=c++14", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
VARIANTS = (
    ("-march=native", "-mprefer-vector-width=512", "-fopenmp"),
    ("-march=native", "-fopenmp"),
    ("-mcpu=native", "-fopenmp"),
    ("-march=native", "-fopenmp-simd"),
    ("-mcpu=native", "-fopenmp-simd"),
    ("-fopenmp-simd",),
    (),
)
"""Tried in order: some compilers have no OpenMP, some no -march=native."""


class NoCompiler(SteepestError):
    """No C++ compiler is on this machine, or it cannot build a kernel."""


@functools.cache
def compiler() -> tuple[str, ...] | None:
    """The command of the C++ compiler: ``$CXX`` (which may hold arguments, ``ccache g++``), else g++, clang++ or c++.

    None when there is none, or with ``STEEPEST_COMPILE=0``.
    """
    if os.environ.get("STEEPEST_COMPILE") == "0":
        return None
    named = os.environ.get("CXX", "").strip()
    candidates = [[named], shlex.split(named)] if named else [["g++"], ["clang++"], ["c++"]]
    for program, *arguments in candidates:
        if path := shutil.which(program):
            return path, *arguments
    return None


@functools.cache
def _machine() -> str:
    """What the meaning of -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        chip = "".join(line for line in lines if line.startswith(("flags", "Features", "model name")))
    except OSError:
        chip = platform.processor()
    return f"{platform.system()} {platform.machine()} {chip}"


def cache_folders() -> Iterator[Path]:
    """Where kernels are kept: ``$STEEPEST_CACHE``, else the user's cache folder, else a folder for this process."""
    if os.environ.get("STEEPEST_CACHE"):
        yield Path(os.environ["STEEPEST_CACHE"])
    else:
        with contextlib.suppress(RuntimeError):  # a user without a home
            yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steepest" / "kernels"
    yield _private()


@functools.cache
def _private() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="steepest-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def problem(number: str = "float") -> str | None:
    """Why kernels of a C++ number type cannot be built here, or None (a small one is tried, once a process)."""
    try:
        probe = load(f'extern "C" int steepest_probe(int x) {{ {number} y = x; return int(y + 1); }}\n')
    except NoCompiler as reason:
        return str(reason)
    return None if probe.steepest_probe(1) == 2 else "a kernel gave a wrong answer"


def load(source: str, *, contract: bool = False) -> ctypes.CDLL:
    """The library of a source, from the cache or newly built; :class:`NoCompiler` when that cannot be.

    With ``contract`` a product and a sum may be rounded once instead of twice.
    """
    cxx = compiler()
    if cxx is None:
        raise NoCompiler("no C++ compiler was found (looked for $CXX, g++, clang++, c++)")
    stats = [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, filter(None, map(shutil.which, cxx)))]
    flags = (*COMMON, f"-ffp-contract={'fast' if contract else 'off'}")
    key = f"{source}\0{cxx} {stats}\0{_machine()}\0{flags}{VARIANTS}"
    name = hashlib.sha256(key.encode()).hexdigest()[:32] + ".so"
    problem: Exception = NoCompiler("no folder for kernels can be written")
    for folder in cache_folders():
        path = folder / name
        try:
            return ctypes.CDLL(str(path))  # absent or damaged: OSError
        except OSError:
            pass
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _build(cxx, flags, source, path)
            return ctypes.CDLL(str(path))
        except OSError as error:  # read-only, full, or mounted without execution: try the next folder
            problem = error
    raise NoCompiler(f"a kernel could not be stored or loaded: {problem}")


def _build(cxx: tuple[str, ...], common: tuple[str, ...], source: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        code, built = Path(scratch) / "kernel.cpp", Path(scratch) / "kernel.so"
        code.write_text(source)
        said = ""
        for flags in VARIANTS:
            run = subprocess.run(
                [*cxx, *common, *flags, str(code), "-o", str(built)], capture_output=True, text=True, check=False
            )
            if run.returncode == 0:
                os.replace(built, path)  # whole or not at all, also when several processes build the same kernel
                return
            said = said or run.stderr
    raise NoCompiler(f"{' '.join(cxx)} could not build a kernel: {said.strip()[:400]}")
