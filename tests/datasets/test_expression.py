import copy
import pickle
from itertools import islice

import numpy as np
import pytest
import torch

from genoformer.datasets.expression import ExpressionDataset, one_hot
from genoformer.datasets.loader import Draws, Loader, SinglePass
from genoformer.errors import DataError
from genoformer.genome import alphabet
from genoformer.genome.interval import Interval
from genoformer.genome.track import Track
from genoformer.io.expression_examples import ExpressionWriter, WindowShape, pack_example

STORED = WindowShape(sequence_bp=28, bin_bp=2, num_bins=8)  # 6 bases on either side
WHOLE = STORED
NARROW = WindowShape(sequence_bp=12, bin_bp=4, num_bins=2)  # 2 bases on either side; the middle starts at bin 2
COMPLEMENT = {0: 3, 1: 2, 2: 1, 3: 0, 4: 4}


def track(name, sum_stat="sum", pair=0):
    return Track(name, f"CAGE:{name}", "", sum_stat, 1.0, None, None, pair)


TRACKS = [track("p+", pair=2), track("m", "mean", pair=1), track("p-", pair=0)]


def sequence_of(index):
    return np.random.default_rng(index).integers(0, 5, 28, np.uint8)


def targets_of(index):
    return np.random.default_rng(100 + index).integers(0, 99, (3, 8)).astype(np.float32)


def write(path, indices, shape=STORED, tracks=TRACKS, dtype="float32"):
    writer = ExpressionWriter(path, shape, tracks, dtype=dtype, transform="", split="train")
    for index in indices:
        bins = Interval("c", index, index + shape.target_bp)
        writer.append(pack_example(bins, sequence_of(index), targets_of(index)[: len(tracks)], dtype))
    writer.finish()
    return path


@pytest.fixture
def shards(tmp_path):
    """Two shards of 3 and 2 examples and an empty one."""
    parts = {"a": [0, 1, 2], "none": [], "b": [3, 4]}
    return [write(tmp_path / f"{name}.h5", indices) for name, indices in parts.items()]


def test_whole_examples_in_the_order_asked_for(shards):
    dataset = ExpressionDataset(shards, WHOLE)
    assert len(dataset) == 5
    assert [track.identifier for track in dataset.tracks] == ["p+", "m", "p-"]
    batch = dataset.read_batch(np.array([4, 0, 3, 4]))
    assert (batch["sequence"].dtype, batch["targets"].dtype) == (torch.uint8, torch.float32)
    assert (batch["sequence"].shape, batch["targets"].shape) == ((4, 28), (4, 8, 3))
    for row, index in enumerate([4, 0, 3, 4]):
        assert batch["sequence"][row].tolist() == sequence_of(index).tolist()
        assert batch["targets"][row].tolist() == targets_of(index).T.tolist()


def test_wider_bins_of_the_middle(shards):
    batch = ExpressionDataset(shards, NARROW).read_batch(np.array([1]))
    # Bins 2 to 5 are bases 10 to 17; with two more on either side, 8 to 19.
    assert batch["sequence"][0].tolist() == sequence_of(1)[8:20].tolist()
    p, m, q = targets_of(1)
    sums = [[p[2] + p[3], (m[2] + m[3]) / 2, q[2] + q[3]], [p[4] + p[5], (m[4] + m[5]) / 2, q[4] + q[5]]]
    assert batch["targets"][0].tolist() == sums


def test_where_the_bins_of_an_example_lie(shards):
    """Example i begins at base i of c; the narrow ones leave two bins of two bases out at either end."""
    assert [ExpressionDataset(shards, WHOLE).bins(index) for index in (0, 4)] == [
        Interval("c", 0, 16),
        Interval("c", 4, 20),
    ]
    assert ExpressionDataset(shards, NARROW).bins(3) == Interval("c", 7, 15)
    with pytest.raises(IndexError, match="window 5 of 5"):
        ExpressionDataset(shards, WHOLE).bins(5)


def test_means_of_the_tracks(shards):
    everything = np.stack([targets_of(index) for index in range(5)]).astype(float)
    np.testing.assert_allclose(ExpressionDataset(shards, WHOLE).track_means, everything.mean((0, 2)), rtol=1e-12)
    wide = ExpressionDataset(shards, NARROW).track_means
    np.testing.assert_allclose(wide, everything.mean((0, 2)) * [2, 1, 2], rtol=1e-12)
    assert ExpressionDataset(shards[1:2], WHOLE).track_means.tolist() == [0, 0, 0]


def augmented(index, first, shift, is_reverse):
    """What augmentation may give of an example, base by base and bin by bin."""
    sequence, targets = sequence_of(index), targets_of(index)
    start = 6 + 2 * first - 2 + shift
    codes = [int(sequence[at]) if 0 <= at < 28 else 4 for at in range(start, start + 12)]
    rows = [
        [targets[0][at] + targets[0][at + 1], (targets[1][at] + targets[1][at + 1]) / 2, targets[2][at : at + 2].sum()]
        for at in (first, first + 2)
    ]
    if is_reverse:
        codes = [COMPLEMENT[code] for code in codes[::-1]]
        rows = [[minus, mean, plus] for plus, mean, minus in rows[::-1]]
    return codes, [list(map(float, row)) for row in rows]


def test_augmentation_draws_every_stretch_shift_and_strand(shards):
    dataset = ExpressionDataset(shards, NARROW, max_shift_bp=5, reverse_complement=True)
    expected = {
        str(augmented(2, first, shift, is_reverse))
        for first in range(5) for shift in range(-5, 6) for is_reverse in (False, True)
    }  # fmt: skip
    found = set()
    for epoch in range(1500):
        batch = dataset.read_batch(np.array([2]), Draws(1, epoch))
        found.add(str((batch["sequence"][0].tolist(), batch["targets"][0].tolist())))
    assert found == expected
    assert len(expected) == 110


def test_without_augmentation_only_the_stretch_is_drawn(shards):
    dataset = ExpressionDataset(shards, NARROW)
    found = {dataset.read_batch(np.array([2]), Draws(1, epoch))["targets"][0].tolist()[0][0] for epoch in range(200)}
    targets = targets_of(2)[0]
    assert found == {float(targets[first] + targets[first + 1]) for first in range(5)}
    whole = ExpressionDataset(shards, WHOLE)
    assert whole.read_batch(np.array([2]), Draws(1, 0))["targets"].equal(whole.read_batch(np.array([2]))["targets"])


def test_an_example_has_its_own_draws_whatever_the_batch(shards):
    dataset = ExpressionDataset(shards, NARROW, max_shift_bp=3, reverse_complement=True)
    draws = Draws(7, 3)
    together = dataset.read_batch(np.array([4, 1, 0]), draws)
    for row, index in enumerate([4, 1, 0]):
        alone = dataset.read_batch(np.array([index]), draws)
        for name in ("sequence", "targets"):
            assert together[name][row].equal(alone[name][0])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_float16_and_float32_shards_read_alike(tmp_path, dtype):
    dataset = ExpressionDataset([write(tmp_path / "a.h5", [0, 1], dtype=dtype)], NARROW)
    expected = ExpressionDataset([write(tmp_path / "b.h5", [0, 1])], NARROW)
    assert dataset.read_batch(np.array([0, 1]))["targets"].equal(expected.read_batch(np.array([0, 1]))["targets"])


def flat(batch):
    return [(row.tolist(), targets.tolist()) for row, targets in zip(batch["sequence"], batch["targets"], strict=True)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_loader_goes_on_with_the_very_same_examples(shards, num_workers):
    def dataset():
        return ExpressionDataset(shards, NARROW, max_shift_bp=3, reverse_complement=True)

    expected = [flat(batch) for batch in islice(Loader(dataset(), batch_size=2, seed=3), 7)]
    first = Loader(dataset(), batch_size=2, seed=3, num_workers=num_workers)
    found = [flat(batch) for batch in islice(first, 3)]
    second = Loader(dataset(), batch_size=2, seed=3, num_workers=num_workers)
    second.load_state_dict(first.state_dict())
    assert found + [flat(batch) for batch in islice(second, 4)] == expected
    ranks = [islice(Loader(dataset(), batch_size=1, seed=3, rank=rank, world_size=2), 7) for rank in (0, 1)]
    assert [flat(one) + flat(other) for one, other in zip(*ranks, strict=True)] == expected


def test_a_single_pass_has_every_example_once_without_augmentation(shards):
    dataset = ExpressionDataset(shards, NARROW, max_shift_bp=3, reverse_complement=True)
    batches = list(SinglePass(dataset, batch_size=2, num_workers=2))
    assert [len(batch["sequence"]) for batch in batches] == [2, 2, 1]
    assert batches[2]["sequence"][0].tolist() == sequence_of(4)[8:20].tolist()


def test_a_copy_has_no_open_files(shards):
    dataset = ExpressionDataset(shards, WHOLE)
    dataset.read_batch(np.array([0, 4]))
    for other in (copy.copy(dataset), pickle.loads(pickle.dumps(dataset))):  # noqa: S301 - our own bytes
        assert not other._shards
        assert other.read_batch(np.array([4]))["sequence"][0].tolist() == sequence_of(4).tolist()


@pytest.mark.parametrize("index", [5, -1])
def test_beyond_the_end(shards, index):
    with pytest.raises(IndexError, match=f"window {index} of 5"):
        ExpressionDataset(shards, WHOLE).read_batch(np.array([0, index]))


@pytest.mark.parametrize(
    "shape",
    [
        WindowShape(28, 3, 4),  # bins of three bases from bins of two
        WindowShape(28, 1, 8),
        WindowShape(28, 2, 9),
        WindowShape(32, 2, 8),  # more sequence on either side
        WindowShape(14, 2, 8),  # less sequence than bins
    ],
)
def test_examples_that_are_too_small_for_the_model(shards, shape):
    with pytest.raises(DataError, match=r"a.h5: has examples of 28 bp with 8 bins of 2 bp; the model reads .* anew"):
        ExpressionDataset(shards, shape)


def test_shards_that_do_not_belong_together(tmp_path, shards):
    others = [track("p+", pair=0), track("m", "mean", pair=1), track("p-", pair=2)]
    with pytest.raises(
        DataError, match=r"x.h5: has another shape or other tracks than the first shard; use them apart"
    ):
        ExpressionDataset([*shards, write(tmp_path / "x.h5", [5], tracks=others)], WHOLE)


def test_statistics_that_do_not_add_up(tmp_path):
    path = write(tmp_path / "a.h5", [0], tracks=[track("x", "max")])
    assert ExpressionDataset([path], WHOLE).read_batch(np.array([0]))["targets"].shape == (1, 8, 1)
    with pytest.raises(
        DataError, match=r"has a track of sum_stat max in bins of 2 bp, which cannot be joined into bins"
    ):
        ExpressionDataset([path], NARROW)


def test_no_shards():
    with pytest.raises(DataError, match="no shards of examples; make them with 'genoformer expression examples'"):
        ExpressionDataset([], WHOLE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_hot(dtype):
    codes = torch.tensor([[0, 1, 2], [3, 4, 0]], dtype=torch.uint8)
    rows = one_hot(codes, dtype)
    assert (rows.dtype, rows.shape) == (dtype, (2, 3, 4))
    np.testing.assert_array_equal(rows.float().numpy(), alphabet.one_hot(codes.numpy()))
