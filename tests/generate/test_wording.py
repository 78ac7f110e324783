"""Scripts in files, and the caption that script and description become."""

from pathlib import Path

import pytest

from talkies.generate.wording import caption_of, read_script
from talkies.streams.script import Script

OPTIONS = {"script": "sample: --script", "describe": "sample: --describe"}


def caption(**worded: str) -> str:
    return caption_of(worded, OPTIONS)


HELLO = ("\u4f60\u597d", "\u0645\u0631\u062d\u0628\u0627")


@pytest.mark.parametrize("form", ["[S1] {}\n[S2] {}\n", "[S1] {}\r\n[S2] {}", "\ufeff[S1] {}\r[S2]\t{}"])
def test_every_kind_of_line_break_is_a_space(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.txt").write_bytes(form.format(*HELLO).encode())
    found = caption(script=read_script(tmp_path / "a.txt", option="sample: --script"))
    assert found == "<script> [S1] {} [S2] {}".format(*HELLO)
    assert [turn.speaker for turn in Script.parse(found).turns] == [1, 2]


def test_marks_of_writing_systems_are_no_control_characters() -> None:
    """The joiners of Persian, Hindi and emoji, and combining marks."""
    script = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0928\u094d\u200d\u092f e\u0301"
    assert Script.parse(caption(script=script)).words == script


@pytest.mark.parametrize(
    ("worded", "found"),
    [
        ({"script": " a\n b "}, Script(words="a b")),
        ({"describe": "x  y"}, Script(description="x y")),
        ({"script": "a < b", "describe": "[S1] is old"}, Script(words="a < b", description="[S1] is old")),
    ],
)
def test_the_parts_are_read_back(worded: dict[str, str], found: Script) -> None:
    assert Script.parse(caption(**worded)) == found
