"""What is heard of scripts, settings and voices: of real clips, of exchanged ones, and of other sounds."""

from dataclasses import replace

import pytest
import torch

from talkies.evaluation.voices import heard, lines_of, same_pitch, tuning_shares, voice_metrics, voice_shares
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import draw_scene

SOURCE = SyntheticSource(domain="scripts", clips=16, frames=50, shot=25)


def halves() -> tuple[list[Media], list[Media], list[str]]:
    """Of every speaker the first shot, another one, and the caption of the first."""
    scenes = [draw_scene(SOURCE, index, 0) for index in range(SOURCE.clips)]
    sounds = [scene.media.samples for scene in scenes]
    rate = scenes[0].media.sample_rate

    def clip(samples: torch.Tensor) -> Media:
        return Media(frames=None, fps=1.0, samples=samples, sample_rate=rate)

    middle = len(sounds[0]) // 2  # type: ignore[arg-type]
    first = [clip(sound[:middle]) for sound in sounds if sound is not None]
    other = [clip(sound[middle:]) for sound in sounds if sound is not None]
    return first, other, [scene.caption for scene in scenes]


@pytest.fixture(scope="module")
def world() -> tuple[list[Media], list[Media], list[str]]:
    return halves()


def test_real_clips_show_what_they_were_given(world: tuple[list[Media], list[Media], list[str]]) -> None:
    clips, voices, captions = world
    found = voice_metrics(clips, clips, captions=captions, voices=voices)
    for name in ("script", "setting", "pitch"):
        assert found[name] == found[f"{name}_reference"] >= 0.85
        assert found[f"{name}_chance"] < 0.6
    assert found["timbre"] > 3 * found["timbre_chance"]


def test_exchanged_clips_show_what_the_others_were_given(world: tuple[list[Media], list[Media], list[str]]) -> None:
    clips, voices, captions = world
    turned = voice_metrics([*clips[1:], clips[0]], clips, captions=captions, voices=voices)
    assert turned["pitch"] < 0.5
    assert turned["script"] < 0.6
    assert turned["script_reference"] >= 0.85


def test_tuning_counts_the_clips_whose_setting_changes(world: tuple[list[Media], list[Media], list[str]]) -> None:
    clips, voices, captions = world
    lines = lines_of(captions)
    assert lines is not None
    sounds, told = [heard(clip) for clip in clips], [heard(voice) for voice in voices]
    changed = [voice.setting != line.setting for voice, line in zip(told, lines, strict=True)]
    found = tuning_shares(sounds, lines, told)
    assert 0 < found["clips"] == sum(changed) < len(clips)
    assert found["setting"] >= 0.85
    assert tuning_shares(told, lines, told)["setting"] == 0
    same = [replace(voice, setting=line.setting) for voice, line in zip(told, lines, strict=True)]
    assert tuning_shares(sounds, lines, same) == {"clips": 0.0}


def test_other_sounds_are_not_measured(world: tuple[list[Media], list[Media], list[str]]) -> None:
    clips, _, captions = world
    assert voice_metrics(clips, clips, captions=["A calm voice."] * len(clips)) == {}
    noise = [replace(clip, samples=torch.randn(16000)) for clip in clips]
    assert voice_metrics(noise, noise, captions=captions) == {}
    assert voice_metrics([replace(clip, samples=None) for clip in clips], clips, captions=captions) == {}


def test_pitches_are_the_same_within_five_per_cent(world: tuple[list[Media], list[Media], list[str]]) -> None:
    one = heard(world[0][0])
    assert same_pitch(replace(one, pitch=104.0), replace(one, pitch=100.0))
    assert not same_pitch(replace(one, pitch=106.0), replace(one, pitch=100.0))
    assert not same_pitch(replace(one, pitch=200.0), replace(one, pitch=100.0))


def test_shares_without_voices_have_no_pitch(world: tuple[list[Media], list[Media], list[str]]) -> None:
    clips, _, captions = world
    lines = lines_of(captions)
    assert lines is not None
    assert voice_shares([heard(clip) for clip in clips], lines).keys() == {
        "script", "script_chance", "setting", "setting_chance",
    }  # fmt: skip
