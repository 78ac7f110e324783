"""The tracks that a set stores, checked before any work."""

from collections.abc import Mapping
from dataclasses import dataclass

from talkies.codecs.config import CodecConfig
from talkies.codecs.demix_config import (
    TOY,
    DemixerConfig,
    DemucsConfig,
    TracksConfig,
    check_demixer,
    demixers,
    files_of,
)
from talkies.config import RecipeError
from talkies.config.quoting import listed, named, shown
from talkies.prepare.config import SILENCE, DualDemixConfig, PrepareConfig, SetConfig
from talkies.prepare.items import Beside
from talkies.prepare.speakers import BY_PEOPLE
from talkies.streams.system import Stored, System

BY_TRACK = {"sound_event": "effects", "visual_mood": "music"}
"""The subsets that are chosen by a track: those in which it is not silent."""


@dataclass(frozen=True, kw_only=True)
class TrackPlan:
    """The tracks of a set's clips, which the demixer of the key `demixer` makes, and the RMS in dB below which they are
    silent. `stored`: those that shards store; `needed`: one that the subset must be able to hear; `dual`: the filter by
    a second demixer, whose section is at `dual_key`."""

    demixer: str
    config: DemixerConfig
    stored: tuple[str, ...]
    silence: float
    needed: str | None
    dual: DualDemixConfig | None
    dual_key: str

    @property
    def read(self) -> tuple[str, ...]:
        """Every track that is read, of the first demixer."""
        besides = (self.needed, None if self.dual is None else self.dual.track)
        return tuple(sorted({*self.stored, *(track for track in besides if track is not None)}))

    @property
    def sections(self) -> dict[str, DemixerConfig]:
        """Key -> section of each demixer."""
        second = {} if self.dual is None else {self.dual_key: self.dual.by}
        return {self.demixer: self.config, **second}

    @property
    def stems(self) -> tuple[str, ...]:
        """The ends of the names of the files that its tracks are read from."""
        first = files_of(self.config, self.read).values()
        second = () if self.dual is None else files_of(self.dual.by, (self.dual.track,)).values()
        return tuple(dict.fromkeys([*first, *second]))

    @property
    def other_speakers(self) -> tuple[str, ...]:
        """The stored tracks of speakers whom the demixer leaves in its speech."""
        names = self.config.other_speakers if isinstance(self.config, DemucsConfig) else ()
        return tuple(name for name in names if name in self.stored)


def plan_tracks(
    config: PrepareConfig, name: str, section: SetConfig, streams: Mapping[str, Stored], system: System
) -> TrackPlan | None:
    """The tracks of the set `name`; None if it stores none. RecipeError for tracks that nothing makes, for rules of
    tracks where there are none, and for a demixer that cannot be one."""
    key = f"sets.{name}"
    parted = {stream: one.track for stream, one in streams.items() if one.track is not None}
    if not parted:
        _check_no_rules(section, key)
        return None
    codec, demixer = demixer_of(
        config.codecs, parted, system, reads=f"`{key}` keeps", otherwise=f", or leave it out: `{key}.without`"
    )
    _check_heard(config.codecs, codec, demixer, system)
    needed = BY_TRACK.get(section.subset or "")
    if needed is not None and needed not in demixer.all_tracks:
        raise RecipeError(
            f"recipe: `{key}.subset` is {section.subset}, clips whose {needed} can be heard, but `codecs.{codec}` "
            f"makes only {listed(demixer.all_tracks)}: choose another subset"
        )
    _check_dual(section, key, codec, demixer)
    return TrackPlan(
        demixer=f"codecs.{codec}",
        config=demixer,
        stored=tuple(sorted({*parted.values()})),
        silence=section.silence,
        needed=needed,
        dual=section.dual_demix,
        dual_key=f"{key}.dual_demix.by",
    )


def demixer_of(
    codecs: Mapping[str, CodecConfig], parted: Mapping[str, str], system: System, *, reads: str, otherwise: str = ""
) -> tuple[str, DemixerConfig]:
    """The demixer of the tracks (stream -> track), and its name. RecipeError, which says who `reads` them and what to
    do `otherwise`, if there is none, if it makes no track of that name, or if it cannot be one."""
    found = demixers(codecs)
    if not found:
        raise RecipeError(
            f"recipe: {reads} {listed([*parted])}, tracks of the sound: add {_missing(system)}{otherwise}"
        )
    ((name, demixer),) = found.items()
    check_demixer(demixer, f"codecs.{name}")
    for stream, track in parted.items():
        if track not in demixer.all_tracks:
            raise RecipeError(
                f"recipe: {reads} {stream}, the track {shown(track)}, but `codecs.{name}` makes only "
                f"{listed(demixer.all_tracks)}: name it there{otherwise}"
            )
    return name, demixer


def _check_heard(codecs: Mapping[str, CodecConfig], name: str, demixer: DemixerConfig, system: System) -> None:
    """RecipeError for tracks that the recipe names itself, and that neither the system nor any other reads. Those of a
    network are given, whatever is read of them."""
    if isinstance(demixer, TracksConfig):
        key, chosen = "names", demixer.names
    elif isinstance(demixer, DemucsConfig):
        key, chosen = "other_speakers", demixer.other_speakers
    else:
        key, chosen = "bands", demixer.all_tracks
    read = dict.fromkeys([*TOY, *(one.track for one in system.stored(codecs).values() if one.track is not None)])
    for track in chosen:
        if track not in read:
            raise RecipeError(
                f"recipe: `codecs.{name}.{key}` names {shown(track)}, a track that nothing reads: drop it, or name one "
                f"of {listed([*read])}"
            )


def _missing(system: System) -> str:
    """The key of the demixer that the recipe lacks."""
    keys = [name for name, medium in system.codecs.items() if medium == "tracks"]
    return f"`codecs.{keys[0]}`, a demixer (kind tracks, bands or demucs)" if keys else "a demixer"


def _check_no_rules(section: SetConfig, key: str) -> None:
    """RecipeError for rules of tracks in a set without any."""
    given = {
        "subset": section.subset not in (None, *BY_PEOPLE),
        "silence": section.silence != SILENCE,
        "dual_demix": section.dual_demix is not None,
    }
    for rule in (rule for rule, is_given in given.items() if is_given):
        raise RecipeError(f"recipe: `{key}.{rule}` is a rule of tracks, and the set stores none: remove it")


def _check_dual(section: SetConfig, key: str, codec: str, demixer: DemixerConfig) -> None:
    dual = section.dual_demix
    if dual is None:
        return
    check_demixer(dual.by, f"{key}.dual_demix.by")
    for where, tracks in ((f"codecs.{codec}", demixer.all_tracks), (f"{key}.dual_demix.by", dual.by.all_tracks)):
        if dual.track not in tracks:
            raise RecipeError(
                f"recipe: `{key}.dual_demix.track` is {shown(dual.track)}, but `{where}` makes only {listed(tracks)}"
            )
    if dual.by == demixer:
        raise RecipeError(f"recipe: `{key}.dual_demix.by` is `codecs.{codec}` again: choose another demixer")


def check_used(config: PrepareConfig, plans: Mapping[str, TrackPlan | None], system: System) -> None:
    """RecipeError for a demixer that no set uses."""
    for name, demixer in demixers(config.codecs).items():
        if not any(plans.values()):
            _check_heard(config.codecs, name, demixer, system)
            raise RecipeError(
                f"recipe: `codecs.{named(name)}` is a demixer, and no set stores a track of the sound: remove it, or "
                "keep a stream that is a track (the sets' `modalities`, `without`, and `system`)"
            )


def beside(config: PrepareConfig, plans: Mapping[str, TrackPlan | None]) -> dict[str, Beside]:
    """Source -> what is looked for beside its media."""
    found = {}
    for name, source in config.sources.items():
        sets = {key: section for key, section in config.sets.items() if section.source == name}
        stems = [end for key in sets if (one := plans[key]) is not None for end in one.stems]
        found[name] = Beside(
            scores=getattr(source, "sync", None) is not None,
            people=any(section.subset in BY_PEOPLE for section in sets.values()),
            stems=tuple(dict.fromkeys(stems)),
        )
    return found
