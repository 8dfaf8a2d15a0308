"""TFRecord files for tests, written field by field."""

from __future__ import annotations

import numpy as np

from tests.tensor_bundle import field, masked_crc, varint

ROWS = np.array([
    [1, 0, 4],  # bases of two passes
    [0, 0, 0],
    [255, 0, 7],  # pw
    [0, 0, 0],
    [9, 0, 200],  # ip
    [0, 0, 0],
    [2, 2, 2],  # strand: reverse, absent
    [0, 0, 0],
    [1, 3, 4],  # CCS
    [5.5, 5.5, 5.5],
    [9.25, 9.25, 9.25],
    [0, 0, 0],
    [700, 700, 700],
], dtype="<f4")  # fmt: skip


def record(body: bytes) -> bytes:
    """A record of a TFRecord file: length, checksum, body, checksum."""
    length = len(body).to_bytes(8, "little")
    return length + masked_crc(length).to_bytes(4, "little") + body + masked_crc(body).to_bytes(4, "little")


def example(**features: bytes) -> bytes:
    """A tf.Example of features by name, each the bytes of a Feature message."""
    items = b"".join(field(1, field(1, name.encode()) + field(2, feature)) for name, feature in features.items())
    return field(1, items)


def bytes_feature(value: bytes) -> bytes:
    """A Feature that holds one string of bytes."""
    return field(1, field(1, value))


def int_feature(*values: int) -> bytes:
    """A Feature that holds integers."""
    return field(3, field(1, b"".join(map(varint, values))))


def features(rows=ROWS, label=(1, 0, 4), **changes):
    """A labelled window of DeepConsensus, two passes and three columns: bytes of Features by name."""
    return {
        "name": bytes_feature(b"m/7/ccs"),
        "subreads/encoded": bytes_feature(np.asarray(rows, "<f4").tobytes()),
        "subreads/shape": int_feature(*np.shape(rows), 1),
        "subreads/num_passes": int_feature(1),
        "window_pos": int_feature(100),
        "ccs_base_quality_scores": int_feature(40, -1, 93),
        "label/encoded": bytes_feature(np.array(label, "<f4").tobytes()),
        "label/shape": int_feature(len(label)),
    } | changes


def write_windows(path, *windows, pack=bytes):
    """A TFRecord file of windows, as it is or compressed."""
    path.write_bytes(pack(b"".join(record(example(**window)) for window in windows)))
    return path
