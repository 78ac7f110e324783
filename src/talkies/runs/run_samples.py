"""The clips that a file of prompts asks for: those that a folder lacks are made, several at a time."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from talkies.config import DataError
from talkies.config.canonical import identifying
from talkies.config.plain_json import json_sha256
from talkies.config.regular_files import present
from talkies.files.durable import UNWRITABLE, storage_errors, write_json
from talkies.files.integrity import sha256_of
from talkies.flow.config import SamplingConfig
from talkies.generate.prompts import Asked
from talkies.media.write import read_tags
from talkies.parallel.ranks import Ranks
from talkies.runs.asked import request_of, warn
from talkies.runs.cloned import VOICE, provenance
from talkies.runs.opened import Source
from talkies.runs.run_sample import Wanted, alike, make_together, suffix_of

REQUEST = "talkies-request"
"""The tag with the hash of what a clip was made of."""
MANIFEST = "clips.json"


def make_clips(
    source: Source,
    asked: Sequence[Asked],
    sampling: SamplingConfig,
    *,
    spec: str,
    out: Path,
    ranks: Ranks,
    say: Callable[[str], None] = print,
) -> None:
    """Make a file `NAME.mp4` (of sound alone, `NAME.wav`) in the folder `out` of each clip that is `asked` for, unless
    it is there, and a manifest. `spec`: what the source is called in messages. Every process of `ranks` calls it.

    Before anything is written, every request is read, and DataError raised for a file that was made of another one.
    """
    requests = {one.name: _hash(source, one, sampling) for one in asked}
    files = {one.name: out / f"{one.name}{suffix_of(source.recipe)}" for one in asked}
    missing = ranks.first(lambda: [one.name for one in asked if not _made(one, files[one.name], requests[one.name])])
    pending = [one for one in asked if one.name in missing]
    read = partial(_wanted, source, sampling=sampling, spec=spec, files=files, requests=requests)
    groups = _groups(source, pending, sampling, read)
    warn(pending, source.generator(), source.recipe, ranks)
    if ranks.main and len(pending) < len(asked):
        say(f"sample:   {len(asked) - len(pending)} of {len(asked)} clips are there")
    with storage_errors(out, refused=UNWRITABLE):
        out.mkdir(parents=True, exist_ok=True)
    try:
        for group in groups:
            make_together(source, [read(one) for one in group], sampling, ranks=ranks, say=say)
    finally:
        if ranks.main:
            write_json(out / MANIFEST, _manifest(source, asked, requests, files), refused=UNWRITABLE)


def _hash(source: Source, asked: Asked, sampling: SamplingConfig) -> str:
    """Of all that decides a clip. How many are made at once does not (but for rounding)."""
    return json_sha256(
        {
            "source": source.sha256,
            "geometry": source.recipe.data.geometry,
            "sampling": identifying(replace(sampling, batch=1, offload="none")),
            "texts": [asked.prompt, asked.negative],
            "noise": [asked.seed, asked.name],
            "files": {medium: sha256_of(path) for medium, path in asked.files.items()},
            **_said(asked),
        }
    )


def _said(asked: Asked) -> dict[str, Any]:
    """What was asked for besides, as far as it was."""
    said = {"seconds": asked.seconds, "consent": asked.consent}
    return {key: value for key, value in said.items() if value is not None}


def _made(asked: Asked, path: Path, request: str) -> bool:
    """Whether the clip is there; DataError for another one in its place."""
    if not present(path):
        return False
    if read_tags(path).get(REQUEST) != request:
        raise DataError(
            f"{asked.verb}: {path} was not made of this prompt, seed, model and sampling: move it away, or give "
            "another --out"
        )
    return True


def _wanted(
    source: Source,
    asked: Asked,
    *,
    sampling: SamplingConfig,
    spec: str,
    files: Mapping[str, Path],
    requests: Mapping[str, str],
) -> Wanted:
    read = request_of(asked, source.generator(), source.recipe, sampling, spec)
    tags = {REQUEST: requests[asked.name], **read.tags}
    return Wanted(
        request=read.request,
        out=files[asked.name],
        beside=read.beside,
        tracks=read.tracks,
        notes=read.notes,
        tags=tags,
        verb=asked.verb,
    )


def _groups(
    source: Source, asked: Sequence[Asked], sampling: SamplingConfig, read: Callable[[Asked], Wanted]
) -> list[list[Asked]]:
    """The clips that are made together. Every request is read once, and not kept: images and sounds are large."""
    found: dict[Hashable, list[Asked]] = {}
    for one in asked:
        kind = alike(source, read(one).request, sampling)
        found.setdefault(one.name if kind is None else kind, []).append(one)
    size = sampling.batch
    return [group[i : i + size] for group in found.values() for i in range(0, len(group), size)]


def _manifest(
    source: Source, asked: Sequence[Asked], requests: Mapping[str, str], files: Mapping[str, Path]
) -> dict[str, Any]:
    """What is there, in the order in which it was asked for."""
    clips = [
        {
            "file": files[one.name].name,
            "prompt": one.prompt,
            "negative": one.negative,
            "seed": one.seed,
            "request": requests[one.name],
            **{medium: str(path) for medium, path in one.files.items()},
            **_said(one),
            **({"cloned": provenance(one)[VOICE]} if "voice" in one.files else {}),
        }
        for one in asked
        if present(files[one.name])
    ]
    return {"model": source.name, "sha256": source.sha256, "geometry": source.recipe.data.geometry, "clips": clips}
