"""How clips follow what they were given: a sound, a caption, a picture of the speaker.

That a mouth follows the loudness is measured wherever `sync` means something (world/sync.py). What else is told of a
face is known of the world's speakers alone (world/speakers.py): its metrics are given where real clips show it.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

from torch import Tensor

from talkies.streams.codec import Media
from talkies.world.attributes import background, face_kind, named_shirt, nearest_identities, shirt
from talkies.world.hearing import noise_kind, pitch_kind
from talkies.world.sync import sync

TOLD = 0.8
"""The share of real clips that must show each thing that they were given; other clips are not the world's speakers."""


def given_metrics(
    made: Sequence[Media], swapped: Sequence[Media], own: Sequence[Media], *, fields: Sequence[str] = ("samples",)
) -> dict[str, float]:
    """How well clips are in step with the `fields` (`samples`, `frames`) that they were given, and hold.

    `made[i]` was made for those of `own[i]`, `swapped[i]` for those of another clip. `sync` and `sync_swapped`: their
    mean synchronisation. `sync_original`: that of `swapped` with the fields of `own`, which is near 0 if what was
    given, and nothing else, decides. `lag_frames`: the median shift in frames of the sound that fits `made` best
    (positive: late); absent if no clip has one.
    """
    originals = [
        replace(clip, **{field: getattr(one, field) for field in fields})
        for clip, one in zip(swapped, own, strict=True)
    ]
    scores = [sync(clip) for clip in made]
    metrics = {
        "sync": fmean(score.correlation for score in scores),
        "sync_swapped": fmean(sync(clip).correlation for clip in swapped),
        "sync_original": fmean(sync(clip).correlation for clip in originals),
    }
    pairs = zip(scores, made, strict=True)
    lags = [score.lag_ms * clip.fps / 1000 for score, clip in pairs if score.lag_ms is not None]
    return metrics | ({"lag_frames": median(lags)} if lags else {})


def heard_with(films: Sequence[Media], sounds: Sequence[Media]) -> list[Media]:
    """The films with these sounds."""
    return [
        replace(film, samples=sound.samples, sample_rate=sound.sample_rate)
        for film, sound in zip(films, sounds, strict=True)
    ]


def speaker_metrics(
    made: Sequence[Media], real: Sequence[Media], *, captions: Sequence[str] = (), images: Sequence[Tensor] = ()
) -> dict[str, float]:
    """`shown_shares` of clips with frames and samples that were made for what `real` holds, and `_reference`, those of
    `real`: the ceiling. Nothing for clips without frames or samples, and for other clips than the world's speakers, as
    TOLD says."""
    if any(clip.frames is None or clip.samples is None for clip in (*made, *real)):
        return {}
    ceiling = shown_shares(real, captions=captions, images=images)
    names = [name for name in ceiling if not name.endswith("_chance")]
    if any(ceiling[name] < TOLD for name in names):
        return {}
    shares = shown_shares(made, captions=captions, images=images)
    return shares | {f"{name}_reference": ceiling[name] for name in names}


def shown_shares(
    clips: Sequence[Media], *, captions: Sequence[str] = (), images: Sequence[Tensor] = ()
) -> dict[str, float]:
    """Shares of clips that show what they were given: the `kind` of face that goes with the pitch of their samples, the
    `background` that goes with the noise behind it, the `shirt` of their captions (if all name one), and the `identity`
    of their images [3, H, W] in [-1, 1], among all of them. `_chance`: of pairs of any clip and what any was given."""
    films = [clip.frames for clip in clips if clip.frames is not None]
    sounds = [(clip.samples, clip.sample_rate) for clip in clips if clip.samples is not None]
    pairs = {
        "kind": ([face_kind(film) for film in films], [pitch_kind(*sound) for sound in sounds]),
        "background": ([background(film) for film in films], [noise_kind(*sound) for sound in sounds]),
    }
    shirts = [named for caption in captions if (named := named_shirt(caption)) is not None]
    if captions and len(shirts) == len(captions):
        pairs["shirt"] = ([shirt(film) for film in films], shirts)
    if images:
        pairs["identity"] = (nearest_identities(films, images), [*range(len(images))])
    shares: dict[str, float] = {}
    for name, (seen, told) in pairs.items():
        shares[name] = fmean(a == b for a, b in zip(seen, told, strict=True))
        shares[f"{name}_chance"] = fmean(a == b for a in seen for b in told)
    return shares
