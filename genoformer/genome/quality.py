"""Phred qualities, error probabilities and the calibration line between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genoformer.errors import UsageError

MAX_FASTQ_QUALITY = 93  # '~', the last printable character of Phred+33


def error_prob(qual_phred: np.ndarray) -> np.ndarray:
    """Error probabilities of Phred qualities, float64, same shape."""
    return np.power(10.0, np.asarray(qual_phred, dtype=np.float64) / -10.0)


def phred(prob: np.ndarray | float) -> np.ndarray:
    """Phred qualities of error probabilities, float64; probability 0 gives +inf."""
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(np.asarray(prob, dtype=np.float64))


def mean_error_phred(qual_phred: np.ndarray) -> float:
    """Phred of the mean error probability of one read or window.

    Args:
        qual_phred: integer qualities; negative values mark gaps and do not count.
    Returns:
        The Phred value; 0.0 where there is no base or all qualities are 0.
    Source:
        DeepConsensus v1.2, `utils.avg_phred`.
    """
    qual_phred = np.asarray(qual_phred)
    kept = qual_phred[qual_phred >= 0]
    if not kept.any():
        return 0.0
    return float(phred(error_prob(kept).mean()))


@dataclass(frozen=True)
class Calibration:
    """The line q -> w*q + b, applied to qualities above `threshold` (0: to all).

    Source: DeepConsensus v1.2, `quality_calibration/calibration_lib.py`.
    """

    threshold: float
    w: float
    b: float

    @classmethod
    def parse(cls, text: str | None) -> Calibration | None:
        """The calibration written as "threshold,w,b"; None for None or "skip".

        Raises:
            UsageError: not three finite numbers.
        """
        if text is None or text == "skip":
            return None
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 3 or not np.isfinite(numbers).all():
            raise UsageError(f"calibration is '{text}'; expected three numbers 'threshold,w,b', or 'skip'")
        return cls(*numbers)

    def apply(self, qual_phred: np.ndarray) -> np.ndarray:
        """Calibrated qualities, float, same shape; not rounded or clipped."""
        if self.threshold == 0:
            return qual_phred * self.w + self.b
        return np.where(qual_phred > self.threshold, qual_phred * self.w + self.b, qual_phred)
