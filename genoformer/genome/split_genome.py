"""A genome cut into stretches for training, evaluation and test, and molecules cut from these.

The first 80 % of all bases are for training, the next 10 % for evaluation, the last 10 % for test; a contig that
crosses a border is cut there. No base is thus in molecules of two splits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from genoformer.genome.alphabet import reverse_complement

SPLIT_ENDS = {"train": 0.8, "eval": 0.9, "test": 1.0}

_MAX_TRIES = 100  # to find a molecule without N


@dataclass(frozen=True)
class Stretch:
    """Part of a contig that belongs to one split; `start` is its place there, 0-based."""

    contig: str
    start: int
    letters: bytes
    split: str
    is_whole: bool

    @property
    def name(self) -> str:
        """The contig's, followed by `:first-last`, 1-based, where it is a part of it."""
        return self.contig if self.is_whole else f"{self.contig}:{self.start + 1}-{self.start + len(self.letters)}"


@dataclass(frozen=True)
class Molecule:
    """Where a molecule comes from; `start` and `end` are places in the stretch."""

    stretch: Stretch
    start: int
    end: int
    is_reverse: bool

    @property
    def letters(self) -> bytes:
        """Letters A, C, G, T along the molecule's strand."""
        letters = self.stretch.letters[self.start : self.end]
        return reverse_complement(letters) if self.is_reverse else letters

    @property
    def origin(self) -> str:
        """`contig:first-last strand`, 1-based."""
        first, last = self.stretch.start + self.start + 1, self.stretch.start + self.end
        return f"{self.stretch.contig}:{first}-{last} {'-' if self.is_reverse else '+'}"

    def other_strand(self) -> Molecule:
        """The same molecule by its other strand."""
        return replace(self, is_reverse=not self.is_reverse)


def split_genome(contigs: dict[str, bytes]) -> list[Stretch]:
    """All stretches, in the order of the contigs."""
    total = sum(map(len, contigs.values()))
    borders = [round(share * total) for share in SPLIT_ENDS.values()]
    stretches, offset = [], 0
    for contig, letters in contigs.items():
        cuts = [min(max(border - offset, 0), len(letters)) for border in (0, *borders)]
        for split, start, end in zip(SPLIT_ENDS, cuts[:-1], cuts[1:], strict=True):
            if start < end:
                stretches.append(Stretch(contig, start, letters[start:end], split, end - start == len(letters)))
        offset += len(letters)
    return stretches


def cut_molecule(stretches: list[Stretch], length_bp: int, rng: np.random.Generator) -> Molecule | None:
    """A random molecule without N on a random strand; None where a hundred tries find none.

    Args:
        stretches: at least one, each of at least `length_bp`.
    """
    num_starts = np.array([len(one.letters) - length_bp + 1 for one in stretches], dtype=np.float64)
    for _ in range(_MAX_TRIES):
        stretch = stretches[int(rng.choice(len(stretches), p=num_starts / num_starts.sum()))]
        start = int(rng.integers(len(stretch.letters) - length_bp + 1))
        molecule = Molecule(stretch, start, start + length_bp, is_reverse=bool(rng.random() < 0.5))
        if b"N" not in molecule.letters:
            return molecule
    return None
