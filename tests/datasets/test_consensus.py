import pickle

import numpy as np
import pytest
import torch

from genoformer.config import ConsensusConfig
from genoformer.datasets.consensus import ConsensusDataset
from genoformer.errors import DataError
from genoformer.io.examples import Examples, ExampleWriter

CONFIG = ConsensusConfig(max_passes=2, window_length=4)


@pytest.fixture
def shards(tmp_path):
    """Two shards of 3 and 2 windows; base rows and labels of window i hold the code i % 5."""
    paths = []
    for name, codes in (("a", [0, 1, 2]), ("b", [3, 4])):
        rows = np.zeros((len(codes), 13, 4), np.float32)
        rows[:, 0] = np.array(codes)[:, None]
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


def test_windows_of_all_shards_in_order(shards):
    dataset = ConsensusDataset(shards, CONFIG)
    assert len(dataset) == 5
    items = [dataset[index] for index in (4, 0, 3, 2, 1)]
    assert [int(item["rows"][0, 0]) for item in items] == [4, 0, 3, 2, 1]
    assert [item["labels"].tolist() for item in items] == [[code] * 4 for code in (4, 0, 3, 2, 1)]
    assert (items[0]["rows"].dtype, items[0]["labels"].dtype) == (torch.int16, torch.uint8)


def test_a_worker_opens_its_own_files(shards):
    dataset = ConsensusDataset(shards, CONFIG)
    dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own bytes
    assert copy[4]["labels"].tolist() == [4] * 4
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context="spawn")
    assert torch.cat([batch["labels"][:, 0] for batch in loader]).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("index", [5, -1])
def test_beyond_the_end(shards, index):
    with pytest.raises(IndexError, match=f"window {index} of 5"):
        ConsensusDataset(shards, CONFIG)[index]


def test_shards_of_another_shape(shards):
    with pytest.raises(DataError, match=r"a.h5: windows of 2 passes and 4 columns; the model reads 3 and 4"):
        ConsensusDataset(shards, ConsensusConfig(max_passes=3, window_length=4))


def test_no_shards():
    with pytest.raises(DataError, match="no shards of examples"):
        ConsensusDataset([], CONFIG)
