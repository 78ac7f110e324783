"""Passages: sound of a clip's file from outside of its window, in which the same voices are heard."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from talkies.media.loudness import gain_to
from talkies.media.sound import read_audio
from talkies.media.timeline import Beginning
from talkies.prepare.plan import SetPlan
from talkies.prepare.rejection import Rejected
from talkies.prepare.sounds import DAMAGED, SILENCE

REACH = 60
"""Seconds before and after the window in which a passage may lie: a voice is heard for longer than a face is seen."""
SHORTEST = 1
"""Seconds of the shortest passage; of clips that last less than twice as long, half of them."""
TRIES = 8
"""Stretches that are drawn until one is not silent: speakers pause."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """`samples` [S] fp32 as long as the window, of which the first `real` come from the file (the rest is silence);
    `start`: seconds from the window's beginning to theirs, negative if they are earlier."""

    samples: Tensor
    real: int
    start: float


def read_passage(path: Path, plan: SetPlan, begin: Beginning, name: str) -> Passage:
    """A stretch of sound outside of the window that begins at `begin`, drawn by the clip's name, at the loudness of the
    set. Raises Rejected for a file that has none that can be heard, MediaError if its sound cannot be read."""
    outside, window = _outside(path, plan, begin), plan.geometry.samples(plan.sample_rate)
    shortest = max(1, plan.least, min(SHORTEST * plan.sample_rate, window // 2))
    stretches = [
        stretch(name, number, [len(sound) for _, sound in outside], shortest, window) for number in range(TRIES)
    ]
    for side, first, length in filter(None, stretches):
        origin, sound = outside[side]
        heard = _at_loudness(sound[first : first + length], plan)
        if heard is not None:
            start = origin + first / plan.sample_rate
            return Passage(samples=pad(heard, (0, window - length)).clone(), real=length, start=start)
    what = "silent" if any(stretches) else f"shorter than {shortest / plan.sample_rate:.3f} s"
    raise Rejected(
        "no reference",
        f"its sound outside of its window of {float(plan.geometry.seconds):.3f} s is {what}; use longer files, or "
        f"leave references out: `sets.{plan.name}.without` = [{', '.join(plan.passages)}]",
    )


def stretch(name: str, number: int, sides: Sequence[int], shortest: int, longest: int) -> tuple[int, int, int] | None:
    """(side, first sample, samples) of a stretch within one of the `sides`, which are so many samples long: a function
    of the name and the number of the try. None if none has the `shortest` one's length."""
    longest = min(longest, max(sides))
    if longest < shortest:
        return None
    digest = blake2b(f"{number} {name}".encode(), digest_size=16, person=b"talkies.passage").digest()
    size, place = (int.from_bytes(part, "little") for part in (digest[:8], digest[8:]))
    length = shortest + size % (longest - shortest + 1)
    places = [max(0, side - length + 1) for side in sides]
    place %= sum(places)
    return (0, place, length) if place < places[0] else (1, place - places[0], length)


def _outside(path: Path, plan: SetPlan, begin: Beginning) -> list[tuple[float, Tensor]]:
    """The sound before and after the window: when it begins, in seconds from the window's beginning, and [S] fp32."""
    rate, end = plan.sample_rate, float(plan.geometry.seconds)
    earlier = 0.0 if begin.sound is None else max(0.0, begin.seconds - begin.sound)
    before = int(min(REACH, earlier) * rate)
    return [
        (origin, _read(path, plan, replace(begin, seconds=begin.seconds + origin), seconds))
        for origin, seconds in ((-before / rate, Fraction(before, rate)), (end, Fraction(REACH)))
    ]


def _read(path: Path, plan: SetPlan, begin: Beginning, seconds: Fraction) -> Tensor:
    if not seconds:
        return torch.zeros(0)
    return read_audio(path, sample_rate=plan.sample_rate, seconds=seconds, begin=begin, channel=plan.channel)


def _at_loudness(sound: Tensor, plan: SetPlan) -> Tensor | None:
    """Sound [S] at the loudness of its set; None for silence, and for damage."""
    whole = bool(sound.isfinite().all()) and float(sound.abs().max()) <= DAMAGED
    if not whole or float(sound.square().mean().sqrt()) < SILENCE:
        return None
    if plan.config.lufs is None:
        return sound
    gain = gain_to(sound, plan.sample_rate, plan.config.lufs)
    return None if gain is None else sound * gain.factor
