"""The parts of a caption that are given apart: a script and a description of how it sounds (streams/script.py)."""

from collections.abc import Mapping
from pathlib import Path

from talkies.codecs.prompt import LONGEST
from talkies.config import RecipeError
from talkies.config.quoting import shown
from talkies.config.regular_files import regular_bytes
from talkies.streams.script import DESCRIBE, SAY, Script, control_character

WORDING = ("script", "describe")


def read_script(path: Path, *, option: str) -> str:
    """The text of a file, with line breaks as Python has them. RecipeError, which begins with `option`, for one that is
    not there, too large or not UTF-8."""
    try:
        data = regular_bytes(path, LONGEST).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise RecipeError(f"{option}: cannot read {shown(path)}: {error.strerror}; give another file") from None
    try:
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{option}: {shown(path)} is not UTF-8 at byte {error.start}: encode it as UTF-8") from None


def caption_of(worded: Mapping[str, str], options: Mapping[str, str]) -> str:
    """The caption, one line, of its parts by name; `options`: what messages on them begin with (sample: --script).
    RecipeError for a text that is empty, too long or not UTF-8, or that has a control character or a mark of the
    caption."""
    for part, text in worded.items():
        check_text(options[part], text, empty="write what is said" if part == "script" else "say how it sounds")
        for mark in (DESCRIBE, SAY):
            if mark in text:
                raise RecipeError(f"{options[part]} has the mark {mark}, which is set by itself: remove it")
        if (found := control_character(text)) is not None:
            raise RecipeError(f"{options[part]}: it has the {found}: remove it")
    lines = {part: " ".join(text.split()) for part, text in worded.items()}
    caption = str(Script(words=lines.get("script", ""), description=lines.get("describe", "")))
    check_script(caption, options.get("script", ""))
    return caption


def check_script(caption: str, option: str) -> None:
    """RecipeError for a caption with a script, given by `option`, that cannot be said."""
    if SAY in caption and (problem := Script.parse(caption).problem()) is not None:
        raise RecipeError(f"{option}: {problem}")


def check_text(option: str, text: str, *, empty: str) -> None:
    """RecipeError for a text that is empty, too long or not UTF-8."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RecipeError(f"{option} is not UTF-8: encode it as UTF-8")
    if (size := len(text.encode())) > LONGEST:
        raise RecipeError(f"{option} has {size:,} bytes; at most {LONGEST:,} are allowed")
    if not text.strip():
        raise RecipeError(f"{option} is empty: {empty}")
