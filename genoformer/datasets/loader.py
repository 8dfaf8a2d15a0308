"""Batches for training and evaluation: seeded, shared out to processes, resumable to the exact example.

Both tasks use these two classes. What a batch holds and in which order batches come depends on the seed, the epoch and
the number of training processes, never on the number of loader workers.
"""

from __future__ import annotations

import atexit
import copy
import logging
import signal
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from genoformer.errors import CheckpointError, GenoformerError, UsageError

logger = logging.getLogger(__name__)

Batch = dict[str, Tensor]

_ORDER, _DRAWS = 0, 1  # random streams of an epoch: its permutation, and its examples' own


@dataclass(frozen=True)
class Draws:
    """Random numbers for augmentation: each example of each epoch has its own, whichever process reads it."""

    seed: int
    epoch: int

    def of(self, index: int) -> np.random.Generator:
        """The random numbers of example `index` in this epoch; equal arguments give equal numbers."""
        sequence = np.random.SeedSequence([self.seed, self.epoch, index], spawn_key=(_DRAWS,))
        return np.random.Generator(np.random.PCG64(sequence))


class ExampleSource(Protocol):
    """Examples by index, as a task's dataset has them.

    Loader workers read from a copy (`copy.copy`, and by pickle where processes are not forked): files are opened by
    whoever reads first and are no part of the state that is copied.
    """

    def __len__(self) -> int:
        """Number of examples."""

    def read_batch(self, indices: np.ndarray, draws: Draws | None) -> Batch:
        """The examples at `indices`, int64 [B], as tensors [B, ...] on the CPU.

        Args:
            draws: for augmentation; None where nothing may be drawn: in evaluation.
        """


class TrainingBatches(Protocol):
    """Endless batches that can be resumed: what the training loop reads, a `Loader` or several together."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every process in one epoch."""

    @property
    def epochs_done(self) -> float:
        """Epochs so far, with the fraction of the present one."""

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches from the present place on."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on with the next batch."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the loader of a state stood."""


class Place(NamedTuple):
    """Where a pass over the examples stands: in which epoch, after how many examples of all processes together."""

    epoch: int
    position: int


class _Key(NamedTuple):
    """A batch to read, and where training stands once it has been taken."""

    indices: np.ndarray
    draws: Draws | None
    after: Place


class Loader:
    """Endless batches for training: every epoch a new permutation of all examples.

    Process r takes positions r, r + world_size, ... of the permutation. All batches of all processes have
    `batch_size` examples: what is left at the end of an epoch, fewer than world_size * batch_size, is left out of that
    epoch, which the log says. One iterator at a time.

    Args:
        batch_size: examples per process.
        seed: of order and augmentation; the same in all processes.
        rank, world_size: which of how many training processes this is.
        num_workers: processes that read ahead; 0 to read in this one.
        pin_memory: batches in page-locked memory, for faster copies to a GPU.
    Raises:
        UsageError: fewer examples than one batch of every process.
    """

    def __init__(
        self,
        source: ExampleSource,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.num_workers, self.pin_memory = num_workers, pin_memory
        self.place = Place(0, 0)
        if not self.batches_per_epoch:
            raise UsageError(
                f"there are {len(source)} examples, fewer than one batch of {batch_size} for each of {world_size} "
                "processes; make batch_size smaller"
            )
        left = len(source) % self._stride
        if left:
            logger.info("each epoch leaves out %d of %d examples, others each time", left, len(source))

    @property
    def _stride(self) -> int:
        """Examples that all processes take together for one batch each."""
        return self.batch_size * self.world_size

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every process in one epoch."""
        return len(self.source) // self._stride

    @property
    def epochs_done(self) -> float:
        """Epochs so far, with the fraction of the present one."""
        return self.place.epoch + self.place.position / (self.batches_per_epoch * self._stride)

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches from the present place on; `place` counts a batch once it is handed out."""
        for key, batch in _read_ahead(self.source, self._keys(), self.num_workers, self.pin_memory):
            self.place = key.after
            yield batch

    def _keys(self) -> Iterator[_Key]:
        place = self.place
        while True:
            order = epoch_order(len(self.source), seed=self.seed, epoch=place.epoch)
            draws = Draws(self.seed, place.epoch)
            for start in range(place.position, len(order) - self._stride + 1, self._stride):
                shared = order[start : start + self._stride]
                yield _Key(
                    shared[self.rank :: self.world_size].astype(np.int64),
                    draws,
                    Place(place.epoch, start + self._stride),
                )
            place = Place(place.epoch + 1, 0)

    def state_dict(self) -> dict[str, int]:
        """What `load_state_dict` needs to go on with the next batch."""
        return {**self.place._asdict(), "seed": self.seed, "num_examples": len(self.source)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where the loader of a state stood; exactly, with as many processes and the same batch size.

        Raises:
            CheckpointError: a state of other examples or another seed.
        """
        for name, found in (("seed", self.seed), ("num_examples", len(self.source))):
            if state[name] != found:
                raise CheckpointError(
                    f"the checkpoint was written with {name}={state[name]}, now it is {found}; "
                    "resume with the same data and seed, or start a new run"
                )
        self.place = Place(state["epoch"], state["position"])


class SinglePass:
    """Batches for evaluation: every example once, in order, without augmentation; as often as it is iterated.

    Process r takes examples r, r + world_size, ... Its last batch may be smaller, and where the examples are few
    it may have one batch fewer than the others, or none.

    Args:
        batch_size, rank, world_size, num_workers, pin_memory: as in `Loader`.
    """

    def __init__(
        self,
        source: ExampleSource,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.source, self.batch_size = source, batch_size
        self.rank, self.world_size = rank, world_size
        self.num_workers, self.pin_memory = num_workers, pin_memory

    def __iter__(self) -> Iterator[Batch]:
        own = np.arange(self.rank, len(self.source), self.world_size)
        keys = (
            _Key(own[start : start + self.batch_size], None, Place(0, 0))
            for start in range(0, len(own), self.batch_size)
        )
        for _, batch in _read_ahead(self.source, keys, self.num_workers, self.pin_memory):
            yield batch


def epoch_order(num_examples: int, *, seed: int, epoch: int) -> np.ndarray:
    """The permutation of an epoch, integers [num_examples]; equal arguments give equal permutations."""
    order = np.arange(num_examples, dtype=np.int32 if num_examples < 2**31 else np.int64)
    sequence = np.random.SeedSequence([seed, epoch], spawn_key=(_ORDER,))
    np.random.Generator(np.random.PCG64(sequence)).shuffle(order)
    return order


class _Reader(Dataset[Any]):
    """A source whose 'index' is the key of a whole batch, as torch's loader wants it."""

    def __init__(self, source: ExampleSource) -> None:
        self.source = source

    def __getitem__(self, key: _Key) -> tuple[_Key, Batch | GenoformerError]:
        try:
            return key, self.source.read_batch(key.indices, key.draws)
        except GenoformerError as error:  # torch would wrap a worker's in a page of traceback
            return key, error


class _Keys(Sampler[Any]):
    def __init__(self, keys: Iterator[_Key]) -> None:
        self.keys = keys

    def __iter__(self) -> Iterator[_Key]:
        return self.keys


def _read_ahead(
    source: ExampleSource, keys: Iterator[_Key], num_workers: int, pin_memory: bool
) -> Iterator[tuple[_Key, Batch]]:
    """The batches of `keys`, in their order; workers are stopped when the iterator is closed, or as Python exits."""
    with warnings.catch_warnings():  # more workers than cores is for the user to decide
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            _Reader(source),
            sampler=_Keys(keys),
            batch_size=None,  # a key is a batch
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_as_it_is,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # torch's own draw must not touch the random state of training
        )
        held = [iter(loader)]  # dropping it stops the workers
    atexit.register(held.clear)  # before multiprocessing's own hook, which would wait for them
    try:
        while True:
            try:
                key, found = next(held[0])
            except StopIteration:
                return
            if isinstance(found, GenoformerError):
                raise found
            yield key, found
    finally:
        held.clear()
        atexit.unregister(held.clear)


def _as_it_is(item: Any) -> Any:
    return item


def _start_worker(worker: int) -> None:
    """Leaves signals to the parent, which Slurm signals too and which saves; opens files anew."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    info = get_worker_info()
    assert info is not None  # this is a worker
    reader: Any = info.dataset
    reader.source = copy.copy(reader.source)
