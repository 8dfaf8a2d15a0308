"""Small Basenji data sets for tests, of either generation."""

import json
import zlib

import numpy as np

from tests.tfrecord_builder import bytes_feature, example, record

SEQUENCE_BP, BIN_BP, NUM_BINS = 24, 4, 3  # 6 bases on either side
TRACKS = ("a+", "a-")


def codes_of(index):
    return np.random.default_rng(index).integers(0, 5, SEQUENCE_BP, np.uint8)


def targets_of(index):
    """Bin by bin, [N, T]."""
    return np.random.default_rng(1000 + index).random((NUM_BINS, len(TRACKS))).astype(np.float16)


def one_hot_bytes(codes):
    return np.eye(5, 4, dtype=bool)[codes].tobytes()


def write_records(path, examples, pack=zlib.compress):
    """A TFRecord file of (sequence bytes, target bytes)."""
    features = [example(sequence=bytes_feature(s), target=bytes_feature(t)) for s, t in examples]
    path.write_bytes(pack(b"".join(map(record, features))))


def write_basenji(folder, splits, *, is_old=False, per_file=2, pack=zlib.compress):
    """A data set with `splits` examples of each split, `per_file` to a file; the last may be empty.

    Example i lies at base 100 i of chr1; the old generation has one-hot sequences and rows of whole sequences.
    """
    (folder / "tfrecords").mkdir(parents=True)
    sizes = {"seq_length": SEQUENCE_BP, "pool_width": BIN_BP, "target_length": NUM_BINS, "crop_bp": 6, "num_targets": 2}
    (folder / "statistics.json").write_text(json.dumps(sizes))
    pairs = enumerate(zip(TRACKS, (1, 0), strict=True))
    rows = [f"{index}\t{name}\t{name}.w5\tsum\t{pair}\tCAGE:x\n" for index, (name, pair) in pairs]
    (folder / "targets.txt").write_text("\tidentifier\tfile\tsum_stat\tstrand_pair\tdescription\n" + "".join(rows))
    lines, first = [], 0
    for split, count in splits.items():
        for number in range(count // per_file + 1):
            chosen = range(first + number * per_file, first + min((number + 1) * per_file, count))
            name = f"{split}-0-{number}" if is_old else f"{split}-{number}"
            encode = one_hot_bytes if is_old else np.ndarray.tobytes
            examples = [(encode(codes_of(index)), targets_of(index).tobytes()) for index in chosen]
            write_records(folder / "tfrecords" / f"{name}.tfr", examples, pack)
        margin = 0 if is_old else 6
        lines += [
            f"chr1\t{100 * index + margin}\t{100 * index + SEQUENCE_BP - margin}\t{split}\n"
            for index in range(first, first + count)
        ]
        first += count
    (folder / "sequences.bed").write_text("".join(lines))
    return folder
