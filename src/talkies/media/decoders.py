"""Which decoder pictures need, where libav's first choice loses something."""

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
    """From a packet to its frames. libav's own decoders of VP8 and VP9 drop the alpha that WebM keeps beside the
    picture; libvpx's do not. Raises MediaError where they are needed and missing. Frames of PNG have their colour
    profile as `opaque`."""
    if stream.codec_context.name in ("png", "apng"):
        return _png_decoder(stream.codec_context.extradata or b"")
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


def _png_decoder(header: bytes) -> Decode:
    """PyAV 18 frees the name of a frame's colour profile, which only PNG has, twice: nobody may ask for it there. The
    chunks that all pictures of an animated PNG share are its `header`."""
    shared = png_profile(BytesIO(SIGNATURE + header))
    profiles: deque[bytes | None] = deque()

    def decode(packet: Any) -> list[Any]:
        if packet.size:
            own_profile = png_profile(BytesIO(bytes(packet)))
            profiles.append(shared if own_profile is None else own_profile)
        made = []
        for frame in own(packet):
            profile = profiles.popleft()
            made.append(frame if profile is None else without(frame, Type.ICC_PROFILE))
            made[-1].opaque = profile
        return made

    return decode
