from itertools import islice

import pytest

from genoformer.datasets.alternate import AlternatingLoader, OneAfterTheOther
from genoformer.datasets.loader import Loader, SinglePass
from genoformer.errors import CheckpointError
from tests.datasets.test_loader import Numbers

SIZES = {"human": 7, "mouse": 4}


class Named(Numbers):
    """Examples that say which source they are of."""

    def __init__(self, name):
        super().__init__(SIZES[name])
        self.name = name

    def read_batch(self, indices, draws):
        return {self.name: super().read_batch(indices, draws)["noise"]}


def loader_of(names=("human", "mouse"), **settings):
    return AlternatingLoader({name: Loader(Named(name), batch_size=2, seed=3, **settings) for name in names})


def take(loader, count):
    batches = iter(loader)
    try:
        return [{name: values.tolist() for name, values in batch.items()} for batch in islice(batches, count)]
    finally:
        batches.close()


def alone(name, count):
    """What a loader of this source gives by itself."""
    return take(Loader(Named(name), batch_size=2, seed=3), count)


def test_sources_take_turns_each_in_its_own_order():
    found = take(loader_of(), 12)
    assert found[0::2] == alone("human", 6)
    assert found[1::2] == alone("mouse", 6)


def test_an_epoch_is_one_of_the_largest_source():
    loader = loader_of()
    assert loader.batches_per_epoch == 2 * 3  # seven examples are three batches of two
    take(loader, 6)
    assert loader.epochs_done == 1
    take(loader, 4)
    assert loader.epochs_done == pytest.approx(1 + 2 / 3)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_it_goes_on_exactly(count, num_workers):
    whole = take(loader_of(), 12)
    first = loader_of(num_workers=num_workers)
    assert take(first, count) == whole[:count]
    second = loader_of(num_workers=num_workers)
    second.load_state_dict(first.state_dict())
    assert take(second, 12 - count) == whole[count:]


def test_a_state_of_other_sources_is_refused():
    with pytest.raises(CheckpointError, match="written with data of human, mouse, now there are those of mouse, human"):
        loader_of(("mouse", "human")).load_state_dict(loader_of().state_dict())


def test_one_source_is_as_its_own_loader():
    assert take(loader_of(["mouse"]), 5) == alone("mouse", 5)


def test_passes_one_after_the_other_as_often_as_wanted():
    both = OneAfterTheOther(SinglePass(Named(name), batch_size=4) for name in SIZES)
    for _ in range(2):
        assert [(name, len(values)) for batch in both for name, values in batch.items()] == [
            ("human", 4), ("human", 3), ("mouse", 4),
        ]  # fmt: skip
