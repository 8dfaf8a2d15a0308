"""Batches of several sources, such as those of two species: in turns for training, one after the other to assess."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from genoformer.datasets.loader import Batch, Loader
from genoformer.errors import CheckpointError


class AlternatingLoader:
    """Endless batches, each of one source: of the first, of the second, ..., of the first again.

    Every source has epochs of its own; a small one is seen more often than a large one. An epoch of all together is
    one in which the largest is seen once.

    Args:
        loaders: by name of the source, at least one.
    """

    def __init__(self, loaders: Mapping[str, Loader]) -> None:
        self.loaders = dict(loaders)
        self._turn = 0

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every process in one epoch."""
        return len(self.loaders) * max(loader.batches_per_epoch for loader in self.loaders.values())

    @property
    def epochs_done(self) -> float:
        """Epochs so far, with the fraction of the present one: those of the largest source."""
        return min(loader.epochs_done for loader in self.loaders.values())

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches from the present place on, as `Loader` gives them."""
        with contextlib.ExitStack() as stack:
            sources = [stack.enter_context(contextlib.closing(iter(loader))) for loader in self.loaders.values()]
            while True:
                batch = next(sources[self._turn])
                self._turn = (self._turn + 1) % len(sources)
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on with the next batch."""
        return {"turn": self._turn, "loaders": {name: loader.state_dict() for name, loader in self.loaders.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the loader of a state stood.

        Raises:
            CheckpointError: a state of other sources, examples or another seed.
        """
        if list(state["loaders"]) != list(self.loaders):
            raise CheckpointError(
                f"the checkpoint was written with data of {', '.join(state['loaders'])}, now there are those of "
                f"{', '.join(self.loaders)}; resume with the same data in the same order, or start a new run"
            )
        for name, loader in self.loaders.items():
            loader.load_state_dict(state["loaders"][name])
        self._turn = state["turn"]


class OneAfterTheOther:
    """The batches of several evaluation passes, pass after pass; as often as it is iterated."""

    def __init__(self, passes: Iterable[Iterable[Batch]]) -> None:
        self._passes = list(passes)

    def __iter__(self) -> Iterator[Batch]:
        return itertools.chain.from_iterable(self._passes)
