"""Which decoder pictures need, where libav's first choice loses something."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from talkies.media.container import MediaError

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
Decode = Callable[[Any], list[Any]]


def picture_decoder(stream: Any, path: Path | str) -> Decode:
    """From a packet to its frames. libav's own decoders of VP8 and VP9 drop the alpha that WebM keeps beside the
    picture; libvpx's do not. Raises MediaError where they are needed and missing."""
    name = ALPHA_DECODERS.get(stream.codec_context.name)
    modes = [value for key, value in stream.metadata.items() if key.lower() == "alpha_mode"]
    if name is None or modes != ["1"]:
        return own
    try:
        decoder: Any = av.CodecContext.create(name, "r")
    except ValueError:
        raise MediaError(path, f"has alpha, and this build of libav has no {name}; re-encode it without") from None
    for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):  # what the container says
        setattr(decoder, tag, getattr(stream.codec_context, tag))
    decode: Decode = decoder.decode
    return decode


def own(packet: Any) -> list[Any]:
    """The frames that the decoder makes which libav chose for the packet's stream."""
    frames: list[Any] = packet.decode()
    return frames
