"""The world's speakers: what tells what, what tells nothing, and that it can be seen and heard."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from talkies.codecs import linear_video
from talkies.codecs.config import LinearVideoConfig
from talkies.config import RecipeError
from talkies.world.attributes import background, face_kind, identity, named_shirt, nearest_identities, shirt
from talkies.world.config import SyntheticSource
from talkies.world.hearing import noise_kind, pitch, pitch_kind
from talkies.world.noises import NOISES, make_noise
from talkies.world.portraits import KINDS, SHIRTS, WALLS
from talkies.world.render import SAMPLE_RATE, Scene, draw_scene
from talkies.world.speakers import APART, PITCHES, STEPS, Speaker, clip_group, clip_name, draw_speaker, traits
from talkies.world.sync import correlation, mouth_opening
from talkies.world.voices import sing

SHOT = 25
SOURCE = SyntheticSource(domain="speakers", clips=48, frames=2 * SHOT, shot=SHOT)
KEY = (0, 0, 2)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(SOURCE, index, seed=0) for index in range(SOURCE.clips)]


def film(scene: Scene, shot: int = 0) -> Tensor:
    assert scene.media.frames is not None
    return scene.media.frames[shot * SHOT : (shot + 1) * SHOT]


def sound(scene: Scene, shot: int = 0) -> Tensor:
    assert scene.media.samples is not None
    return scene.media.samples[shot * 2 * SAMPLE_RATE : (shot + 1) * 2 * SAMPLE_RATE]


def test_no_two_speakers_are_near_each_other() -> None:
    """By construction: two points of the sequence differ by a multiple of its steps."""
    multiples = np.arange(1, 1000)[:, None] * STEPS % 1
    assert np.minimum(multiples, 1 - multiples).max(1).min() >= APART
    places = np.stack([traits(KEY, index) for index in range(120)])
    gaps = np.abs(places[:, None] - places[None]).max(-1) + np.eye(120)
    assert gaps.min() >= APART


def test_traits_are_what_speakers_have() -> None:
    drawn = [draw_speaker(KEY, index) for index in range(90)]
    assert [sum(one.kind == kind for one in drawn) for kind in KINDS] == pytest.approx([30] * 3, abs=3)
    for one in drawn:
        low, high = PITCHES[one.kind]
        assert low <= one.voice.pitch <= high
    by_skin = sorted(range(90), key=lambda index: traits(KEY, index)[2])
    assert all(drawn[a].look.skin > drawn[b].look.skin for a, b in pairwise(by_skin))
    assert drawn[7] == draw_speaker(KEY, 7)
    assert drawn[7] != draw_speaker((1, 0, 2), 7)


def test_captions_and_rooms_tell_nothing_of_the_face(scenes: list[Scene]) -> None:
    small = replace(SOURCE, clips=160, size=16, frames=8, shot=0)
    more = [draw_scene(small, index, seed=3) for index in range(small.clips)]
    assert {scene.caption for scene in more} == {f"Somebody in a {colour} shirt is talking." for colour in SHIRTS}
    kinds, walls, shirts = (np.array([tell(film(scene)) for scene in more]) for tell in (face_kind, background, shirt))
    assert [named_shirt(scene.caption) for scene in more] == shirts.tolist()
    for told, telling in ((kinds, shirts), (walls, shirts), (kinds, walls)):
        table = np.array([[np.mean((told == a) & (telling == b)) for b in set(telling)] for a in range(3)])
        expected = table.sum(1, keepdims=True) * table.sum(0)
        assert np.abs(table - expected).max() < 4 * np.sqrt(expected.max() / len(more))
        assert np.abs(table.sum(1) - 1 / 3).max() < 0.15, "a guess is right in about a third"
    assert all(named_shirt(scene.caption) == shirt(film(scene)) for scene in scenes)


def test_the_voice_tells_the_kind_and_the_noise_the_wall(scenes: list[Scene]) -> None:
    for scene in scenes:
        for shot in (0, 1):
            assert face_kind(film(scene, shot)) == pitch_kind(sound(scene, shot), SAMPLE_RATE)
            assert background(film(scene, shot)) == noise_kind(sound(scene, shot), SAMPLE_RATE)
    assert [*WALLS] == [*NOISES]


def test_the_toys_codec_keeps_all_that_is_seen(scenes: list[Scene]) -> None:
    codec = linear_video.fit(LinearVideoConfig(), [film(scene) for scene in scenes[:24]])
    for scene in scenes[24:]:
        (back,) = codec.decode(codec.encode(film(scene)[None]))
        for tell in (face_kind, background, shirt):
            assert tell(back) == tell(film(scene))
        assert correlation(mouth_opening(back), scene.openings[:SHOT].double()) > 0.95


def test_a_picture_from_another_shot_tells_who_it_is(scenes: list[Scene]) -> None:
    codec = linear_video.fit(LinearVideoConfig(), [film(scene) for scene in scenes[:24]])
    images = [film(scene, 1)[9] for scene in scenes]
    backs = [codec.decode(codec.encode(film(scene)[None]))[0] for scene in scenes]
    assert nearest_identities(backs, images) == [*range(len(scenes))]
    assert sum(background(film(scene)) != background(film(scene, 1)) for scene in scenes) > 20
    assert sum(shirt(film(scene)) != shirt(film(scene, 1)) for scene in scenes) > 24
    assert max(float((identity(film(s)) - identity(film(s, 1))).norm()) for s in scenes) < 0.02


def test_every_shot_begins_with_a_closed_mouth(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert max(scene.openings[0], scene.openings[SHOT]) < 0.02
        assert min(scene.openings[:SHOT].max(), scene.openings[SHOT:].max()) > 0.2


def test_clips_of_a_speaker_share_the_voice_and_the_look_and_a_folder() -> None:
    source = replace(SOURCE, clips=6, speakers=2, heldout=3, frames=SHOT, shot=0)
    assert source.clips_each == 3
    drawn = [draw_scene(source, index, seed=0) for index in range(6)]
    looks = torch.stack([identity(film(scene)) for scene in drawn])
    apart = torch.cdist(looks, looks)
    assert apart[:3, :3].max() < 0.02 < apart[:3, 3:].min()
    groups = [clip_group(clip_name(source, index) + ".mp4") for index in range(6)]
    assert groups == ["speaker-00000"] * 3 + ["speaker-00001"] * 3
    assert len({clip_name(source, index) for index in range(6)}) == 6
    assert clip_group("faces-00001.mp4") == "faces-00001.mp4"


def test_pitch_and_noise_are_heard_at_any_level_and_rate() -> None:
    rng = np.random.default_rng(0)
    for index in range(6):
        one: Speaker = draw_speaker(KEY, index)
        voice = sing(one.voice, np.ones(SAMPLE_RATE), rng)
        assert pitch(torch.from_numpy(voice), SAMPLE_RATE) == pytest.approx(one.voice.pitch, rel=0.03)
        for number, noise in enumerate(NOISES):
            both = torch.from_numpy(voice + make_noise(noise, SAMPLE_RATE, rng))
            for heard in (both, 0.01 * both):
                assert noise_kind(heard, SAMPLE_RATE) == number
                assert KINDS[pitch_kind(heard, SAMPLE_RATE)] == one.kind
    assert noise_kind(torch.zeros(SAMPLE_RATE), SAMPLE_RATE) == 0
    assert pitch(torch.zeros(100), SAMPLE_RATE) > 0


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"shot": 1}, "shots of 1 frames .*cannot be drawn"),
        ({"shot": 24}, "50 frames cannot be drawn in shots of 24: make `frames` a multiple of `shot`"),
        ({"speakers": 5}, "48 clips of 5 speakers"),
        ({"speakers": 12, "heldout": 6}, "6 clips are held out, cannot be split by speaker"),
        ({"domain": "faces"}, "faces has no `speakers` and no `shot`, found 0 and 25"),
    ],
)
def test_sources_that_contradict_themselves_are_refused(keys: dict[str, int], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        draw_scene(replace(SOURCE, **keys), 0, seed=0)  # type: ignore[arg-type]
