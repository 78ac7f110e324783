"""UMT5 text features for both towers (docs/mova.md: Codecs)."""

from typing import Any, ClassVar

from transformers import UMT5EncoderModel

from talkies.codecs.prompt import clean_prompt
from talkies.codecs.token_text import FOLDERS, TokenTextEncoder


class Umt5TextEncoder(TokenTextEncoder):
    """Captions are cleaned as in MOVA's released code; the empty one has the length 1: </s>."""

    model: ClassVar[Any] = UMT5EncoderModel
    holds: ClassVar[str] = FOLDERS.format("MOVA")

    def cleaned(self, caption: str) -> str:
        """Mojibake, HTML and whitespace repaired."""
        return clean_prompt(caption)
