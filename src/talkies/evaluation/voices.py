"""How sounds follow what they were given: a script, a setting, and the voice of a reference.

All of it is known of the world's scripts alone (world/scripts.py): metrics are given where real clips show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from torch import Tensor

from talkies.evaluation.given import TOLD
from talkies.streams.codec import Media
from talkies.world.hearing import pitch
from talkies.world.recognition import accuracy, nearest, recognise, setting_kind, timbre
from talkies.world.scripts import Line, parse

NEAR = 0.05
"""Two pitches are the same if they differ by less than this share."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What is heard in a sound: syllables, the setting, the pitch in Hz, and the timbre [12]."""

    script: tuple[str, ...]
    setting: str
    pitch: float
    timbre: Tensor


def heard(sound: Media) -> Heard:
    """What is heard in the sound of a clip."""
    assert sound.samples is not None
    samples, rate = sound.samples, sound.sample_rate
    return Heard(
        script=recognise(samples, rate),
        setting=setting_kind(samples, rate),
        pitch=pitch(samples, rate),
        timbre=timbre(samples, rate),
    )


def lines_of(captions: Sequence[str]) -> list[Line] | None:
    """What the captions name; None if one of them is not of the world's scripts."""
    lines = [parse(caption) for caption in captions]
    return [line for line in lines if line is not None] if lines and all(lines) else None


def voice_metrics(
    made: Sequence[Media], real: Sequence[Media], *, captions: Sequence[str], voices: Sequence[Media] = ()
) -> dict[str, float]:
    """`voice_shares` of sounds that were made for what the captions name, by these voices, and `_reference`, those of
    the `real` sounds: the ceiling. Nothing for other sounds than the world's scripts, as TOLD says."""
    lines = lines_of(captions)
    if lines is None or any(clip.samples is None for clip in (*made, *real)):
        return {}
    told = [heard(voice) for voice in voices]
    ceiling = voice_shares([heard(clip) for clip in real], lines, told)
    if any(ceiling[name] < TOLD for name in ("script", "setting", "pitch") if name in ceiling):
        return {}
    shares = voice_shares([heard(clip) for clip in made], lines, told)
    names = [name for name in ceiling if not name.endswith("_chance")]
    return shares | {f"{name}_reference": ceiling[name] for name in names}


def voice_shares(sounds: Sequence[Heard], lines: Sequence[Line], voices: Sequence[Heard] = ()) -> dict[str, float]:
    """`script`: the mean accuracy of what is heard of each script; `setting`: the share of sounds in the setting that
    is named; and if there are voices, `pitch`: the share whose pitch is that of its voice (NEAR), and `timbre`: the
    share whose timbre is nearest to that of its voice, among all voices. `_chance`: of pairs of any sound and what any
    was given."""
    shares = {
        "script": fmean(accuracy(one.script, line.script) for one, line in zip(sounds, lines, strict=True)),
        "script_chance": fmean(accuracy(one.script, line.script) for one in sounds for line in lines),
        "setting": fmean(one.setting == line.setting for one, line in zip(sounds, lines, strict=True)),
        "setting_chance": fmean(one.setting == line.setting for one in sounds for line in lines),
    }
    if voices:
        places = nearest([one.timbre for one in sounds], [one.timbre for one in voices])
        shares |= {
            "pitch": fmean(same_pitch(*pair) for pair in zip(sounds, voices, strict=True)),
            "pitch_chance": fmean(same_pitch(one, voice) for one in sounds for voice in voices),
            "timbre": fmean(place == index for index, place in enumerate(places)),
            "timbre_chance": 1 / len(voices),
        }
    return shares


def tuning_shares(sounds: Sequence[Heard], lines: Sequence[Line], voices: Sequence[Heard]) -> dict[str, float]:
    """Of the sounds whose voice was recorded in another setting than the one that is named: `clips`, how many there
    are; `setting`, the share that is in the named one; and `pitch` and `script` as in `voice_shares`. Only `clips` if
    there are none."""
    turned = [
        (one, line, voice)
        for one, line, voice in zip(sounds, lines, voices, strict=True)
        if voice.setting != line.setting
    ]
    if not turned:
        return {"clips": 0.0}
    return {
        "clips": float(len(turned)),
        "setting": fmean(one.setting == line.setting for one, line, _ in turned),
        "pitch": fmean(same_pitch(one, voice) for one, _, voice in turned),
        "script": fmean(accuracy(one.script, line.script) for one, line, _ in turned),
    }


def same_pitch(one: Heard, other: Heard) -> bool:
    """Whether the pitches differ by less than the share NEAR of the other one's."""
    return abs(one.pitch / other.pitch - 1) < NEAR
