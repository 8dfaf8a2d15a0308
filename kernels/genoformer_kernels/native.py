"""The alignment loss on a CPU by alignment.cpp, compiled for this machine on first use and loaded with ctypes.

The shared library goes into a folder that only the user can write, under a name made of the source, the command, the
compiler and the processor, so that a home directory shared by unlike machines holds one library for each.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from genoformer_kernels import arguments

CACHE_VARIABLE = "GENOFORMER_CACHE_DIR"
_SOURCE = Path(__file__).with_name("alignment.cpp")
_FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi",
    "-shared", "-fPIC", "-pthread",
)  # fmt: skip
_COMPILERS = ("c++", "g++", "clang++")
_BUILD_SECONDS = 300
_NO_MEMORY, _UNKNOWN_SYMBOL = 1, 2  # `Status` of alignment.cpp


class NativeUnavailableError(RuntimeError):
    """Why the native kernel cannot be built or loaded here."""


class UnknownSymbolError(ValueError):
    """A label holds what is neither a gap nor a base."""


class _Task(ctypes.Structure):
    """`AlignmentTask` of alignment.cpp."""

    _fields_ = [
        ("probs", ctypes.c_void_p),
        ("probs_stride", ctypes.c_int64 * 3),
        ("labels", ctypes.c_void_p),
        ("labels_stride", ctypes.c_int64 * 2),
        ("batch", ctypes.c_int64),
        ("num_bases", ctypes.c_int64),
        ("num_columns", ctypes.c_int64),
        ("deletion_cost", ctypes.c_float),
        ("temperature", ctypes.c_float),
        ("loss", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("posterior", ctypes.c_void_p),
        ("num_threads", ctypes.c_int64),
        ("parallel", ctypes.c_void_p),
    ]


def cache_folder() -> Path:
    """Where compiled libraries go: $GENOFORMER_CACHE_DIR, else genoformer in the user's cache folder.

    Raises:
        NativeUnavailableError: the user has no home.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genoformer"
    except RuntimeError as error:  # a container's user may have neither $HOME nor an entry among the users
        raise NativeUnavailableError(f"there is no cache folder: {error}; set {CACHE_VARIABLE}") from error


def _private_folder(folder: Path) -> Path:
    """`folder`, made if need be; what is loaded from it is run, so nobody else may write there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise NativeUnavailableError(f"cannot make the cache folder {folder}: {error}; set {CACHE_VARIABLE}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise NativeUnavailableError(
            f"{folder} is not a folder of this user alone (owner {status.st_uid}, mode "
            f"{stat.S_IMODE(status.st_mode):o}); run `chmod 700` on it or set {CACHE_VARIABLE} to another"
        )
    return folder


def _compiler() -> list[str]:
    try:
        chosen = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise NativeUnavailableError(f"CXX is {os.environ['CXX']!r}, no command: {error}") from error
    candidates = [chosen] if chosen else [[name] for name in _COMPILERS]
    for words in candidates:
        if found := shutil.which(words[0]):
            return [found, *words[1:]]
    raise NativeUnavailableError(f"no C++ compiler is on PATH (looked for {', '.join(c[0] for c in candidates)})")


def _processor() -> str:
    """What the processor can do, as text."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join([platform.machine(), platform.processor(), *sorted({x for x in lines if x.startswith(wanted)})])


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Keeps what asks a run to stop, and Slurm sends to all of its processes, from ending a compiler started inside."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(command: list[str]) -> str:
    try:
        with _signals_held_back():
            result = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_BUILD_SECONDS, check=False
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeUnavailableError(f"{shlex.join(command)}: {error}") from error
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        cause = next((line for line in lines if "error" in line), lines[-1])
        raise NativeUnavailableError(f"{shlex.join(command)} ended with status {result.returncode}: {cause}")
    return result.stdout


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    """Holds `file`'s lock, so that of several processes one compiles and the others wait for it."""
    with open(file, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_library() -> Path:
    """The compiled library, from the cache or built now.

    Raises:
        NativeUnavailableError: no compiler, a compiler that fails, or a cache folder that others can write.
    """
    compiler = _compiler()
    recipe = [_SOURCE.read_text(), *_FLAGS, *compiler, _run([*compiler, "--version"]), _processor()]
    key = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:20]
    folder = _private_folder(cache_folder())
    library = folder / f"alignment-{key}.so"
    try:
        with _lock(folder / "alignment.lock"):
            if not library.exists():
                with tempfile.TemporaryDirectory(dir=folder) as unfinished:
                    target = Path(unfinished) / library.name
                    _run([*compiler, *_FLAGS, str(_SOURCE), "-o", str(target)])
                    target.replace(library)
    except OSError as error:
        raise NativeUnavailableError(f"cannot write to the cache folder {folder}: {error}") from error
    return library


@functools.cache
def _load() -> ctypes.CDLL | str:
    """The library, or why there is none; asked once a process."""
    try:
        library = ctypes.CDLL(str(build_library()))
    except NativeUnavailableError as error:
        return str(error)
    except OSError as error:
        return f"the compiled library cannot be loaded: {error}"
    library.genoformer_align.argtypes = [ctypes.POINTER(_Task)]
    library.genoformer_align.restype = ctypes.c_int
    return library


@functools.cache
def _team_launcher() -> int | None:
    """Address of GOMP_parallel in the OpenMP library of torch, or None: the kernel then starts threads of its own.

    Threads of OpenMP spin for milliseconds after torch has used them, on the cores that threads of ours would need.
    """
    try:
        return ctypes.cast(ctypes.CDLL(torch._C.__file__).GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None


def unavailable_reason() -> str | None:
    """Why the native kernel cannot be used on this machine, or None; compiles it if that has not been done."""
    loaded = _load()
    return loaded if isinstance(loaded, str) else None


def refusal(probs: Tensor) -> str | None:
    """Why the kernel cannot run on this tensor's device or this machine; None where it can."""
    if probs.device.type != "cpu":
        return f"it runs on the CPU; the tensors are on {probs.device.type}"
    return unavailable_reason()


def solve(
    probs: Tensor,
    labels: Tensor,
    *,
    deletion_cost: float,
    temperature: float | None,
    gradient: bool = False,
    posterior: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Loss [B], d loss / d probs [B, L, 5] and d loss / d S [B, M, L], float32; the last two where asked for.

    Args:
        probs: [B, L, 5], on the CPU, any strides; arithmetic is in float32.
        labels: [B, M], whole numbers 0 .. 4, any strides.
        temperature: None for the hard minimum.
    Raises:
        ValueError: shapes, types or parameters that do not fit; see `arguments`.
        NativeUnavailableError: see `refusal`.
        MemoryError: a thread's table, up to 128 bytes a cell, does not fit.
        UnknownSymbolError: another symbol in a label.
    """
    arguments.check(probs, labels, deletion_cost=deletion_cost, temperature=temperature)
    if reason := refusal(probs):
        raise NativeUnavailableError(reason)
    library = _load()
    assert not isinstance(library, str)  # or there would be a reason
    probs, labels = probs.detach().to(torch.float32), labels.to(torch.int64)
    batch, num_columns, num_classes = probs.shape
    num_bases = labels.shape[1]
    loss = probs.new_empty(batch)
    probs_gradient = probs.new_empty(batch, num_columns, num_classes) if gradient else None
    matches = probs.new_empty(batch, num_bases, num_columns) if posterior else None
    task = _Task(
        probs=probs.data_ptr(),
        probs_stride=(ctypes.c_int64 * 3)(*probs.stride()),
        labels=labels.data_ptr(),
        labels_stride=(ctypes.c_int64 * 2)(*labels.stride()),
        batch=batch,
        num_bases=num_bases,
        num_columns=num_columns,
        deletion_cost=deletion_cost,
        temperature=temperature or 0.0,
        loss=loss.data_ptr(),
        gradient=None if probs_gradient is None else probs_gradient.data_ptr(),
        posterior=None if matches is None else matches.data_ptr(),
        num_threads=torch.get_num_threads(),
        parallel=_team_launcher(),
    )
    status = library.genoformer_align(ctypes.byref(task))
    if status == _NO_MEMORY:
        raise MemoryError(f"no memory for an alignment table of {num_bases} x {num_columns} cells of up to 128 bytes")
    if status == _UNKNOWN_SYMBOL:
        raise UnknownSymbolError("a label holds a symbol outside 0 .. 4")
    return loss, probs_gradient, matches
