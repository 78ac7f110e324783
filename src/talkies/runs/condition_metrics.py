"""What each condition of a model decides: measured where clips are made without it, and with another clip's."""

from collections.abc import Collection, Sequence
from itertools import chain, combinations
from statistics import fmean

from talkies.config import DataError
from talkies.evaluation.given import given_metrics, heard_with, speaker_metrics
from talkies.evaluation.metric_info import SCORES
from talkies.evaluation.tracks import named_scores, track_metrics
from talkies.flow.config import SamplingConfig
from talkies.generate.model import Generator
from talkies.runs.condition_arms import Clips, captions_of, made, shown, tracks_of
from talkies.streams.codec import Media
from talkies.world.events import spoken
from talkies.world.sync import sync

ABLATION = "ablation"
OTHERS = 2
"""The most conditions that are exchanged for those of another clip at once."""


def condition_metrics(
    model: Generator, clips: Clips, conditions: Collection[str], sampling: SamplingConfig, *, seed: int
) -> dict[str, float]:
    """Of a model that is given a sound as its condition SOUND: `given_metrics` as `SOUND/...`, and
    `SOUND/sync_dropped`, the synchronisation of what is made without it. Of one that is given tracks of a sound, and of
    the world's scenes: `track_metrics`. Of one that reads a picture as its condition REFERENCE, and of the world's
    speakers: `identity`, and `REFERENCE/identity_swapped`, the share of clips nearest to the picture of another clip
    that they were given.
    """
    sound, generated, real = model.listens, made(model, clips, sampling, seed=seed), clips.real
    tracks = [track for track in tracks_of(model) if track in conditions]
    found: dict[str, float] = {}
    if tracks and clips.scenes:
        arms = {track: made(model, clips, sampling, seed=seed, swapped={track}) for track in tracks}
        found = track_metrics(generated, arms, real, captions=captions_of(model, clips.requests))
    elif not tracks and sound is not None and sound in conditions and all(clip.samples is not None for clip in real):
        swapped = made(model, clips, sampling, seed=seed, swapped={sound})
        dropped = made(model, clips, sampling, seed=seed, without={sound})
        heard = [_speaking(clips, films) for films in (generated, swapped, real)]
        found = {f"{sound}/{key}": value for key, value in given_metrics(*heard).items()}
        found[f"{sound}/sync_dropped"] = _sync(_speaking(clips, dropped))
    own = speaker_metrics(generated, real, images=clips.images)
    if clips.reference is not None and "identity" in own:
        other = made(model, clips, sampling, seed=seed, swapped={clips.reference})
        found |= {key: value for key, value in own.items() if key.startswith("identity")}
        found[f"{clips.reference}/identity_swapped"] = shown(model, clips, other, swapped={clips.reference})["identity"]
    return found


def ablation(
    model: Generator, clips: Clips, names: Sequence[str], sampling: SamplingConfig, *, seed: int
) -> dict[str, float]:
    """What is made with every subset of the conditions `names` (`A-B`, `none`), and with one or two of another clip
    beside the clip's own others (`other-A`), as `ablation/SUBSET/METRIC`.

    Metrics: `sync` with the sound that was given, if there is sound; `sync_original`, with the own one after the sound
    was exchanged; and of the world's speakers and scripts the shares of clips that follow what they were given. Of its
    scenes instead of these `named_scores` and `wall`, and `_original` of the tracks that were exchanged. Raises
    DataError for a model without conditions.
    """
    if not names:
        raise DataError("evaluate: --ablate: this model has no conditions to leave out; drop it")
    found: dict[str, float] = {}
    for without in chain.from_iterable(combinations(names, count) for count in range(len(names), -1, -1)):
        films = made(model, clips, sampling, seed=seed, without=without)
        label = "-".join(name for name in names if name not in without) or "none"
        found |= measured(model, label, clips, films, swapped=())
    for swapped in chain.from_iterable(combinations(names, count) for count in range(1, min(OTHERS, len(names)) + 1)):
        films = made(model, clips, sampling, seed=seed, swapped=swapped)
        label = f"other-{'-'.join(swapped)}"
        found |= measured(model, label, clips, films, swapped=swapped)
        if clips.scenes:
            own = named_scores(heard_with(films, clips.real))
            exchanged = {f"{track}_{SCORES[track]}" for track in tracks_of(model) if track in swapped}
            found |= {f"{ABLATION}/{label}/{key}_original": score for key, score in own.items() if key in exchanged}
        elif model.listens in swapped and films[0].samples is not None:
            found[f"{ABLATION}/{label}/sync_original"] = _sync(heard_with(films, clips.real))
    return found


def measured(
    model: Generator, label: str, clips: Clips, films: list[Media], *, swapped: Sequence[str]
) -> dict[str, float]:
    """Of films that were made with what `label` says: `sync` or what `shown` finds, as `ablation/LABEL/METRIC`."""
    shares = {k: v for k, v in shown(model, clips, films, swapped=swapped).items() if not k.endswith("_chance")}
    if not clips.scenes and films[0].frames is not None and films[0].samples is not None:
        shares = {"sync": _sync(films), **shares}
    return {f"{ABLATION}/{label}/{key}": value for key, value in shares.items()}


def _speaking(clips: Clips, films: Sequence[Media]) -> Sequence[Media]:
    """The films as `sync` takes them: of scenes, the first person and the speech."""
    return [spoken(film) for film in films] if clips.scenes else films


def _sync(clips: Sequence[Media]) -> float:
    return fmean(sync(clip).correlation for clip in clips)


def ablation_table(metrics: dict[str, float]) -> list[str]:
    """The lines of a table of `ablation`'s metrics: what was given, and each metric."""
    rows: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        label, _, metric = key.removeprefix(f"{ABLATION}/").partition("/")
        rows.setdefault(label, {})[metric] = value
    columns = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    width = max(map(len, ("given", *rows)))
    lines = ["  ".join(["given".ljust(width), *columns])]
    for label, row in rows.items():
        cells = [f"{row[c]:.3f}".rjust(len(c)) if c in row else " " * len(c) for c in columns]
        lines.append("  ".join([label.ljust(width), *cells]).rstrip())
    return lines
