"""What a model of voices is used for, heard: sounds that are designed, cloned and tuned, with their references."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from talkies.flow.config import SamplingConfig
from talkies.generate.model import Generator
from talkies.media.write import PROVENANCE
from talkies.media.write_sound import write_media
from talkies.runs.condition_arms import Clips, captions_of, made
from talkies.runs.validation import PLAYED, TITLE
from talkies.runs.voice_arms import degraded, degrades
from talkies.streams.batch import Batch
from talkies.streams.codec import Media

EXAMPLES = 2
"""Clips of each use."""


def write_examples(
    model: Generator,
    clips: Clips,
    batches: Sequence[Batch],
    sampling: SamplingConfig,
    *,
    seed: int,
    folder: Path,
    made_by: str,
    tags: Mapping[str, str],
) -> None:
    """Of a model that reads a passage, the first clips by use: `design-NN.m4a`, of the text alone; `cloning-NN.m4a`, in
    the voice of `cloning-NN-reference.m4a`; and, where references are degraded in training, `tuning-NN.m4a`, likewise,
    of a degraded one. `made_by`: the provenance; `tags`: those of cloned voices."""
    if clips.passage is None:
        return
    films = {arm: found[:EXAMPLES] for arm, found in clips.films.items()}
    few = replace(clips, requests=clips.requests[:EXAMPLES], voices=clips.voices[:EXAMPLES], films=films)
    titles = captions_of(model, few.requests)
    designed = made(model, few, sampling, seed=seed, without={clips.passage})
    _write(folder, "design", designed, titles, {PROVENANCE: made_by})
    uses = {"cloning": few} | ({"tuning": degraded(model, few, batches[:1])} if degrades(model) else {})
    for use, given in uses.items():
        _write(folder, use, made(model, given, sampling, seed=seed), titles, tags)
        names = [f"the reference of the held-out clip {request.id}" for request in given.requests]
        _write(folder, use, given.voices, names, {PROVENANCE: f"decoded for {made_by}"}, end="-reference")


def _write(
    folder: Path, use: str, sounds: Sequence[Media], titles: Sequence[str], tags: Mapping[str, str], *, end: str = ""
) -> None:
    for number, (sound, title) in enumerate(zip(sounds, titles, strict=True)):
        path = folder / f"{use}-{number:02d}{end}{PLAYED}"
        write_media(path, sound, tags={**tags, "title": title[:TITLE]})
