"""The tracks of a clip's sound: files beside its media, or what a demixer makes of the whole file, in its window."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, gcd, inf, log10
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from talkies.codecs.demix_config import SPEECH, files_of
from talkies.codecs.geometry import samples_of
from talkies.media.container import MediaError
from talkies.media.plausible import check_values
from talkies.media.probe import MediaInfo
from talkies.media.sound import read_audio, resampled
from talkies.media.timeline import Beginning
from talkies.prepare.config import DualDemixConfig
from talkies.prepare.items import Item
from talkies.prepare.plan import TOLERANCE, SetPlan
from talkies.prepare.reading import Reader
from talkies.prepare.rejection import Rejected
from talkies.prepare.sounds import Around, RawSound, reach
from talkies.prepare.track_plan import TrackPlan


@dataclass(frozen=True, kw_only=True)
class RawTrack:
    """`samples` [S] fp32 of the whole window, with the gain of the clip's sound; `around`: what codecs that hear more
    than the window are given; `level`: the RMS of what comes from the file, in dB of full scale."""

    samples: Tensor
    around: Mapping[str, Around]
    level: float


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A track [S] fp32 of a whole file; the window begins with sample `first`."""

    samples: Tensor
    first: int

    def cut(self, begin: int, length: int) -> Tensor:
        """So many samples from `begin` on, counted from the window's beginning; silence beyond the file's ends."""
        start = self.first + begin
        found = self.samples[max(0, start) : max(0, start + length)]
        before = min(length, max(0, -start))
        return pad(found, (before, length - before - len(found)))


@dataclass(frozen=True, kw_only=True)
class Window:
    """The window of an item, in which tracks are read."""

    item: Item
    plan: SetPlan
    reader: Reader
    info: MediaInfo
    begin: Beginning

    def tracks(self, key: str, names: tuple[str, ...]) -> dict[str, Whole]:
        """Tracks of the demixer whose section has this key, as it finds them, or as its files hold them."""
        assert self.plan.tracks is not None, "a set without tracks reads none"
        files = files_of(self.plan.tracks.sections[key], names)
        parted = tuple(name for name in names if name not in files)
        found = {track: self._stem(self.item.stems[end], track) for track, end in files.items()}
        found |= self._demixed(key, parted) if parted else {}
        return {name: found[name] for name in names}

    def _demixed(self, key: str, names: tuple[str, ...]) -> dict[str, Whole]:
        path, rate, demixer = self.item.media, self.plan.sample_rate, self.reader.demixers[key]
        assert self.info.audio_rate, "the probe found a sound stream"
        lead = self._lead(self.info.audio_rate, demixer.sample_rate, rate)
        origin = replace(self.begin, seconds=self.begin.seconds - float(lead))

        def demix() -> Tensor:
            seconds = Fraction(max(0.0, self.reader.sound_end(path) - origin.seconds))
            mix = read_audio(
                path, sample_rate=demixer.sample_rate, seconds=seconds, begin=origin, channel=self.plan.channel
            )
            parts = demixer.demix(mix.to(self.reader.device))
            return torch.stack(
                [resampled(parts[name].float().cpu(), demixer.sample_rate, rate) for name in demixer.tracks]
            )

        parts = self.reader.made((key, path, origin.seconds, self.plan.channel, rate), demix)
        found = dict(zip(demixer.tracks, parts, strict=True))
        return {name: Whole(samples=found[name], first=int(lead * rate)) for name in names}

    def _stem(self, path: Path, track: str) -> Whole:
        """A track from its file. Rejected for one that cannot be read, or that does not last as long as the sound."""
        try:
            return self._file(path, track)
        except MediaError as error:
            raise Rejected("tracks", f"its {track} track ({path.name}): {error.reason}") from error

    def _file(self, path: Path, track: str) -> Whole:
        """A track whose file begins with the media's sound."""
        info, rate, start = self.reader.probe(path), self.plan.sample_rate, self.reader.beginning(path, ("audio",))
        assert self.begin.sound is not None, "the set keeps sound"
        assert start.sound is not None, "and the file of a track has some"
        heard = self.reader.sound_end(self.item.media) - self.begin.sound
        lasts = self.reader.sound_end(path) - start.sound
        if abs(heard - lasts) > TOLERANCE:
            raise Rejected(
                "tracks", f"its {track} track ({path.name}) lasts {lasts:.3f} s, but its sound lasts {heard:.3f} s"
            )
        lead = self._lead(info.audio_rate or rate, rate)
        origin = replace(start, seconds=start.sound + (self.begin.seconds - self.begin.sound) - float(lead))
        channel = self.plan.channel if (info.audio_channels or 1) > 1 else "mix"
        seconds = Fraction(max(0.0, start.sound + lasts - origin.seconds))
        samples = self.reader.sound(path, seconds, rate, origin, channel)
        check_values(path, samples.numpy())
        return Whole(samples=samples, first=int(lead * rate))

    def _lead(self, *rates: int) -> Fraction:
        """Seconds from the file's first sound, or just before it, to the window: whole samples at each of the rates, so
        that resampling leaves the window where it is."""
        step = gcd(*rates)
        earlier = 0.0 if self.begin.sound is None else max(0.0, self.begin.seconds - self.begin.sound)
        return Fraction(ceil(earlier * step - 1e-6), step)


def read_tracks(window: Window, sound: RawSound) -> dict[str, RawTrack]:
    """The tracks that the set stores of a clip with this `sound`. Raises Rejected for a clip that the set's rules of
    tracks reject, MediaError for files that cannot be read."""
    rules = window.plan.tracks
    if rules is None:
        return {}
    parts = window.tracks(rules.demixer, rules.read)
    found = {
        track: _raw(track, whole, window, sound)
        for track, whole in _without_others(parts, rules.other_speakers).items()
    }
    _check_levels(rules, found)
    if rules.dual is not None:
        other = window.tracks(rules.dual_key, (rules.dual.track,))[rules.dual.track]
        _check_dual(rules.dual, *(one.cut(0, sound.real) * sound.gain for one in (parts[rules.dual.track], other)))
    return {track: found[track] for track in rules.stored}


def _without_others(tracks: Mapping[str, Whole], others: Iterable[str]) -> dict[str, Whole]:
    """The tracks, with the speech of other speakers, whose tracks are files, taken off what a demixer calls speech."""
    found = dict(tracks)
    for name in others if SPEECH in found else ():
        speech = found[SPEECH]
        rest = speech.samples - tracks[name].cut(-speech.first, len(speech.samples))
        found[SPEECH] = replace(speech, samples=rest)
    return found


def _raw(track: str, whole: Whole, window: Window, sound: RawSound) -> RawTrack:
    """A track in the window of the clip's sound, and around it."""
    plan, around = window.plan, {}
    codecs = {stream.codec for stream in plan.streams.values() if stream.track == track}
    for name in sorted(codecs & plan.hearing.keys()):
        first, steps = reach(plan, plan.hearing[name], window.begin)
        begin, end = -samples_of(plan.hearing[name], first), len(whole.samples) - whole.first
        length = min(samples_of(plan.hearing[name], steps), end - begin)
        around[name] = Around(samples=whole.cut(begin, length) * sound.gain, first=first)
    heard = whole.cut(0, sound.real) * sound.gain
    return RawTrack(samples=pad(heard, (0, len(sound.samples) - sound.real)), around=around, level=_level(heard))


def _level(samples: Tensor) -> float:
    """The RMS in dB of sound [S]."""
    power = float(samples.double().square().mean())
    return 10 * log10(power) if power > 0 else -inf


def _check_levels(rules: TrackPlan, tracks: Mapping[str, RawTrack]) -> None:
    """Rejected for a clip whose tracks are all silent, or the one that its set is chosen by."""
    if all(track.level < rules.silence for track in tracks.values()):
        spelled = ", ".join(f"{name} {track.level:.1f}" for name, track in tracks.items())
        raise Rejected("silent", f"each of its tracks is below {rules.silence:g} dB: {spelled}")
    if rules.needed is not None and (level := tracks[rules.needed].level) < rules.silence:
        raise Rejected("subset", f"its track {rules.needed} is silent: {level:.1f} dB")


def _check_dual(rule: DualDemixConfig, first: Tensor, second: Tensor) -> None:
    """Rejected for a clip on whose track [S] two demixers disagree."""
    distance = float((first - second).abs().mean())
    if distance > rule.l1:
        raise Rejected(
            "demixers disagree",
            f"its {rule.track} differs by {distance:.2e} (L1) between two demixers; at most {rule.l1:g} is allowed",
        )


def silent_notes(plan: SetPlan, tracks: Mapping[str, RawTrack]) -> frozenset[str]:
    """What the report counts of a clip's tracks: those that are silent."""
    if plan.tracks is None:
        return frozenset()
    return frozenset(f"with silent {track}" for track, one in tracks.items() if one.level < plan.tracks.silence)
