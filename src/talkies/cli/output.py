"""Standard streams and command-line arguments in any state: closed, full, or of another encoding."""

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from talkies.config.errors import RecipeError
from talkies.config.quoting import named, printed, shown
from talkies.config.secrets import credential

STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))
MAX_LENGTH = 400
"""Characters of one word of a message, such as a path."""
LONGEST = 2_000
_LONG_WORD = re.compile(r"[^\s]{81,}")
_LONG_PATH = re.compile(rf"[^\s]{{{MAX_LENGTH + 1},}}")


def open_streams() -> None:
    """Open /dev/null in place of a closed standard stream; otherwise the next opened file would take its descriptor.
    Characters that the terminal lacks are escaped, and output is flushed line by line, also to files and pipes."""
    for number, name, mode in STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(_null(number), mode, closefd=False))  # noqa: SIM115 (it stays open to the end)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def _null(number: int) -> int:
    """A descriptor of /dev/null: `number` itself if that is free."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(number)
    except OSError:
        os.dup2(null, number)
        os.close(null)
        return number
    return null


def silence() -> None:
    """Send standard output to /dev/null, so that the flush at exit cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_unreadable(words: Sequence[str]) -> None:
    """RecipeError for an argument that is not UTF-8 or contains NUL, which no record could hold."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise RecipeError(
                f"usage: argument {number} is not UTF-8: {shown(word)}; rename the file, or work in its folder"
            ) from None
        if "\0" in word:
            raise RecipeError(f"usage: argument {number} contains NUL: {shown(word)}; remove it")


def local_path(text: str) -> Path:
    """A path argument, for argparse. A URI is refused: it would be recorded, with any credential in it."""
    if part := credential(text):
        raise argparse.ArgumentTypeError(f"it is not a path, and can carry a credential: {part}")
    return Path(text)


def usage_words(message: str) -> str:
    """argparse's own message, which repeats the arguments, with every long word passed through `named`."""
    short = _LONG_WORD.sub(lambda found: named(found[0]), printed(" ".join(message.split())))
    return short if len(short) <= MAX_LENGTH else f"{short[: MAX_LENGTH - 3]}..."


def bounded(message: str) -> str:
    """A whole message, escaped, masked and cut to a readable length."""
    text = _LONG_PATH.sub(lambda found: f"{found[0][: MAX_LENGTH - 3]}...", printed(message[: 4 * LONGEST]))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
