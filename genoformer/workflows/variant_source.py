"""The variants of a file as they are to be compared in a genome, and a count of those that cannot be.

Where REF is not what the genome has: `error` ends the run before it begins, `skip` leaves the variant out, `flip` takes
a variant whose ALT is in the genome the other way round, so that scores are still those of ALT against REF, and `trust`
puts the file's REF and ALT into the genome whatever it has.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from genoformer.errors import DataError
from genoformer.genome.interval import Interval, find_contig
from genoformer.genome.variant import Variant
from genoformer.io.genome_fasta import Genome, contig_hint
from genoformer.io.vcf import Unscored, VcfRecord
from genoformer.wording import counted

logger = logging.getLogger(__name__)

RefMismatch = Literal["error", "skip", "flip", "trust"]
REF_MISMATCHES: tuple[RefMismatch, ...] = get_args(RefMismatch)
NOT_IN_GENOME, MISMATCHED, TOO_LONG = "not in the genome", "REF not in the genome", "too long"
FLIPPED, TRUSTED = "flipped", "trusted"
NUM_LISTED = 10  # REF alleles that do not match


@dataclass(frozen=True)
class PlacedVariant:
    """A variant to score.

    Attributes:
        record: its number in the file, from 1.
        variant: as the file has it.
        ref, alt: what the two alleles change in the genome, in the genome's names; None: nothing.
    """

    record: int
    variant: Variant
    ref: Variant | None
    alt: Variant | None

    @property
    def site(self) -> Variant:
        """The change that makes one allele of the other, in the genome's names."""
        site = self.alt or self.ref
        assert site is not None
        return site


class VariantSource:
    """Reads variants and holds them against the genome.

    Args:
        name: of the file, for messages.
        records: gives the records anew at each call.
        max_allele_bp: of an allele that is still scored.
    """

    def __init__(
        self,
        name: str | Path,
        records: Callable[[], Iterable[VcfRecord]],
        genome: Genome,
        *,
        ref_mismatch: RefMismatch,
        max_allele_bp: int,
    ) -> None:
        self.name, self._records, self.genome = name, records, genome
        self.ref_mismatch, self.max_allele_bp = ref_mismatch, max_allele_bp
        self._contigs: dict[str, str | None] = {}

    def count_records(self) -> int:
        """The number of records, once all have been read.

        Raises:
            DataError: a damaged file.
        """
        return sum(1 for _ in self._records())

    def check(self, records: range) -> Counter[str]:
        """What there is among some records, by their numbers from 1: see `variants`.

        Raises:
            DataError: a damaged file, or REF alleles that are not in the genome where `ref_mismatch` is error.
        """
        counts: Counter[str] = Counter()
        for _ in self.variants(records, counts, on_mismatch=self._list_mismatch):
            pass
        num_wrong = counts[MISMATCHED] + counts[NOT_IN_GENOME]
        if self.ref_mismatch == "error" and num_wrong:
            raise DataError(
                f"{self.name}: {num_wrong} of {counted(counts.total(), 'ALT')} with a REF that is not in "
                f"{self.genome.path}; check the genome build, or say --ref-mismatch skip, flip or trust"
            )
        return counts

    def _list_mismatch(self, complaint: str, number: int) -> None:
        if number <= NUM_LISTED:
            logger.warning("%s", complaint)

    def variants(
        self,
        records: range,
        counts: Counter[str],
        on_mismatch: Callable[[str, int], None] | None = None,
    ) -> Iterator[PlacedVariant]:
        """The variants to score of some records, by their numbers from 1, in the order of the file.

        Args:
            counts: gets the number of variants by kind, of ALTs that are left out by reason, and of those that were
                flipped or trusted.
            on_mismatch: told of each record whose REF is not in the genome, and how many that makes.
        """
        num_wrong = 0
        for record in self._records():
            if record.number not in records:
                if record.number >= records.stop:
                    return
                continue
            complaint = self._complaint(record)
            if complaint is not None:
                num_wrong += 1
                if on_mismatch is not None:
                    on_mismatch(complaint, num_wrong)
            for variant in record.variants():
                placed = self._placed(record, variant, complaint is not None)
                if isinstance(placed, str):
                    counts[placed] += 1
                    continue
                counts[variant.kind if isinstance(variant, Variant) else ""] += 1
                if complaint is not None:
                    counts[FLIPPED if placed.alt is None else TRUSTED] += 1
                yield placed

    def _placed(self, record: VcfRecord, variant: Variant | Unscored, is_wrong: bool) -> PlacedVariant | str:
        """What to score of one ALT, or why it is left out."""
        if isinstance(variant, Unscored):
            return variant.value
        if max(len(variant.ref), len(variant.alt)) > self.max_allele_bp:
            return TOO_LONG
        chrom = self._contig(variant.chrom)
        if chrom is None or variant.end > self.genome.length(chrom):
            return NOT_IN_GENOME
        here = replace(variant, chrom=chrom)
        if not is_wrong:
            return PlacedVariant(record.number, variant, None, here)
        if self.ref_mismatch == "flip" and self._letters(here.flipped()) == variant.alt:
            return PlacedVariant(record.number, variant, here.flipped(), None)
        if self.ref_mismatch == "trust":
            found = self._letters(here)
            return PlacedVariant(
                record.number, variant, replace(here, ref=found, alt=here.ref), replace(here, ref=found)
            )
        return MISMATCHED

    def _complaint(self, record: VcfRecord) -> str | None:
        """Why the REF of a record is not in the genome; None where it is."""
        where = f"{self.name} record {record.number} (line {record.line})"
        chrom, path = self._contig(record.chrom), self.genome.path
        if chrom is None:
            hint = contig_hint(record.chrom, self.genome.lengths)
            return f"{where}: {path} has no contig '{record.chrom}'; {hint}"
        length = self.genome.length(chrom)
        if record.start + len(record.ref) > length:
            return f"{where}: REF reaches position {record.start + len(record.ref)}; {chrom} has {length} in {path}"
        found = self._letters(Variant(chrom, record.start, record.ref, "N"))
        if found == record.ref:
            return None
        at = next(place for place, pair in enumerate(zip(found, record.ref, strict=True)) if pair[0] != pair[1])
        shown = (record.ref[at : at + NUM_LISTED], found[at : at + NUM_LISTED])
        return f"{where}: REF is '{shown[0]}' but {path} has '{shown[1]}' at {chrom}:{record.start + at + 1}"

    def _letters(self, variant: Variant) -> str:
        """What the genome has where a variant has REF; N past the contig's end."""
        return self.genome.letters(Interval(variant.chrom, variant.start, variant.end)).decode()

    def _contig(self, chrom: str) -> str | None:
        """The genome's name of a contig, with or without 'chr'; None where it has none."""
        if chrom not in self._contigs:
            found = find_contig(chrom, self.genome.lengths)
            if found not in (None, chrom):
                logger.info("%s: taking contig '%s' for '%s' of %s", self.name, chrom, found, self.genome.path)
            self._contigs[chrom] = found
        return self._contigs[chrom]
