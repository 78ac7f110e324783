"""Fits codecs, and the statistics of pretrained ones, once, on clips of the sets that the recipe names."""

import shutil
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from talkies.codecs import linear_audio, linear_video, source_filter
from talkies.codecs.config import LinearAudioConfig, LinearVideoConfig, SourceFilterConfig
from talkies.codecs.fitted import fitted_identity
from talkies.codecs.identity import config_values
from talkies.codecs.load import load_codec, save_codec
from talkies.config import DataError
from talkies.config.numbers import Natural
from talkies.config.plain_json import canonical_json, json_sha256
from talkies.config.quoting import shown
from talkies.config.records import Kind, Name, record
from talkies.files.durable import write_text
from talkies.files.folders import replacing_folder
from talkies.prepare.bars import Bars
from talkies.prepare.clips import RawClip
from talkies.prepare.config import PrepareConfig
from talkies.prepare.encode import signed
from talkies.prepare.jobs import OLDER, READER, SetJob
from talkies.prepare.plan import fitted_parts
from talkies.prepare.reading import Reader
from talkies.prepare.report import Quarantined, reasons
from talkies.signals.answer import check_signal

if TYPE_CHECKING:
    from talkies.codecs.sound_vae import SoundVae

RECORD = "fit.json"


@record
class FitRecord:
    """fit.json: the `key` of the clips that codecs were fitted on, and their number (0: taken from elsewhere)."""

    key: Name
    clips: Natural = 0


FIT = Kind(holds=FitRecord, about="prepare", remedy="run `talkies prepare`, which fits the codecs again")


def fit_codecs(
    config: PrepareConfig,
    jobs: Mapping[str, SetJob],
    folder: Path,
    reader: Reader,
    bars: Bars,
    *,
    bare: "Mapping[str, SoundVae]",
    in_use: Collection[str] = (),
) -> None:
    """Fit the codecs into folder/NAME, unless they are there already; `bare`: their pretrained networks. Codecs that an
    older version fitted on the same files are kept if a run has them `in_use` (identities).

    Raises DataError if a set to fit on has no usable clip, or if its clips vary too little.
    """
    if not fitted_parts(config):
        return
    key, *older = (_fit_key(config, jobs, version, bare) for version in (READER, *OLDER))
    if _present(config, folder, key) or any(_present(config, folder, old, among=in_use) for old in older):
        return
    clips = [clip for name in config.fit_sets for clip in _clips(name, jobs[name], config.fit_clips, reader, bars)]
    frames = [signed(clip.frames) for clip in clips if clip.frames is not None]
    sounds = [clip.samples[: clip.real] for clip in clips if clip.samples is not None]
    with replacing_folder(folder) as work:
        _fit(config, bare, frames, sounds, work)
        write_text(work / RECORD, canonical_json({"key": key, "clips": len(clips)}) + "\n")


def _fit_key(config: PrepareConfig, jobs: Mapping[str, SetJob], version: int, bare: "Mapping[str, SoundVae]") -> str:
    """A pretrained network is in it by its hash: where it lies does not matter."""
    codecs = {part: config_values(config.codecs[part]) for part in fitted_parts(config)}
    codecs |= {part: {**codecs[part], "network": codec.identity} for part, codec in bare.items()}
    sets = [jobs[name].key(version) for name in config.fit_sets]
    return json_sha256({"codecs": codecs, "clips": config.fit_clips, "seed": config.seed, "sets": sets})


def given_codecs(config: PrepareConfig, given: Path) -> dict[str, str]:
    """The identities of the fitted codecs in the folder `given` (one folder each), by name.

    Raises DataError if `given` lacks one, holds one of another config, or is damaged.
    """
    try:
        return {part: load_codec(part, config.codecs[part], given).identity for part in fitted_parts(config)}
    except DataError as error:
        raise DataError(f"prepare: `codecs_from`: {error}") from None


def take_codecs(config: PrepareConfig, given: Path, identities: Mapping[str, str], folder: Path) -> None:
    """Copy the codecs of the folder `given`, of these identities, into `folder`, unless they are there already."""
    key = json_sha256({"codecs_from": dict(identities)})
    if _present(config, folder, key):
        return
    with replacing_folder(folder) as work:
        for part in identities:
            shutil.copytree(given / part, work / part)
        write_text(work / RECORD, canonical_json({"key": key}) + "\n")


def _fit(
    config: PrepareConfig, bare: "Mapping[str, SoundVae]", frames: list[Tensor], sounds: list[Tensor], work: Path
) -> None:
    for part in fitted_parts(config):
        codec = config.codecs[part]
        if part in bare:
            save_codec(bare[part].fit(sounds), work / part)
        elif isinstance(codec, LinearVideoConfig):
            save_codec(linear_video.fit(codec, frames), work / part)
        elif isinstance(codec, SourceFilterConfig):
            save_codec(source_filter.fit(codec, sounds), work / part)
        else:
            assert isinstance(codec, LinearAudioConfig), codec
            save_codec(linear_audio.fit(codec, sounds), work / part)


def _present(config: PrepareConfig, folder: Path, key: str, *, among: Collection[str] | None = None) -> bool:
    """Whether `folder` holds intact codecs of `key`, with identities that are `among` the given ones; warns if one is
    damaged and must be made again."""
    try:
        previous = FIT.find(folder / RECORD)
        if previous is None or previous.key != key:
            return False
        identities = {fitted_identity(config.codecs[part], folder / part) for part in fitted_parts(config)}
    except DataError as error:
        warnings.warn(f"prepare: making the codecs again: {error}", stacklevel=2)
        return False
    return among is None or identities <= set(among)


def _clips(name: str, job: SetJob, wanted: int, reader: Reader, bars: Bars) -> list[RawClip]:
    """The first `wanted` usable clips of a set."""
    bar = bars(f"fit on {name}", min(wanted, len(job.items)))
    clips: list[RawClip] = []
    refused: list[Quarantined] = []
    for clip in job.read(reader):
        check_signal()
        if isinstance(clip, Quarantined):
            refused.append(clip)
            continue
        clips.append(clip)
        bar(len(clips))
        if len(clips) == wanted:
            break
    if not clips:
        raise DataError(f"prepare: set {shown(name)} has no usable clip to fit codecs on: {reasons(refused)}")
    return clips
