"""Read groups: their ids, and those of CCS reads made from those of the subreads that they are drafted from.

Source: PacBio BAM format specification 3.0.1, read group ids, `READTYPE` and the base features in the description.
"""

from __future__ import annotations

import hashlib

SUBREAD, CCS = "SUBREAD", "CCS"

_OF_THE_RUN = ("BINDINGKIT", "SEQUENCINGKIT", "BASECALLERVERSION", "FRAMERATEHZ")


def read_group_id(movie: str, read_type: str) -> str:
    """Id of a read group: eight hexadecimal digits of the MD5 of `movie//TYPE`."""
    return hashlib.md5(f"{movie}//{read_type}".encode(), usedforsecurity=False).hexdigest()[:8]


def ccs_read_groups(text: str) -> tuple[str, dict[str, str]]:
    """A header of subreads as one of CCS reads, and the id of each movie's read group.

    A movie has one group, without base features such as `Ipd:CodecV1=ip` and without barcodes. Movies are those that a
    read group names as its PU.
    """
    lines: dict[str, None] = {}
    ids: dict[str, str] = {}
    for given in text.splitlines():
        line = given
        kind, *fields = line.split("\t")
        values = dict(field.split(":", 1) for field in fields if ":" in field)
        if kind == "@RG" and "PU" in values:
            ids[values["PU"]] = values["ID"] = read_group_id(values["PU"], CCS)
            values["DS"] = _description(values.get("DS", ""))
            line = "\t".join([kind, *(f"{key}:{values[key]}" for key in values if key != "BC")])
        lines[line] = None
    return "\n".join(lines) + "\n", ids


def _description(of_subreads: str) -> str:
    kept = [part for part in of_subreads.split(";") if part.split("=", 1)[0] in _OF_THE_RUN]
    return ";".join([f"READTYPE={CCS}", *kept])
