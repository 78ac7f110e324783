"""One line of text."""

from talkies.config.single_line import flat, plain


def test_flat_text_is_plain_and_keeps_its_words() -> None:
    text = "mit\r\n---\u2028# Injected\x85\u202eevil\t \x1b[2J \u200d end"
    assert not plain(text)
    assert flat(text) == "mit --- # Injected evil [2J \u200d end"
    assert plain(flat(text))
    assert flat(flat(text)) == flat(text)


def test_a_long_line_is_cut_visibly() -> None:
    assert flat("a" * 20, 20) == "a" * 20
    assert flat("a" * 21, 20) == "a" * 17 + "..."
    assert len(flat("\n".join("a" * 100_000), 80)) <= 80
