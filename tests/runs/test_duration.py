"""How long a sound is made, and which scripts nobody could say in that time."""

from pathlib import Path

import pytest

from talkies.config import RecipeError
from talkies.config.source import load
from talkies.generate.prompts import Asked
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.duration import duration
from talkies.world.scripts import MOST, SYLLABLES, seconds

TOY = Path(__file__).parents[2] / "recipes" / "mirage_audio" / "toy"


def toy(*overrides: str) -> PhaseRecipe:
    return decode_phase(load(TOY / "speech.yaml", list(overrides)), SYSTEMS)


def said(syllables: int, at: float | None = None) -> Asked:
    script = " ".join((list(SYLLABLES) * syllables)[:syllables])
    return Asked(name="a", prompt=f"<script> [S1] {script}", worded=("script",), seconds=at)


def lasts(asked: Asked, recipe: PhaseRecipe) -> float | str | None:
    try:
        return duration(asked, recipe)
    except RecipeError as error:
        return str(error)


def test_the_toy_refuses_the_scripts_that_its_world_cannot_say_in_a_clip() -> None:
    recipe = toy()
    found = {count: lasts(said(count), recipe) for count in range(1, 13)}
    assert {count for count, one in found.items() if one is None} == {n for n in found if seconds(n) <= 2.0}
    assert found[MOST] is None
    assert found[7] == (
        "sample: the script of --script takes at least 2.26 s, and this model makes at most 2 s: shorten it"
    )


def test_seconds_that_are_asked_for_suffice_or_are_refused() -> None:
    recipe = toy()
    assert lasts(said(MOST, at=seconds(MOST) + 0.01), recipe) == seconds(MOST) + 0.01
    assert lasts(said(MOST, at=1.0), recipe) == (
        "sample: the script of --script takes at least 1.61 s, and --seconds is 1: shorten it, or give more seconds"
    )
    assert lasts(said(40, at=1.0), recipe) == (
        "sample: the script of --script takes at least 12.90 s, and this model makes at most 2 s: shorten it"
    )


@pytest.mark.parametrize("asked", [said(40), said(40, at=1.0)])
def test_without_a_fastest_pace_no_script_is_too_fast(asked: Asked) -> None:
    assert lasts(asked, toy("model.fastest_characters_per_second=null")) == asked.seconds


def test_a_description_takes_any_time() -> None:
    described = Asked(name="a", prompt="rain on a roof " * 40, seconds=0.5)
    assert lasts(described, toy()) == 0.5
