"""What PNG pictures say beside their pixels."""

import struct
import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PROFILE_BYTES = 1 << 24
"""The most bytes that a colour profile is unpacked to."""


def png_chunk(file: BinaryIO, kind: bytes) -> bytes | None:
    """The body of the first chunk of a kind before the pixels; None where there is none, or the file is no PNG."""
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return None
    while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
        size, found = struct.unpack(">I4s", head)
        if found == kind:
            return file.read(size)
        file.seek(size + 4, 1)
    return None


def png_profile(file: BinaryIO) -> bytes | None:
    """The colour profile (ICC) of a PNG; empty where it is damaged."""
    body = png_chunk(file, b"iCCP")
    if body is None:
        return None
    try:
        return zlib.decompressobj().decompress(body[body.index(b"\0") + 2 :], PROFILE_BYTES)
    except (ValueError, zlib.error):
        return b""
