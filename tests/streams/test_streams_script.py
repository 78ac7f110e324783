"""A line of a description and a script, and back; who says what; what cannot be said."""

import re

import pytest

from talkies.streams.script import Script, Turn

MISSPELT = (
    "[S0]", "[s1]", "[S]", "[S01]", "[S100]", "[ S1 ]", "[S 1]", "[S-1]", "[Speaker 1]", "[SPEAKER_01]", "S1]",
    "\uff3bS1\uff3d", "\u3010S1\u3011", "[S\u0661]",
)  # fmt: skip
LINE = "<describe> A calm voice. <script> [S1] Hello. [S2] Hi!"


def test_a_line_is_taken_apart_and_put_together() -> None:
    parts = Script.parse(LINE)
    assert parts == Script(words="[S1] Hello. [S2] Hi!", description="A calm voice.")
    assert str(parts) == LINE
    assert Script.parse("Rain on a roof") == Script(description="Rain on a roof")
    assert Script.parse("<script> ba") == Script(words="ba")


def test_turns_say_who_speaks() -> None:
    assert Script(words="One. [S2] Two. [S1] Three.").turns == (
        Turn(speaker=1, text="One."), Turn(speaker=2, text="Two."), Turn(speaker=1, text="Three."),
    )  # fmt: skip
    assert Script(words="[S1] [S2] ").turns == ()


def test_letters_of_any_writing_system_are_spoken_and_marks_are_not() -> None:
    assert Script(words="[S1] ab, c!").spoken == 3
    assert Script(words="\u0928\u092e\u0938\u094d\u0924\u0947").spoken == 6
    assert Script(words="[S1] ... [S2] !").spoken == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("ab\x07", r"control character U\+0007 at position 2"),
        ("", "it says nothing"),
        ("[S1] ...", "it says nothing"),
        ("ba <script> mi", "it has the mark <script>"),
        ("ba <describe> mi", "it has the mark <describe>"),
        *((f"[S1] ba {mark} mi", re.escape(f"it has {mark!r}, which would be said")) for mark in MISSPELT),
        ("[S1] ba [S", re.escape("it has '[S', which")),
        ("[S2 ba", re.escape("it has '[S2', which")),
        ("[S" + "9" * 5000 + "] ba", "which would be said: a speaker is written"),
    ],
)
def test_what_cannot_be_said_is_told(words: str, problem: str) -> None:
    found = Script(words=words).problem()
    assert found is not None
    assert re.search(problem, found)
    assert Script(words="[S1] ba\n\tmi").problem() is None


@pytest.mark.parametrize(
    "words", ["[S1][S99] ba", "[Sighs] ba", "[sings] ba", "ba [1]", "the S1 line", "(S1) ba", "[Sam] ba"]
)
def test_other_words_in_brackets_are_no_marks_of_speakers(words: str) -> None:
    assert Script(words=words).problem() is None
