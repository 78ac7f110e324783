"""Mirage video: one transformer over video, text, sound and reference (arXiv 2506.08279)."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.models.mirage.block import Entered, Layer
from talkies.models.mirage.config import COMPONENTS, MirageShape
from talkies.models.mirage.given import MODALITY, STREAMS, patch_of, streams_of, text_of
from talkies.models.mirage.modality import SoundPart, TextPart, VideoPart, valid
from talkies.models.mirage.positions import begun, pace, positions
from talkies.nn.patch import key_mask, unpatchify
from talkies.nn.precision import widened
from talkies.nn.rope import Rope, rope_of
from talkies.nn.split import UNDIVIDED, Split
from talkies.streams.batch import Condition, Recall, Stream, Text, computed
from talkies.streams.system import Setup

WHOLE = ("text", "sound")
"""Few tokens, which every process holds where a sequence is split."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What the layers take, by name: `tokens` [B, T, width] fp32, which they change; `conditions` [B, D] fp32 with SiLU
    applied; `ropes` of the tokens; and the `mask` of all keys [B, 1, 1, keys] bool (None: nothing is masked)."""

    tokens: dict[str, Tensor]
    conditions: dict[str, Tensor]
    ropes: dict[str, Rope | None]
    mask: Tensor | None


class JointDiT(nn.Module):
    """A Denoiser of `video`. Parts missing from `components` are None and have no parameters; of video and text alone
    it is Mochi-1."""

    text: TextPart | None
    sound: SoundPart | None

    def __init__(self, shape: MirageShape, *, components: frozenset[str] = frozenset(COMPONENTS)) -> None:
        super().__init__()
        if components - set(COMPONENTS) or "video" not in components:
            raise ValueError(
                f"Mirage has the components {', '.join(COMPONENTS)}, video always; got {sorted(components)}"
            )
        self.shape = shape
        self.split: Split = UNDIVIDED
        self.video = VideoPart(shape)
        self.text = TextPart(shape) if "text" in components else None
        self.sound = SoundPart(shape) if "sound" in components else None

    def forward(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """The velocity noise - data of `video`, [B, C, *shape] fp32.

        `streams` may hold sound and reference besides. Those that the condition is `without` are left out, and a text
        that is not given, or that it is `without`, is an empty prompt. A step that is masked is no key of attention;
        a stream whose steps are all masked, for a sample, is as if absent. Raises ValueError for streams of other names
        or shapes, noise levels by latent step, what belongs to a component that was not built, and a layer that does
        not exist.
        """
        if condition.skipped - set(range(self.shape.layers)):
            raise ValueError(f"layers 0 to {self.shape.layers - 1} can be skipped, got {sorted(condition.skipped)}")
        state = self.embed(streams, condition)
        tokens = state.tokens
        for index in range(self.shape.layers):
            if index not in condition.skipped:
                tokens = self.layer(index, tokens, state, recall=condition.recall(index))
        return {"video": self.velocity(tokens["video"], state.conditions["video"], streams["video"])}

    def layer(
        self, index: int, tokens: Mapping[str, Tensor], state: Embedded, *, recall: Recall = computed
    ) -> dict[str, Tensor]:
        """The tokens after this layer; after the last one, only the video's. `recall` may reuse the attention of an
        earlier step."""
        last = index == self.shape.layers - 1
        layers = {name: self._layer(name, index) for name in tokens}
        entered: dict[str, Entered] = {
            name: layer.enter(tokens[name], state.conditions[name], state.ropes[name]) for name, layer in layers.items()
        }
        heads = {name: found.heads for name, found in entered.items()}
        whole = [name for name in WHOLE if name in heads]
        found = recall(lambda: self.video.attention(heads, state.mask, whole))
        return {
            name: layer.leave(tokens[name], found[name], entered[name].gates)
            for name, layer in layers.items()
            if layer.leave is not None and (name == "video" or not last)
        }

    def embed(self, streams: Mapping[str, Stream], condition: Condition) -> Embedded:
        """The inputs of the first layer."""
        built = [name for name, _ in self.named_children()]
        given = streams_of(streams, condition, self.shape, built)
        text = text_of(condition, given["video"].latent, self.shape, built)
        found = {name: (self._tokens(name, stream), self._keys(name, stream)) for name, stream in given.items()}
        if self.text is not None and text is not None and text.embedding.shape[1]:
            found["text"] = self.text.embedding(text), valid(text)[:, None, None]
        found = {name: found[name] for name in MODALITY if name in found}
        tokens = {name: widened(self._share(name, x)) for name, (x, _) in found.items()}
        masks = [keys if name in WHOLE else self.split.mask(keys, x) for name, (x, keys) in found.items()]
        whole = sum(name in WHOLE for name in tokens)
        return Embedded(
            tokens=tokens,
            conditions=self._conditions(given, text, tokens),
            ropes={name: self._rope(name, given, x) for name, (x, _) in found.items()},
            mask=self.split.joined(masks, [x.shape[1] for x in tokens.values()], whole),
        )

    def velocity(self, tokens: Tensor, condition: Tensor, video: Stream) -> Tensor:
        """The video's tokens after the last layer -> [B, C, *shape] fp32."""
        shape = video.grid.token_shape(self.shape.patch)
        return unpatchify(self.split.whole(self.video.final(tokens, condition), prod(shape)), shape, self.shape.patch)

    def _conditions(self, given: Mapping[str, Stream], text: Text | None, names: Collection[str]) -> dict[str, Tensor]:
        """SiLU of the time's embedding, and for most streams the pooled text's."""
        time = self.video.time(given["video"].time)
        pooled = None if text is None or self.text is None else self.text.pooled(text)
        found = {}
        for name in names:
            clean = name == "reference" and self.shape.reference_time == "clean"
            own = self.video.time(given[name].time) if clean else time
            if pooled is not None and (name != "sound" or self.shape.text_time == "all"):
                own = own + pooled
            found[name] = F.silu(own)
        return found

    def _rope(self, name: str, given: Mapping[str, Stream], tokens: Tensor) -> Rope | None:
        """Rotations of this process's `tokens` (all of them are given); None for a text without positions."""
        unit = pace(given["video"].grid)
        if name == "text":
            if self.text is None or self.text.rope is None:
                return None
            place = torch.arange(tokens.shape[1], dtype=torch.float32, device=tokens.device)[None, :, None]
            return rope_of(self.text.rope(place), halves=False)
        stream, by = given[name], "seconds" if name == "sound" else self.shape.video_time
        place = begun(positions(stream.grid, patch_of(name, self.shape), unit, by, tokens.device), stream.start, unit)
        if self.sound is None or name != "sound":
            return rope_of(self.video.rope(self._share(name, place)), halves=False)
        angles = self.sound.rope(place)
        if self.shape.sound_positions == "relative":
            angles = angles + self.video.rope(F.pad(place, (0, 2)))
        return rope_of(angles, halves=False)

    def _share(self, name: str, x: Tensor) -> Tensor:
        """What this process holds of something by token, [B, T, ...]."""
        return x if name in WHOLE else self.split.tokens(x)

    def _tokens(self, name: str, stream: Stream) -> Tensor:
        part = self.sound if name == "sound" else self.video
        assert part is not None, "checked"
        out: Tensor = part.embedding(stream.latent)
        return out

    def _keys(self, name: str, stream: Stream) -> Tensor | None:
        return None if stream.mask is None else key_mask(stream.mask, stream.grid, patch_of(name, self.shape))

    def _layer(self, name: str, index: int) -> Layer:
        found: Layer = self.get_submodule(f"{MODALITY[name]}.blocks.{index}")  # type: ignore[assignment]
        return found


class MirageNetwork:
    """How talkies builds and feeds a JointDiT."""

    def build(self, setup: Setup, components: Collection[str]) -> nn.Module:
        """A JointDiT with these components."""
        return JointDiT(setup.model.shape, components=frozenset(components))

    def inputs(self, setup: Setup, streams: Mapping[str, Stream]) -> dict[str, Stream]:
        """The video and what is given with it; others, such as the sound itself, are no input."""
        del setup
        return {name: stream for name, stream in streams.items() if name in STREAMS}

    def units(self, model: nn.Module) -> Iterator[nn.Module]:
        """What every layer does before and after the attention, by component."""
        for layer in (module for module in model.modules() if isinstance(module, Layer)):
            yield from layer.children()
