"""How the C library keeps the memory that tensors on a CPU are made of."""

from __future__ import annotations

import ctypes
import logging
import platform

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_MIB = 1024 * 1024


def keep_freed_memory() -> bool:
    """Lets the process keep the memory of freed tensors for the next ones; whether the C library can (glibc).

    As it comes, glibc asks the kernel for every large tensor anew and gives it back at once: a training step then
    spends half its time on pages that are mapped and zeroed over and over (`benchmarks/bench_train.py` measures both).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # -1: never given back, however much is free
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 256 * _MIB))
    is_set = all(mallopt(name, value) == 1 for name, value in settings)
    if not is_set:
        logger.warning("malloc does not take its settings: steps on this CPU may be slower than they could be")
    return is_set
