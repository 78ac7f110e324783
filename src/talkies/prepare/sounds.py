"""The sound of a clip: read, checked and brought to its loudness."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from pathlib import Path

import torch
from torch import Tensor

from talkies.codecs.geometry import steps_of
from talkies.codecs.long_sound import steps_needed
from talkies.codecs.speech_config import SpeechConfig
from talkies.media.clipping import CROWDED, find_clipping
from talkies.media.loudness import Gain, gain_to
from talkies.media.phase_cancellation import find_cancellation
from talkies.media.probe import MediaInfo
from talkies.media.timeline import Beginning
from talkies.prepare.plan import TOLERANCE, SetPlan
from talkies.prepare.reading import Reader
from talkies.prepare.rejection import Rejected

SILENCE = 1e-3
"""RMS below this (-60 dB) is silence."""
FAINT = 0.03
"""RMS (-30 dB) below which a mix is compared with its channels. Speech is louder."""
DAMAGED = 10.0
"""Times full scale; AAC of clipped sound overshoots to at most 2.3 (measured), a damaged frame to any value."""
RESAMPLED, MIXED = "with sound of another rate", "with mixed channels"
"""What the report counts, if sound needed it."""


@dataclass(frozen=True, kw_only=True)
class Around:
    """Sound [S] fp32 of a file from its beginning on, by less than a step of features; the window begins `first` steps
    later."""

    samples: Tensor
    first: int


@dataclass(frozen=True, kw_only=True)
class RawSound:
    """`samples` [S] fp32 of a whole window, of which `real` come from the file (the rest is silence). `gain`: the
    factor that brought them to the loudness target; `limited`: it could not be reached. `around`: what codecs that hear
    more than the window are given. `treated`: what the sound needed."""

    samples: Tensor
    real: int
    gain: float
    limited: bool
    around: Mapping[str, Around]
    treated: frozenset[str]


def read_sound(path: Path, plan: SetPlan, reader: Reader, info: MediaInfo, begin: Beginning) -> RawSound:
    """The sound of the window that begins at `begin`. Raises Rejected for sound that cannot be trained on, MediaError
    if it cannot be read."""
    assert info.audio_rate, "the probe found a sound stream"
    seconds = plan.geometry.seconds
    sound = reader.sound(path, seconds, plan.sample_rate, begin, plan.channel)
    recorded = reader.sound(path, seconds, info.audio_rate, begin, plan.channel)
    _check_sound(sound, plan, info)
    _check_level(path, sound, plan, info, begin)
    _check_clipping(recorded)
    gain = _gain(sound, plan)
    around = {name: _around(path, plan, reader, plan.hearing[name], begin) for name in sorted(_hearing_all(plan))}
    if gain is not None:
        sound = sound * gain.factor
        around = {name: replace(one, samples=one.samples * gain.factor) for name, one in around.items()}
    real, window = len(sound), plan.geometry.samples(plan.sample_rate)
    return RawSound(
        samples=torch.nn.functional.pad(sound, (0, window - real)),
        real=real,
        gain=1.0 if gain is None else gain.factor,
        limited=gain is not None and gain.limited,
        around=around,
        treated=_treated(plan, info),
    )


def _hearing_all(plan: SetPlan) -> set[str]:
    """The codecs that hear more than the window, and the whole sound, not a track of it."""
    return plan.hearing.keys() & {stream.codec for stream in plan.streams.values() if stream.track is None}


def reach(plan: SetPlan, codec: SpeechConfig, begin: Beginning) -> tuple[int, int]:
    """What decides a codec's features of the window: how many of its steps before the window, and how many in all."""
    earlier = 0.0 if begin.sound is None else begin.seconds - begin.sound
    first = max(0, floor(earlier * codec.rate + 1e-6))
    window = steps_of(codec, plan.geometry.samples(plan.sample_rate))
    return first, steps_needed(codec, range(first, first + window))


def _around(path: Path, plan: SetPlan, reader: Reader, codec: SpeechConfig, begin: Beginning) -> Around:
    """The sound that decides a codec's features of the window. Its steps begin with the window's, so that the features
    are a slice; less than a step at the file's beginning is left out."""
    first, steps = reach(plan, codec, begin)
    earliest = replace(begin, seconds=begin.seconds - first / codec.rate)
    samples = reader.sound(path, Fraction(steps, codec.rate), plan.sample_rate, earliest, plan.channel)
    return Around(samples=samples, first=first)


def _treated(plan: SetPlan, info: MediaInfo) -> frozenset[str]:
    resampled = {RESAMPLED} if info.audio_rate != plan.sample_rate else set()
    mixed = {MIXED} if plan.channel == "mix" and (info.audio_channels or 1) > 1 else set()
    return frozenset(resampled | mixed)


def _check_sound(sound: Tensor, plan: SetPlan, info: MediaInfo) -> None:
    """Rejected for sound [S] that is missing, damaged, or ends before the pictures do."""
    seconds, whole = len(sound) / plan.sample_rate, float(plan.geometry.seconds)
    if plan.video and whole - seconds > TOLERANCE:
        raise Rejected(
            "audio and video disagree", f"its sound ends at {seconds:.3f} s, but its frames last {whole:.3f} s"
        )
    if len(sound) == 0:
        raise Rejected("no audio", f"its audio stream has no samples (it claims {info.audio_seconds} s)")
    if not bool(sound.isfinite().all()):
        raise Rejected("not finite", "its sound has samples that are not finite")
    if len(sound) < plan.least:
        raise Rejected(
            "too short", f"its sound has {len(sound)} samples, and a step of its features is made of {plan.least}"
        )
    peak = float(sound.abs().max())
    if peak > DAMAGED:
        raise Rejected("broken stream", f"its sound reaches {peak:.3g} times full scale, so it must be damaged")


def _check_level(path: Path, sound: Tensor, plan: SetPlan, info: MediaInfo, begin: Beginning) -> None:
    """Rejected for sound [S] that is silent, or whose channels cancel each other in the mix."""
    level = float(sound.square().mean().sqrt())
    if level < FAINT and plan.channel == "mix" and (info.audio_channels or 1) > 1:
        found = find_cancellation(path, begin=begin.seconds, seconds=plan.geometry.seconds)
        if found is not None and found.level >= SILENCE:
            raise Rejected(
                "channels cancel",
                f"the mix of its channels has an RMS of {found.mix:.1e}, channel {found.channel} alone "
                f"{found.level:.1e}; take one channel: `sources.{plan.config.source}.channel` = {found.channel}",
            )
    if level < SILENCE:
        seconds = len(sound) / plan.sample_rate
        raise Rejected("silent", f"its RMS over {seconds:.2f} s is {level:.1e}; it must be at least {SILENCE:g}")


def _gain(sound: Tensor, plan: SetPlan) -> Gain | None:
    """What brings sound [S] to the loudness target of its set, if there is one. Rejected if it has no loudness."""
    if plan.config.lufs is None:
        return None
    gain = gain_to(sound, plan.sample_rate, plan.config.lufs)
    if gain is None:
        raise Rejected("silent", "its loudness cannot be measured: no 0.4 s reach -70 LUFS, the gate of BS.1770")
    return gain


def _check_clipping(recorded: Tensor) -> None:
    """Rejected for sound [S] that was clipped; `recorded` has the file's own sample rate, since resampling hides it."""
    crowd = find_clipping(recorded)
    if crowd is not None:
        raise Rejected(
            "clipped",
            f"its samples accumulate at {crowd.level:.2f} of full scale, {crowd.ratio:.1f} times as many as just below "
            f"(at most {CROWDED:g} are allowed); use a recording that was not clipped",
        )
