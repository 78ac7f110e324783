"""Files of sound with a beep, to give to `talkies sample --audio`."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch

RATE = 44100
CODECS = {"wav": "pcm_s16le", "m4a": "aac"}


def sound_file(path: Path, *, seconds: float, beep: float | None = None, hertz: float = 1000.0) -> Path:
    """Stereo sound at 44.1 kHz: silent but for 0.1 s of a tone of `hertz` that begins at `beep`."""
    time = torch.arange(round(seconds * RATE)) / RATE
    sound = torch.zeros(len(time))
    if beep is not None:
        sound = 0.8 * torch.sin(2 * torch.pi * hertz * time) * ((time >= beep) & (time < beep + 0.1))
    both = (torch.stack([sound, sound / 2], 1) * 32767).short().numpy().reshape(1, -1)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(CODECS[path.suffix[1:]], rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    return path


def packets(path: Path) -> bytes:
    """Those of the sound, in a row; of PCM and of FLAC, which holds PCM in an mp4, the samples instead."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.best("audio")
        if stream.codec_context.name == "flac" or stream.codec_context.name.startswith("pcm"):
            packed = av.AudioResampler(format="s16", layout=stream.layout, rate=stream.rate)
            frames = [done for frame in container.decode(stream) for done in packed.resample(frame)]
            return b"".join(frame.to_ndarray().tobytes() for frame in (*frames, *packed.resample(None)))
        return b"".join(bytes(packet) for packet in container.demux(stream) if packet.size)


def onset(path: Path) -> float:
    """Seconds after the first picture, or the file's beginning, at which the sound is loud for the first time."""
    with av.open(str(path)) as container:
        pictures = container.streams.best("video")
        begin = float((pictures.start_time or 0) * pictures.time_base) if pictures is not None else 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            values = torch.from_numpy(frame.to_ndarray()).float()
            loud = values.abs().reshape(values.shape[0], -1).amax(0) > 0.2 * (32767 if "16" in frame.format.name else 1)
            if bool(loud.any()):
                interleaved = 1 if frame.format.is_planar else frame.layout.nb_channels
                return float(frame.time) + int(loud.nonzero()[0]) / interleaved / frame.sample_rate - begin
    raise AssertionError(f"{path} is silent")
