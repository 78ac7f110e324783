"""HEIGHTxWIDTHxFRAMES@FPS, and seconds."""

from fractions import Fraction

import pytest

from talkies.codecs.config import LinearAudioConfig, LinearVideoConfig
from talkies.config import DataError, RecipeError
from talkies.prepare.geometry import Geometry, stream_grid
from talkies.streams.system import Stored


def test_the_papers_geometry() -> None:
    found = Geometry.parse("352x640x193@24", key="data.geometry")
    assert found == Geometry(height=352, width=640, frames=193, fps=24.0)
    assert found.seconds == Fraction(193, 24)
    assert found.samples(48000) == 386_000
    assert str(found) == "352x640x193@24"


@pytest.mark.parametrize(
    ("text", "rate"), [("29.97", Fraction(30000, 1001)), ("23.976", Fraction(24000, 1001)), ("12.5", Fraction(25, 2))]
)
def test_broadcast_rates_are_exact(text: str, rate: Fraction) -> None:
    found = Geometry.parse(f"64x64x25@{text}", key="k")
    assert Fraction(found.fps).limit_denominator(1001) == rate
    assert found.seconds == 25 / rate
    assert Geometry.parse(str(found), key="k") == found


@pytest.mark.parametrize(
    "text", ["", "352x640x193", "352x640@24", "352x640x193@", "a352x640x193@24", "352x640x193@24 ", "-1x640x193@24",
             "352x640x193@1e1", "٣x640x193@24", "0x640x193@24", "352x640x193@0"],
)  # fmt: skip
def test_anything_else_names_the_key(text: str) -> None:
    with pytest.raises(RecipeError, match=r"`sets\.low\.geometry` is"):
        Geometry.parse(text, key="sets.low.geometry")


@pytest.mark.parametrize(("text", "milliseconds"), [("10s", 10_000), ("2.5s", 2500), ("0.64s", 640), ("100s", 100_000)])
def test_seconds_are_the_geometry_of_sound_alone(text: str, milliseconds: int) -> None:
    found = Geometry.parse(text, key="k")
    assert found == Geometry(height=1, width=1, frames=milliseconds, fps=1000.0)
    assert found.seconds == Fraction(milliseconds, 1000)
    assert found.samples(44100) == milliseconds * 441 // 10
    assert found.sound_alone
    assert found.spelled == text
    assert Geometry.parse(str(found), key="k") == found


@pytest.mark.parametrize("text", ["0s", "-1s", "1e9s", "10 s", "10S", "s", "1.2345s", "101s", "10", "١s", "0.000s"])
def test_other_seconds_name_the_key_and_both_forms(text: str) -> None:
    with pytest.raises(
        RecipeError, match=r"`sets\.a\.geometry` is .*; needed HEIGHTx.* or, for sound alone, up to 100 "
    ):
        Geometry.parse(text, key="sets.a.geometry")


def test_pictures_need_their_size() -> None:
    codecs = {"video": LinearVideoConfig(), "audio": LinearAudioConfig()}
    size = Geometry.parse("2s", key="k")
    assert stream_grid(Stored(codec="audio"), codecs, size).shape == (25,)
    with pytest.raises(DataError, match="seconds are for sound alone"):
        stream_grid(Stored(codec="video"), codecs, size)
