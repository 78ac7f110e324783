"""A recipe's sampling must fit its model, and have no setting without effect."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from talkies.config import RecipeError
from talkies.config.source import load
from talkies.flow.config import SamplingConfig, WindowsConfig
from talkies.models.systems import SYSTEMS
from talkies.recipe.check import check
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.recipe.sampling import check_sampling

RECIPES = Path(__file__).parents[2] / "recipes" / "mova" / "toy"


def checked(*words: str, phase: str = "joint_phase2") -> PhaseRecipe:
    recipe = decode_phase(load(RECIPES / f"{phase}.yaml", [f"sampling.{word}" for word in words]), SYSTEMS)
    check(recipe)
    return recipe


def test_the_keys_are_off_by_default() -> None:
    found = SamplingConfig()
    assert (found.skip_layer, found.reuse, found.windows, found.scales) == (None, None, None, {})
    assert (found.batch, found.tiles) == (1, None)


@pytest.mark.parametrize(
    "words",
    [
        ["schedule={kind: linear_quadratic}", "steps=64"],
        ["schedule={kind: uniform}"],
        ["schedule={kind: uniform_grid}", "steps=50"],
        ["schedule={kind: linear_quadratic_grid, steps: 64}", "steps=64"],
        ["scales.text={kind: annealed, first: 6, last: 2, early: 5}"],
        ["scales={text: 4, bridge: {kind: annealed, first: 1, last: 3, late: 5}}"],
        ["skip_layer={layers: [0, 2], scale: 0.7, rescale: 0.7}"],
        ["reuse={attention_every: 2}"],
        ["reuse={branches_every: 5, after: 0.4}", "scales.text=4"],
        ["reuse={branches_every: 5}", "skip_layer={layers: [1]}", "scales={text: 1}"],
        ["windows={overlap: 0.4}"],
        ["windows={overlap: 0}"],
        ["batch=4"],
    ],
)
def test_settings_that_have_an_effect_are_taken(words: list[str]) -> None:
    checked(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["schedule={kind: linear_quadratic_grid, steps: 16}", "steps=17"],
            "`sampling.steps` is 17, but the grid of `sampling.schedule` has 16 noise levels",
        ),
        (
            ["schedule={kind: linear_quadratic_grid, steps: 16}", "steps=16"],
            "`validation.sampling_steps` is 20, but the grid of `sampling.schedule` has 16 noise levels",
        ),
        (
            ["schedule={kind: uniform_grid, steps: 16}", "steps=17"],
            "`sampling.steps` is 17, but the grid of `sampling.schedule` has 16 noise levels: lower it, or set "
            "`sampling.schedule.kind` to uniform",
        ),
        (["skip_layer={layers: [9]}"], "`sampling.skip_layer.layers` has 9, but the blocks of this model are 0 to "),
        (["skip_layer={layers: [1, 1]}"], "`sampling.skip_layer.layers` names a block twice"),
        (["reuse={}"], "`sampling.reuse` reuses nothing"),
        (["reuse={attention_every: 2, after: 0.99}"], "`sampling.reuse.after` 0.99 leaves fewer than two of"),
        (
            ["reuse={branches_every: 2}", "scales={text: 1}"],
            "`sampling.reuse.branches_every` is set, but there is no guidance whose evaluations it saves",
        ),
        (
            ["windows={overlap: 2}"],
            "`sampling.windows.overlap` is 2 s, but a clip lasts 2 s (`data.geometry` 32x32x25@12.5)",
        ),
    ],
)
def test_settings_without_effect_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        checked(*words)
    assert str(caught.value).startswith(f"recipe: {message}")


GRID, REUSE = "schedule={kind: linear_quadratic_grid, steps: 64}", "reuse={branches_every: 5, after: 0.4}"


@pytest.mark.parametrize(
    ("word", "changed", "options", "message"),
    [
        (
            GRID,
            {"steps": 65},
            {"sampling.steps": "--steps 65"},
            "the grid of the recipe's `sampling.schedule` has 64",
        ),
        (REUSE, {"steps": 2}, {"sampling.steps": "--steps 2"}, "the recipe's `sampling.reuse.after` 0.4 leaves fewer"),
        (
            REUSE,
            {"scales": {"text": 1.0}},
            {"sampling.scales.text": "--text-scale 1"},
            "no guidance is left whose evaluations the recipe's `sampling.reuse.branches_every` saves",
        ),
        (
            "windows=null",
            {"windows": WindowsConfig(overlap=2)},
            {"sampling.windows": "--overlap 2"},
            "a clip lasts 2 s (`data.geometry` 32x32x25@12.5): give less",
        ),
        (
            "windows=null",
            {"windows": WindowsConfig(overlap=2)},
            {"sampling.windows": "--overlap 2", "data.geometry": "--geometry 32x32x25@12.5"},
            "a clip lasts 2 s (--geometry): give less",
        ),
    ],
    ids=["steps", "steps of reuse", "scale", "overlap", "overlap and geometry"],
)
def test_an_option_is_named_where_it_gives_the_value(
    word: str, changed: dict[str, Any], options: dict[str, str], message: str
) -> None:
    recipe = checked(word, "scales.text=4", *(["steps=64"] if word == GRID else []))
    given = {key: f"sample: {option}" for key, option in options.items()}
    with pytest.raises(RecipeError) as caught:
        check_sampling(recipe, replace(recipe.sampling, **changed), options=given)
    assert str(caught.value).startswith(f"{next(iter(given.values()))}: {message}")


def test_clips_that_are_asked_for_may_be_too_short_for_the_windows_of_the_recipe() -> None:
    recipe = checked("windows={overlap: 1}")
    short = replace(recipe, data=replace(recipe.data, geometry="32x32x13@25"))
    with pytest.raises(RecipeError) as caught:
        check_sampling(short, short.sampling, options={"data.geometry": "sample: --geometry 32x32x13@25"})
    assert str(caught.value) == (
        "sample: --geometry 32x32x13@25: a clip lasts 0.52 s, but the recipe's `sampling.windows.overlap` is 1 s: give "
        "longer clips"
    )


@pytest.mark.parametrize("phase", ["audio_pretraining", "video_pretraining"])
def test_windows_need_a_model_that_makes_a_video_for_a_sound(phase: str) -> None:
    with pytest.raises(RecipeError, match=rf"`sampling\.windows` is for videos .* which {phase} phases do not make"):
        checked("windows={overlap: 0.4}", phase=phase)


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ("{size: 256}", None),
        ("{size: 128, overlap: 64}", None),
        (
            "{size: 100}",
            "`sampling.tiles.size` is 100, but wan codecs decode blocks of 8 pixels: give a multiple of 8",
        ),
        ("{size: 256, overlap: 4}", "`sampling.tiles.overlap` is 4, but wan codecs decode blocks of 8 pixels"),
        ("{size: 128, overlap: 72}", "`sampling.tiles.overlap` is 72, more than half of the `size` 128"),
    ],
)
def test_tiles_fit_the_codec(tiles: str, message: str | None) -> None:
    recipe = decode_phase(load(RECIPES.parent / "joint_phase2.yaml", [f"sampling.tiles={tiles}"]), SYSTEMS)
    if message is None:
        check_sampling(recipe, recipe.sampling)
        return
    with pytest.raises(RecipeError, match=message):
        check_sampling(recipe, recipe.sampling)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ("joint_phase2", "`sampling.tiles`: linear_video codecs do not decode in tiles"),
        ("audio_pretraining", "`sampling.tiles` is for pictures, which audio_pretraining phases lack"),
    ],
)
def test_tiles_need_a_codec_that_has_them(phase: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        checked("tiles={size: 64}", phase=phase)
