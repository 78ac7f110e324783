"""Every key of every recipe, with wrong values: messages name the recipe's own keys, and none of the decoder's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from talkies.config import RecipeError
from talkies.config.merge import leaves
from talkies.config.source import LoadedRecipe, load
from talkies.models.systems import SYSTEMS
from talkies.recipe.check import check
from talkies.recipe.config import decode_phase, decode_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
WRONG: list[Any] = [
    -1,
    "zzz",
    [1],
    {},
    {"zzz": 1},
    {"kind": "zzz"},
    {"kind": 3},
    {"first": 3, "last": 1},
    None,
    True,
    1e99,
]
INNER = re.compile(
    r"\[key\]|constrained|function-|literal\[|tagged-union|dataclass|dict\[|nullable|[A-Z]\w+(?:Config|Scale|Phase)\b"
    r"|Input should|valid dictionary|\.(?:float|int|str|bool)\b"
)


def damaged(values: Any, path: list[str], wrong: Any) -> Any:
    if not path:
        return wrong
    if isinstance(values, list):
        at = int(path[0])
        return [*values[:at], damaged(values[at], path[1:], wrong), *values[at + 1 :]]
    return {**values, path[0]: damaged(values[path[0]], path[1:], wrong)}


def messages(source: LoadedRecipe) -> Iterator[str]:
    for path, _ in leaves(source.values):
        for wrong in WRONG:
            values = damaged(source.values, path.split("."), wrong)
            try:
                decode_recipe(LoadedRecipe(file=source.file, values=values, origins={}), SYSTEMS)
            except RecipeError as error:
                yield str(error)


@pytest.mark.parametrize("name", ["mova/toy/lora", "mirage/reference", "mova/toy/prepare", "mova/toy/curriculum"])
def test_messages_have_no_names_of_the_decoder(name: str) -> None:
    found = list(messages(load(RECIPES / f"{name}.yaml")))
    assert len(found) > 30
    for message in found:
        assert not INNER.search(message), message


def refused(name: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        check(decode_phase(load(RECIPES / f"{name}.yaml", overrides), SYSTEMS))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("mova/toy/joint_phase1", ["phase.tasks={joint: 0.6, vidoe_to_sound: 0.4}"], "Did you mean 'video_to_sound'?"),
        (
            "mova/toy/joint_phase1",
            ["phase.tasks={video_to_sound: 1}"],
            "`phase.tasks`: the share of video_to_sound is 1",
        ),
        (
            "mova/toy/joint_phase1",
            ["sampling.scales.text={kind: anealed}"],
            "unknown kind 'anealed' at `sampling.scales",
        ),
        (
            "mova/toy/joint_phase1",
            ["flow.schedule.shifts.image=2"],
            "unknown key `flow.schedule.shifts.image`; known: video",
        ),
        (
            "mova/toy/audio_pretraining",
            ["sampling.schedule={kind: shifted, shifts: {image: 2}}"],
            "unknown key `sampling.schedule.shifts.image`",
        ),
        (
            "mirage/stitch",
            ["flow.schedule={kind: shifted, shifts: {sound: 2}}"],
            "unknown key `flow.schedule.shifts.sound`",
        ),
        (
            "mova/toy/joint_phase1",
            ["phase.tasks={joint: 0.8, video_to_sound: 0.2}", "model.bridge=false"],
            "`phase.tasks.video_to_sound` gives one stream to the other, which takes a Bridge, but `model.bridge` is",
        ),
        (
            "mova/toy/joint_phase1",
            ["phase.tasks={joint: 0.8, video_to_sound: 0.2}", "phase.audio_loss_weight=0"],
            "`phase.tasks.video_to_sound` trains the audio alone, but `phase.audio_loss_weight` is 0",
        ),
        (
            "mova/toy/joint_phase1",
            ["phase.tasks={joint: 0.8, sound_to_video: 0.2}", "phase.video_loss_weight=0"],
            "`phase.tasks.sound_to_video` trains the video alone, but `phase.video_loss_weight` is 0",
        ),
        (
            "mova/toy/joint_phase1",
            ["phase.video_loss_weight=0", "phase.audio_loss_weight=0"],
            "`phase.video_loss_weight` and `phase.audio_loss_weight` are 0",
        ),
    ],
)
def test_a_setting_without_effect_is_refused(name: str, overrides: list[str], message: str) -> None:
    assert message in refused(name, *overrides)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("mova/toy/audio_pretraining", ["flow.schedule.shifts.video=2"]),  # of another phase, in defaults
        ("mova/toy/joint_phase1", ["phase.audio_loss_weight=0", "phase.tasks={joint: 0.8, sound_to_video: 0.2}"]),
        ("mova/toy/joint_phase1", ["model.bridge=false", "phase.tasks={joint: 1, video_to_sound: 0}"]),
    ],
)
def test_a_setting_with_effect_is_not(name: str, overrides: list[str]) -> None:
    check(decode_phase(load(RECIPES / f"{name}.yaml", overrides), SYSTEMS))
