"""T5 text features (T5 v1.1 XXL: 4096 wide) as Mochi 1 takes them, 256 tokens, or CogVideoX, 226 with the padding."""

from typing import Any, ClassVar

from transformers import T5EncoderModel

from talkies.codecs.token_text import FOLDERS, TokenTextEncoder


class T5TextEncoder(TokenTextEncoder):
    """Captions are tokenized as they are, without space around them. The empty one has the length 0: Mochi attends to
    no text at all (its released code has no true place in the mask). Where padding is encoded, it is </s> and padding,
    as in `CogVideoXPipeline.encode_prompt`."""

    model: ClassVar[Any] = T5EncoderModel
    holds: ClassVar[str] = FOLDERS.format("Mochi 1 or CogVideoX")

    def cleaned(self, caption: str) -> str:
        """Without space around it."""
        return caption.strip()

    def _tokens(self, caption: str) -> list[int]:
        return super()._tokens(caption) if self.cleaned(caption) or self.pads else []
