"""What HTML reports are made of: one file each, with its plots inside.

matplotlib comes with the extra `report`. Equal figures give equal bytes.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from genoformer.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HTML, TSV, JSON = SUFFIXES = (".html", ".tsv", ".json")  # of the files that an assessment is written to
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
p { color: #555; margin: .5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } tr:hover td { background: #f4f6f8; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th { color: #555; border-bottom-color: #888; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.2rem 0; }
.headline div { border-left: 3px solid #0b62a4; padding: 0 1.5rem 0 .8rem; color: #555; font-size: 13px; }
.headline strong { display: block; font-size: 1.4rem; color: #1a1a1a; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.5rem 2rem; }
figure { margin: 0; } figcaption { color: #555; font-size: 13px; } img { width: 100%; }
"""
_RC: dict[Any, Any] = {
    "svg.hashsalt": "genoformer",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_FIGURE_INCHES = (4.6, 3.2)


def check_can_draw() -> None:
    """Raises UsageError where matplotlib is not installed."""
    try:
        import_module("matplotlib")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed, and an HTML report needs it; run: pip install 'genoformer[report]'"
        ) from None


def check_outputs(outputs: Iterable[str]) -> None:
    """Raises UsageError where there is no output, one does not end in one of `SUFFIXES`, or HTML cannot be drawn."""
    outputs = list(outputs)
    if not outputs:
        raise UsageError("no output; name a file with -o")
    for output in outputs:
        if not output.endswith(SUFFIXES):
            raise UsageError(f"output '{output}': expected a name ending in {', '.join(SUFFIXES)}")
    if any(output.endswith(HTML) for output in outputs):
        check_can_draw()


def page(title: str, parts: Iterable[str], more_head: str = "") -> bytes:
    """A whole HTML file, UTF-8; `parts`, and what else goes into its head, are HTML."""
    head = f'<meta charset="utf-8"><title>{as_text(title)}</title><style>{_STYLE}</style>{more_head}'
    body = "\n".join([f"<h1>{as_text(title)}</h1>", *parts])
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'.encode()


def as_text(value: object) -> str:
    """A value as HTML text; numbers with thousands separators, None as a dash."""
    if value is None:
        return "-"
    return html.escape(f"{value:,}" if isinstance(value, int | float) else str(value))


def headline(figures: Iterable[tuple[str, str]]) -> str:
    """The figures that a reader looks for first, large and side by side: each with what it is of."""
    cells = "".join(f"<div><strong>{as_text(value)}</strong>{as_text(what)}</div>" for value, what in figures)
    return f'<div class="headline">{cells}</div>'


def table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as HTML, under its title."""
    head = "".join(f"<th>{as_text(cell)}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{as_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{as_text(title)}</h2>\n<table>\n<tr>{head}</tr>\n{body}\n</table>"


def plots(title: str, *figures: str) -> str:
    """What `figure` gave, as many side by side as there is room for, under a title."""
    body = "\n".join(figures)
    return f'<h2>{as_text(title)}</h2>\n<div class="plots">\n{body}\n</div>'


def figure(draw: Callable[[Axes], None], caption: str) -> str:
    """A plot as HTML."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        drawing = Figure(figsize=_FIGURE_INCHES, layout="constrained")
        draw(drawing.subplots())
        drawn = io.BytesIO()
        drawing.savefig(drawn, format="svg", metadata={"Date": None})
    data = base64.b64encode(drawn.getvalue()).decode()
    image = f'<img alt="{as_text(caption)}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{image}<figcaption>{as_text(caption)}</figcaption></figure>"


def add_legend(axes: Axes) -> None:
    """Draws a legend where there is something to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
