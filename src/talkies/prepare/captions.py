"""The caption of a media file."""

from dataclasses import replace
from pathlib import Path

from talkies.codecs.prompt import LONGEST
from talkies.prepare.rejection import Rejected
from talkies.streams.script import Script


def read_caption(caption: str | Path) -> str:
    """The text without surrounding space. Raises Rejected if it is missing, empty, not UTF-8 text, or longer than
    LONGEST bytes; no more are read."""
    if isinstance(caption, Path):
        try:
            if caption.exists() and not caption.is_file():  # reading a pipe would block
                raise Rejected("no caption", f"{caption.name} is not a regular file")
            with caption.open("rb") as file:
                data = file.read(LONGEST + 1)
            _check_length(len(data), caption.stat().st_size)
            text = data.decode("utf-8-sig")
        except FileNotFoundError:
            raise Rejected("no caption", f"{caption.name} is missing") from None
        except UnicodeDecodeError as error:
            raise Rejected("caption encoding", f"{caption.name} is not UTF-8 ({error.reason})") from None
        except OSError as error:
            raise Rejected("no caption", f"{caption.name} cannot be read ({error.strerror})") from None
    else:
        text = caption
        _check_length(len(text), len(text))
    if "\0" in text:
        raise Rejected("caption encoding", "the caption contains a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # JSON can spell lone surrogates, which no text encoder accepts
        surrogate = ascii(text[error.start])
        raise Rejected(
            "caption encoding", f"the caption contains a lone surrogate ({surrogate}); write the whole character"
        ) from None
    _check_length(size, size)
    if not text.strip():
        raise Rejected("no caption", "the caption is empty")
    return text.strip()


def timed(caption: str, seconds: float) -> str:
    """The caption with its clip's duration; before a script, which would be said with it."""
    token, script = f"Duration {seconds:.1f} seconds.", Script.parse(caption)
    if not script.words:
        return f"{caption} {token}"
    return str(replace(script, description=f"{script.description} {token}".strip()))


def _check_length(read: int, size: int) -> None:
    if read > LONGEST:
        raise Rejected("caption too long", f"the caption has {size:,} bytes or more; at most {LONGEST:,} are read")
