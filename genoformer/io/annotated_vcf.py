"""A VCF file with more in INFO than it had: header, records and samples stay, in their order.

What a VCF file cannot hold, or what htslib would not read back, is left out, and each kind of it is said once: parts of
INFO without a name, control characters, bytes that are not UTF-8, lines of the header that are cut off, samples that it
does not name. Values of samples are not looked at.

Source: VCF specification 4.3, sections 1.4 (header), 1.6.1 (columns) and 1.2 (characters).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from genoformer.io.vcf import VCF_COLUMNS, VcfPart, VcfRecord

MAX_HEADER_BYTES = 1 << 26
MAX_INFO = 1 << 24  # letters of one record: it is taken apart, and may have one part a byte
MAX_INFO_ENTRIES = 1 << 15  # htslib reads no record of more than 65,535
SOURCE = "genoformer"  # of fields that are ours, in the header

_MISSING = "."
_REPLACED = "it has scores of an earlier run, or fields of their names; the new ones replace them"
_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
_DEFAULT_FORMAT = "##fileformat=VCFv4.3"
_OWN_LINE = f"##{SOURCE}_"
_OWN_SOURCE = re.compile(rf'[<,]Source="{SOURCE}"[,>]')
_BCF_INDEX = re.compile(r",IDX=\d+")  # what is left of BCF; htslib does not read the file where two are equal
_DEFINITION = re.compile(r"##(INFO|contig)=<(?:.*?,)??ID=([^,>]*)")
_ESCAPED = re.compile(r"\\.")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_QUAL = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?(e[+-]?\d{1,4})?|inf|infinity|nan)", re.IGNORECASE)
_FILTER = re.compile(r"[^\s,;<>\"]+(;[^\s,;<>\"]+)*")
_INFO_ENTRY = re.compile(r"[^\s=,<>\"]+(=|$)")

OnWarning = Callable[[str], None]


class AnnotatedVcf:
    """The lines of a VCF file that has more in INFO than another one.

    Args:
        part: the records of the other one.
        keys: of INFO, that are added; what the file has under these names, and what an earlier run added, goes.
        on_warning: told once of each kind of thing that is left out.
    Attributes:
        header: lines that stay, the version of VCF first; neither what is added nor the names of the columns.
        contigs: that it defines.
    """

    def __init__(self, part: VcfPart, keys: Collection[str], on_warning: OnWarning) -> None:
        self.part, self._keys, self._on_warning = part, set(keys), on_warning
        self._said: set[str] = set()
        self.header, self.contigs, self._samples = [_DEFAULT_FORMAT], set[str](), list[str]()
        self._read_header()
        self._check_samples(next(VcfPart(part.path, part.name).records(), None))

    @property
    def columns(self) -> str:
        """The line that names the columns."""
        return "\t".join([*_COLUMNS, *(["FORMAT", *self._samples] if self._samples else [])])

    def line(self, record: VcfRecord, added: Sequence[str]) -> str:
        """A record with entries added to its INFO."""
        texts = [self._clean(column, record) for column in record.columns]
        texts += [_MISSING] * (VCF_COLUMNS - len(texts))
        info = [*self._info(record, texts[VCF_COLUMNS - 1]), *added]
        fields = [
            record.chrom, str(record.start + 1), record.name or _MISSING, texts[3].strip(), ",".join(record.alts),
            self._checked("QUAL", _QUAL, texts[5], record), self._checked("FILTER", _FILTER, texts[6], record),
            ";".join(info) or _MISSING,
        ]  # fmt: skip
        return "\t".join(fields + (texts[VCF_COLUMNS:] if self._samples else [])) + "\n"

    def _read_header(self) -> None:
        num_bytes = 0
        for line in self.part.header():
            num_bytes += len(line)
            text = self._clean(line)
            if text.startswith("#CHROM"):
                names = text.split("\t") if "\t" in text else text.split()
                self._samples = names[VCF_COLUMNS + 1 :]
            elif text.startswith("##fileformat=VCFv"):
                self.header[0] = text
            elif num_bytes > MAX_HEADER_BYTES:
                self._say(f"its header has more than {MAX_HEADER_BYTES:,} bytes; the rest is left out")
            elif _is_cut_off(text):
                self._say("its header has lines that are cut off; such ones are left out")
            elif text.startswith("##"):
                self._read_line(_BCF_INDEX.sub("", text))

    def _read_line(self, text: str) -> None:
        match = _DEFINITION.match(text)
        kind, name = (match[1], match[2]) if match else ("", "")
        if text.startswith(_OWN_LINE) or (kind == "INFO" and (name in self._keys or _OWN_SOURCE.search(text))):
            self._say(_REPLACED)
            self._keys |= {name} if kind else set()
            return
        if kind == "contig":
            self.contigs.add(name)
        self.header.append(text)

    def _check_samples(self, first: VcfRecord | None) -> None:
        """Leaves all samples out where the header does not name each of them once; all records have as many."""
        num_columns = sum(column.count(b"\t") for column in first.columns[VCF_COLUMNS:]) if first else 0
        has_more = first is not None and len(first.columns) > VCF_COLUMNS
        names = self._samples
        is_named = len(names) == num_columns and all(names) and len(set(names)) == len(names)
        if first is not None and not (is_named and has_more):
            if names or has_more:
                self._say("its header does not name each sample of its records once; FORMAT and samples are left out")
            self._samples = []

    def _info(self, record: VcfRecord, text: str) -> list[str]:
        """The entries of INFO that stay."""
        if len(text) > MAX_INFO:
            self._say(f"its INFO has {len(text):,} letters; what has more than {MAX_INFO:,} is left out", record)
            return []
        entries = [entry for entry in text.strip().split(";") if entry not in ("", _MISSING)]
        if len(entries) > MAX_INFO_ENTRIES:
            self._say(
                f"its INFO has {len(entries):,} parts; what has more than {MAX_INFO_ENTRIES:,} is left out", record
            )
            return []
        named = [entry for entry in entries if _INFO_ENTRY.match(entry)]
        if len(named) < len(entries):
            self._say("its INFO has parts that are not KEY or KEY=VALUE; such ones are left out", record)
        kept = [entry for entry in named if entry.partition("=")[0] not in self._keys]
        if len(kept) < len(named):
            self._say(_REPLACED)
        return kept

    def _checked(self, name: str, form: re.Pattern[str], text: str, record: VcfRecord) -> str:
        """A column; missing where it has another form."""
        if text.strip() in ("", _MISSING) or form.fullmatch(text.strip()):
            return text.strip() or _MISSING
        self._say(f"its {name} is none; such ones are left out", record)
        return _MISSING

    def _clean(self, content: bytes, record: VcfRecord | None = None) -> str:
        """Text without what a line of VCF cannot hold."""
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = content.decode("utf-8", "replace")
            self._say("it has bytes that are not UTF-8; each is written as U+FFFD", record)
        if _CONTROL.search(text):
            text = _CONTROL.sub("?", text)
            self._say("it has control characters; each is written as '?'", record)
        return text

    def _say(self, text: str, record: VcfRecord | None = None) -> None:
        if text in self._said:
            return
        self._said.add(text)
        where = "" if record is None else f" record {record.number} (line {record.line})"
        self._on_warning(f"{self.part.name}{where}: {text}, in the VCF output")


def _is_cut_off(text: str) -> bool:
    """Whether a header line opens a bracket or a quote that it does not close: htslib would look for it further on."""
    return text.partition("=")[2].startswith("<") and (
        not text.rstrip().endswith(">") or _ESCAPED.sub("", text).count('"') % 2 == 1
    )
