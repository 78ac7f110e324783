"""From the channels of decoded sound to one: a mix with the standard coefficients, or a chosen channel."""

from functools import cache
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

Channel = Literal["mix", "left", "right"] | int
"""The part of a file's sound to keep: the mix of its channels, or one of them by name or number."""
Samples = NDArray[np.float32]
Values = NDArray[np.float64]
SIDES = {"left": ("FL", "DL"), "right": ("FR", "DR")}
UNNAMED = "NONE"


class NoChannelError(ValueError):
    """Sound that lacks the requested channel, or whose channels cannot be mixed; the text completes "its sound ..."."""


def channel_values(frame: Any) -> Values:
    """[C, S] in [-1, 1] of a decoded frame. ValueError for samples that PyAV cannot convert to an array."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    zero, scale = 0.0, 1.0
    if values.dtype.kind == "u":
        zero = scale = 128.0
    elif values.dtype.kind == "i":
        scale = float(-int(np.iinfo(values.dtype).min))
    scaled: Values = (values.astype(np.float64) - zero) / scale
    return scaled


def mono(frame: Any, channel: Channel = "mix") -> Samples:
    """[S] in [-1, 1] of a decoded frame. NoChannelError if it has no such channel."""
    values, layout = channel_values(frame), frame.layout.name
    with np.errstate(invalid="ignore", over="ignore"):  # readers refuse what is not finite
        sound = mix_weights(layout) @ values if channel == "mix" else values[channel_number(layout, channel)]
        samples: Samples = sound.astype(np.float32)
    return samples


@cache
def mix_weights(layout: str) -> Values:
    """[C] weights of a mono mix by ITU-R BS.775 (front 0.707, centre 1, surround 0.5, no LFE), divided by their sum so
    that no mix exceeds full scale: the mean for two channels; 0.293 for the centre of 5.1.

    libswresample provides the coefficients of every layout; like players, it treats unnamed channels as the default
    layout of that many. NoChannelError if it has none (ambisonics).
    """
    count = av.AudioLayout(layout).nb_channels
    if count == 1:
        return np.ones(1)
    single = np.eye(count, dtype=np.float32).reshape(1, -1)  # at moment i, channel i alone is 1
    frame = av.AudioFrame.from_ndarray(single, format="flt", layout=layout)
    frame.sample_rate = 48000
    try:
        mixer = av.AudioResampler(format="flt", layout="mono", rate=48000)
        mixed = [*mixer.resample(frame), *mixer.resample(None)]
    except (av.FFmpegError, ValueError) as error:
        raise NoChannelError(
            f"has a layout ({layout}) without a standard mix; choose one channel by `channel`"
        ) from error
    weights: Values = np.concatenate([part.to_ndarray()[0] for part in mixed]).astype(np.float64)
    weights /= np.abs(weights).sum()
    return weights


@cache
def channel_number(layout: str, channel: Literal["left", "right"] | int) -> int:
    """The index of a channel in a layout. NoChannelError if there is none."""
    names = [found.name for found in av.AudioLayout(layout).channels]
    if isinstance(channel, int):
        if channel >= len(names):
            raise NoChannelError(f"has {len(names)} channels ({layout}), the first is 0; `channel` is {channel}")
        return channel
    if len(names) > 1 and set(names) == {UNNAMED}:
        return ("left", "right").index(channel)  # default layouts begin with these
    for name in SIDES[channel]:
        if name in names:
            return names.index(name)
    raise NoChannelError(f"has no {channel} channel ({layout}); `channel` can be mix, or a number from 0")
