"""Writes sound without pictures as wav or flac, of 24 bits: what a model made to within 6e-8, which is fp32's own
precision at full scale. 16 bits would add noise at -98 dB that encoding it again hears; float wav is no more exact, and
fewer players know it."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from torch import Tensor

from talkies.files.durable import UNWRITABLE, replacing, storage_errors
from talkies.media.write import add_tags, check_values, write_mp4
from talkies.streams.codec import Media

LOSSLESS = {".wav": "pcm_s24le", ".flac": "flac"}
"""Suffix of a file -> its codec."""
SOUNDS = (*LOSSLESS, ".m4a")
"""Suffixes of files that hold sound alone."""
FULL = 1 << 23
"""Full scale of 24 bits."""


def write_media(path: Path | str, media: Media, *, tags: Mapping[str, str]) -> None:
    """Write a clip as the suffix of its file says: mp4 or m4a as `write_mp4` does, or its sound, which it has, as wav
    or flac. Atomically; raises as `write_mp4`."""
    path = Path(path)
    if path.suffix not in LOSSLESS:
        write_mp4(path, media, tags=tags)
        return
    assert media.frames is None, f"{path.suffix} holds sound alone"
    assert media.samples is not None
    check_values("samples", media.samples)
    with (
        storage_errors(path, refused=UNWRITABLE),
        replacing(path) as temporary,
        av.open(f"file:{temporary}", "w", format=path.suffix[1:]) as out,
    ):
        add_tags(out, tags)
        for packet in _packets(out, media.samples, LOSSLESS[path.suffix], media.sample_rate):
            out.mux(packet)


def _packets(out: Any, samples: Tensor, codec: str, rate: int) -> Iterator[Any]:
    stream = out.add_stream(codec, rate=rate, layout="mono")
    stream.format = "s32"  # of which both encoders take the upper 24 bits
    values = (samples.detach().double().cpu() * FULL).round().clamp(-FULL, FULL - 1).numpy().astype(np.int32) << 8
    frame = av.AudioFrame.from_ndarray(values[None], format="s32", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    yield from stream.encode(frame)
    yield from stream.encode(None)
