"""Damage to shards on the disk."""

import json
import struct
from pathlib import Path


def garbage(folder: Path, clip: int, *, per: int = 4, tensor: str = "latent.audio") -> None:
    """Overwrite the record of `tensor` of clip number `clip`, in place, with other bytes."""
    path = folder / f"shard-{clip // per:05d}.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    begin, end = json.loads(content[8 : 8 + length])[f"{clip % per:05d}.{tensor}"]["data_offsets"]
    with path.open("r+b") as handle:
        handle.seek(8 + length + begin)
        handle.write(bytes(0x5A ^ byte for byte in content[8 + length + begin : 8 + length + end]))


def flip(path: Path, offset: int) -> None:
    """Change one bit of one byte, in place."""
    with path.open("r+b") as handle:
        handle.seek(offset)
        (byte,) = handle.read(1)
        handle.seek(offset)
        handle.write(bytes([byte ^ 1]))
