"""What is measured of a model that is given tracks of a sound: with those of other clips, and without some."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from track_world import (
    COUNT,
    FPS,
    FRAMES,
    SAMPLING,
    SECTIONS,
    SOURCE,
    TRACKS,
    TrackSystem,
    clips_for,
    drawn,
    fitted,
    model_of,
)

from talkies.codecs.linear_video import LinearVideoCodec
from talkies.generate.model import Generator
from talkies.recipe import gates
from talkies.runs.condition_arms import made, tracks_of
from talkies.runs.condition_metrics import ablation, ablation_table, condition_metrics
from talkies.world.events import follows
from talkies.world.render import Scene, draw_scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return drawn()


@pytest.fixture(scope="module")
def codec(scenes: list[Scene]) -> LinearVideoCodec:
    return fitted(scenes)


def measured(model: Generator, scenes: Sequence[Scene], tracks: Sequence[str] = TRACKS) -> dict[str, float]:
    clips = clips_for(model, scenes, [scene.media for scene in scenes])
    return condition_metrics(model, clips, tracks, SAMPLING, seed=0)


def test_each_track_decides_what_follows_it_and_nothing_else(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    found = measured(model_of(codec), scenes)
    parts = ("", "_swapped", "_original", "_reference")
    assert found.keys() == {
        *(f"{name}{part}" for name in ("speech/sync", "effects/sync", "music/mood") for part in parts),
        *(f"{track}/others" for track in TRACKS),
        "music/mood_chance",
    }
    for name in ("speech/sync", "effects/sync", "music/mood"):
        assert min(found[name], found[f"{name}_swapped"], found[f"{name}_reference"]) > 0.9
        assert found[f"{name}_original"] < 0.5
    assert max(found[f"{track}/others"] for track in TRACKS) <= 0.05


def test_gates_may_ask_for_all_that_is_measured(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    recipe: Any = SimpleNamespace(
        system=TrackSystem(),
        codecs=SECTIONS,
        validation=SimpleNamespace(bins=4),
        parallel=SimpleNamespace(ranks=1),
        data=SimpleNamespace(geometry=f"32x32x{FRAMES}@{FPS}"),
    )
    known = {name for name in gates.measured(recipe) if name.removeprefix("evaluation/").split("/")[0] in TRACKS}
    assert known == {f"evaluation/{key}" for key in measured(model_of(codec), scenes)}


def test_a_track_that_is_not_heard_is_found(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    found = measured(model_of(codec, deaf_to=frozenset({"effects"})), scenes)
    assert found["effects/sync"] == found["effects/sync_swapped"] == found["effects/sync_original"] == 0
    assert found["speech/sync_swapped"] > 0.9


def test_a_track_that_decides_something_else_is_found(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    found = measured(model_of(codec, muddled=True), scenes)
    assert found["speech/others"] > 0.05 >= found["music/others"]


def test_only_the_tracks_that_are_conditions_are_exchanged(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    assert tracks_of(model_of(codec)) == TRACKS
    found = measured(model_of(codec), scenes, ["speech"])
    assert {key.split("/")[0] for key in found} == {"speech"}
    assert "speech/others" not in found, "nothing else is known to be told"


def test_a_film_is_heard_with_the_tracks_that_it_was_made_for(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    model, real = model_of(codec), [scene.media for scene in scenes]
    clips = clips_for(model, scenes, real)
    assert clips.scenes
    films = made(model, clips, SAMPLING, seed=0, swapped={"speech"})
    for number, film in enumerate(films):
        own, other = scenes[number], scenes[(number + 1) % COUNT]
        mix = other.tracks["speech"] + own.tracks["effects"] + own.tracks["music"]
        assert film.samples is not None
        assert (film.samples - mix).square().mean() < 0.02 * mix.square().mean()
        assert (follows(film, "speech") or 0) > 0.9
    assert all(
        film.samples is clip.samples for film, clip in zip(made(model, clips, SAMPLING, seed=0), real, strict=True)
    )


def test_an_ablation_measures_every_subset_of_the_tracks(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    model = model_of(codec)
    clips = clips_for(model, scenes, [scene.media for scene in scenes])
    found = ablation(model, clips, ["speech", "music"], SAMPLING, seed=0)
    labels = {"none", "speech", "music", "speech-music", "other-speech", "other-music", "other-speech-music"}
    assert {key.split("/")[1] for key in found} == labels
    assert not any(key.endswith("/sync") for key in found), "the whole sound says little"
    assert found["ablation/speech-music/speech_sync"] > 0.9 > found["ablation/music/speech_sync"]
    assert found["ablation/speech/music_mood"] < 0.5 < found["ablation/music/music_mood"]
    assert found["ablation/other-speech/speech_sync"] > 0.9
    assert found["ablation/other-speech/speech_sync_original"] < 0.5
    assert "ablation/other-speech/music_mood_original" not in found
    assert (
        found["ablation/other-speech-music/music_mood"] == 1 > found["ablation/other-speech-music/music_mood_original"]
    )
    (head, *rows) = ablation_table(found)
    assert {"speech_sync", "music_mood", "speech_sync_original"} <= {*head.split()}
    assert len(rows) == len(labels)


def test_tracks_of_other_clips_than_scenes_are_not_measured(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    model = model_of(codec)
    faces = [draw_scene(replace(SOURCE, domain="faces"), index, seed=0).media for index in range(COUNT)]
    clips = clips_for(model, scenes, faces)
    assert not clips.scenes
    assert condition_metrics(model, clips, TRACKS, SAMPLING, seed=0) == {}
    found = made(model, clips, SAMPLING, seed=0, swapped={"speech"})
    assert all(film.samples is clip.samples for film, clip in zip(found, faces, strict=True)), "nothing parts them"
