"""Encodes the sound of a file as FLAC, sample for sample."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from talkies.media.container import MediaError, libav_errors
from talkies.media.decoding import sounds
from talkies.media.downmix import UNNAMED, Values, channel_values
from talkies.media.plausible import check_values
from talkies.media.sound import GAP

NARROW = ("u8", "s16")
"""Sample formats that 16 bits hold; FLAC has 24 for the others."""
INTEGERS = ("u8", "s16", "s32", "s64")
FLAC_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0(side)", "5.1(side)", "6.1", "7.1")
"""The channels that FLAC has, by their number."""
BACK = {"5.0": "5.0(side)", "5.1": "5.1(side)"}
"""Layouts that FLAC does not tell from others, as players do not."""


class Lossless:
    """Sound of a file as FLAC in the output `out`. Gaps become silence; samples that need more than 24 bits are rounded
    and cut at full scale, which `notes` say."""

    def __init__(self, out: Any, source: Any, stream: Any, given: Path | str, *, start: float) -> None:
        """Raises MediaError for channels or a rate that FLAC does not have."""
        self.source, self.stream, self.given, self.start = source, stream, given, start
        context = stream.codec_context
        self.codec, self.rate, self.kind = context.codec.name, context.sample_rate, context.format.name.rstrip("p")
        self.bits = 16 if self.kind in NARROW else 24
        count = context.layout.nb_channels
        if count > len(FLAC_LAYOUTS):
            raise MediaError(given, f"its sound has {count} channels, FLAC has up to {len(FLAC_LAYOUTS)}; mix it down")
        unnamed = {channel.name for channel in context.layout.channels} == {UNNAMED}
        self.layout = FLAC_LAYOUTS[count - 1] if unnamed else context.layout.name
        self.rounded = self.cut = self.silent = 0
        with libav_errors(given, f"encoded as FLAC at {self.rate} Hz"):
            self.target = out.add_stream("flac", rate=self.rate, layout=self.layout)
            self.target.format = "s16" if self.bits == 16 else "s32"
            self.target.codec_context.open()

    @staticmethod
    def holds(stream: Any) -> bool:
        """Whether the decoder's samples are exact numbers: integers, or PCM."""
        context = stream.codec_context
        return context.codec.name.startswith("pcm_") or context.format.name.rstrip("p") in INTEGERS

    def packets(self) -> Iterator[Any]:
        """Of all sound; raises MediaError if it is damaged, goes back in time or has values that no sound has."""
        filled = 0
        for values in self._in_place():
            check_values(self.given, values)
            frame = av.AudioFrame.from_ndarray(
                self._integers(values), format=self.target.format.name, layout=self.layout
            )
            frame.sample_rate, frame.pts, frame.time_base = self.rate, filled, Fraction(1, self.rate)
            filled += frame.samples
            yield from self.target.encode(frame)
        yield from self.target.encode(None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What differs from the file."""
        how = "rounded to 24 bits" if self.rounded else "sample for sample"
        notes = [f"its {self.codec}, which few players know in mp4, is stored as FLAC, {how}"]
        if self.cut:
            notes.append(f"{self.cut:,} of its samples are above full scale and cut there")
        if self.silent:
            notes.append(f"{self.silent / self.rate:.2f} s of gaps in it are stored as silence")
        stored = FLAC_LAYOUTS[self.target.layout.nb_channels - 1]
        if BACK.get(self.layout, self.layout) != stored:
            notes.append(f"its channels ({self.layout}) are played as {stored}, which is all that FLAC knows")
        return tuple(notes)

    def _in_place(self) -> Iterator[Values]:
        """[C, S] of every frame, and silence in the gaps before it."""
        filled = 0
        with libav_errors(self.given, "decoded"):
            for time, frame in sounds(self.source, self.stream, self.given):
                if frame.sample_rate != self.rate or frame.layout.nb_channels != self.target.layout.nb_channels:
                    raise MediaError(self.given, "its sample rate or its channels change; convert it to one of each")
                late = round((time - self.start) * self.rate) - filled
                if late < -GAP * self.rate:
                    raise MediaError(
                        self.given, f"its sound goes back by {-late / self.rate:.3f} s; cut it there, or re-encode it"
                    )
                values = channel_values(frame)
                if late > GAP * self.rate:
                    self.silent += late
                    filled += late
                    yield np.zeros((len(values), late))
                filled += values.shape[1]
                yield values

    def _integers(self, values: Values) -> NDArray[np.int16] | NDArray[np.int32]:
        """[1, S * C] as the encoder takes them."""
        full = 1 << (self.bits - 1)
        scaled = values.T.reshape(1, -1) * full
        whole = np.rint(scaled)
        kept = whole.clip(-full, full - 1)
        self.cut += int((np.abs(kept - whole) > 1).sum())  # 1.0 itself is one step too high
        self.rounded += int((kept != scaled).sum())
        return kept.astype(np.int16) if self.bits == 16 else kept.astype(np.int32) << 8
