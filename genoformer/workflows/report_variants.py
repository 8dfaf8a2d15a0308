"""The report of variants: one HTML file with a table to sort and filter, and tracks around each variant.

The page asks nothing of the network, which its content security policy forbids; scripts are those of this package and,
where it is given, igv.js. Text from files is escaped or only ever becomes text nodes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genoformer.genome.variant import Variant
from genoformer.workflows.report import as_text, page

_SCRIPT = Path(__file__).with_suffix(".js")
_MAX_ALLELE, _MAX_LABEL = 20, 80  # letters that are shown
_DIGITS = 5
_STYLE = """
body { max-width: 80rem; } .scroll { max-height: 26rem; overflow: auto; border-bottom: 1px solid #888; }
#variants { width: 100%; } #variants th { text-align: left; } #variants td, h2, h3 { overflow-wrap: anywhere; }
#variants th { cursor: pointer; position: sticky; top: 0; background: #fff; user-select: none; }
#variants td { text-align: left; } #variants td.number { text-align: right; } #variants tbody tr { cursor: pointer; }
#variants tr.chosen td { background: #dceaf5; } th[aria-sort=ascending]::after { content: " \\25b2"; }
th[aria-sort=descending]::after { content: " \\25bc"; } h3 { font-size: 14px; margin: 1rem 0 .2rem; }
.bar { display: flex; gap: 1rem; align-items: center; margin: 1rem 0; } #filter { width: 20rem; }
svg.track { width: 100%; display: block; margin: .4rem 0; } .track text { font-size: 10px; fill: #555; }
.track .scale { text-anchor: end; }
.track path { fill: none; stroke-width: 1; } .ref { stroke: #7f7f7f; } .alt { stroke: #0b62a4; }
.difference { stroke: #d1495b; } .zero { stroke: #ccc; } .mark { stroke: #e0a800; stroke-dasharray: 3 2; }
"""
_ZOOMS = (16, 64, 256)  # bins


@dataclass(frozen=True)
class ReportedVariant:
    """A variant of a report.

    Attributes:
        contig: what the genome calls its contig.
        values: of each score at the track where the first is largest in magnitude, float32 [S].
        track: index of that track.
        first_base: of the predicted bins; may be negative.
        predictions: of tracks by their index, float32 [2, N]: REF and ALT.
    """

    variant: Variant
    note: str
    contig: str
    values: np.ndarray
    track: int
    first_base: int
    predictions: Mapping[int, np.ndarray]

    @property
    def name(self) -> str:
        """The variant's name; where it has none, its place and alleles."""
        return self.variant.name or str(self.variant)


@dataclass(frozen=True)
class ReportFacts:
    """What a report says besides its variants.

    Attributes:
        scores: names, the one that ranks the variants first.
        tracks: what each is called, by index.
        contigs: bases of each of the genome.
        origin: what is known of the scores, by name.
        num_variants: of which the report has the top ones.
        no_tracks: why there are none, where there are none.
    """

    scores: Sequence[str]
    tracks: Mapping[int, str]
    contigs: Mapping[str, int]
    origin: Mapping[str, str]
    num_variants: int
    bin_bp: int
    no_tracks: str


def variants_html(facts: ReportFacts, variants: Sequence[ReportedVariant], igv: str | None) -> bytes:
    """The report, UTF-8.

    Args:
        variants: in the order of their ranks.
        igv: the text of igv.min.js; None: the page has no genome browser.
    """
    scripts = [text.replace("</script", r"<\/script") for text in (igv, _SCRIPT.read_text()) if text is not None]
    num_bins = max((values.shape[1] for one in variants for values in one.predictions.values()), default=0)
    zooms = [*(zoom for zoom in _ZOOMS if zoom < num_bins), num_bins]
    parts = [
        f"<p>{_origin(facts)}</p>",
        '<div class="bar"><label>Filter <input id="filter" type="search" placeholder="words that a row has"></label>'
        '<span id="shown"></span></div>',
        f'<div class="scroll">{_table(facts, variants)}</div>',
        f'<div class="bar"><h2 id="chosen"></h2><label>Show <select id="zoom">{_zoom_choices(zooms, facts.bin_bp)}'
        "</select></label></div>",
        '<div id="tracks"></div><div id="browser"></div>',
        f'<script type="application/json" id="data">{_json(_data(facts, variants))}</script>',
        *(f"<script>{script}</script>" for script in scripts),
    ]
    head = f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}"><style>{_STYLE}</style>'
    return page(f"Top {len(variants):,} of {facts.num_variants:,} variants", parts, head)


def _policy(scripts: Iterable[str]) -> str:
    """What the page may load: nothing, but its own scripts, by their hashes, and data that is in it."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
        "connect-src data: blob:"
    )


def _origin(facts: ReportFacts) -> str:
    told = "; ".join(f"{name} {value}" for name, value in facts.origin.items())
    return (
        f"{as_text(told)}. Ranked by the largest {as_text(facts.scores[0])} of a track, up or down; scores are those "
        "of that track. Click a heading to sort, a row to see its tracks."
    )


def _table(facts: ReportFacts, variants: Sequence[ReportedVariant]) -> str:
    header = ("rank", "variant", "position", "REF", "ALT", "note", "track", *facts.scores)
    head = "".join(f"<th>{as_text(cell)}</th>" for cell in header)
    body = "\n".join(_row(index, one, facts) for index, one in enumerate(variants))
    return f'<table id="variants"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'


def _row(index: int, one: ReportedVariant, facts: ReportFacts) -> str:
    variant = one.variant
    texts = (
        one.name, f"{variant.chrom}:{variant.start + 1}", _shortened(variant.ref, _MAX_ALLELE),
        _shortened(variant.alt, _MAX_ALLELE), one.note, _shortened(facts.tracks[one.track], _MAX_LABEL),
    )  # fmt: skip
    numbers = [f'<td class="number" data-value="{value:.9g}">{value:.4g}</td>' for value in one.values.tolist()]
    cells = [f'<td class="number">{index + 1}</td>', *(f"<td>{as_text(text)}</td>" for text in texts), *numbers]
    return f'<tr data-index="{index}">{"".join(cells)}</tr>'


def _zoom_choices(zooms: Sequence[int], bin_bp: int) -> str:
    return "".join(f'<option value="{zoom}">{zoom * bin_bp:,} bp</option>' for zoom in zooms)


def _data(facts: ReportFacts, variants: Sequence[ReportedVariant]) -> dict[str, Any]:
    shown = {index for one in variants for index in one.predictions}
    return {
        "bin_bp": facts.bin_bp,
        "genome": str(facts.origin.get("genome", "genome")),
        "contigs": "".join(f"{name}\t{length}\n" for name, length in facts.contigs.items()),
        "tracks": {index: _shortened(facts.tracks[index], _MAX_LABEL) for index in sorted(shown)},
        "no_tracks": facts.no_tracks,
        "variants": [
            {
                "name": one.name,
                "chrom": one.contig,
                "position": one.variant.start + 1,
                "ref_length": len(one.variant.ref),
                "start": one.first_base,
                "tracks": [
                    {"index": index, "ref": _numbers(pair[0]), "alt": _numbers(pair[1])}
                    for index, pair in one.predictions.items()
                ],
            }
            for one in variants
        ],
    }


def _numbers(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in np.nan_to_num(values).tolist()]


def _json(value: Any) -> str:
    """JSON in which no tag can begin or end."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
