"""Seconds as the size of a clip: one canonical form, and how it is named."""

import pytest

from talkies.config.decode import decode_values
from talkies.data.config import DataConfig
from talkies.streams.clip_size import canonical, spelled


@pytest.mark.parametrize(
    ("text", "form"), [("10s", "1x1x10000@1000"), ("2.50s", "1x1x2500@1000"), ("0.001s", "1x1x1@1000")]
)
def test_seconds_have_one_form(text: str, form: str) -> None:
    assert canonical(text) == canonical(canonical(text)) == form
    assert canonical(spelled(form)) == form


@pytest.mark.parametrize("text", ["352x640x193@24", "1x1x193@24", "0s", "101s", "10 s", "", "1x1x0@1000"])
def test_other_text_stays(text: str) -> None:
    assert canonical(text) == spelled(text) == text


def test_decoding_makes_a_size_canonical() -> None:
    sizes = {
        decode_values(DataConfig, {"shards": "a", "heldout": "b", "geometry": text}, where="test").geometry
        for text in ("2.5s", "2.500s", "1x1x2500@1000")
    }
    assert sizes == {"1x1x2500@1000"}
