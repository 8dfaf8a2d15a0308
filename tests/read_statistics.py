"""Statistics of aligned reads, counted letter by letter; written for the tests alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from genoformer.genome.alphabet import reverse_complement
from genoformer.io.aligner import CcsAligner


@dataclass
class Statistics:
    """Counts over reads, and kinetics by kind of base."""

    bases: int = 0
    substitutions: int = 0
    deletions: int = 0
    inserted: int = 0
    insertions: Counter = field(default_factory=Counter)  # by length
    like_neighbour: int = 0  # of those of one base
    by_base: dict = field(default_factory=lambda: defaultdict(lambda: [0, 0]))  # missing, all
    by_run: dict = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0.0]))  # missing, exact, runs, change
    pw: dict = field(default_factory=lambda: defaultdict(list))
    ip: dict = field(default_factory=lambda: defaultdict(list))
    read_errors: list = field(default_factory=list)  # (ZMW, errors a base)

    def add(self, zmw: str, template: bytes, aligner: CcsAligner, read: bytes, pw: list, ip: list) -> None:
        """Aligns a read as sequenced to its template and counts."""
        found = aligner.align(read)
        local = found.local
        if found.is_reverse:  # count along the read, gaps to the left there
            template = reverse_complement(template)
            found = CcsAligner(template).align(read)
            local = found.local
        rows = columns(local, template, read)
        kinetics = (pw[local.read_start : local.read_end], ip[local.read_start : local.read_end])
        self._count_columns(zmw, rows)
        self._count_runs(rows, kinetics[0])
        self._collect_kinetics(rows, *kinetics)

    def _count_columns(self, zmw: str, rows: tuple[str, str]) -> None:
        top, bottom = rows
        length = len(top) - top.count("-")
        wrong = sum(a != b for a, b in zip(top, bottom, strict=True))
        self.bases += length
        self.deletions += bottom.count("-")
        self.inserted += top.count("-")
        self.substitutions += wrong - bottom.count("-") - top.count("-")
        if length >= 1000:
            self.read_errors.append((zmw, wrong / length))
        for gap in re.finditer("-+", top):
            self.insertions[len(gap.group())] += 1
            if len(gap.group()) == 1:
                at = gap.start()
                self.like_neighbour += bottom[at] in (top[at - 1], top[at + 1])
        for a, b in zip(top, bottom, strict=True):
            if a != "-":
                self.by_base[a][0] += b == "-"
                self.by_base[a][1] += 1

    def _count_runs(self, rows: tuple[str, str], pw: list) -> None:
        """Homopolymers with what was read between the bases around them, if these were read right."""
        top, bottom = rows
        read_at = np.cumsum([letter != "-" for letter in bottom])
        for run in re.finditer(r"([ACGT])(?:-*\1)*", top):
            start, end = run.span()
            length = len(run.group().replace("-", ""))
            counts = self.by_run[length]
            counts[0] += bottom[start:end].count("-")
            first = len(top[:start].rstrip("-"))  # a copy of the first base stands before it
            if first == 0 or end == len(top) or top[first - 1] != bottom[first - 1] or top[end] != bottom[end]:
                continue
            found = bottom[first:end].replace("-", "")
            counts[2] += 1
            counts[1] += found == run[1] * length
            if set(found) <= {run[1]}:
                counts[3] += len(found) - length
                if length == 2 and len(found) in (1, 2):
                    self.pw[f"{len(found)} of 2"] += list(pw[read_at[first] - (bottom[first] != "-") :][: len(found)])

    def _collect_kinetics(self, rows: tuple[str, str], pw: list, ip: list) -> None:
        top, bottom = rows
        at = -1
        for column, (a, b) in enumerate(zip(top, bottom, strict=True)):
            if b == "-":
                continue
            at += 1
            kind = self._kind(top, bottom, column, a, b)
            self.pw[kind].append(pw[at])
            self.ip[kind].append(ip[at])

    @staticmethod
    def _kind(top: str, bottom: str, column: int, a: str, b: str) -> str:
        if a == "-":
            left, right = top[:column].rstrip("-")[-1:], top[column:].lstrip("-")[:1]
            return "copy" if b in (left, right) else "other"
        if a != b:
            return "substitution"
        alone = column > 1 and top[column - 2] != top[column - 1] != a and "-" not in top[column - 2 : column]
        if alone and bottom[column - 1] == "-" and bottom[column - 2] == top[column - 2]:
            return "after deletion"
        return "correct"

    def auc(self, values: str, kind: str) -> float:
        """Probability that a base of a kind has the larger value than a correct one."""
        table = getattr(self, values)
        correct, other = (np.bincount(table[name], minlength=256) for name in ("correct", kind))
        below = np.cumsum(correct) - correct / 2
        return float((other * below).sum() / (other.sum() * correct.sum()))

    def spread(self) -> tuple[float, float]:
        """Standard deviations of read errors between and within ZMWs."""
        zmws = defaultdict(list)
        for zmw, error in self.read_errors:
            zmws[zmw].append(error)
        within = np.concatenate([np.array(errors) - np.mean(errors) for errors in zmws.values()])
        return float(np.std([np.mean(errors) for errors in zmws.values()], ddof=1)), float(within.std())


def columns(local: object, template: bytes, read: bytes) -> tuple[str, str]:
    """Template and read written out with gaps."""
    top, bottom, at, read_at = [], [], local.ref_start, local.read_start
    for entry in local.cigar.tolist():
        length, op = entry >> 4, "MIDNSHP=X"[entry & 15]
        top.append("-" * length if op == "I" else template[at : at + length].decode())
        bottom.append("-" * length if op == "D" else read[read_at : read_at + length].decode())
        at += length * (op != "I")
        read_at += length * (op != "D")
    return "".join(top), "".join(bottom)
