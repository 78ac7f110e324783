"""Chooses the decoder of pictures where libav's default loses information."""

from collections import deque
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.sidedata.sidedata import Type

from talkies.media.container import MediaError
from talkies.media.pngs import SIGNATURE, png_profile
from talkies.media.sidedata import without

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
Decode = Callable[[Any], list[Any]]


def picture_decoder(stream: Any, path: Path | str) -> Decode:
    """A function from a packet to its frames. libav's native VP8 and VP9 decoders drop the alpha that WebM stores
    beside the picture; libvpx's do not. Raises MediaError if they are needed and missing. PNG frames have their colour
    profile as `opaque`."""
    if stream.codec_context.name in ("png", "apng"):
        return _png_decoder(stream.codec_context.extradata or b"")
    name = ALPHA_DECODERS.get(stream.codec_context.name)
    modes = [value for key, value in stream.metadata.items() if key.lower() == "alpha_mode"]
    if name is None or modes != ["1"]:
        return default_decode
    try:
        decoder: Any = av.CodecContext.create(name, "r")
    except ValueError:
        raise MediaError(
            path, f"has alpha, but this build of libav has no {name}; re-encode it without alpha"
        ) from None
    for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):  # the container's tags
        setattr(decoder, tag, getattr(stream.codec_context, tag))
    decode: Decode = decoder.decode
    return decode


def default_decode(packet: Any) -> list[Any]:
    """The frames from the decoder that libav chose for the packet's stream."""
    frames: list[Any] = packet.decode()
    return frames


def _png_decoder(header: bytes) -> Decode:
    """PyAV 18 frees the name of a frame's colour profile twice (only PNG has one), so the profile must not be read from
    the frame. `header` holds the chunks that all pictures of an animated PNG share."""
    shared = png_profile(BytesIO(SIGNATURE + header))
    profiles: deque[bytes | None] = deque()

    def decode(packet: Any) -> list[Any]:
        if packet.size:
            packet_profile = png_profile(BytesIO(bytes(packet)))
            profiles.append(shared if packet_profile is None else packet_profile)
        frames = []
        for frame in default_decode(packet):
            profile = profiles.popleft()
            frames.append(frame if profile is None else without(frame, Type.ICC_PROFILE))
            frames[-1].opaque = profile
        return frames

    return decode
