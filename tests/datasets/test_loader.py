"""Order, shares, exact resuming and worker processes of the loader."""

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
import torch

from genoformer.datasets.loader import Draws, Loader, SinglePass, epoch_order
from genoformer.errors import CheckpointError, DataError, UsageError

CHECKOUT = Path(__file__).resolve().parents[2]


class Numbers:
    """Examples that are their own index, with one random number each."""

    def __init__(self, num_examples, broken=None):
        self.num_examples, self.broken = num_examples, broken

    def __len__(self):
        return self.num_examples

    def read_batch(self, indices, draws):
        if self.broken in indices:
            raise DataError(f"example {self.broken} is broken")
        noise = [0.0 if draws is None else draws.of(index).random() for index in indices.tolist()]
        return {"index": torch.from_numpy(indices), "noise": torch.tensor(noise, dtype=torch.float64)}


class Opened:
    """Five examples from a 'file', which notes by which process it was opened."""

    def __init__(self):
        self.opened_by = None

    def __len__(self):
        return 5

    def read_batch(self, indices, draws):
        self.opened_by = self.opened_by or os.getpid()
        return {"opener": torch.full((len(indices),), self.opened_by)}

    def __getstate__(self):
        return {"opened_by": None}


def take(loader, count):
    """Index and noise of the next batches."""
    batches = iter(loader)
    try:
        return [(batch["index"].tolist(), batch["noise"].tolist()) for batch in islice(batches, count)]
    finally:
        batches.close()


def indices(found):
    return [index for batch, _ in found for index in batch]


def test_an_epoch_is_a_permutation_of_all_examples_and_each_epoch_another():
    found = indices(take(Loader(Numbers(12), batch_size=3, seed=5), 8))
    first, second = found[:12], found[12:]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert first == epoch_order(12, seed=5, epoch=0).tolist()
    assert first != indices(take(Loader(Numbers(12), batch_size=3, seed=6), 4))


def test_processes_share_the_permutation_and_the_tail_is_left_out_aloud(caplog):
    with caplog.at_level("INFO"):
        loaders = [Loader(Numbers(17), batch_size=2, seed=5, rank=rank, world_size=3) for rank in range(3)]
    assert "each epoch leaves out 5 of 17 examples" in caplog.text
    order = epoch_order(17, seed=5, epoch=0).tolist()
    shares = [indices(take(loader, loader.batches_per_epoch)) for loader in loaders]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert shares == [order[rank:12:3] for rank in range(3)]  # without a tail of five, no example twice
    assert loaders[0].epochs_done == 1.0


def test_workers_change_neither_order_nor_random_numbers():
    expected = take(Loader(Numbers(10), batch_size=2, seed=5), 12)
    for num_workers in (1, 2, 3):
        assert take(Loader(Numbers(10), batch_size=2, seed=5, num_workers=num_workers), 12) == expected


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("done", [0, 1, 4, 5, 7])
def test_a_restored_loader_goes_on_with_the_next_batch(num_workers, done):
    whole = take(Loader(Numbers(11), batch_size=2, seed=5), 12)  # five batches an epoch
    first = Loader(Numbers(11), batch_size=2, seed=5, num_workers=num_workers)
    assert take(first, done) == whole[:done]
    second = Loader(Numbers(11), batch_size=2, seed=5, num_workers=num_workers)
    second.load_state_dict(first.state_dict())
    assert take(second, 12 - done) == whole[done:]
    assert second.epochs_done == pytest.approx(12 / 5)


def test_iterating_on_goes_on_where_the_last_iterator_was_left():
    loader = Loader(Numbers(10), batch_size=2, seed=5, num_workers=2)
    assert take(loader, 3) + take(loader, 4) == take(Loader(Numbers(10), batch_size=2, seed=5), 7)


@pytest.mark.parametrize(("name", "state"), [("seed", {"seed": 6}), ("num_examples", {"num_examples": 9})])
def test_a_state_of_other_data_or_seed_is_refused(name, state):
    loader = Loader(Numbers(10), batch_size=2, seed=5)
    with pytest.raises(CheckpointError, match=f"was written with {name}={state[name]}, now it is"):
        loader.load_state_dict({**loader.state_dict(), **state})


def test_fewer_examples_than_a_batch_of_each_process_are_refused():
    with pytest.raises(UsageError, match="there are 5 examples, fewer than one batch of 2 for each of 3 processes"):
        Loader(Numbers(5), batch_size=2, seed=1, world_size=3)


def test_random_numbers_depend_on_seed_epoch_and_index_alone():
    found = {Draws(*key[:2]).of(key[2]).random() for key in [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]}
    assert len(found) == 4
    assert Draws(1, 0).of(0).random() in found


def test_the_loader_draws_nothing_from_the_random_state_of_training():
    state = torch.get_rng_state()
    take(Loader(Numbers(10), batch_size=2, seed=5, num_workers=1), 2)
    list(SinglePass(Numbers(3), batch_size=2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 0), (2, 0), (3, 2), (8, 0)])
def test_a_single_pass_gives_every_example_once_without_randomness(num_workers, world_size):
    passes = [
        SinglePass(Numbers(7), batch_size=2, rank=rank, world_size=world_size, num_workers=num_workers)
        for rank in range(world_size)
    ]
    found = [[batch["index"].tolist() for batch in share] for share in passes]
    assert sorted(index for share in found for batch in share for index in batch) == list(range(7))
    assert found[0] == [batch["index"].tolist() for batch in passes[0]]  # a second time
    assert all(batch["noise"].eq(0).all() for batch in passes[0])
    if world_size == 1:
        assert found == [[[0, 1], [2, 3], [4, 5], [6]]]


def test_no_examples_give_an_empty_pass():
    assert list(SinglePass(Numbers(0), batch_size=2)) == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_in_reading_arrives_as_it_was_raised(num_workers):
    with pytest.raises(DataError) as error:
        list(SinglePass(Numbers(7, broken=4), batch_size=2, num_workers=num_workers))
    assert str(error.value) == "example 4 is broken"


def test_workers_open_files_of_their_own():
    source = Opened()
    [batch] = SinglePass(source, batch_size=5)
    assert set(batch["opener"].tolist()) == {os.getpid()}
    [batch] = SinglePass(source, batch_size=5, num_workers=1)
    assert os.getpid() not in batch["opener"].tolist()


ABANDON = """
import sys
from genoformer.datasets.loader import Loader
from tests.datasets.test_loader import Numbers
batches = iter(Loader(Numbers(100), batch_size=2, seed=1, num_workers=2))
next(batches)
sys.exit("left with workers running")
"""


def test_workers_outlive_group_signals_and_end_with_their_parent(tmp_path):
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("finds workers by Linux's /proc")
    others = set(children.read_text().split())  # of other tests
    loader = iter(Loader(Numbers(1000), batch_size=2, seed=1, num_workers=2))
    next(loader), next(loader)  # one from each: both have started
    workers = [int(pid) for pid in set(children.read_text().split()) - others]
    assert len(workers) >= 2
    for pid in workers:
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            os.kill(pid, number)
    time.sleep(0.1)
    for _ in range(20):  # more than was read ahead
        next(loader)
    loader.close()
    assert set(children.read_text().split()) <= others


def test_leaving_with_workers_running_does_not_hang():
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'kernels'}"}
    result = subprocess.run(
        [sys.executable, "-c", ABANDON], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr.strip()) == (1, "left with workers running")
