"""How clips follow the tracks of the sound that they were given: speech, effects and music.

All of it is known of the world's scenes alone (world/scenes.py): metrics are given where real clips show it.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from talkies.evaluation.given import TOLD, heard_with
from talkies.evaluation.metric_info import SCORES
from talkies.streams.codec import Media
from talkies.world.events import follows, has_events, light_kind, mood, music_kind, wall_kind
from talkies.world.scenes import named_wall

SHORTEST = 3
"""Frames that are needed, as by `sync`."""


def are_scenes(real: Sequence[Media], captions: Sequence[str] = ()) -> bool:
    """Whether real clips are the world's scenes: their `captions`, if they have any, are of its form, and their frames
    follow every track as TOLD says, which a few other clips may do by chance."""
    if any(named_wall(caption) is None for caption in captions) or not all(map(_framed, real)):
        return False
    return all(score >= TOLD for score in track_scores(real).values())


def _framed(clip: Media) -> bool:
    """Whether a clip has sound, and frames as scenes have them: a square for each person."""
    if clip.frames is None or clip.samples is None:
        return False
    height, width = clip.frames.shape[-2:]
    return len(clip.frames) >= SHORTEST and len(clip.samples) > 1 and width in (height, 2 * height)


def track_scores(clips: Sequence[Media], beside: Sequence[Media] = ()) -> dict[str, float]:
    """How well frames follow the samples of their clips, by track: the mean correlation, or of music the share of clips
    whose light has the colour that it calls for. A clip without effects, or whose counterpart in `beside` has none,
    says nothing of them; a track of which no clip says anything has no score."""
    rows = [_scores(clip) for clip in clips]
    for row, other in zip(rows, beside, strict=False):
        if not has_events(other):
            row.pop("effects", None)
    return {
        track: fmean(row[track] for row in rows if track in row)
        for track in SCORES
        if any(track in row for row in rows)
    }


def named_scores(clips: Sequence[Media]) -> dict[str, float]:
    """`track_scores` as `TRACK_sync` and `music_mood`."""
    return {f"{track}_{SCORES[track]}": score for track, score in track_scores(clips).items()}


def speech_scores(clips: Sequence[Media]) -> dict[str, float]:
    """`effects_speech`: the mean correlation of the lamp with the speech, near 0 if effects alone decide. Nothing if no
    clip has effects."""
    found = [score for clip in clips if (score := follows(clip, "effects", heard="speech")) is not None]
    return {"effects_speech": fmean(found)} if found else {}


def _scores(clip: Media) -> dict[str, float]:
    found = {track: follows(clip, track) for track in SCORES if track != "music"}
    return {track: score for track, score in found.items() if score is not None} | {"music": float(mood(clip))}


def wall_shares(clips: Sequence[Media], captions: Sequence[str]) -> dict[str, float]:
    """`wall`: the share of scenes in front of the wall that their captions name, and `wall_chance`: of pairs of any
    clip and any caption. Nothing if a caption names none."""
    named = [named_wall(caption) for caption in captions]
    seen = [wall_kind(clip.frames) for clip in clips if clip.frames is not None]
    if not named or None in named:
        return {}
    return {
        "wall": fmean(one == told for one, told in zip(seen, named, strict=True)),
        "wall_chance": fmean(one == told for one in seen for told in named),
    }


def track_metrics(
    made: Sequence[Media],
    swapped: Mapping[str, Sequence[Media]],
    real: Sequence[Media],
    *,
    captions: Sequence[str] = (),
) -> dict[str, float]:
    """What each track decides, as `TRACK/...`, of scenes, beside `wall_shares`.

    `made[i]` was made for the tracks of `real[i]` and `captions[i]`, `swapped[track][i]` for these with one track of
    another clip; each has the sound that it was made for. `sync` (of the music `mood`): the score of `made`;
    `_swapped`: of `swapped`, with the new track; `_original`: with the one of `real`, at chance if what was given, and
    nothing else, decides. Of effects, both in the clips that have some before and after. `_reference`: the score of
    `real`, the ceiling. `mood_chance`: the share of fitting pairs of any light and any music. `others`: by how much
    what follows from something else changes at most: the score of another of these tracks, or `wall`.
    """
    own, ceiling, walls = track_scores(made), track_scores(real), wall_shares(made, captions)
    found = {**walls, **{f"{name}_reference": wall_shares(real, captions)[name] for name in walls if name == "wall"}}
    for track, clips in swapped.items():
        old = track_scores(heard_with(clips, real), clips)
        parts = {"": own, "_swapped": track_scores(clips, real), "_original": old, "_reference": ceiling}
        name = f"{track}/{SCORES[track]}"
        found |= {f"{name}{part}": scores[track] for part, scores in parts.items() if track in scores}
        if track == "music":
            found[f"{name}_chance"] = _mood_chance(made)
        told = {other: own[other] for other in own if other in swapped and other != track} | walls
        now = track_scores(clips) | wall_shares(clips, captions)
        changes = [abs(now[other] - told[other]) for other in told if other in now and not other.endswith("_chance")]
        if changes:
            found[f"{track}/others"] = max(changes)
    return found


def _mood_chance(clips: Sequence[Media]) -> float:
    lights = [light_kind(clip.frames) for clip in clips if clip.frames is not None]
    notes = [music_kind(clip.samples, clip.sample_rate) for clip in clips if clip.samples is not None]
    return fmean(light == note for light in lights for note in notes)
