"""A video of any length for a given sound: clips of the model in a row, each going on from the one before.

A window begins `overlap` frames before the end of the one before. What that one shows there is encoded again, and held
as the beginning of the new window's latents while these are sampled (flow/held.py), so that a codec whose steps depend
on earlier ones sees what it would see in one film. Over the overlap one window fades into the next, which hides what
the codec loses. One window is in memory at a time, and the sound as a whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from talkies.codecs.long_sound import features
from talkies.codecs.speech_config import SpeechConfig
from talkies.config import DataError
from talkies.flow.config import SamplingConfig
from talkies.generate.clip import generate
from talkies.generate.conditions import Tiles, latents_of
from talkies.generate.geometry import exact_fps
from talkies.generate.model import Generator
from talkies.generate.request import Request


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of `frames` frames over a film of `total`, of which neighbours have `overlap` in common."""

    frames: int
    overlap: int
    total: int

    @property
    def begins(self) -> range:
        """The first frame of every window; the last one may end after the film."""
        return range(0, max(1, self.total - self.overlap), self.frames - self.overlap)

    def notes(self, fps: float) -> tuple[str, ...]:
        """How the film is made, for its user."""
        if len(self.begins) == 1:
            return ()
        common = f", {self.overlap / fps:.2f} s of each in common with the next" if self.overlap else ""
        return (f"the film is made in {len(self.begins)} windows of {self.frames / fps:.2f} s{common}",)


def windows_for(model: Generator, request: Request, sampling: SamplingConfig) -> Windows | None:
    """The windows of the sound that `request` gives; None if it is no longer than a clip, or `sampling` has no windows.
    ValueError if they leave nothing to make."""
    given, shape = [name for name in model.hearing if name in request.given], model.shape
    if sampling.windows is None or not given:
        return None
    stream, fps = given[0], exact_fps(model.fps)
    samples = len(request.given[stream])
    assert shape is not None, "a model that listens makes frames"
    if samples <= model.samples_of(stream):
        return None
    if (wanted := sampling.windows.overlap * fps) > shape[0] - 1:
        clip = float(shape[0] / fps)
        raise ValueError(f"sampling.windows.overlap is {sampling.windows.overlap:g} s of {clip:g} s: lower it")
    # As for a clip, less than a frame's sound at the end has no picture of its own: encoders often pad as much.
    total = int(samples * fps / model.codecs.audio[model.codec_of(stream)].sample_rate)
    return Windows(frames=shape[0], overlap=_overlap(model, shape, wanted), total=max(shape[0], total))


def _overlap(model: Generator, shape: tuple[int, int, int], wanted: float) -> int:
    """The number of frames, 0 or one that the video's codec encodes on its own, that is nearest to `wanted`."""
    name = model.stream_of("video")
    assert name is not None, "a model that listens makes frames"
    codec, (frames, height, width) = model.codecs.video[model.codec_of(name)], shape

    def fits(count: int) -> bool:
        try:
            return codec.grid(count, height, width, model.fps).shape[0] < model.grids[name].shape[0]
        except DataError:
            return False

    if not wanted:
        return 0
    return min((count for count in range(1, frames) if fits(count)), key=lambda count: abs(count - wanted))


def generate_long(
    model: Generator,
    request: Request,
    sampling: SamplingConfig,
    *,
    windows: Windows,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Tensor]:
    """The frames [F, 3, H, W] in [-1, 1] of a film for the sound [S] that `request` gives, in pieces, on the CPU. Its
    image is the first frame of the film, or the reference of every window. The sound is followed by silence up to the
    last window's end. `progress` is called with the steps done in a window. Raises what `generate` raises."""
    step, before = windows.frames - windows.overlap, None
    for index, begin in enumerate(windows.begins):
        asked = replace(heard_from(model, request, begin), window=index)
        if before is not None:
            asked = _going_on(model, asked, before, sampling.tile_sides)
        frames = generate(model, [asked], sampling, seed=seed, progress=progress)[0].frames
        assert frames is not None, "a model that listens makes frames"
        if before is not None:
            frames = torch.cat([_faded(before, frames[: len(before)]), frames[len(before) :]])
        last = begin == windows.begins[-1]
        yield frames[: windows.total - begin if last else step]
        before = frames[step:] if windows.overlap else None


def heard_from(model: Generator, request: Request, begin: int) -> Request:
    """The request for the clip that begins with frame `begin` of the film for the sound [S], or the tracks of one, that
    `request` gives."""
    for stream in model.hearing:
        if stream in request.given:
            request = _heard_from(model, request, stream, begin)
    return request


def _heard_from(model: Generator, request: Request, stream: str, begin: int) -> Request:
    name, sound, count = model.codec_of(stream), request.given[stream], model.samples_of(stream)
    codec, config = model.codecs.audio[name], model.setup.codecs[name]
    first = round(begin * codec.sample_rate / exact_fps(model.fps))
    if not isinstance(config, SpeechConfig):
        piece = torch.nn.functional.pad(sound[first : first + count], (0, max(0, first + count - len(sound))))
        return replace(request, given={**request.given, stream: piece})
    # As in preparation: the film's features, which hear what is around the clip. Its steps begin with the clip's.
    earlier = int((first + Fraction(1, 2)) // config.hop)  # of a step that is no whole number of samples, the nearest
    left_out = max(0, round(first - earlier * config.hop))
    window = range(earlier, earlier + model.grids[stream].shape[0])
    with torch.no_grad():
        heard = features(codec, config, sound[left_out:].to(model.device), window=window)
    given = {other: values for other, values in request.given.items() if other != stream}
    return replace(request, given=given, latents={**request.latents, stream: heard})


def _going_on(model: Generator, request: Request, before: Tensor, tiles: Tiles) -> Request:
    """The request for a window that begins with the frames `before` [F, 3, H, W]."""
    name = model.stream_of("video")
    assert name is not None
    with torch.no_grad():
        latent = latents_of(model, model.codec_of(name), before[None], tiles)[0]
    return replace(request, begins={name: latent}, image=before[0] if model.first_frame else request.image)


def _faded(before: Tensor, after: Tensor) -> Tensor:
    """From `before` to `after`, both [F, 3, H, W], in equal steps."""
    weights = torch.arange(1, len(before) + 1)[:, None, None, None] / (len(before) + 1)
    return before + weights * (after - before)
