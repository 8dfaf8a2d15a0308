"""The expression model: from a DNA sequence to tracks of experiments, bin by bin, for one or several species."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genoformer.config import ExpressionConfig
from genoformer.errors import UsageError
from genoformer.genome.track import Tracks, numbered_tracks
from genoformer.nn.attention import RelativeAttention
from genoformer.nn.blocks import FeedForward, RelativeEncoderLayer
from genoformer.nn.convolution import ConvBlock, Convolution, SoftmaxPool, centre, gelu, pointwise, recomputed
from genoformer.nn.initialisers import fan_in_normal_
from genoformer.nn.positions import relative_positions

PIECE_BP = 1 << 14  # that go through the first stages together on a CPU
PIECED_STAGES = 3
NUM_BASES = 4  # A, C, G, T; N is a row of zeros


class TowerStage(nn.Module):
    """A convolution, a residual block and pooling: half the length.

    Args:
        convolution: from [B, L, D_in] to [B, L, width].
        width: of the stage's output.
    """

    def __init__(self, convolution: nn.Module, width: int) -> None:
        super().__init__()
        self.convolution = convolution
        self.residual = ConvBlock(width, width)
        self.pool = SoftmaxPool(width)

    def forward(self, x: Tensor) -> Tensor:
        """The stage's output; x [B, L, D_in] with L even, result [B, L/2, width]."""
        x = self.convolution(x)  # [B, L, width]
        return self.pool(self.residual(x).add_(x))  # [B, L/2, width]


class ExpressionTransformer(nn.Module):
    """A convolutional tower down to bins, a transformer over bins, and a head of tracks for each species.

    Attributes:
        config: the shape of the model.
        tracks: what the outputs of each head stand for.
        checkpoint_tower: in training, the tower, which takes most of the memory, is computed once more in the backward
            pass instead of being kept; gradients stay the same.
    Source:
        Avsec et al. 2021 (Enformer, Nature Methods 18:1196), extended data figure 1, and its code.
    """

    positions: Tensor  # [2 L - 1, F], for windows of the config's length
    checkpoint_tower: bool = False

    def __init__(self, config: ExpressionConfig, tracks: Tracks | None = None) -> None:
        super().__init__()
        width = config.hidden_width
        self.config = config
        self.tracks = numbered_tracks(config.heads) if tracks is None else tracks
        self.stem = TowerStage(Convolution(NUM_BASES, config.stem_width, config.stem_kernel), config.stem_width)
        widths = (config.stem_width, *config.tower_widths)
        self.tower = nn.ModuleList(
            TowerStage(ConvBlock(before, after, config.tower_kernel), after)
            for before, after in itertools.pairwise(widths)
        )
        self.layers = nn.ModuleList(_layer(config) for _ in range(config.num_layers))
        self.pointwise = ConvBlock(width, config.pointwise_width)
        self.heads = nn.ModuleDict(
            {species: pointwise(config.pointwise_width, num_tracks) for species, num_tracks in config.heads.items()}
        )
        self.register_buffer("positions", self._positions(config.window_bp // config.bin_bp), persistent=False)

    def forward(
        self, sequence: Tensor, species: Iterable[str] | None = None, target_bins: int | None = None
    ) -> dict[str, Tensor]:
        """Predicted tracks, by species.

        Args:
            sequence: [B, L, 4], any real dtype: one-hot A, C, G, T, zeros for N. L is a multiple of the config's
                bin_bp, at least target_bins bins; window_bp is what models are trained and used with.
            species: the heads to compute; None: all.
            target_bins: in the middle of the sequence that are predicted; None: the config's.
        Returns:
            of each species [B, target_bins, T], in the dtype of the weights (float32), at least 0.
        Raises:
            UsageError: a sequence of another shape, or a species that the model does not have.
        """
        return self.predict(self.mix(self.bins(sequence), target_bins), species)

    def bins(self, sequence: Tensor) -> Tensor:
        """What the tower makes of each bin; sequence as in `forward`, result [B, L / bin_bp, D].

        A base changes only the bins that it lies in or is at most the config's reach_bp away from.
        """
        self._check_sequence(sequence)
        x, stages = sequence.to(self.positions.dtype), [self.stem, *self.tower]
        if not torch.is_grad_enabled() and not self.training and x.device.type == "cpu":
            return _run(stages[PIECED_STAGES:], self._run_in_pieces(stages[:PIECED_STAGES], x))
        return _run(stages, x, recompute=self.checkpoint_tower and torch.is_grad_enabled())

    def _run_in_pieces(self, stages: list[TowerStage], sequence: Tensor) -> Tensor:
        """The first stages, a stretch of bases at a time with all others that it depends on, for the sake of memory.

        Later stages are left out: they are short, and there weights are what takes time to arrange.
        """
        step, length = 2 ** len(stages), sequence.shape[1]  # bases a position
        margin = -(-self.config.reach_bp // step) * step  # more than these stages need
        pieces = []
        for start in range(0, length, PIECE_BP):
            low, high = max(0, start - margin), min(start + PIECE_BP + margin, length)
            piece = _run(stages, sequence[:, low:high])
            pieces.append(piece[:, (start - low) // step : (start - low + PIECE_BP) // step])
        return torch.cat(pieces, dim=1)  # [B, L / step, D]

    def mix(self, bins: Tensor, target_bins: int | None = None) -> Tensor:
        """What the heads read of the middle bins, after all bins have met.

        Args:
            bins: [B, L / bin_bp, D].
            target_bins: as in `forward`.
        Returns:
            [B, target_bins, pointwise_width].
        Raises:
            UsageError: fewer than target_bins.
        """
        target_bins = self.config.target_bins if target_bins is None else target_bins
        if bins.shape[1] < target_bins:
            raise UsageError(f"the sequence has {bins.shape[1]} bins; expected at least {target_bins}")
        kept = centre(bins, target_bins)
        positions = self._positions_of(bins)
        x = bins.to(self.positions.dtype)  # under autocast, the residual stream stays float32
        for layer in self.layers[:-1]:
            x = layer(x, positions)
        # The last layer is not needed where the crop follows.
        x = self.layers[-1](x, positions, kept) if self.layers else x[:, kept]  # [B, target_bins, D]
        return gelu(F.dropout(self.pointwise(x), self.config.pointwise_dropout, self.training))

    def predict(self, mixed: Tensor, species: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The heads' outputs; mixed [B, N, pointwise_width], result of each species [B, N, T], in the weights' dtype.

        Raises:
            UsageError: a species that the model does not have.
        """
        wanted = list(self.heads) if species is None else list(species)
        for name in wanted:
            if name not in self.heads:
                raise UsageError(f"species is '{name}'; the model has {', '.join(self.heads)}")
        is_meta = mixed.device.type == "meta"  # where there is no autocast
        with contextlib.nullcontext() if is_meta else torch.autocast(mixed.device.type, enabled=False):
            return {name: F.softplus(self.heads[name](mixed.to(self.positions.dtype))) for name in wanted}

    def _check_sequence(self, sequence: Tensor) -> None:
        shape, bin_bp = tuple(sequence.shape), self.config.bin_bp
        if len(shape) != 3 or shape[2] != NUM_BASES or shape[1] < bin_bp or shape[1] % bin_bp:
            raise UsageError(
                f"sequence has shape {shape}; expected (windows, bases, {NUM_BASES}), the bases a multiple of {bin_bp}"
            )

    def _positions(self, length: int) -> Tensor:
        config = self.config
        return relative_positions(
            length, config.position_features, nominal_length=config.position_bins, gamma_over=config.gamma_over
        )

    def _positions_of(self, bins: Tensor) -> Tensor:
        """Features of the distances between bins [B, L, D], [2 L - 1, F]."""
        if 2 * bins.shape[1] - 1 == len(self.positions):
            return self.positions
        return self._positions(bins.shape[1]).to(self.positions)


def _run(stages: Iterable[TowerStage], x: Tensor, *, recompute: bool = False) -> Tensor:
    """What the stages make of x [B, L, D_in] one after the other, each of half the length."""
    for stage in stages:
        x = recomputed(stage, x) if recompute else stage(x)
    return x


def _layer(config: ExpressionConfig) -> RelativeEncoderLayer:
    width = config.hidden_width
    attention = RelativeAttention(
        width,
        config.num_heads,
        key_width=config.key_width,
        value_width=config.value_width,
        num_features=config.position_features,
        dropout=config.attention_dropout,
        position_dropout=config.position_dropout,
    )
    feed_forward = FeedForward(width, config.filter_width, dropout=config.relu_dropout)
    for linear in (feed_forward.hidden, feed_forward.output):
        fan_in_normal_(linear.weight)
    return RelativeEncoderLayer(width, attention, feed_forward, residual_dropout=config.residual_dropout)
