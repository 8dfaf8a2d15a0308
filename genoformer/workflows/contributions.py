"""What each base contributes to a sum of predicted tracks: input times gradient.

The gradient is that of the prediction that is averaged over views of the sequence: moved by shifts, from either strand,
with noise in it. A base's contribution is the gradient at the letter that it is; N has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genoformer.errors import UsageError
from genoformer.genome.alphabet import N_CODE, one_hot
from genoformer.genome.interval import Interval
from genoformer.genome.variant import Fetch
from genoformer.models.expression import ExpressionTransformer
from genoformer.nn.precision import float32_products


@dataclass(frozen=True)
class ContributionSettings:
    """How contributions are computed.

    Attributes:
        reverse_complement: mean over both strands.
        shifts: mean over sequences moved to the right by so many bases, while the bins stay.
        mean_centred: from a gradient its mean over the four letters is taken away: sequences cannot have more or less
            of all four.
        num_noisy: mean over so many sequences with noise; 0: the sequence itself.
        noise: standard deviation of the noise that is added to each of the 4 numbers of a base.
        seed: of the noise, which depends on the place in the genome, too, but on no other region.
    Source:
        mean_centred: Majdandzic et al. 2023 (Genome Biology 24:109). Noise: Smilkov et al. 2017 (arXiv 1706.03825).
    """

    reverse_complement: bool = False
    shifts: tuple[int, ...] = (0,)
    mean_centred: bool = False
    num_noisy: int = 0
    noise: float = 0.1
    seed: int = 0

    @property
    def margin_bp(self) -> int:
        """Bases before and after a window that its contributions depend on."""
        return max(map(abs, self.shifts))

    def check(self) -> None:
        """Raises UsageError for settings that cannot work, whatever the model."""
        if len(set(self.shifts)) != len(self.shifts) or not self.shifts:
            raise UsageError(f"--shifts is {list(self.shifts)}; expected different numbers of bases")
        if self.num_noisy < 0 or self.seed < 0:
            raise UsageError(f"--smooth is {self.num_noisy} and --seed {self.seed}; expected at least 0")
        if not 0 < self.noise < float("inf"):
            raise UsageError(f"--noise is {self.noise}; expected a number above 0")


class Contributions:
    """Contributions of the bases of a window to the sum of some tracks over some of the window's bins.

    Args:
        model: in evaluation mode; its tower keeps nothing for the backward pass from now on.
        columns: of the head of `species`, to sum over.
    """

    def __init__(
        self, model: ExpressionTransformer, species: str, columns: Sequence[int], settings: ContributionSettings
    ) -> None:
        self.model, self.species, self.settings = model.requires_grad_(False), species, settings
        model.checkpoint_tower = True
        # Seen from the other strand, a track of one strand is the track of the other.
        pairs = [model.tracks[species][column].strand_pair for column in columns]
        self._columns = {False: list(columns), True: pairs}

    def __call__(self, window: Interval, bins: range, fetch: Fetch) -> np.ndarray:
        """Contributions of the window's bases and those around, [L + 2 margin_bp], in the model's dtype, without TF32.

        Args:
            window: of the length that the model reads.
            bins: whose predictions are summed, of the target_bins in the middle of the window.
            fetch: gives the genome.
        """
        codes = fetch(window.resized(window.length + 2 * self.settings.margin_bp))
        with float32_products():
            return self._gradient(window, bins, codes)[np.arange(len(codes)), codes]

    def _gradient(self, window: Interval, bins: range, codes: np.ndarray) -> np.ndarray:
        """The gradient, [L + 2 margin_bp, 5], by the codes of letters: that of N is 0."""
        margin_bp, shifts = self.settings.margin_bp, self.settings.shifts
        strands = (False, True) if self.settings.reverse_complement else (False,)
        bases = torch.from_numpy(one_hot(codes)).to(self.model.positions)
        total, num_views = torch.zeros_like(bases), 0
        for sequence in self._noisy(window, bases):
            for shift, is_reverse in itertools.product(shifts, strands):
                place = slice(margin_bp + shift, margin_bp + shift + window.length)
                total[place] += self._of_view(sequence[place], bins, is_reverse)
                num_views += 1
        total /= num_views
        if self.settings.mean_centred:
            total -= total.mean(dim=1, keepdim=True)
        return np.pad(total.cpu().numpy(), ((0, 0), (0, N_CODE + 1 - total.shape[1])))

    def _noisy(self, window: Interval, bases: Tensor) -> Iterator[Tensor]:
        """The sequence, or as many as are wanted with noise in them."""
        if not self.settings.num_noisy:
            yield bases
            return
        key = [self.settings.seed, window.start % (1 << 64), *window.chrom.encode()]
        rng = np.random.default_rng(key)
        for _ in range(self.settings.num_noisy):
            draws = rng.standard_normal(bases.shape, dtype=np.float32)
            yield bases + self.settings.noise * torch.from_numpy(draws).to(bases)

    def _of_view(self, bases: Tensor, bins: range, is_reverse: bool) -> Tensor:
        """The gradient [L, 4] of one prediction, in the sense of the genome; bases [L, 4]."""
        num_bins = self.model.config.target_bins
        rows = slice(num_bins - bins.stop, num_bins - bins.start) if is_reverse else slice(bins.start, bins.stop)
        # A, C, G, T backwards are their complements.
        turned = (bases.flip(0, 1) if is_reverse else bases).clone().requires_grad_()  # [L, 4]
        predicted = self.model(turned[None], [self.species])[self.species][0]  # [N, T]
        (gradient,) = torch.autograd.grad(predicted[rows][:, self._columns[is_reverse]].sum(), turned)
        return gradient.flip(0, 1) if is_reverse else gradient
