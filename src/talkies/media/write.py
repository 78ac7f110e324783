"""Writes clips as mp4 files that browsers play, with metadata tags."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from torch import Tensor

from talkies.files.durable import UNWRITABLE, replacing, storage_errors
from talkies.media.container import opened
from talkies.streams.codec import Media

PROVENANCE = "talkies-provenance"
"""The tag that names the model (or world) that made a file; `comment`, which players show, repeats it."""
OURS = "talkies-"
"""How our tags begin."""
FIXED_TAGS = "wav"
"""The container that knows a fixed list of tags: `comment` holds a line NAME=VALUE of each of ours."""
AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AAC_BIT_RATE = 192_000
# At such bit rates the `fast` search is also more faithful (measured: +4 to +6 dB over the default), but it truncates
# strong tones: a sine of amplitude 0.5 comes back with 27 dB, of 0.6 with 17 dB, of 1.0 with 8 dB (default: 66 dB).
FAST_AAC, FAST_PEAK = {"aac_coder": "fast"}, 0.5
AAC_BITS_PER_SAMPLE = 6
"""AAC's own limit: 6144 bits per channel and frame of 1024 samples."""
# Nearly lossless: small frames cost little, and codecs are fitted on them. With more threads, the bytes depend on the
# scheduler; with macroblock trees, on uninitialised memory (measured: 22 different files from 25 equal inputs, 64x64).
X264 = {"crf": "12", "preset": "medium", "threads": "1", "mbtree": "0"}
CHROMA = Interpolation.AREA | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
OPTIONS = {"movflags": "faststart+use_metadata_tags"}
CONTAINER_KEYS = ("major_brand", "minor_version", "compatible_brands", "encoder")


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Frames at `fps` that are made while they are written: `pieces` [F, 3, height, width] fp32 in [-1, 1]."""

    pieces: Iterable[Tensor]
    height: int
    width: int
    fps: float

    @classmethod
    def of(cls, media: Media) -> "Pieces":
        """Of the frames of a clip, which has some."""
        assert media.frames is not None
        height, width = media.frames.shape[-2:]
        return cls(pieces=(media.frames,), height=height, width=width, fps=media.fps)


def write_mp4(path: Path | str, media: Media, *, tags: Mapping[str, str]) -> None:
    """Write the frames as H.264 (yuv420p, BT.709) and the samples as AAC, atomically; `tags` become metadata.

    Frame 0 and sample 0 are presented at time 0. Raises ValueError for media that mp4 cannot hold, StorageError if the
    disk is full or not writable.
    """
    path = Path(path)
    check_media(media)
    kind = "ipod" if path.suffix == ".m4a" else "mp4"
    with (
        storage_errors(path, refused=UNWRITABLE),
        replacing(path) as temporary,
        av.open(f"file:{temporary}", "w", format=kind, container_options=OPTIONS) as out,
    ):
        add_tags(out, tags)
        packets = [packet for track in encoders(out, media) for packet in track]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)


def add_tags(out: Any, tags: Mapping[str, str]) -> None:
    """Write metadata tags, each of one line, into an output that has no packets yet."""
    comment = {"comment": tags[PROVENANCE]} if PROVENANCE in tags else {}
    if out.format.name == FIXED_TAGS:
        lines = [f"{name}={value}" for name, value in tags.items() if name.startswith(OURS)]
        comment = {"comment": "\n".join(lines)} if lines else {}
        tags = {name: value for name, value in tags.items() if not name.startswith(OURS)}
    out.metadata.update(comment)
    out.metadata.update(tags)


def encoders(out: Any, media: Media | Pieces) -> list[Iterator[Any]]:
    """Add the streams of `media` to an output; their packets, produced on demand. All streams must be added before the
    first packet."""
    if isinstance(media, Pieces):
        return [_video(out, media)]
    made = [] if media.frames is None else [_video(out, Pieces.of(media))]
    return made if media.samples is None else [*made, _audio(out, media)]


def read_tags(path: Path | str) -> dict[str, str]:
    """The metadata tags of a file, without those that every container has. Raises MediaError if it is unreadable."""
    with opened(path) as container:
        tags = {key: value for key, value in container.metadata.items() if key not in CONTAINER_KEYS}
        return _unpacked(tags) if container.format.name == FIXED_TAGS else tags


def _unpacked(tags: dict[str, str]) -> dict[str, str]:
    """With our tags out of the comment, if `add_tags` put them there."""
    lines = tags.get("comment", "").split("\n")
    if not all(line.startswith(OURS) and "=" in line for line in lines):
        return tags
    ours = dict(line.split("=", 1) for line in lines)
    others = {name: value for name, value in tags.items() if name != "comment"}
    return {**({"comment": ours[PROVENANCE]} if PROVENANCE in ours else {}), **others, **ours}


def check_media(media: Media | Pieces) -> None:
    """ValueError for media that mp4 cannot hold; the pieces of a film are checked when they are written."""
    if isinstance(media, Pieces):
        _check_sides(media.height, media.width)
        return
    if media.frames is None and media.samples is None:
        raise ValueError("media without frames and sound cannot be written")
    for name, values in (("frames", media.frames), ("samples", media.samples)):
        if values is not None:
            check_values(name, values)
    if media.frames is not None:
        _check_sides(*media.frames.shape[-2:])
    if media.samples is not None and media.sample_rate not in AAC_RATES:
        raise ValueError(f"sound at {media.sample_rate} Hz cannot be written; AAC has {', '.join(map(str, AAC_RATES))}")


def check_values(name: str, values: Tensor) -> None:
    """ValueError, which names them, for values that are not there or not finite."""
    if values.numel() == 0 or not bool(values.isfinite().all()):
        raise ValueError(f"{name} of shape {tuple(values.shape)} cannot be written: empty, or not all finite")


def _check_sides(height: int, width: int) -> None:
    if height % 2 or width % 2:
        raise ValueError(f"frames of {height}x{width} cannot be written: H.264 (yuv420p) needs even sides")


def _video(out: Any, film: Pieces) -> Iterator[Any]:
    """Add the video stream; its packets are produced on demand."""
    rate = Fraction(film.fps).limit_denominator(1001)
    stream = out.add_stream("libx264", rate=rate, options=X264)
    stream.height, stream.width = film.height, film.width
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return _video_packets(stream, _pictures(film.pieces), rate)


def _pictures(pieces: Iterable[Tensor]) -> Iterator[Any]:
    """uint8 [H, W, 3] of every frame."""
    for frames in pieces:
        check_values("frames", frames)
        yield from ((frames.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _video_packets(stream: Any, pictures: Iterator[Any], rate: Fraction) -> Iterator[Any]:
    for index, picture in enumerate(pictures):
        rgb = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = rgb.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=CHROMA,
            threads=1,
        )
        frame.pts, frame.time_base = index, 1 / rate
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _audio(out: Any, media: Media) -> Iterator[Any]:
    """Add the audio stream; its packets are produced on demand."""
    assert media.samples is not None
    options = FAST_AAC if float(media.samples.detach().abs().max()) <= FAST_PEAK else {}
    stream = out.add_stream("aac", rate=media.sample_rate, layout="mono", options=options)
    stream.bit_rate = min(AAC_BIT_RATE, AAC_BITS_PER_SAMPLE * media.sample_rate)
    return _audio_packets(stream, media.samples, media.sample_rate)


def _audio_packets(stream: Any, samples: Tensor, rate: int) -> Iterator[Any]:
    # The encoder's priming packet has a negative time, which mp4's edit list hides: sample 0 is at time 0.
    values = np.ascontiguousarray(samples.detach().float().clamp(-1, 1).cpu().numpy()[None])
    frame = av.AudioFrame.from_ndarray(values, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    yield from stream.encode(frame)
    yield from stream.encode(None)
