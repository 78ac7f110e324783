"""The standard streams and the words of a command as they were found: closed, full, or of another encoding."""

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from talkies.config.errors import RecipeError
from talkies.config.secrets import credential
from talkies.config.shown import named, printed, shown

STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))
MOST = 400
"""Characters of one word of a message, such as a path."""
LONGEST = 2_000
_LONG_WORD = re.compile(r"[^\s]{81,}")
_LONG_PATH = re.compile(rf"[^\s]{{{MOST + 1},}}")


def open_streams() -> None:
    """Lead a standard stream that was closed to /dev/null, or the next file that is opened would be taken for it. What
    is printed never fails for a character that the terminal does not have, and is there line by line, in files and
    pipes too."""
    for number, name, mode in STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(_null(number), mode, closefd=False))  # noqa: SIM115 (it stays open to the end)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def _null(number: int) -> int:
    """A descriptor of /dev/null: `number` itself where that is free."""
    found = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(number)
    except OSError:
        os.dup2(found, number)
        os.close(found)
        return number
    return found


def silence() -> None:
    """Standard output takes nothing any more: nothing is left to flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_unreadable(words: Sequence[str]) -> None:
    """RecipeError for a word of the command that is not UTF-8 or holds NUL: it could stand in no record."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise RecipeError(
                f"usage: argument {number} is not UTF-8: {shown(word)}; rename the file, or work in its folder"
            ) from None
        if "\0" in word:
            raise RecipeError(f"usage: argument {number} holds NUL: {shown(word)}; remove it")


def local_path(text: str) -> Path:
    """A path among the words of a command; for argparse. A URI is none, and would be recorded."""
    if part := credential(text):
        raise argparse.ArgumentTypeError(f"it is no path, and can carry a credential: {part}")
    return Path(text)


def usage_words(message: str) -> str:
    """argparse's own message, which repeats what was given, with every word of it as `named`."""
    short = _LONG_WORD.sub(lambda found: named(found[0]), printed(" ".join(message.split())))
    return short if len(short) <= MOST else f"{short[: MOST - 3]}..."


def bounded(message: str) -> str:
    """A whole message: escaped and masked, and no longer than can be read, whatever it was made from."""
    text = _LONG_PATH.sub(lambda found: f"{found[0][: MOST - 3]}...", printed(message[: 4 * LONGEST]))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
