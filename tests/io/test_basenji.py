import gzip
import json
import zlib

import numpy as np
import pytest

from genoformer.errors import DataError
from genoformer.genome.interval import Interval
from genoformer.io.basenji import open_basenji, read_arrays
from genoformer.io.expression_examples import WindowShape
from tests.basenji_builder import SEQUENCE_BP, codes_of, targets_of, write_basenji, write_records


@pytest.fixture
def folder(tmp_path):
    return write_basenji(tmp_path / "data", {"train": 5, "valid": 1})


@pytest.mark.parametrize(("name", "counts", "num_tracks"), [("hg38", (45, 10, 10), 74), ("mm10", (28, 13, 13), 32)])
def test_real_data_sets(shared_data, name, counts, num_tracks):
    data = open_basenji(shared_data / "expression" / "baskerville_tests" / "tiny" / name)
    assert data.shape == WindowShape(131_072, 32, 2_048)
    assert {split: len(rows) for split, rows in data.rows.items()} == dict(
        zip(("train", "valid", "test"), counts, strict=True)
    )
    assert [path.name for path in data.files["train"]][-1] == f"train-{len(data.files['train']) - 1}.tfr"
    empty = [path for files in data.files.values() for path in files if path.stat().st_size < 10]
    assert len(empty) == (name == "mm10")
    assert [list(read_arrays(data, path)) for path in empty] == [[]] * len(empty)
    codes, targets = next(read_arrays(data, data.files["valid"][0]))
    assert (codes.shape, codes.dtype, set(codes.tolist()) <= set(range(5))) == ((131_072,), np.uint8, True)
    assert (targets.shape, targets.dtype) == ((num_tracks, 2_048), np.float16)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress, bytes])
def test_both_generations_and_every_compression(tmp_path, is_old, pack):
    data = open_basenji(write_basenji(tmp_path / "data", {"train": 4, "valid": 1}, is_old=is_old, pack=pack))
    assert data.shape == WindowShape(24, 4, 3)
    assert [track.strand_pair for track in data.tracks] == [1, 0]
    assert [data.bins(row) for row in data.rows["valid"]] == [Interval("chr1", 406, 418)]
    names = ["0-0", "0-1", "0-2"] if is_old else ["0", "1", "2"]
    assert [path.name for path in data.files["train"]] == [f"train-{name}.tfr" for name in names]
    found = [arrays for path in data.files["train"] for arrays in read_arrays(data, path)]
    assert len(found) == 4
    for index, (codes, targets) in enumerate(found):
        np.testing.assert_array_equal(codes, codes_of(index))
        np.testing.assert_array_equal(targets, targets_of(index).T)


def test_files_in_the_order_of_their_numbers(tmp_path):
    data = open_basenji(write_basenji(tmp_path / "data", {"train": 11}, per_file=1))
    assert [path.name for path in data.files["train"]] == [f"train-{number}.tfr" for number in range(12)]


def read_first(folder):
    data = open_basenji(folder)
    return list(read_arrays(data, data.files["train"][0]))


def nan_targets(value):
    targets = targets_of(0)
    targets[2, 1] = value
    return targets.tobytes()


@pytest.mark.parametrize(
    ("sequence", "target", "message"),
    [
        (codes_of(0).tobytes()[:-1], None, "has a sequence of 23 bytes; expected 24, or 4 times as many"),
        (bytes([5] * 24), None, "has the letter code 5 in its sequence; expected 0 to 4"),
        (b"\1" * 96, None, "has a one-hot sequence with a row of other than one 1"),
        (b"\2" + bytes(95), None, "has a one-hot sequence"),
        (None, bytes(10), "has targets of 10 bytes; expected 3 bins of 2 tracks in float16"),
        (None, targets_of(0).astype(np.float32).tobytes(), "has targets of 24 bytes"),
        (None, nan_targets(np.nan), "has the value nan in bin 2 of track 'a-'"),
        (None, nan_targets(np.inf), "has the value inf in bin 2 of track 'a-'"),
    ],
)
def test_examples_that_do_not_fit(folder, sequence, target, message):
    good = codes_of(0).tobytes(), targets_of(0).tobytes()
    write_records(folder / "tfrecords" / "train-0.tfr", [good, (sequence or good[0], target or good[1])])
    with pytest.raises(DataError, match=f"train-0.tfr record 1: {message}"):
        read_first(folder)


def test_an_example_of_something_else(folder):
    from tests.tfrecord_builder import bytes_feature, example, record

    (folder / "tfrecords" / "train-0.tfr").write_bytes(record(example(sequence=bytes_feature(b"x" * SEQUENCE_BP))))
    with pytest.raises(DataError, match=r"train-0.tfr record 0: has the letter code 120"):
        read_first(folder)
    (folder / "tfrecords" / "train-0.tfr").write_bytes(record(example(name=bytes_feature(b"x"))))
    with pytest.raises(
        DataError, match=r"train-0.tfr record 0: has no feature sequence of bytes; expected an example of"
    ):
        read_first(folder)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file(folder, share):
    path = folder / "tfrecords" / "train-0.tfr"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"train-0.tfr: damaged compressed data \(the end is missing\); copy the file"):
        read_first(folder)


def test_a_record_larger_than_any_example(folder):
    write_records(folder / "tfrecords" / "train-0.tfr", [(bytes(1 << 20), bytes(1 << 10))])
    with pytest.raises(DataError, match=r"train-0.tfr record 0 at byte 0: has \d+ bytes; expected at most 1048684"):
        read_first(folder)


def change_statistics(folder, **changes):
    path = folder / "statistics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"seq_length": 26},
            "statistics.json: the sizes 26 bp with 3 bins of 4 bp with 6 bp cropped on either side do not",
        ),
        ({"crop_bp": 4}, "statistics.json: the sizes 24 bp with 3 bins of 4 bp with 4 bp cropped"),
        ({"pool_width": 0}, "statistics.json: the sizes"),
        ({"pool_width": "4"}, "statistics.json: cannot be read as the sizes of a data set: TypeError"),
        ({"num_targets": 3}, "statistics.json: num_targets is 3, but targets.txt has 2 tracks"),
        ({"seq_length": 28, "crop_bp": 8}, "sequences.bed line 1: 12 bp, split train; expected"),
    ],
)
def test_parts_that_do_not_fit_together(folder, changes, message):
    change_statistics(folder, **changes)
    if "line 1" in message:
        (folder / "sequences.bed").write_text("chr1\t0\t20\ttrain\n")
        message = message.replace("12 bp", "20 bp")
    with pytest.raises(DataError, match=message):
        open_basenji(folder)


def test_older_statistics_without_crop_and_number_of_targets(folder):
    sizes = json.loads((folder / "statistics.json").read_text())
    (folder / "statistics.json").write_text(
        json.dumps({k: v for k, v in sizes.items() if k[:4] not in ("crop", "num_")})
    )
    assert open_basenji(folder).shape.flank_bp == 6


@pytest.mark.parametrize(("content", "what"), [("{", "JSONDecodeError"), ("[]", "TypeError"), ("{}", "KeyError")])
def test_statistics_that_are_none(folder, content, what):
    (folder / "statistics.json").write_text(content)
    with pytest.raises(DataError, match=rf"statistics.json: cannot be read as the sizes of a data set: {what}"):
        open_basenji(folder)


@pytest.mark.parametrize("name", ["statistics.json", "targets.txt", "sequences.bed"])
def test_a_part_that_is_missing(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: cannot be read.*: No such file"):
        open_basenji(folder)


def test_files_that_are_missing(folder):
    (folder / "tfrecords" / "train-1.tfr").unlink()
    with pytest.raises(
        DataError, match=r"tfrecords: the files of split train are train-0.tfr, train-2.tfr; expected all"
    ):
        open_basenji(folder)
    (folder / "tfrecords" / "valid-0.tfr").unlink()
    (folder / "tfrecords" / "train-2.tfr").unlink()
    with pytest.raises(DataError, match=r"tfrecords: has no files valid-\*.tfr of split valid in sequences.bed"):
        open_basenji(folder)


def test_rows_without_a_split(folder):
    (folder / "sequences.bed").write_text("chr1\t6\t18\n")
    with pytest.raises(DataError, match=r"sequences.bed line 1: 12 bp, split None; expected 24 or 12 bp"):
        open_basenji(folder)
