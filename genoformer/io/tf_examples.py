"""Labelled windows in the `tf.Example` records of DeepConsensus, as its `preprocess` writes them for training.

Source: DeepConsensus v1.2, `pre_lib.DcExample.tf_example`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genoformer.config import ConsensusConfig
from genoformer.errors import DataError
from genoformer.io.examples import Examples
from genoformer.io.subreads import NUM_SN
from genoformer.io.tfrecord import Example, read_examples

_MAX_BASE, _MAX_STRAND, _MAX_BYTE, _MAX_QUALITY = 4, 2, 255, 93
_MAX_POSITION = np.iinfo(np.int32).max


@dataclass(frozen=True)
class LabelledWindow:
    """One window with its label: the CCS read's name, the shape that it has, and the window as a batch of one."""

    name: str
    config: ConsensusConfig
    examples: Examples


def read_labelled_windows(path: str | os.PathLike[str]) -> Iterator[LabelledWindow]:
    """The windows of a TFRecord file, plain or compressed, in file order.

    A row of CCS qualities among the rows is left out: the qualities stand beside the rows as well.

    Raises:
        DataError: a damaged file, or a record that is no labelled window; names file and record.
    """
    for index, example in enumerate(read_examples(path)):
        try:
            yield _window(example)
        except DataError as error:
            raise DataError(f"{path} record {index}: {error}") from None


def _window(example: Example) -> LabelledWindow:
    shape = _integers(example, "subreads/shape", 3)
    config = _config(shape.tolist())
    length, passes = config.window_length, config.max_passes
    rows = _floats(example, "subreads/encoded", int(shape[0]) * length).reshape(-1, length)  # [R, L]
    if len(rows) > config.num_rows:
        rows = np.delete(rows, 4 * passes + 1, axis=0)
    _check_range("base", rows[:passes], 0, _MAX_BASE)
    _check_range("pw or ip", rows[passes : 3 * passes], 0, _MAX_BYTE)
    _check_range("strand", rows[3 * passes : 4 * passes], 0, _MAX_STRAND)
    _check_range("CCS base", rows[4 * passes], 0, _MAX_BASE)
    constant = rows[3 * passes : 4 * passes], rows[-NUM_SN:]
    if any((part != part[:, :1]).any() for part in constant) or not np.isfinite(rows[-NUM_SN:]).all():
        raise DataError("has strand or SN rows that are not one number each; expected a window of DeepConsensus")
    labels = _floats(example, "label/encoded", length)
    quals = _integers(example, "ccs_base_quality_scores", length)
    num_passes = _integers(example, "subreads/num_passes", 1)
    position = _integers(example, "window_pos", 1)
    _check_range("label", labels, 0, _MAX_BASE)
    _check_range("CCS quality", quals, -1, _MAX_QUALITY)
    _check_range("num_passes", num_passes, 0, _MAX_BYTE)
    _check_range("window_pos", position, 0, _MAX_POSITION)
    examples = Examples.from_rows(
        rows[None], config, ccs_quals=quals[None], labels=labels[None], ccs_start=position, num_passes=num_passes,
        molecule=np.zeros(1),
    )  # fmt: skip
    return LabelledWindow(_name(example), config, examples)


def _config(shape: list[int]) -> ConsensusConfig:
    """The shape of a window [R, L, 1], R = 4P + 5 or, with the CCS qualities, 4P + 6."""
    num_rows, length, depth = shape
    passes, rest = divmod(num_rows - 5, 4)
    if not (1 <= passes <= 255 and rest in (0, 1) and 1 <= length <= 4096 and depth == 1):
        raise DataError(f"has subreads/shape {shape}; expected 4 * passes + 5 or 6, 1 to 4096 columns, and 1")
    return ConsensusConfig(max_passes=passes, window_length=length)


def _name(example: Example) -> str:
    values = example.get("name", [])
    if isinstance(values, np.ndarray) or len(values) != 1:
        raise DataError("has no name; expected a window of DeepConsensus")
    return values[0].decode("utf-8", "backslashreplace")


def _integers(example: Example, feature: str, count: int) -> np.ndarray:
    values = example.get(feature, [])
    if not isinstance(values, np.ndarray) or values.dtype != np.int64 or len(values) != count:
        raise DataError(f"has no feature {feature} of {count} integers{_hint(feature)}")
    return values


def _floats(example: Example, feature: str, count: int) -> np.ndarray:
    """A float32 array [count] that is stored as bytes."""
    values = example.get(feature, [])
    if isinstance(values, np.ndarray) or len(values) != 1 or len(values[0]) != 4 * count:
        raise DataError(f"has no feature {feature} of {count} float32 as bytes{_hint(feature)}")
    return np.frombuffer(values[0], "<f4")


def _hint(feature: str) -> str:
    if feature.startswith("label"):
        return "; windows made for inference have no labels and cannot train"
    return "; expected a window of DeepConsensus v0.3 to v1.2"


def _check_range(what: str, values: np.ndarray, least: int, most: int) -> None:
    """Refuses values that are no whole numbers from `least` to `most`."""
    wrong = values[~((values >= least) & (values <= most) & (values == np.trunc(values)))]
    if len(wrong):
        raise DataError(f"has {what} value {wrong[0]:g}; expected whole numbers from {least} to {most}")
