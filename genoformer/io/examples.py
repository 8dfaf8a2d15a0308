"""Shards of consensus examples: pileup windows and their labels in one HDF5 file.

    windows     uint8 [n, 3P + 3, L]   bases, pw and ip of the passes, CCS bases, CCS quality + 1, label
    ccs_start   int32 [n]              CCS position of the first base
    molecule    int32 [n]              index into the arrays below
    strand      uint8 [m, P]           0 absent, 1 forward, 2 reverse
    sn          float32 [m, 4]
    num_passes  uint8 [m]
    molecules   bytes [m]              names of the CCS reads
    attributes                         format_version, max_passes P, window_length L, split

Bases and labels are pileup codes; a quality of -1 is a gap.
"""

from __future__ import annotations

import functools
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genoformer.config import ConsensusConfig
from genoformer.errors import DataError
from genoformer.io.hdf5_shards import ShardFile, ShardWriter, deflate
from genoformer.io.subreads import NUM_SN

FORMAT_VERSION = 2


@dataclass(frozen=True)
class Examples:
    """Windows with labels. n windows.

    `features` uint8 [n, 3P + 1, L] are bases, pw, ip and CCS bases; `ccs_quals` int8 [n, L]; `labels` uint8 [n, L];
    `strand`, `sn`, `ccs_start`, `num_passes`, `molecule` as in the file.
    """

    features: np.ndarray
    ccs_quals: np.ndarray
    labels: np.ndarray
    strand: np.ndarray
    sn: np.ndarray
    ccs_start: np.ndarray
    num_passes: np.ndarray
    molecule: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, config: ConsensusConfig, dtype: npt.DTypeLike = np.int16) -> np.ndarray:
        """Model input, [n, R, L]; see `genoformer.datasets.pileup.window_rows`."""
        passes = config.max_passes
        rows: np.ndarray = np.zeros((len(self), config.num_rows, config.window_length), dtype=dtype)
        rows[:, : 3 * passes] = self.features[:, :-1]
        rows[:, 3 * passes : 4 * passes] = self.strand[:, :, None]
        rows[:, 4 * passes] = self.features[:, -1]
        if config.use_ccs_quality:
            rows[:, 4 * passes + 1] = self.ccs_quals
        rows[:, -NUM_SN:] = np.clip(self.sn, 0, np.iinfo(np.int16).max)[:, :, None]
        return rows

    @classmethod
    def from_rows(
        cls, rows: np.ndarray, config: ConsensusConfig, *, ccs_quals: np.ndarray, labels: np.ndarray,
        ccs_start: np.ndarray, num_passes: np.ndarray, molecule: np.ndarray,
    ) -> Examples:  # fmt: skip
        """Examples from model input [n, R, L] in float32."""
        passes = config.max_passes
        features = np.concatenate([rows[:, : 3 * passes], rows[:, 4 * passes, None]], axis=1)
        return cls(
            features.astype(np.uint8),
            ccs_quals.astype(np.int8),
            labels.astype(np.uint8),
            rows[:, 3 * passes : 4 * passes, 0].astype(np.uint8),
            rows[:, -NUM_SN:, 0].astype(np.float32),
            ccs_start.astype(np.int32),
            num_passes.astype(np.uint8),
            molecule.astype(np.int32),
        )


class _Molecule(NamedTuple):
    """What the windows of a molecule share, as bytes where it is an array."""

    name: bytes
    strand: bytes
    sn: bytes
    num_passes: int


class ExampleWriter:
    """Writes a shard under a temporary name; `finish` gives it its own.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, config: ConsensusConfig, split: str) -> None:
        self._molecules: dict[_Molecule, int] = {}
        self._molecule, self._ccs_start = array("i"), array("i")
        self._passes, length = config.max_passes, config.window_length
        attributes = {"max_passes": self._passes, "window_length": length, "split": split}
        self._shard = ShardWriter(path, {"format_version": FORMAT_VERSION} | attributes)
        self._shard.add_windows("windows", _window_shape(self._passes, length), np.uint8)

    @property
    def path(self) -> Path:
        """Name of the file once it is finished."""
        return self._shard.path

    def __len__(self) -> int:
        return len(self._molecule)

    def append(self, molecule: str, examples: Examples) -> None:
        """Adds windows of one molecule, which share strands, SN and number of passes; their `molecule` is set here."""
        if not len(examples):
            return
        quals = (examples.ccs_quals.astype(np.int16) + 1).astype(np.uint8)
        windows = np.concatenate([examples.features, quals[:, None], examples.labels[:, None]], axis=1)
        # Smaller by an eighth: PW and IP codes repeat by chance only.
        self._shard.append("windows", [deflate(window, zlib.Z_FILTERED) for window in windows])
        shared = _Molecule(
            molecule.encode(), examples.strand[0].tobytes(), examples.sn[0].tobytes(), int(examples.num_passes[0])
        )
        place = self._molecules.setdefault(shared, len(self._molecules))
        self._molecule.extend([place] * len(examples))
        self._ccs_start.extend(examples.ccs_start.tolist())

    def finish(self) -> None:
        """Completes the file and gives it its name."""
        molecules = list(self._molecules)
        self._shard.finish({
            "ccs_start": np.array(self._ccs_start, np.int32),
            "molecule": np.array(self._molecule, np.int32),
            "strand": np.frombuffer(b"".join(m.strand for m in molecules), np.uint8).reshape(-1, self._passes),
            "sn": np.frombuffer(b"".join(m.sn for m in molecules), np.float32).reshape(-1, NUM_SN),
            "num_passes": np.array([m.num_passes for m in molecules], np.uint8),
            "molecules": np.array([m.name for m in molecules], np.bytes_),
        })  # fmt: skip

    def discard(self) -> None:
        """Closes and removes the temporary file."""
        self._shard.discard()


def _window_shape(passes: int, length: int) -> tuple[int, int]:
    return 3 * passes + 3, length


class ExampleShard:
    """A finished shard, read window by window, in slices or in any order.

    Raises:
        DataError: not such a file, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = ShardFile(path, "consensus", FORMAT_VERSION)
        with self._file.reading():
            attributes = self._file.attributes
            self.max_passes, self.window_length = int(attributes["max_passes"]), int(attributes["window_length"])
            self.split = str(attributes["split"])
        windows, molecules = self._file.count("windows"), self._file.count("molecules")
        self._windows = self._file.windows(
            "windows", (windows, *_window_shape(self.max_passes, self.window_length)), "u1"
        )
        self._ccs_start = self._file.array("ccs_start", (windows,), "i4")
        self._molecule = self._file.array("molecule", (windows,), "i4")
        self._strand = self._file.array("strand", (molecules, self.max_passes), "u1")
        self._sn = self._file.array("sn", (molecules, NUM_SN), "f4")
        self._num_passes = self._file.array("num_passes", (molecules,), "u1")
        if windows and not 0 <= self._molecule.min() <= self._molecule.max() < molecules:
            raise DataError(f"{self.path}: has windows of molecules that it does not name; make it again")

    @functools.cached_property
    def molecules(self) -> list[str]:
        """Names of the CCS reads; one may stand more than once."""
        names = self._file.array("molecules", (len(self._num_passes),), "S")
        return [name.decode() for name in names.tolist()]

    def __len__(self) -> int:
        return len(self._windows)

    def __enter__(self) -> ExampleShard:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def read(self, indices: Sequence[int] | np.ndarray | slice) -> Examples:
        """The windows at `indices`, each below the number of windows, in their order.

        Raises:
            DataError: a damaged window.
        """
        chosen = np.arange(len(self))[indices] if isinstance(indices, slice) else np.asarray(indices, dtype=np.int64)
        windows = self._windows.read(chosen.tolist())  # [n, 3P + 3, L]
        molecule = self._molecule[chosen]
        return Examples(
            features=windows[:, :-2], ccs_quals=(windows[:, -2] - np.uint8(1)).view(np.int8), labels=windows[:, -1],
            strand=self._strand[molecule], sn=self._sn[molecule], ccs_start=self._ccs_start[chosen],
            num_passes=self._num_passes[molecule], molecule=molecule,
        )  # fmt: skip
