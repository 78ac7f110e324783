"""Guidance scales of `talkies sample`: an option each, or `--scale NAME=X`; unknown ones are refused."""

import argparse
from pathlib import Path

import pytest

from talkies.cli.sample import add_arguments, sampling_of
from talkies.config import RecipeError
from talkies.config.source import load
from talkies.flow.config import SamplingConfig
from talkies.models import options
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"


def sampling(*words: str, recipe: str = "joint_phase2") -> SamplingConfig:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    add_arguments(parser)
    args = parser.parse_args(["a-source", "--prompt", "x", *words])
    return sampling_of(args, decode_phase(load(RECIPES / f"{recipe}.yaml"), SYSTEMS))


def test_the_options_are_those_of_the_systems() -> None:
    """They are listed apart, for a help that imports nothing."""
    assert {name: text for system in SYSTEMS for name, text in system.scales.items()} == options.SCALES
    assert {name: text for system in SYSTEMS for name, text in system.options.items()} == options.MEDIA


@pytest.mark.parametrize(
    ("words", "scales"),
    [
        ([], {"text": 5.0}),
        (["--bridge-scale", "3.5"], {"text": 5.0, "bridge": 3.5}),
        (["--text-scale", "1", "--bridge-scale", "0"], {"text": 1.0, "bridge": 0.0}),
        (["--scale", "text=2"], {"text": 2.0}),
        (["--scale", "text=2.5", "--scale", "bridge=100"], {"text": 2.5, "bridge": 100.0}),
        (["--text-scale", "2", "--scale", "bridge=1e0"], {"text": 2.0, "bridge": 1.0}),
    ],
)
def test_a_scale_is_changed_by_name(words: list[str], scales: dict[str, float]) -> None:
    """The recipe's own scales stay if they are not named, and so does all else."""
    found = sampling(*words)
    assert found.scales == scales
    assert (found.steps, found.schedule) == (sampling().steps, sampling().schedule)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "speech=2"], "--scale 'speech=2': a mova model has the scales text, bridge"),
        (["--scale", "=2"], "--scale '=2': a mova model has the scales text, bridge"),
        (["--scale", "text"], "--scale 'text': give NAME=NUMBER"),
        (["--scale", "text=much"], "--scale 'text=much': give NAME=NUMBER"),
        (["--scale", "text=-1"], "give 0 to 100; 1 is off"),
        (["--scale", "text=101"], "give 0 to 100; 1 is off"),
        (["--scale", "bridge=nan"], "give 0 to 100; 1 is off"),
        (["--text-scale", "inf"], "--text-scale inf: give 0 to 100; 1 is off"),
        (["--text-scale", "2", "--scale", "text=2"], "--scale 'text=2': the scale text is given twice"),
        (["--scale", "text=2", "--scale", "text=3"], "--scale 'text=3': the scale text is given twice"),
    ],
)
def test_an_unknown_or_impossible_scale_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        sampling(*words)
    assert str(caught.value).startswith("sample: ")
    assert str(caught.value).endswith(message)


def test_a_scale_of_a_condition_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"`sampling\.scales\.bridge` needs a Bridge, but this phase has one stream"):
        sampling("--scale", "bridge=2", recipe="audio_pretraining")
