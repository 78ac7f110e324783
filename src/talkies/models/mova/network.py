"""MOVA: two video experts, an audio tower and the Bridge (arXiv 2602.08794; docs/mova.md)."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from torch import Tensor, nn

from talkies.config.quoting import shown
from talkies.models.mova.bridge import Bridge
from talkies.models.mova.config import COMPONENTS, EXPERTS, MovaShape
from talkies.models.mova.image import image_condition
from talkies.models.wan.tower import Tower
from talkies.streams.batch import Condition, Stream
from talkies.streams.system import Setup


class Mova(nn.Module):
    """A Denoiser. Parts missing from `components` are None and have no parameters."""

    video_high: Tower | None
    video_low: Tower | None
    audio: Tower | None
    bridge: Bridge | None

    def __init__(self, shape: MovaShape, *, components: frozenset[str]) -> None:
        super().__init__()
        unknown = components - set(COMPONENTS)
        if unknown or not components:
            raise ValueError(f"MOVA has the components {', '.join(COMPONENTS)}; got {sorted(components)}")
        self.video_high, self.video_low = (Tower(shape.video) if name in components else None for name in EXPERTS)
        self.audio = Tower(shape.audio) if "audio" in components else None
        self.bridge = Bridge(shape) if "bridge" in components else None

    def forward(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """Predictions [B, C, *shape] fp32 of the given streams; the others are not computed.

        The Bridge applies if both are given, it was built, and the condition is not `without` it; of a layer that is
        skipped, neither it nor the blocks do. Raises ValueError for a stream whose tower (for video: the expert that is
        not inactive) was not built.
        """
        towers = {name: self.tower(name, condition.inactive) for name in streams}
        text = condition.texts["text"]
        states = {name: tower.embed(streams[name], text.embedding, text.cache) for name, tower in towers.items()}
        tokens, masks = {name: s.tokens for name, s in states.items()}, {name: s.mask for name, s in states.items()}
        bridge = self.bridge if "bridge" not in condition.without and len(streams) == 2 else None
        if bridge is not None:
            grids = {name: stream.grid for name, stream in streams.items()}
            ropes = bridge.ropes(grids, next(iter(tokens.values())).device)
        for layer in range(max(len(tower.blocks) for tower in towers.values())):
            if layer in condition.skipped:
                continue
            if bridge is not None and layer < len(bridge):
                tokens = bridge(layer, tokens, ropes, masks)
            for name, tower in towers.items():
                if layer < len(tower.blocks):
                    s, block = states[name], tower.blocks[layer]
                    known = {"recall": condition.recall(name, layer), "of_text": text.cache}
                    tokens[name] = block(tokens[name], s.text, s.modulation, s.rope, s.mask, **known)
        return {name: tower.velocity(tokens[name], states[name]) for name, tower in towers.items()}

    def tower(self, stream: str, inactive: frozenset[str]) -> Tower:
        """The tower that denoises `stream`: of the video experts the first that is not inactive."""
        name = next(expert for expert in EXPERTS if expert not in inactive) if stream == "video" else stream
        tower: Tower | None = getattr(self, name)
        if tower is None:
            raise ValueError(
                f"a {stream} stream needs the component {shown(name)}, but this model was built without it"
            )
        return tower


class MovaNetwork:
    """How talkies builds and feeds a Mova."""

    def build(self, setup: Setup, components: Collection[str]) -> nn.Module:
        """A Mova with these components."""
        return Mova(setup.model.shape, components=frozenset(components))

    def inputs(self, setup: Setup, streams: Mapping[str, Stream]) -> dict[str, Stream]:
        """Video and audio; the first-frame condition (mask channels, then the image latent; docs/mova.md: First frame)
        goes to the video's channels."""
        found = {name: stream for name, stream in streams.items() if name != "image"}
        if "video" in found:
            # One mask channel per pixel frame that folds into a latent frame, as in the released code.
            condition = image_condition(streams["image"].latent, setup.codecs["video"].stride)
            found["video"] = replace(found["video"], condition=condition)
        return found

    def units(self, model: nn.Module) -> Iterator[nn.Module]:
        """Every block of the towers and every conditioner of the Bridge."""
        for module in model.modules():
            if isinstance(module, nn.ModuleList):
                yield from module
