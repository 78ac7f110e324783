"""One media file -> one clip to encode, or the reason why it is quarantined."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from talkies.media.colour import ColourError
from talkies.media.container import EndedError, MediaError
from talkies.media.orientation import OrientationError
from talkies.media.probe import MediaInfo
from talkies.media.rates import FPS_TOLERANCE
from talkies.media.sound import ChannelError
from talkies.prepare.captions import read_caption, timed
from talkies.prepare.items import Item
from talkies.prepare.lip_sync import out_of_sync
from talkies.prepare.passages import Passage, read_passage
from talkies.prepare.plan import TOLERANCE, SetPlan
from talkies.prepare.reading import Reader
from talkies.prepare.references import Still, read_still
from talkies.prepare.rejection import Reason, Rejected
from talkies.prepare.sounds import RawSound, read_sound
from talkies.prepare.speakers import check_people
from talkies.prepare.tracks import RawTrack, Window, read_tracks, silent_notes


@dataclass(frozen=True, kw_only=True)
class RawClip:
    """A clip that passed: `frames` uint8 [F, 3, H, W], `sound`, its `tracks`, a `reference` picture and a `passage` of
    its file's sound, as far as the set keeps them. `late`: the window begins more than TOLERANCE after the file;
    `treated`: what its frames and its sound needed."""

    id: str
    caption: str
    frames: Tensor | None
    sound: RawSound | None
    reference: Still | None = None
    passage: Passage | None = None
    tracks: Mapping[str, RawTrack] = field(default_factory=dict)
    late: bool
    treated: frozenset[str] = field(default_factory=frozenset)

    @property
    def samples(self) -> Tensor | None:
        """Sound [S] of the whole window."""
        return None if self.sound is None else self.sound.samples

    @property
    def real(self) -> int:
        """Samples that come from the file; the rest is silence."""
        return 0 if self.sound is None else self.sound.real

    @property
    def limited(self) -> bool:
        """Whether the loudness target could not be reached."""
        return self.sound is not None and self.sound.limited


def read_clip(item: Item, plan: SetPlan, reader: Reader) -> RawClip:
    """The first window of frames / fps seconds of a media file, with its caption. It begins where the file has
    everything that the set keeps: at its first complete picture that has sound.

    Raises Rejected for media that cannot be trained on. A shorter file is padded with silence if the set keeps sound
    only, or if its sound ends within the tolerance.
    """
    caption = _sayable(item, plan)
    check_people(plan.config.subset, caption, item.people)
    _check_sync(item, plan)
    info = _probed(item.media, plan, reader)
    with _rejecting():
        begin = reader.beginning(item.media, plan.config.modalities)
        film = reader.film(item.media, plan.geometry, begin) if plan.video else None
        sound = read_sound(item.media, plan, reader, info, begin) if plan.audio else None
        window = Window(item=item, plan=plan, reader=reader, info=info, begin=begin)
        tracks = {} if sound is None else read_tracks(window, sound)
        still = None
        if film is not None and plan.refers:
            still = read_still(item.media, plan.geometry, begin, item.id, film.order)
        passage = None if sound is None or not plan.passages else read_passage(item.media, plan, begin, item.id)
    if plan.refers and still is None:
        raise _unreferred(plan)
    treated: list[frozenset[str]] = [frozenset(one.treated) for one in (film, still, sound) if one is not None]
    return RawClip(
        id=item.id,
        caption=_timed(caption, sound, plan),
        frames=film.pixels if film else None,
        sound=sound,
        reference=still,
        passage=passage,
        tracks=tracks,
        late=begin.late > TOLERANCE,
        treated=frozenset[str]().union(*treated, silent_notes(plan, tracks)),
    )


def _sayable(item: Item, plan: SetPlan) -> str:
    """The caption. Rejected if it is missing, or holds a script that cannot be said."""
    caption = read_caption(item.caption)
    if (why := plan.system.captions.unfit(caption)) is not None:
        raise Rejected("script", why)
    return caption


@contextmanager
def _rejecting() -> Iterator[None]:
    """What is wrong with a file, as Rejected."""
    try:
        yield
    except EndedError as error:
        raise Rejected("too short", error.reason) from error
    except ChannelError as error:
        raise Rejected("no channel", error.reason) from error
    except MediaError as error:
        raise Rejected(_unfit(error, "broken stream"), error.reason) from error


def _unreferred(plan: SetPlan) -> Rejected:
    return Rejected(
        "no reference",
        f"it has no picture outside of its window of {float(plan.geometry.seconds):.3f} s; use longer files, or "
        f"leave the reference out: `sets.{plan.name}.without`",
    )


def _timed(caption: str, sound: RawSound | None, plan: SetPlan) -> str:
    """The caption, with the duration of the sound if the set wants it."""
    if not plan.config.duration_token:
        return caption
    assert sound is not None, "the plan checked that the set keeps sound"
    return timed(caption, sound.real / plan.sample_rate)


def _check_sync(item: Item, plan: SetPlan) -> None:
    """Rejected for a clip whose lips do not follow its sound."""
    if plan.sync is None:
        return
    assert item.sync is not None, "the source was collected with its scores"
    why = out_of_sync(plan.sync, item.sync)
    if why is not None:
        raise Rejected("lip sync", why)


def _unfit(error: MediaError, otherwise: Reason) -> Reason:
    kinds: dict[type[MediaError], Reason] = {ColourError: "colours", OrientationError: "orientation"}
    return kinds.get(type(error), otherwise)


def _probed(path: Path, plan: SetPlan, reader: Reader) -> MediaInfo:
    """The streams of the file. Raises Rejected if the set needs more."""
    try:
        info = reader.probe(path)
    except MediaError as error:
        raise Rejected(_unfit(error, "undecodable"), error.reason) from error
    if plan.audio and info.audio_rate is None:
        raise Rejected("no audio", "it has no audio stream")
    if not plan.video:
        return info
    if info.fps is None:
        raise Rejected("no video", "it has no video stream")
    geometry = plan.geometry
    if abs(info.fps / geometry.fps - 1) > FPS_TOLERANCE:
        raise Rejected(
            "wrong fps",
            f"it runs at {info.fps:g} fps, the set at {geometry.fps:g}; convert it (ffmpeg -i IN -r {geometry.fps:g} "
            f"OUT), or make a set whose `geometry` ends with @{info.fps:g}",
        )
    if plan.audio and info.delayed and not plan.delayed:
        raise Rejected(
            "sync unknown",
            "AVI does not record the delay of its audio encoder, so the sound may be a frame late (measured: up to 23 "
            "ms, 77 ms in copies that begin elsewhere); use the original file, or set "
            f"`sources.{plan.config.source}.avi` to keep",
        )
    if info.frames is not None and info.frames < geometry.frames:
        raise Rejected("too short", f"it has {info.frames} frames, but a clip has {geometry.frames}")
    return info
