"""The shard sets that a prepare recipe asks for, checked before any work."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from talkies.codecs.config import CodecConfig, SoundEncoderConfig, fitted_names, sample_rates
from talkies.codecs.fit_limits import fit_problem
from talkies.codecs.speech_config import SpeechConfig
from talkies.config import DataError, RecipeError
from talkies.config.quoting import listed, named, shown
from talkies.media.downmix import Channel
from talkies.prepare.config import PrepareConfig, SetConfig, SyncConfig
from talkies.prepare.geometry import Geometry, stream_grid
from talkies.prepare.lip_sync import check_rule
from talkies.prepare.rendered import check_heldout, check_rendered, check_stems
from talkies.prepare.track_plan import TrackPlan, check_used, plan_tracks
from talkies.streams import Grid
from talkies.streams.system import Stored, System
from talkies.world.config import SyntheticSource, check_source

TOLERANCE = 0.05
"""Seconds by which the durations of sound and pictures may differ."""
BLOCK_VALUES = 8192
"""Largest number of values in a block that can be fitted: their covariance takes half a GB."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """One shard set to make: its recipe section, its system, its geometry, the streams that it stores with their Grids,
    its texts with their codecs, the sample rate and channel of its sound, whether the sound may be late by an encoder
    delay of unknown length, and the lip-sync filter. `hearing`: the codecs that hear more than a clip; `least`: the
    fewest samples that its codecs take; `tracks`: those of its sound, if it stores any."""

    name: str
    config: SetConfig
    system: System
    geometry: Geometry
    streams: Mapping[str, Stored]
    grids: Mapping[str, Grid]
    texts: Mapping[str, str]
    sample_rate: int
    channel: Channel
    delayed: bool
    sync: SyncConfig | None
    hearing: Mapping[str, SpeechConfig]
    least: int
    tracks: TrackPlan | None

    @property
    def refers(self) -> bool:
        """Whether clips keep a picture from outside of their window."""
        return any(stream.of == "reference" for stream in self.streams.values())

    @property
    def passages(self) -> tuple[str, ...]:
        """The streams that keep sound from outside of the clips' windows."""
        return tuple(name for name, stream in self.streams.items() if stream.of == "passage")

    @property
    def video(self) -> bool:
        """Whether clips keep their pictures."""
        return "video" in self.config.modalities

    @property
    def audio(self) -> bool:
        """Whether clips keep their sound."""
        return "audio" in self.config.modalities


def system_of(config: PrepareConfig, systems: Sequence[System]) -> System:
    """The system that the recipe prepares data for. RecipeError if it is none of these."""
    for system in systems:
        if config.system in (None, system.kind):
            return system
    names = listed([system.kind for system in systems])
    raise RecipeError(f"recipe: `system` is {shown(config.system)}; known: {names}")


def check_codecs(codecs: Mapping[str, CodecConfig], system: System) -> None:
    """RecipeError for a codec that the system does not have, or that encodes another medium than it has there, and for
    text encoders that are missing: every clip has a text."""
    for name, codec in codecs.items():
        if name not in system.codecs:
            raise RecipeError(f"recipe: unknown key `codecs.{named(name)}`; known: {listed([*system.codecs])}")
        if codec.medium != system.codecs[name]:
            raise RecipeError(
                f"recipe: `codecs.{name}.kind` is {codec.kind}, which encodes {codec.medium}: choose a codec of "
                f"{system.codecs[name]}"
            )
    texts = [name for name, medium in system.codecs.items() if medium == "text"]
    if texts and not codecs.keys() & texts:
        raise RecipeError(f"recipe: missing key `codecs.{texts[0]}`: the captions of {system.kind} models need it")


def plan(config: PrepareConfig, systems: Sequence[System]) -> dict[str, SetPlan]:
    """The sets of a recipe by name. Raises RecipeError for what cannot be made, naming the key."""
    system = system_of(config, systems)
    check_codecs(config.codecs, system)
    if not config.sets:
        raise RecipeError("recipe: `sets` is empty: name at least one shard set to make")
    for section, names in (("sources", config.sources), ("sets", config.sets)):
        for name in names:
            if NAME.fullmatch(name) is None:
                raise RecipeError(
                    f"recipe: `{section}.{named(name)}` names a folder: use letters, digits, dot, - and _ only"
                )
    for name, source in config.sources.items():
        if isinstance(source, SyntheticSource):
            check_source(source, where=f"recipe: `sources.{name}`")
            check_heldout(name, source)
    sets = {name: _plan_set(config, name, section, system) for name, section in config.sets.items()}
    unused = config.sources.keys() - {section.source for section in config.sets.values()}
    if unused:
        raise RecipeError(
            f"recipe: `sources.{named(min(unused))}` is used by no set: remove it, or name it in a set's `source`"
        )
    check_used(config, {name: one.tracks for name, one in sets.items()}, system)
    _check_fit(config, sets)
    return sets


def _plan_set(config: PrepareConfig, name: str, section: SetConfig, system: System) -> SetPlan:
    key = f"sets.{name}"
    source = config.sources.get(section.source)
    if source is None:
        raise RecipeError(
            f"recipe: `{key}.source` is {shown(section.source)}, which is not a source; there are: "
            f"{listed([*config.sources])}"
        )
    if section.split == "heldout" and source.heldout == 0:
        raise RecipeError(f"recipe: `{key}.split` is heldout, but `sources.{section.source}.heldout` is 0")
    if not section.modalities or len(set(section.modalities)) < len(section.modalities):
        raise RecipeError(
            f"recipe: `{key}.modalities` is {listed(section.modalities) or 'empty'}: name video, audio or both, once"
        )
    if "audio" not in section.modalities and (section.lufs is not None or section.duration_token):
        raise RecipeError(f"recipe: `{key}` has `lufs` or `duration_token`, which need audio in its `modalities`")
    geometry = Geometry.parse(section.geometry, key=f"{key}.geometry")
    if isinstance(source, SyntheticSource) and "video" in section.modalities:
        check_rendered(key, section.source, source, geometry)
    streams = stored_streams(config, section, system, key=key)
    sync = None if isinstance(source, SyntheticSource) else source.sync
    if sync is not None:
        check_rule(sync, f"sources.{section.source}.sync")
    used = {stream.codec: config.codecs[stream.codec] for stream in streams.values()}
    _check_passages(config, key, streams)
    tracks = plan_tracks(config, name, section, streams, system)
    if isinstance(source, SyntheticSource) and tracks is not None:
        check_stems(key, section.source, source, tracks.stems)
    return SetPlan(
        name=name,
        config=section,
        system=system,
        geometry=geometry,
        streams=streams,
        grids=_grids(config, key, geometry, streams),
        texts=system.texts(config.codecs),
        sample_rate=_sample_rate(config, key, streams),
        channel="mix" if isinstance(source, SyntheticSource) else source.channel,
        delayed=not isinstance(source, SyntheticSource) and source.avi == "keep",
        sync=sync,
        hearing={name: codec for name, codec in used.items() if isinstance(codec, SpeechConfig)},
        least=max([int(codec.hop) for codec in used.values() if isinstance(codec, SoundEncoderConfig)], default=1),
        tracks=tracks,
    )


def stored_streams(config: PrepareConfig, section: SetConfig, system: System, *, key: str) -> dict[str, Stored]:
    """The streams of the system that come from the set's modalities, but for those that it is `without`. RecipeError,
    with the set's `key`, if there is none of a modality, or none that is left out."""
    every, kept = system.stored(config.codecs), section.modalities
    known = {name: one for name, one in every.items() if config.codecs[one.codec].medium in kept}
    for name in section.without:
        if name not in known:
            raise RecipeError(
                f"recipe: `{key}.without` leaves out {shown(name)}, which is none of the set's streams "
                f"({listed(sorted(known)) or 'there are none'}): remove it"
            )
    stored = {name: one for name, one in known.items() if name not in section.without}
    for modality in section.modalities:
        if any(config.codecs[stream.codec].medium == modality for stream in stored.values()):
            continue
        if any(config.codecs[stream.codec].medium == modality for stream in known.values()):
            raise RecipeError(
                f"recipe: `{key}.without` leaves out all {modality} of the set: set `{key}.modalities` to the others, "
                "or keep a stream of it"
            )
        raise RecipeError(
            f"recipe: `{key}.modalities` keeps {modality}, of which {system.kind} models store nothing with "
            "these `codecs`: add a codec for it, or drop it"
        )
    return stored


def _check_passages(config: PrepareConfig, key: str, streams: Mapping[str, Stored]) -> None:
    """RecipeError for a passage by a codec that hears the whole file, from its beginning on."""
    for name, stream in streams.items():
        if stream.of == "passage" and isinstance(codec := config.codecs[stream.codec], SpeechConfig):
            raise RecipeError(
                f"recipe: `codecs.{stream.codec}.kind` is {codec.kind}, which hears more than the passage that `{key}` "
                f"keeps as {name}: choose another kind, or leave it out: `{key}.without`"
            )


def _sample_rate(config: PrepareConfig, key: str, streams: Mapping[str, Stored]) -> int:
    """The rate at which sound is read; 1 without an audio codec."""
    known = sample_rates(config.codecs)
    used = {stream.codec for stream in streams.values()}
    rates = sorted({rate for name, rate in known.items() if name in used}) or [*known.values()][:1]
    if len(rates) > 1:
        raise RecipeError(f"recipe: `{key}` has audio codecs of different `sample_rate`: {listed(rates)}; use one")
    return rates[0] if rates else 1


def _grids(config: PrepareConfig, key: str, geometry: Geometry, streams: Mapping[str, Stored]) -> dict[str, Grid]:
    """The latent geometry of each stream. The codecs must accept the clips, and the latents of sound must last as long
    as the frames."""
    where = f"recipe: `{key}.geometry` is {geometry.spelled}"
    pictures = any(config.codecs[one.codec].medium == "video" for one in streams.values())
    found: dict[str, Grid] = {}
    for name, stream in streams.items():
        codec = config.codecs[stream.codec]
        try:
            found[name] = stream_grid(stream, config.codecs, geometry)
        except DataError as error:
            raise RecipeError(f"{where}: {error}") from None
        seconds = found[name].seconds(found[name].shape[0])
        if codec.medium == "audio" and pictures and abs(seconds - geometry.seconds) > TOLERANCE:
            raise RecipeError(
                f"{where}: its {float(geometry.seconds):.3f} s of frames become {float(seconds):.3f} s of audio "
                f"latents (tolerance {TOLERANCE} s); use a smaller `codecs.{stream.codec}.hop` or another number of "
                "frames"
            )
    return found


def fitted_parts(config: PrepareConfig) -> tuple[str, ...]:
    """The codecs that are fitted, of those whose medium some set keeps; the others are pretrained."""
    used = {modality for section in config.sets.values() for modality in section.modalities}
    return tuple(name for name in fitted_names(config.codecs) if config.codecs[name].medium in used)


def _check_fitted(name: str, codec: CodecConfig) -> None:
    """RecipeError for a codec that cannot be fitted: fitting takes the covariance of blocks, whose size grows with the
    square of the values in a block."""
    if (problem := fit_problem(codec)) is not None:
        raise RecipeError(f"recipe: `codecs.{name}` ({codec.kind}): {problem}")
    if codec.kind != "linear_video":
        return
    values = 3 * codec.stride * codec.block**2
    if values > BLOCK_VALUES:
        raise RecipeError(
            f"recipe: `codecs.{name}` has blocks of 3 x {codec.stride} (`stride`) x {codec.block} x {codec.block} "
            f"(`block`) = {values} values, and at most {BLOCK_VALUES} can be fitted: lower one of them"
        )


def _check_fit(config: PrepareConfig, sets: Mapping[str, SetPlan]) -> None:
    """`fit_sets` must name sets with the modalities to fit, and must be empty if nothing is fitted or `codecs_from` is
    set."""
    for name in config.fit_sets:
        if name not in sets:
            raise RecipeError(
                f"recipe: `fit_sets` names {shown(name)}, which is not a set; there are: {listed([*sets])}"
            )
    parts = fitted_parts(config)
    for part in parts:
        _check_fitted(part, config.codecs[part])
    if config.fit_sets and not parts:
        raise RecipeError("recipe: `fit_sets` is given, but no codec is fitted: remove it")
    if config.codecs_from is not None:
        if config.fit_sets:
            raise RecipeError("recipe: `codecs_from` takes codecs that are fitted already: remove `fit_sets`")
        if not parts:
            raise RecipeError("recipe: `codecs_from` is given, but no codec is of a fitted kind: remove it")
        return
    for part in parts:
        medium = config.codecs[part].medium
        if not any(medium in sets[name].config.modalities for name in config.fit_sets):
            raise RecipeError(
                f"recipe: `codecs.{part}` is fitted on clips: `fit_sets` must name a set with {medium}, found "
                f"{listed(config.fit_sets) or 'none'}"
            )
        _check_rate(config, sets, part)


def _check_rate(config: PrepareConfig, sets: Mapping[str, SetPlan], part: str) -> None:
    """A set without a stream of the codec may be read at another rate."""
    rate = sample_rates(config.codecs).get(part)
    for name in config.fit_sets:
        if rate is not None and sets[name].audio and sets[name].sample_rate != rate:
            raise RecipeError(
                f"recipe: `codecs.{part}` is fitted on sound at its `sample_rate`, {rate}, but `fit_sets` names "
                f"{shown(name)}, whose sound is read at {sets[name].sample_rate}: name sets that keep a stream of it"
            )
