"""Values as messages show them: short, on one line, escaped and masked."""

from pathlib import Path

import pytest

from talkies.config.quoting import listed, named, one_line, printed, shown

HOSTILE = "a\x1b[31m\n\r\x00\x07\u202e\u2066\u2028\ud800\udcffz"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "'x'"),
        ("caf\xe9", "'caf\xe9'"),
        (Path("a b"), "'a b'"),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (1e400, "inf"),
        (10**40, f"1{'0' * 40}"),
        (10**5000, "an integer of about 5000 digits"),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "a mapping"),
        ("https://me:sesame@host", "'https://***@host'"),
    ],
    ids=lambda value: "" if isinstance(value, int) else None,
)
def test_values(value: object, text: str) -> None:
    assert shown(value) == text


LONG = ["x" * 100_000, "\x1b" * 100_000, "\ud800" * 90, 10**100_000, Path("x" * 999)]


@pytest.mark.parametrize("value", LONG, ids=["text", "escapes", "surrogates", "digits", "path"])
def test_a_long_value_is_cut_at_80(value: object) -> None:
    assert len(shown(value)) <= 80
    assert len(named(value if isinstance(value, str) else "x" * 999)) == 80
    assert named("x" * 99).endswith("x...")


def test_nothing_that_a_terminal_acts_on_is_left() -> None:
    for text in (shown(HOSTILE), named(HOSTILE), one_line(HOSTILE), listed([HOSTILE, HOSTILE])):
        assert text.isprintable()
        assert text.encode()
    assert named(HOSTILE) == r"a\x1b[31m\n\r\x00\x07\u202e\u2066\u2028\ud800\udcffz"


def test_a_credential_across_the_cut_is_not_shown() -> None:
    assert "sesame" not in shown(f"https://{'x' * 50}:{'sesame' * 9999}@host")


def test_a_whole_message_keeps_its_lines() -> None:
    assert printed("a\x1b\nb https://sesame@host") == "a\\x1b\nb https://***@host"


def test_many_names_are_counted() -> None:
    assert listed(["a", "b"], "`") == "`a`, `b`"
    assert listed(range(15)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"
