"""One transformer over a stream that is made, references of it, texts, and streams that are given (Mirage video, arXiv
2506.08279). Of video and text alone it is Mochi-1."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.models.mochi.block import Entered, Layer
from talkies.models.mochi.config import JointShape
from talkies.models.mochi.given import streams_of, texts_of
from talkies.models.mochi.modality import GivenPart, TargetPart, TextPart, valid
from talkies.models.mochi.positions import begun, pace, positions
from talkies.nn.patch import key_mask, unpatchify
from talkies.nn.precision import widened
from talkies.nn.rope import Rope, rope_of
from talkies.nn.split import UNDIVIDED, Split
from talkies.streams.batch import Condition, Recall, Stream, Text, computed
from talkies.streams.system import Setup


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What the layers take, by name: `tokens` [B, T, width] fp32, which they change; `conditions` [B, D] fp32 with SiLU
    applied; `ropes` of the tokens; and the `mask` of all keys [B, 1, 1, keys] bool (None: nothing is masked)."""

    tokens: dict[str, Tensor]
    conditions: dict[str, Tensor]
    ropes: dict[str, Rope | None]
    mask: Tensor | None


class JointDiT(nn.Module):
    """A Denoiser of the shape's target. Its children are the modalities among `components` (None: all)."""

    def __init__(self, shape: JointShape, *, components: Collection[str] | None = None) -> None:
        super().__init__()
        built = set(shape.modalities if components is None else components)
        if built - shape.modalities.keys() or shape.target not in built:
            known = ", ".join(shape.modalities)
            raise ValueError(f"the network has the components {known}, {shape.target} always; got {sorted(built)}")
        self.shape = shape
        self.split: Split = UNDIVIDED
        for name in (name for name in shape.modalities if name in built):
            self.add_module(name, _part(shape, name))

    @property
    def target(self) -> TargetPart:
        """That of the stream that is made."""
        part = self.get_submodule(self.shape.target)
        assert isinstance(part, TargetPart)
        return part

    @property
    def texts(self) -> dict[str, TextPart]:
        """Those of texts."""
        return {name: part for name, part in self.named_children() if isinstance(part, TextPart)}

    def forward(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """The velocity noise - data of the target, [B, C, *shape] fp32.

        `streams` may hold references and given streams besides. Those that the condition is `without` are left out, and
        a text that is not given, or that it is `without`, is an empty prompt. A step that is masked is no key of
        attention; a stream whose steps are all masked, for a sample, is as if absent. Raises ValueError for streams of
        other names or shapes, noise levels by latent step, what belongs to a component that was not built, and a layer
        that does not exist.
        """
        if condition.skipped - set(range(self.shape.layers)):
            raise ValueError(f"layers 0 to {self.shape.layers - 1} can be skipped, got {sorted(condition.skipped)}")
        state = self.embed(streams, condition)
        tokens, target = state.tokens, self.shape.target
        for index in range(self.shape.layers):
            if index not in condition.skipped:
                tokens = self.layer(index, tokens, state, recall=condition.recall(index))
        return {target: self.velocity(tokens[target], state.conditions[target], streams[target])}

    def layer(
        self, index: int, tokens: Mapping[str, Tensor], state: Embedded, *, recall: Recall = computed
    ) -> dict[str, Tensor]:
        """The tokens after this layer; after the last one, only the target's. `recall` may reuse the attention of an
        earlier step."""
        last = index == self.shape.layers - 1
        layers = {name: self._layer(name, index) for name in tokens}
        entered: dict[str, Entered] = {
            name: layer.enter(tokens[name], state.conditions[name], state.ropes[name]) for name, layer in layers.items()
        }
        heads = {name: found.heads for name, found in entered.items()}
        whole = [name for name in self.shape.whole if name in heads]
        found = recall(lambda: self.target.attention(heads, state.mask, whole))
        return {
            name: layer.leave(tokens[name], found[name], entered[name].gates)
            for name, layer in layers.items()
            if layer.leave is not None and (name == self.shape.target or not last)
        }

    def embed(self, streams: Mapping[str, Stream], condition: Condition) -> Embedded:
        """The inputs of the first layer."""
        built = [name for name, _ in self.named_children()]
        given = streams_of(streams, condition, self.shape, built)
        texts = texts_of(condition, given[self.shape.target].latent, self.shape, built)
        found = {name: (self._tokens(name, stream), self._keys(name, stream)) for name, stream in given.items()}
        for name, part in self.texts.items():
            if texts[name].embedding.shape[1]:
                found[name] = part.embedding(texts[name]), valid(texts[name])[:, None, None]
        found = {name: found[name] for name in self.shape.attending if name in found}
        tokens = {name: widened(self._share(name, x)) for name, (x, _) in found.items()}
        masks = [keys if self._whole(name) else self.split.mask(keys, x) for name, (x, keys) in found.items()]
        whole = sum(self._whole(name) for name in tokens)
        return Embedded(
            tokens=tokens,
            conditions=self._conditions(given, texts, tokens),
            ropes={name: self._rope(name, given, x) for name, (x, _) in found.items()},
            mask=self.split.joined(masks, [x.shape[1] for x in tokens.values()], whole),
        )

    def velocity(self, tokens: Tensor, condition: Tensor, target: Stream) -> Tensor:
        """The target's tokens after the last layer -> [B, C, *shape] fp32."""
        shape = target.grid.token_shape(self.shape.patch)
        return unpatchify(self.split.whole(self.target.final(tokens, condition), prod(shape)), shape, self.shape.patch)

    def _conditions(
        self, given: Mapping[str, Stream], texts: Mapping[str, Text], names: Collection[str]
    ) -> dict[str, Tensor]:
        """SiLU of the time's embedding, and for most streams the pooled texts'."""
        time = self.target.time(given[self.shape.target].time)
        pooled = [part.pooled(texts[name]) for name, part in self.texts.items()]
        found = {}
        for name in names:
            clean = name in self.shape.references and self.shape.reference_time == "clean"
            own = self.target.time(given[name].time) if clean else time
            if name not in self.shape.given or self.shape.given_pooled:
                own = sum(pooled, own)
            found[name] = F.silu(own)
        return found

    def _rope(self, name: str, given: Mapping[str, Stream], tokens: Tensor) -> Rope | None:
        """Rotations of this process's `tokens` (all of them are given); None for a text without positions."""
        unit = pace(given[self.shape.target].grid)
        if name in self.shape.texts:
            return self._text_rope(self.texts[name], tokens)
        stream, by = given[name], "seconds" if name in self.shape.given else self.shape.target_time
        place = begun(positions(stream.grid, self.shape.patch_of(name), unit, by, tokens.device), stream.start, unit)
        part = self.get_submodule(name) if name in self.shape.given else None
        if not isinstance(part, GivenPart):
            return rope_of(self.target.rope(self._share(name, place)), halves=False)
        angles = part.rope(place)
        if self.shape.given_positions == "relative":
            angles = angles + self.target.rope(F.pad(place, (0, len(self.shape.patch) - 1)))
        return rope_of(angles, halves=False)

    def _text_rope(self, part: TextPart, tokens: Tensor) -> Rope | None:
        if part.rope is None:
            return None
        place = torch.arange(tokens.shape[1], dtype=torch.float32, device=tokens.device)[None, :, None]
        return rope_of(part.rope(place), halves=False)

    def _whole(self, name: str) -> bool:
        return name in self.shape.whole

    def _share(self, name: str, x: Tensor) -> Tensor:
        """What this process holds of something by token, [B, T, ...]."""
        return x if self._whole(name) else self.split.tokens(x)

    def _tokens(self, name: str, stream: Stream) -> Tensor:
        part: TargetPart | GivenPart = self.get_submodule(self.shape.streams[name])  # type: ignore[assignment]
        out: Tensor = part.embedding(stream.latent)
        return out

    def _keys(self, name: str, stream: Stream) -> Tensor | None:
        return None if stream.mask is None else key_mask(stream.mask, stream.grid, self.shape.patch_of(name))

    def _layer(self, name: str, index: int) -> Layer:
        found: Layer = self.get_submodule(f"{self.shape.attending[name]}.blocks.{index}")  # type: ignore[assignment]
        return found


def _part(shape: JointShape, name: str) -> nn.Module:
    if name == shape.target:
        return TargetPart(shape)
    return TextPart(shape, name) if name in shape.texts else GivenPart(shape, name)


Inputs = Callable[[Mapping[str, Stream]], dict[str, Stream]]


class JointNetwork:
    """How talkies builds and feeds a JointDiT. `inputs_of`: what a system changes of the streams."""

    def __init__(self, inputs_of: Inputs = dict) -> None:
        self._inputs_of = inputs_of

    def build(self, setup: Setup, components: Collection[str]) -> nn.Module:
        """A JointDiT with these components."""
        return JointDiT(setup.model.shape, components=components)

    def inputs(self, setup: Setup, streams: Mapping[str, Stream]) -> dict[str, Stream]:
        """The target and what is given with it; others, such as a sound that is only heard, are no input."""
        known = setup.model.shape.streams
        return self._inputs_of({name: stream for name, stream in streams.items() if name in known})

    def units(self, model: nn.Module) -> Iterator[nn.Module]:
        """What every layer does before and after the attention, by component."""
        for layer in (module for module in model.modules() if isinstance(module, Layer)):
            yield from layer.children()
