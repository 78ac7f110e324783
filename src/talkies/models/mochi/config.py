"""The sizes of a network of Mochi-1's kind: one transformer over streams of several modalities."""

from collections.abc import Mapping
from typing import Any, Literal

from talkies.config import config
from talkies.config.canonical import identifying


@config
class ModalityShape:
    """The `width` of a modality's tokens, and the `channels` of what they are made of."""

    width: int
    channels: int


@config
class JointShape:
    """Everything that determines the network.

    `modalities` have parameters of their own, in the order of their components. The network makes the stream `target`,
    of whose latent a token folds a `patch`; the streams `references` have the target's weights; `texts` are texts, and
    the other modalities are streams that are given. `heads` of `head_dim` are shared by all modalities, whose widths
    differ; `multiple`: a SwiGLU is 8/3 as wide as its tokens, rounded up to one; `freq_dim` of the time's sinusoid,
    `pool_heads` of the pooled texts.

    `given_bias`: the initial value of learned additions to the logits of given streams' keys (None: there are none);
    `given_positions`: whether their rotary tables are independent, or learned differences from the target's table of
    time; `given_pooled`: whether their modulation sees the pooled texts besides the time; `text_positions`: whether
    texts have rotary tables; `reference_time`: whether references are modulated by their own noise level, 0, or the
    target's; `target_time`: whether the target's positions in time are indices, or seconds times its pace.
    """

    layers: int
    heads: int
    head_dim: int
    target: str
    patch: tuple[int, ...]
    modalities: Mapping[str, ModalityShape]
    texts: tuple[str, ...] = ("text",)
    references: tuple[str, ...] = ("reference",)
    multiple: int = 256
    freq_dim: int = 256
    pool_heads: int = 8
    eps: float = 1e-6
    given_bias: float | None = None
    given_positions: Literal["own", "relative"] = "own"
    given_pooled: bool = False
    text_positions: Literal["none", "learned"] = "none"
    reference_time: Literal["clean", "shared"] = "clean"
    target_time: Literal["index", "seconds"] = "index"

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_dim

    @property
    def width(self) -> int:
        """Of the target's tokens, and of what modulates all."""
        return self.modalities[self.target].width

    @property
    def given(self) -> tuple[str, ...]:
        """The modalities of streams that are given."""
        return tuple(name for name in self.modalities if name != self.target and name not in self.texts)

    @property
    def streams(self) -> dict[str, str]:
        """The streams that the network may be given -> the modalities with their weights."""
        return dict.fromkeys((self.target, *self.references), self.target) | {name: name for name in self.given}

    @property
    def whole(self) -> tuple[str, ...]:
        """Few tokens, which every process holds where a sequence is split."""
        return *self.texts, *self.given

    @property
    def attending(self) -> dict[str, str]:
        """What attends together, in order -> the modality with its weights."""
        return dict.fromkeys((self.target, *self.references), self.target) | {name: name for name in self.whole}

    def patch_of(self, stream: str) -> tuple[int, ...]:
        """Latent steps that one token of a stream folds."""
        return self.patch if self.streams[stream] == self.target else (1,)

    def hidden(self, width: int) -> int:
        """Width of the SwiGLU of tokens this wide."""
        return self.multiple * -(-8 * width // (3 * self.multiple))

    def sizes(self, component: str) -> dict[str, Any]:
        """What determines the parameters of `component`, as plain values."""
        own: tuple[str, ...] = ("pool_heads", "text_positions") if component in self.texts else ()
        own = ("patch", "freq_dim") if component == self.target else own
        found = {key: getattr(self, key) for key in ("layers", "heads", "head_dim", "multiple", *own)}
        found |= identifying(self.modalities[component])
        if component != self.target:
            found["modulated_by"] = self.width
        if component in self.given:
            found["bias"] = self.given_bias is not None
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
