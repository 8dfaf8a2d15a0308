"""Parts of HTML reports."""

import sys

import pytest

from genoformer.errors import UsageError
from genoformer.workflows.report import as_text, check_can_draw, check_outputs, figure, headline, page, plots, table

pytest.importorskip("matplotlib")


def test_values_are_text_and_not_markup():
    assert [as_text(value) for value in ("<b>&", 12345, 1234.5, None)] == ["&lt;b&gt;&amp;", "12,345", "1,234.5", "-"]
    assert "<td>&lt;b&gt;</td>" in table("a < b", ["x"], [["<b>"]])
    assert page("<t>", ["<p>kept</p>"]).count(b"&lt;t&gt;") == 2


def test_titles_and_headlines_are_text():
    assert "<h2>a &lt; b</h2>" in table("a < b", ["x"], [])
    assert plots("a < b", "<figure>one</figure>") == (
        '<h2>a &lt; b</h2>\n<div class="plots">\n<figure>one</figure>\n</div>'
    )
    assert headline([("<1 %", "of it")]) == '<div class="headline"><div><strong>&lt;1 %</strong>of it</div></div>'


def test_a_plot_has_the_same_bytes_each_time():
    drawn = [figure(lambda axes: axes.plot([1, 2]), "a <line>") for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert "<figcaption>a &lt;line&gt;</figcaption>" in drawn[0]
    assert "base64," in drawn[0]


def test_matplotlib_that_is_not_there(monkeypatch):
    check_can_draw()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"matplotlib is not installed, .* pip install 'genoformer\[report\]'"):
        check_can_draw()


def test_outputs_by_their_endings(monkeypatch):
    check_outputs(["a.tsv", "b.json", "c.html"])
    for outputs, message in (([], "no output; name a file"), (["a.txt"], "output 'a.txt': expected a name ending in")):
        with pytest.raises(UsageError, match=message):
            check_outputs(outputs)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    check_outputs(["a.tsv"])
    with pytest.raises(UsageError, match="matplotlib is not installed"):
        check_outputs(["a.tsv", "a.html"])
