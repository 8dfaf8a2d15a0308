"""Shards of consensus examples: pileup windows and their labels in one HDF5 file.

    features    uint8 [n, 3P + 1, L]   bases, pw and ip of the passes, and the CCS bases, in pileup codes
    ccs_quals   int8 [n, L]            Phred of the CCS bases, -1 at gaps
    strand      uint8 [n, P]           0 absent, 1 forward, 2 reverse
    sn          float32 [n, 4]
    labels      uint8 [n, L]           pileup codes, gaps where there is no base
    ccs_start   int64 [n]              CCS position of the first base
    num_passes  uint8 [n]
    molecule    int32 [n]              index into `molecules`
    molecules   str [m]                names of the CCS reads
    attributes                         format_version, max_passes P, window_length L, split

A chunk is one window, compressed, so that windows are read in any order at the speed of a scan.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from genoformer.config import ConsensusConfig
from genoformer.errors import DataError, OutputError
from genoformer.io.reads import partial_path
from genoformer.io.subreads import NUM_SN

FORMAT_VERSION = 1
_GZIP_LEVEL = 1


@dataclass(frozen=True)
class Examples:
    """Windows with labels; arrays as in the file, `molecule` as indices into its list."""

    features: np.ndarray
    ccs_quals: np.ndarray
    strand: np.ndarray
    sn: np.ndarray
    labels: np.ndarray
    ccs_start: np.ndarray
    num_passes: np.ndarray
    molecule: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, config: ConsensusConfig, dtype: np.dtype | type = np.int16) -> np.ndarray:
        """Model input, [n, R, L]; see `genoformer.datasets.pileup.window_rows`."""
        passes = config.max_passes
        rows = np.zeros((len(self), config.num_rows, config.window_length), dtype=dtype)
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
            rows[:, 3 * passes : 4 * passes, 0].astype(np.uint8),
            rows[:, -NUM_SN:, 0].astype(np.float32),
            labels.astype(np.uint8),
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
        passes, length = config.max_passes, config.window_length
        shapes = {
            "features": ((3 * passes + 1, length), np.uint8), "ccs_quals": ((length,), np.int8),
            "strand": ((passes,), np.uint8), "sn": ((NUM_SN,), np.float32), "labels": ((length,), np.uint8),
            "ccs_start": ((), np.int64), "num_passes": ((), np.uint8), "molecule": ((), np.int32),
        }  # fmt: skip
        self._molecules: list[str] = []
        try:
            self._file = h5py.File(self._partial, "w", libver="latest")
        except OSError as error:
            raise OutputError(f"{self._partial}: cannot be written: {error}") from None
        self._file.attrs.update(
            format_version=FORMAT_VERSION, max_passes=passes, window_length=length, split=split
        )  # fmt: skip
        for name, (shape, dtype) in shapes.items():
            one_window = name in ("features", "ccs_quals", "labels")
            options = {"compression": "gzip", "compression_opts": _GZIP_LEVEL} if one_window else {}
            self._file.create_dataset(
                name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(1 if one_window else 1024, *shape), **options
            )

    def __len__(self) -> int:
        return len(self._file["labels"])

    def append(self, molecule: str, examples: Examples) -> None:
        """Adds the windows of one molecule; their `molecule` index is set here."""
        start, end = len(self), len(self) + len(examples)
        for field in fields(Examples):
            dataset = self._file[field.name]
            dataset.resize(end, axis=0)
            values = len(self._molecules) if field.name == "molecule" else getattr(examples, field.name)
            dataset[start:end] = values
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
            self._datasets = {field.name: self._file[field.name] for field in fields(Examples)}
            self.molecules = [name.decode() for name in self._file["molecules"][:]]
        except (OSError, KeyError) as error:
            raise DataError(f"{path}: is not a whole shard of examples ({error}); make it again") from None
        if attributes.get("format_version") != FORMAT_VERSION:
            found = attributes.get("format_version")
            raise DataError(f"{path}: has format version {found}; this genoformer reads version {FORMAT_VERSION}")
        self.max_passes, self.window_length = int(attributes["max_passes"]), int(attributes["window_length"])
        self.split = str(attributes["split"])
        self._check_shapes()

    def _check_shapes(self) -> None:
        count, passes, length = len(self._datasets["labels"]), self.max_passes, self.window_length
        expected = {
            "features": (count, 3 * passes + 1, length), "ccs_quals": (count, length), "strand": (count, passes),
            "sn": (count, NUM_SN), "labels": (count, length), "ccs_start": (count,), "num_passes": (count,),
            "molecule": (count,),
        }  # fmt: skip
        for name, shape in expected.items():
            if self._datasets[name].shape != shape:
                found = self._datasets[name].shape
                raise DataError(f"{self.path}: dataset {name} has shape {found}; expected {shape}; make it again")

    def __len__(self) -> int:
        return len(self._datasets["labels"])

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
            return Examples(*(self._datasets[field.name][chosen] for field in fields(Examples)))
        except OSError as error:
            raise DataError(f"{self.path}: window {chosen.start} cannot be read ({error}); make it again") from None
