import copy
import pickle
from itertools import islice, permutations

import numpy as np
import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.datasets.consensus import ConsensusDataset
from genoformer.datasets.loader import Draws, Loader, SinglePass
from genoformer.errors import DataError
from genoformer.io.examples import Examples, ExampleWriter

CONFIG = ConsensusConfig(max_passes=2, window_length=4)


@pytest.fixture
def shards(tmp_path):
    """Two shards of 3 and 2 windows and an empty one; base rows and labels of window i hold the code i % 5."""
    paths = []
    for name, codes in (("a", [0, 1, 2]), ("none", []), ("b", [3, 4])):
        rows = np.zeros((len(codes), 13, 4), np.float32)
        rows[:, 0] = np.array(codes)[:, None]
        rows[:, 9:] = np.array([3.9, 600, 40000, 0])[:, None]
        writer = ExampleWriter(tmp_path / f"{name}.h5", CONFIG, "train")
        labels = np.repeat(np.array(codes)[:, None], 4, axis=1)
        zeros = np.zeros(len(codes))
        examples = Examples.from_rows(
            rows, CONFIG, ccs_quals=np.full((len(codes), 4), 40), labels=labels, ccs_start=zeros, num_passes=zeros,
            molecule=zeros,
        )  # fmt: skip
        writer.append("m/1/ccs", examples)
        writer.finish()
        paths.append(writer.path)
    return paths


def codes(batch):
    return batch["rows"][:, 0, 0].tolist()


def test_windows_of_all_shards_in_the_order_asked_for(shards):
    dataset = ConsensusDataset(shards, CONFIG)
    assert len(dataset) == 5
    batch = dataset.read_batch(np.array([4, 0, 3, 2, 1, 4]))
    assert codes(batch) == [4, 0, 3, 2, 1, 4]
    assert batch["labels"].tolist() == [[code] * 4 for code in (4, 0, 3, 2, 1, 4)]
    assert batch["rows"][0, 9:, 0].tolist() == [3, 600, 32767, 0]  # fractions cut off, capped to int16
    assert (batch["rows"].dtype, batch["labels"].dtype) == (torch.int16, torch.uint8)
    assert batch["rows"].shape == (6, 13, 4)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_loader_takes_them_up_where_it_stopped(shards, num_workers):
    dataset = ConsensusDataset(shards, CONFIG)
    whole = Loader(dataset, batch_size=2, seed=3)
    expected = [codes(batch) for batch in islice(whole, 6)]
    first = Loader(dataset, batch_size=2, seed=3, num_workers=num_workers)
    found = [codes(batch) for batch in islice(first, 3)]
    second = Loader(ConsensusDataset(shards, CONFIG), batch_size=2, seed=3, num_workers=num_workers)
    second.load_state_dict(first.state_dict())
    assert found + [codes(batch) for batch in islice(second, 3)] == expected
    assert len({tuple(batch) for batch in expected}) > 2


def test_a_single_pass_has_every_window_once(shards):
    batches = SinglePass(ConsensusDataset(shards, CONFIG), batch_size=2, num_workers=2)
    assert [codes(batch) for batch in batches] == [[0, 1], [2, 3], [4]]


def test_a_copy_has_no_open_files(shards):
    dataset = ConsensusDataset(shards, CONFIG)
    dataset.read_batch(np.array([0, 4]))
    for other in (copy.copy(dataset), pickle.loads(pickle.dumps(dataset))):  # noqa: S301 - our own bytes
        assert not other._shards
        assert codes(other.read_batch(np.array([4]))) == [4]


@pytest.mark.parametrize("index", [5, -1])
def test_beyond_the_end(shards, index):
    with pytest.raises(IndexError, match=f"window {index} of 5"):
        ConsensusDataset(shards, CONFIG).read_batch(np.array([0, index]))


def test_shards_of_another_shape(shards):
    with pytest.raises(DataError, match=r"a.h5: windows of 2 passes and 4 columns; the model reads 3 and 4"):
        ConsensusDataset(shards, ConsensusConfig(max_passes=3, window_length=4))


def test_no_shards():
    with pytest.raises(DataError, match="no shards of examples"):
        ConsensusDataset([], CONFIG)


@pytest.fixture
def three_passes(tmp_path):
    """40 windows alike: passes 1, 2 and 3 of four, told apart by base, pulse width, duration and strand."""
    config = ConsensusConfig(max_passes=4, window_length=4)
    rows = np.zeros((40, config.num_rows, 4), np.float32)
    for place, strand in enumerate((1, 2, 1), 1):
        rows[:, place - 1], rows[:, place + 3], rows[:, place + 7] = place, 10 * place, 100 + place
        rows[:, place + 11] = strand
    rows[:, 16:] = 4
    zeros = np.zeros(40)
    writer = ExampleWriter(tmp_path / "three.h5", config, "train")
    labels = np.ones((40, 4))
    writer.append("m/1/ccs", Examples.from_rows(
        rows, config, ccs_quals=np.full((40, 4), 40), labels=labels, ccs_start=zeros, num_passes=zeros, molecule=zeros,
    ))  # fmt: skip
    writer.finish()
    return writer.path, config


def test_shuffled_passes_keep_their_rows_together_and_the_absent_last(three_passes):
    path, config = three_passes
    dataset = ConsensusDataset([path], config, shuffle_passes=True)
    indices = np.arange(40)
    as_filed = dataset.read_batch(indices)["rows"]
    rows = dataset.read_batch(indices, Draws(1, 0))["rows"]
    orders = rows[:, :4, 0].tolist()
    assert {tuple(order) for order in orders} == {(*order, 0) for order in permutations((1, 2, 3))}
    for window, order in zip(rows[:, :, 0].tolist(), orders, strict=True):
        assert window[4:8] == [10 * base for base in order]
        assert window[8:12] == [100 + base if base else 0 for base in order]
        assert window[12:16] == [{1: 1, 2: 2, 3: 1, 0: 0}[base] for base in order]
    assert torch.equal(rows[:, 16:], as_filed[:, 16:])
    assert torch.equal(as_filed, ConsensusDataset([path], config).read_batch(indices, Draws(1, 0))["rows"])


def test_a_window_is_shuffled_alike_in_any_batch_and_unlike_in_another_epoch(three_passes):
    path, config = three_passes
    dataset = ConsensusDataset([path], config, shuffle_passes=True)
    rows = dataset.read_batch(np.arange(40), Draws(1, 0))["rows"]
    assert torch.equal(dataset.read_batch(np.array([7, 3]), Draws(1, 0))["rows"], rows[[7, 3]])
    assert not torch.equal(dataset.read_batch(np.arange(40), Draws(1, 1))["rows"], rows)
