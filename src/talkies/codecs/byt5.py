"""ByT5 text features (arXiv 2105.13626): a token is a byte, so that any script can be read."""

from pathlib import Path
from typing import ClassVar, Self

import torch

from talkies.codecs.config import PretrainedTextConfig
from talkies.codecs.pretrained import PRETRAINED
from talkies.codecs.t5 import T5TextEncoder
from talkies.codecs.token_text import KEY, OFFSET
from talkies.config import DataError
from talkies.config.quoting import shown

TOKENIZER = "ByT5Tokenizer"


class ByT5TextEncoder(T5TextEncoder):
    """Captions are taken as they are, without space around them; the empty one has the length 0. What looks like a
    special token, such as </s>, is read as its letters (transformers' tokenizer makes it one token)."""

    holds: ClassVar[str] = (
        "text_encoder/ (config.json, *.safetensors), as T5EncoderModel.from_pretrained('google/byt5-small')"
        ".save_pretrained('FOLDER/text_encoder') of transformers writes it"
    )

    @classmethod
    def load(cls, config: PretrainedTextConfig, *, key: str = KEY, device: torch.device | str = "cpu") -> Self:
        """As T5's; DataError if the network has fewer tokens than there are bytes."""
        encoder = super().load(config, key=key, device=device)
        if (held := encoder.network.config.vocab_size) < OFFSET + 256:
            raise DataError(
                f"{config.weights}: its text_encoder/ has {held} tokens, and a ByT5 at least {OFFSET + 256}: give the "
                "folder of a ByT5"
            )
        return encoder

    @classmethod
    def tokenizer(cls, folder: Path) -> str | None:
        """None: it needs no file. DataError for a tokenizer/ of another kind."""
        given = folder / "tokenizer"
        if given.is_dir():
            found = PRETRAINED.read(given / "tokenizer_config.json").get("tokenizer_class")
            if found != TOKENIZER:
                raise DataError(
                    f"{given}: needed a {TOKENIZER}, but its tokenizer_config.json names {shown(found)}: give the "
                    "folder of a ByT5"
                )
        return None
