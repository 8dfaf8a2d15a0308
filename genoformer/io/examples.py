"""Shards of consensus examples: pileup windows and their labels in one HDF5 file.

    windows     uint8 [n, 3P + 3, L]   bases, pw and ip of the passes, CCS bases, CCS quality + 1, label
    strand      uint8 [n, P]           0 absent, 1 forward, 2 reverse
    sn          float32 [n, 4]
    ccs_start   int64 [n]              CCS position of the first base
    num_passes  uint8 [n]
    molecule    int32 [n]              index into `molecules`
    molecules   str [m]                names of the CCS reads
    attributes                         format_version, max_passes P, window_length L, split

Bases and labels are pileup codes; a quality of -1 is a gap. A chunk of `windows` is one window, compressed, so that
windows are read in any order at the speed of a scan; the other arrays are small and read when the file is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from genoformer.config import ConsensusConfig
from genoformer.errors import DataError, OutputError
from genoformer.io.reads import partial_path
from genoformer.io.subreads import NUM_SN

FORMAT_VERSION = 1
_GZIP_LEVEL = 1
_SMALL_CHUNK = 4096


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
            ccs_start.astype(np.int64),
            num_passes.astype(np.uint8),
            molecule.astype(np.int32),
        )


class ExampleWriter:
    """Writes a shard under a temporary name; `finish` gives it its own.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, config: ConsensusConfig, split: str) -> None:
        self.path = Path(path)
        self._partial = partial_path(path)
        self._molecules: list[str] = []
        passes, length = config.max_passes, config.window_length
        try:
            self._file = h5py.File(self._partial, "w", libver="latest")
        except OSError as error:
            raise OutputError(f"{self._partial}: cannot be written: {error}") from None
        attributes = {"format_version": FORMAT_VERSION, "max_passes": passes, "window_length": length, "split": split}
        self._file.attrs.update(attributes)
        shape = _window_shape(passes, length)
        self._file.create_dataset(
            "windows", (0, *shape), np.uint8, maxshape=(None, *shape), chunks=(1, *shape),
            compression="gzip", compression_opts=_GZIP_LEVEL,
        )  # fmt: skip
        for name, (part, dtype) in _small_arrays(passes).items():
            self._file.create_dataset(name, (0, *part), dtype, maxshape=(None, *part), chunks=(_SMALL_CHUNK, *part))

    def __len__(self) -> int:
        return len(self._file["windows"])

    def append(self, molecule: str, examples: Examples) -> None:
        """Adds the windows of one molecule; their `molecule` index is set here."""
        start, end = len(self), len(self) + len(examples)
        quals = (examples.ccs_quals.astype(np.int16) + 1).astype(np.uint8)
        windows = np.concatenate([examples.features, quals[:, None], examples.labels[:, None]], axis=1)
        values = {name: getattr(examples, name) for name in _small_arrays(1)}
        values |= {"windows": windows, "molecule": np.full(len(examples), len(self._molecules))}
        for name, array in values.items():
            self._file[name].resize(end, axis=0)
            self._file[name][start:end] = array
        self._molecules.append(molecule)

    def finish(self) -> None:
        """Completes the file and gives it its name."""
        self._file.create_dataset("molecules", data=self._molecules, dtype=h5py.string_dtype())
        self._file.close()
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Closes and removes the temporary file."""
        self._file.close()
        self._partial.unlink(missing_ok=True)


def _window_shape(passes: int, length: int) -> tuple[int, int]:
    return 3 * passes + 3, length


def _small_arrays(passes: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape of one window's part and type of every array but `windows`."""
    return {
        "strand": ((passes,), np.uint8), "sn": ((NUM_SN,), np.float32), "ccs_start": ((), np.int64),
        "num_passes": ((), np.uint8), "molecule": ((), np.int32),
    }  # fmt: skip


class ExampleShard:
    """A finished shard, read window by window or in slices.

    Raises:
        DataError: not such a file, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = h5py.File(self.path, "r")
            attributes = dict(self._file.attrs)
            found = attributes.get("format_version")
            if found != FORMAT_VERSION:
                raise DataError(f"{path}: has format version {found}; this genoformer reads version {FORMAT_VERSION}")
            self.max_passes, self.window_length = int(attributes["max_passes"]), int(attributes["window_length"])
            self.split = str(attributes["split"])
            self._windows = self._file["windows"]
            self._check_shapes()
            self._small = {name: self._file[name][:] for name in _small_arrays(self.max_passes)}
            self.molecules = [name.decode() for name in self._file["molecules"][:]]
        except (OSError, KeyError) as error:
            raise DataError(f"{path}: is not a whole shard of examples ({error}); make it again") from None

    def _check_shapes(self) -> None:
        shapes = {name: shape for name, (shape, _) in _small_arrays(self.max_passes).items()}
        shapes["windows"] = _window_shape(self.max_passes, self.window_length)
        for name, shape in shapes.items():
            found, expected = self._file[name].shape, (len(self), *shape)
            if found != expected:
                raise DataError(f"{self.path}: dataset {name} has shape {found}; expected {expected}; make it again")

    def __len__(self) -> int:
        return len(self._windows)

    def __enter__(self) -> ExampleShard:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def read(self, index: slice | int) -> Examples:
        """Windows of a slice, or one window as a batch of one.

        Raises:
            DataError: a damaged chunk.
        """
        chosen = slice(index, index + 1) if isinstance(index, int) else index
        try:
            windows = self._windows[chosen]  # [n, 3P + 3, L]
        except OSError as error:
            raise DataError(f"{self.path}: window {chosen.start} cannot be read ({error}); make it again") from None
        quals = (windows[:, -2].astype(np.int16) - 1).astype(np.int8)
        small = {name: array[chosen] for name, array in self._small.items()}
        return Examples(features=windows[:, :-2], ccs_quals=quals, labels=windows[:, -1], **small)
