"""The tensors of a folder's safetensors files, read one at a time without mapping the files into memory."""

from pathlib import Path

from talkies.codecs.streamed import Shapes, Streamed
from talkies.config import DataError
from talkies.config.quoting import shown
from talkies.weights.found import indexed
from talkies.weights.headers import read_header
from talkies.weights.pieces import DTYPES, Piece


def stored(folder: Path) -> tuple[Streamed, Shapes]:
    """By name, and their shapes. CheckpointError for a damaged file or index, DataError for a name in two files or
    a dtype that torch does not have."""
    pieces: dict[str, Piece] = {}
    files = sorted(folder.glob("*.safetensors"))
    for index in sorted(folder.glob("*.safetensors.index.json")):
        indexed(folder, index, files)
    for path in files:
        for name, piece in read_header(path).pieces.items():
            if name in pieces:
                raise DataError(f"{folder}: {shown(name)} is both in {pieces[name].path.name} and in {path.name}")
            if piece.dtype not in DTYPES:
                raise DataError(f"{path}: {shown(name)} is {piece.dtype}, which this codec cannot compute with")
            pieces[name] = piece
    if not pieces:
        raise DataError(f"{folder}: needed weights as *.safetensors, found none")
    shapes = {name: piece.shape for name, piece in pieces.items()}
    return Streamed({name: piece.tensor for name, piece in pieces.items()}), shapes
