"""Text features of the encoders of the T5 family, as transformers has them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from tokenizers import Tokenizer
from torch import Tensor

from talkies.codecs.config import PretrainedTextConfig, T5TextConfig
from talkies.codecs.identity import identity
from talkies.codecs.pretrained import check_class, check_geometry, read_config, read_transformer, weights_folder
from talkies.config import DataError
from talkies.config.records import regular_bytes
from talkies.streams.batch import Text

KEY, TOKENIZER = "codecs.text", "tokenizer/tokenizer.json"
FOLDERS = (
    "text_encoder/ (config.json, *.safetensors) and tokenizer/ (tokenizer.json), such as the root of a released {}"
)


class TokenTextEncoder(ABC):
    """Captions -> last hidden state, padded to `config.length` tokens, zero past the true length (which counts </s>,
    and padding that is encoded).

    The weights keep their stored precision; features are fp32 on the CPU. `tokenizer` is the content of tokenizer.json,
    which the tokenizers library reads like upstream's T5TokenizerFast, with any version of transformers; without one,
    tokens are bytes. A subclass names transformers' class of its `model`, what its folder `holds`, and how a caption is
    `cleaned`. `path`: of tokenizer.json, for messages.
    """

    model: ClassVar[Any]
    holds: ClassVar[str]

    def __init__(
        self, config: PretrainedTextConfig, network: Any, tokenizer: str | None, path: Path = Path("tokenizer.json")
    ) -> None:
        # Upstream's trainer leaves the encoder's dropout on. This codec is not a Module: train() never reaches it.
        self.config, self.network = config, network.requires_grad_(False).eval()
        self._spelled, vocabulary = tokenizer, network.config.vocab_size
        self._ids = byte_ids if tokenizer is None else ids_of(tokenizer, path, vocabulary=vocabulary)

    @classmethod
    def load(cls, config: PretrainedTextConfig, *, key: str = KEY, device: torch.device | str = "cpu") -> Self:
        """From `config.weights`. RecipeError for a missing folder or another width, DataError for its contents."""
        folder = weights_folder(config.weights, key=f"{key}.weights", holds=cls.holds)
        tokenizer = cls.tokenizer(folder)
        check_kind(folder / "text_encoder", cls.model)
        network = read_transformer(cls.model, folder / "text_encoder", dtype="auto")
        check_geometry(key, {"dim": (config.dim, network.config.d_model)})
        return cls(config, network.to(device), tokenizer, folder / TOKENIZER)

    @classmethod
    def tokenizer(cls, folder: Path) -> str | None:
        """The tokenizer of a weights folder; DataError if it cannot be used."""
        spelled = read_text(folder / TOKENIZER)
        ids_of(spelled, folder / TOKENIZER)
        return spelled

    @cached_property
    def identity(self) -> str:
        """sha256 over config, weights and tokenizer; computed once."""
        return identity(self.config, {**self.network.state_dict(), **identifying(self._spelled)})

    @abstractmethod
    def cleaned(self, caption: str) -> str:
        """What the tokenizer is given of a caption."""

    @property
    def pads(self) -> bool:
        """Whether padding is encoded like tokens."""
        return isinstance(self.config, T5TextConfig) and self.config.padding == "encoded"

    def _tokens(self, caption: str) -> list[int]:
        return self._ids(self.cleaned(caption))

    def overflow(self, caption: str) -> int:
        """Tokens of the caption, </s> included, beyond `config.length`."""
        return max(0, len(self._tokens(caption)) - self.config.length)

    @torch.no_grad()
    def encode(self, captions: list[str]) -> Text:
        """One row per caption; a long caption is truncated and keeps its </s>. ValueError for no captions."""
        if not captions:
            raise ValueError("no captions to encode: at least 1 is needed")
        rows = [self._row(caption) for caption in captions]
        return Text(embedding=torch.cat([row for row, _ in rows]), length=torch.tensor([n for _, n in rows]))

    def _row(self, caption: str) -> tuple[Tensor, int]:
        """[1, L, D] fp32 and the length of one caption, encoded alone so that features do not depend on the batch."""
        if not (ids := self._tokens(caption)):
            return torch.zeros(1, self.config.length, self.config.dim), 0
        ids = ids if len(ids) <= self.config.length else [*ids[: self.config.length - 1], ids[-1]]
        pad = self.config.length - len(ids)
        padded = torch.tensor([ids + [self.network.config.pad_token_id] * pad], device=self.network.device)
        length = self.config.length if self.pads else len(ids)
        valid = torch.arange(self.config.length, device=padded.device)[None] < length
        hidden = self.network(input_ids=padded, attention_mask=valid.long()).last_hidden_state
        return torch.where(valid[..., None], hidden.float(), 0.0).cpu(), length


END, OFFSET = 1, 3
"""ByT5's ids of </s> and of the byte 0."""


def byte_ids(text: str) -> list[int]:
    """The bytes of the text in UTF-8 and </s>, as ByT5 (arXiv 2105.13626) counts them. Nothing in a text is special."""
    return [*(byte + OFFSET for byte in text.encode()), END]


def check_kind(folder: Path, model: Any) -> None:
    """DataError if config.json of `folder` names another kind of network than transformers' class `model`."""
    needed = model.config_class.model_type
    check_class(folder, read_config(folder).get("model_type", needed), needed)


def ids_of(spelled: str, path: Path, *, vocabulary: int | None = None) -> Callable[[str], list[int]]:
    """A function from a text to its tokens and </s>; DataError if `spelled`, the content of `path`, describes no such
    tokenizer, or one of more tokens than the `vocabulary` of the network."""
    try:
        tokenizer = Tokenizer.from_str(spelled)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise DataError(f"{path} describes no tokenizer: {error}; download it again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    added = tokenizer.num_special_tokens_to_add(is_pair=False)
    if added != 1:
        raise DataError(f"{path}: the tokenizer must add </s> to a prompt and nothing else; it adds {added} tokens")
    if vocabulary is not None and (found := tokenizer.get_vocab_size()) > vocabulary:
        raise DataError(
            f"{path} has {found} tokens, and the text encoder has {vocabulary}: give the tokenizer that belongs to it"
        )
    return lambda text: list(tokenizer.encode(text).ids)


def identifying(tokenizer: str | None) -> dict[str, Tensor]:
    """A tokenizer as the identity sees it. That of bytes has no content."""
    if tokenizer is None:
        return {}
    return {"tokenizer": torch.frombuffer(bytearray(tokenizer.encode()), dtype=torch.uint8)}


TOKENIZER_LIMIT = 1 << 28


def read_text(path: Path) -> str:
    """tokenizer.json as text; DataError if it cannot be read."""
    try:
        return regular_bytes(path, TOKENIZER_LIMIT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path}: {error}; if there is only spiece.model, load it with transformers' T5Tokenizer "
            "and save it again: that writes tokenizer.json"
        ) from None
