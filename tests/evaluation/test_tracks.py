"""What clips show of each track of the sound that they were given, on the world's scenes."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from talkies.evaluation.given import speaker_metrics
from talkies.evaluation.metric_info import METRICS, SCORES
from talkies.evaluation.report import evaluate_clips
from talkies.evaluation.tracks import are_scenes, named_scores, track_metrics, track_scores, wall_shares
from talkies.streams.codec import Media
from talkies.world.bands import BANDS
from talkies.world.config import SyntheticSource
from talkies.world.events import has_events, remixed
from talkies.world.render import Scene, draw_scene

SOURCE = SyntheticSource(domain="scenes", clips=16, people=2)
WHERE = {
    "speech": (slice(16, 24), slice(5, 27)),
    "effects": (slice(0, 8), slice(0, 8)),
    "music": (slice(28, 32), slice(0, 64)),
    "speech2": (slice(16, 24), slice(37, 59)),
}
"""Rows and columns of what follows a track."""


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(SOURCE, index, seed=0) for index in range(SOURCE.clips)]


@pytest.fixture(scope="module")
def real(scenes: list[Scene]) -> list[Media]:
    return [scene.media for scene in scenes]


@pytest.fixture(scope="module")
def captions(scenes: list[Scene]) -> list[str]:
    return [scene.caption for scene in scenes]


def film(clip: Media) -> Tensor:
    assert clip.frames is not None
    return clip.frames


def heard(clips: list[Media], track: str) -> list[Media]:
    """The clips as they are, heard with this track of the next one."""
    return [remixed(own, other, [track]) for own, other in zip(clips, clips[1:] + clips[:1], strict=True)]


def shown(clips: list[Media], *tracks: str) -> list[Tensor]:
    """The frames of the clips, in which these tracks of the next one are followed."""
    found = []
    for own, other in zip(clips, clips[1:] + clips[:1], strict=True):
        frames = film(own).clone()
        for track in tracks:
            rows, columns = WHERE[track]
            frames[..., rows, columns] = film(other)[..., rows, columns]
        found.append(frames)
    return found


def swapped(clips: list[Media], track: str, *follow: str) -> list[Media]:
    """Of a model that is given one track of the next clip, and then follows what the next clip has of `follow`."""
    pairs = zip(heard(clips, track), shown(clips, *follow), strict=True)
    return [replace(clip, frames=frames) for clip, frames in pairs]


@pytest.fixture(scope="module")
def ignored(real: list[Media]) -> dict[str, float]:
    """What is measured of a model that makes the same of all tracks."""
    return track_metrics(real, {track: heard(real, track) for track in BANDS}, real)


def keys(tracks: Sequence[str]) -> set[str]:
    """What is measured of these tracks."""
    parts = ("", "_swapped", "_original", "_reference")
    found = {f"{track}/{SCORES[track]}{part}" for track in tracks for part in parts}
    found |= {f"{track}/others" for track in tracks} | {"wall", "wall_chance", "wall_reference"}
    return found | ({"music/mood_chance"} if "music" in tracks else set())


def test_a_model_that_follows_what_it_is_given_and_nothing_else(real: list[Media], captions: list[str]) -> None:
    metrics = track_metrics(real, {t: swapped(real, t, t) for t in BANDS}, real, captions=captions)
    assert metrics.keys() == keys([*BANDS])
    for track in BANDS:
        name = f"{track}/{SCORES[track]}"
        assert min(metrics[name], metrics[f"{name}_swapped"], metrics[f"{name}_reference"]) > 0.95
        assert metrics[f"{track}/others"] < 0.01
        assert metrics[f"{name}_original"] < (0.45 if track == "music" else 0.3)
    assert metrics["music/mood_chance"] < 0.35
    assert metrics["wall"] == metrics["wall_reference"] == 1 > metrics["wall_chance"]


def test_a_model_that_ignores_what_is_exchanged(ignored: dict[str, float]) -> None:
    for track in BANDS:
        name = f"{track}/{SCORES[track]}"
        assert ignored[f"{name}_swapped"] < (0.45 if track == "music" else 0.3)
        assert ignored[f"{name}_original"] > 0.95
        assert ignored[f"{track}/others"] < 0.01
    assert "wall" not in ignored, "no caption names one"


@pytest.mark.parametrize(("track", "other"), [("speech", "effects"), ("effects", "music"), ("music", "speech2")])
def test_what_changes_with_another_track_is_found(track: str, other: str, real: list[Media]) -> None:
    arms = {one: swapped(real, one, one) for one in (track, other)}
    arms[track] = swapped(real, track, track, other)
    metrics = track_metrics(real, arms, real)
    assert metrics[f"{track}/others"] > 0.5
    assert metrics[f"{other}/others"] < 0.01


def test_a_wall_that_changes_with_a_track_is_found(real: list[Media], captions: list[str]) -> None:
    arm = [replace(clip, frames=film(other)) for clip, other in zip(real, real[1:] + real[:1], strict=True)]
    assert track_metrics(real, {"speech": arm}, real, captions=captions)["speech/others"] > 0.5
    assert "speech/others" not in track_metrics(real, {"speech": arm}, real), "nothing else is known"


def test_effects_are_compared_where_there_are_some_before_and_after(real: list[Media]) -> None:
    """A lamp that stays dark is right where nothing is heard, and has no correlation."""
    assert {has_events(clip) for clip in real} == {True, False}
    arm = swapped(real, "effects", "effects")
    found = track_metrics(real, {"effects": arm}, real)
    both = [clip for clip, own in zip(arm, real, strict=True) if has_events(own) and has_events(clip)]
    assert found["effects/sync_swapped"] == pytest.approx(track_scores(both)["effects"])
    quiet = [clip for clip in real if not has_events(clip)]
    assert "effects" not in track_scores(quiet)
    assert "effects" not in track_scores(real[: len(quiet)], quiet)
    assert not {key for key in track_metrics(quiet, {"effects": quiet}, quiet) if key.startswith("effects/sync")}


def test_scores_are_named_by_track(real: list[Media]) -> None:
    assert named_scores(real) == {
        "speech_sync": pytest.approx(1, abs=0.02),
        "effects_sync": pytest.approx(1, abs=0.02),
        "music_mood": 1,
        "speech2_sync": pytest.approx(1, abs=0.02),
    }
    alone = [draw_scene(replace(SOURCE, people=1), index, seed=0).media for index in range(4)]
    assert "speech2" not in track_scores(alone)


def test_walls_are_compared_with_captions_that_name_them(real: list[Media], captions: list[str]) -> None:
    assert wall_shares(real, captions)["wall"] == 1
    assert wall_shares(real, captions[1:] + captions[:1])["wall"] < 0.6
    assert not wall_shares(real, ["a talk", *captions[1:]])
    assert not wall_shares(real, [])


def test_other_clips_are_not_taken_for_scenes(real: list[Media]) -> None:
    assert are_scenes(real)
    assert not are_scenes(heard(real, "speech")), "real clips show what they were given"
    for domain in ("faces", "masks", "speakers", "scripts"):
        others = [draw_scene(replace(SOURCE, domain=domain, people=1), index, seed=0).media for index in range(6)]
        assert not are_scenes(others)
    assert not speaker_metrics(real, real)
    (clip, *_) = real
    portrait = film(clip)[..., :16]
    for frames in (None, film(clip)[:2], film(clip)[..., :48], portrait):
        assert not are_scenes([replace(clip, frames=frames)])
    assert not are_scenes([replace(clip, samples=None)])
    assert are_scenes(real, ["1 person conversation. Persons: Person1: a man. Scene Description: a red wall."])
    assert not are_scenes(real, ["Somebody in a red shirt is talking."]), "few clips follow all tracks by chance"


def test_an_evaluation_of_scenes_compares_mouth_and_speech(real: list[Media]) -> None:
    measured = evaluate_clips(real, real)
    assert measured["sync"] == measured["sync_reference"] > 0.98
    assert measured["sync_median"] > 0.98
    assert abs(measured["sync_shuffled"]) < 0.2
    assert evaluate_clips(heard(real, "speech"), real)["sync"] < 0.3
    assert evaluate_clips(heard(real, "effects"), real)["sync"] > 0.98
    assert torch.isfinite(torch.tensor([*measured.values()])).all()


def test_every_track_has_a_score_and_a_line_on_cards(ignored: dict[str, float]) -> None:
    assert SCORES.keys() == BANDS.keys()
    lines = {one.key: one for one in METRICS}
    for track, score in SCORES.items():
        for key in (f"{track}/{score}", f"{track}/{score}_swapped", f"{track}/others"):
            line = lines[f"evaluation/{key}"]
            beside = [one for one in (line.ceiling, line.control) if isinstance(one, str)]
            assert {key, *(one.removeprefix("evaluation/") for one in beside)} <= ignored.keys()
