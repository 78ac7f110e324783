"""Any text in a card is shown literally, as read back by a Markdown parser that accepts HTML, too."""

from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from talkies.config.single_line import flat
from talkies.tracking.markdown import code, escaped, folded, number, picture, table

NASTY = [
    "<script>alert(1)</script>",
    "</summary></details><img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://host/x.png)",
    "<http://host/> https://host/?a=b www.host.org a@host.org",
    "`a` ``b`` ```c",
    "a | b || c \\| d \\",
    "*a* **b** _c_ __d__ ~~e~~ snake_case_name _a_b_ __a__b",
    "# heading", "- item", "+ item", "1. item", "7) item", "> quote", "=== ---", "---", "***",
    "a\nb\r\n\n# c\u2028d\u2029e\x85f",
    "---\ntags: [x]\n---\n# Injected",
    "\u202eevil\u2066 \x1b[31mred\x00",
    "&lt;b&gt; &amp; &#60; &copy; AT&T",
    "$x^2$ $$y$$ :smile: \\*a\\*",
    "[ref]: http://host", "[^1] and [x][y]", "{% raw %} ${a} %(b)s",
    "", " ", "a" * 3000,
]  # fmt: skip


class Seen(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]
        self.text += dict(attributes).get("alt") or ""

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(text: str) -> Seen:
    return Seen(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("shown", [escaped, code])
def test_a_text_is_shown_literally_in_every_place(text: str, shown: Callable[[object], str]) -> None:
    for before, after, tags in (("- ", "", ["ul", "li"]), ("> ", "", ["blockquote", "p"]), ("# ", "", ["h1"]),
                                ("a ", " b", ["p"])):  # fmt: skip
        found = seen(f"{before}{shown(text)}{after}")
        assert [tag for tag in found.tags if tag != "code"] == (
            tags if flat(text) or tags != ["blockquote", "p"] else tags[:1]
        )
        assert found.links == []
        assert " ".join(found.text.split()) == flat(f"{before if after else ''}{flat(text)}{after}")


@pytest.mark.parametrize("text", NASTY)
def test_a_text_stays_in_its_cell(text: str) -> None:
    found = seen(table(["one", "two"], [[escaped(text), "x"], ["y", code(text)]]))
    assert [tag for tag in found.tags if tag != "code"] == (
        ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td", "tr", "td", "td"]
    )
    assert found.links == []
    assert found.text.split() == f"one two {flat(text)} x y {flat(text)}".split()


@pytest.mark.parametrize("text", NASTY)
def test_pictures_and_folds_hold_any_text(text: str) -> None:
    found = seen(picture("version-0001/sample-00.jpg", text))
    assert (found.tags, found.links) == (["p", "img"], ["version-0001/sample-00.jpg"])
    assert " ".join(found.text.split()) == flat(text)
    found = seen(folded(text, f"- {escaped(text)}"))
    assert found.tags == ["details", "summary", "ul", "li"]
    assert found.text.split() == f"{flat(text)} {flat(text)}".split()


def test_names_and_hashes_are_code() -> None:
    assert code("recipes/mova/lora.yaml") == "`recipes/mova/lora.yaml`"
    assert code("64x64x25@12.5") == "`64x64x25@12.5`"
    assert "`" not in code("a b")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.7507448, "0.751"), (46.7708, "46.8"), (4.8e-05, "4.8e-05"), (0.0, "0"), (1.0, "1"), (1234567.8, "1,234,568"),
     (-3456.7, "-3,457"), (1.5e12, "1.5e+12"), (float("nan"), "nan"), (float("-inf"), "-inf")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown
