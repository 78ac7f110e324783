"""HEIGHTxWIDTHxFRAMES@FPS."""

from fractions import Fraction

import pytest

from talkies.config import RecipeError
from talkies.prepare.geometry import Geometry


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
