"""genoformer: transformers for genomic sequence, from reads to consensus and from DNA to tracks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genoformer.genome.variant import Variant
    from genoformer.models.checkpoint import Device, Model
    from genoformer.models.expression import ExpressionTransformer
    from genoformer.workflows.score_variants import VariantScores

__version__ = "0.1.0"

__all__ = ["__version__", "load_model", "score_variants"]


def load_model(path: str | os.PathLike[str], device: Device = "cpu") -> Model:
    """The model of a file in evaluation mode on `device`, its weights float32.

    A consensus model takes the rows of pileup windows [B, R, L] to logits of gap, A, T, C, G [B, L, 5]; an expression
    model takes one-hot sequences [B, L, 4] to tracks of each species [B, N, T], and has `tracks` that say which.

    Args:
        path: a model file, as `genoformer model convert` and training write them, or the name of a model that ships.
    Raises:
        CheckpointError: no such file, no model file, or a damaged one.
        UsageError: a name without a suffix that no model has.
    """
    from genoformer.models.checkpoint import load_model as load
    from genoformer.workflows.model_choice import find_model

    return load(find_model(os.fspath(path), "or the name of a model that ships"), device)


def score_variants(
    model: ExpressionTransformer | str | os.PathLike[str],
    genome: str | os.PathLike[str],
    variants: str | os.PathLike[str] | Iterable[Variant],
    **settings: Any,
) -> VariantScores:
    """How variants change the tracks that an expression model predicts.

    Args:
        model: an expression model, a file of one, or the name of a model that ships.
        genome: a FASTA file.
        variants: a VCF file, or `genoformer.genome.variant.Variant`s.
        settings: as `genoformer.workflows.score_variants.score_variants` takes them: scores, tracks, species, rc, ...
    Returns:
        scores by name, `["sad_sum"]` float32 [variants, T], with `to_table()` and `to_hdf5(path)`.
    Raises:
        GenoformerError: settings that cannot work, or files that are damaged or do not belong together.
    """
    from genoformer.workflows.score_variants import score_variants as score

    return score(model, genome, variants, **settings)
