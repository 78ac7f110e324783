"""Reads chunks of PNG files."""

import struct
import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PROFILE_BYTES = 1 << 24
"""Largest size of an unpacked colour profile in bytes."""


def png_chunk(file: BinaryIO, kind: bytes) -> bytes | None:
    """The body of the first chunk of a kind before the pixels; None if there is none, or the file is not a PNG."""
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return None
    while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
        size, name = struct.unpack(">I4s", head)
        if name == kind:
            return file.read(size)
        file.seek(size + 4, 1)
    return None


def png_profile(file: BinaryIO) -> bytes | None:
    """The colour profile (ICC) of a PNG; empty if it is damaged."""
    body = png_chunk(file, b"iCCP")
    if body is None:
        return None
    try:
        return zlib.decompressobj().decompress(body[body.index(b"\0") + 2 :], PROFILE_BYTES)
    except (ValueError, zlib.error):
        return b""
