"""MOVA: two video experts, an audio tower and the Bridge (arXiv 2602.08794; docs/mova.md)."""

from collections.abc import Mapping

from torch import Tensor, nn

from talkies.config.quoting import shown
from talkies.models.bridge import Bridge
from talkies.models.config import COMPONENTS, MovaShape
from talkies.models.tower import Tower
from talkies.streams import Modality
from talkies.streams.batch import Condition, Stream

EXPERTS = ("video_high", "video_low")


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

    def forward(self, streams: Mapping[Modality, Stream], condition: Condition) -> dict[Modality, Tensor]:
        """Velocities [B, C, *shape] fp32 of the given streams; the others are not computed.

        The Bridge applies if both are given, it was built, and `condition.coupled` is set. Raises ValueError for a
        stream whose tower (for video: the condition's expert) was not built.
        """
        towers = {m: self.tower(m, condition.expert) for m in streams}
        states = {m: tower.embed(streams[m], condition.text.embedding) for m, tower in towers.items()}
        tokens, masks = {m: s.tokens for m, s in states.items()}, {m: s.mask for m, s in states.items()}
        bridge = self.bridge if condition.coupled and len(streams) == 2 else None
        if bridge is not None:
            grids = {m: stream.grid for m, stream in streams.items()}
            ropes = bridge.ropes(grids, next(iter(tokens.values())).device)
        for layer in range(max(len(tower.blocks) for tower in towers.values())):
            if bridge is not None and layer < len(bridge):
                tokens = bridge(layer, tokens, ropes, masks)
            for m, tower in towers.items():
                if layer < len(tower.blocks):
                    s = states[m]
                    tokens[m] = tower.blocks[layer](tokens[m], s.text, s.modulation, s.rope, s.mask)
        return {m: tower.velocity(tokens[m], states[m]) for m, tower in towers.items()}

    def tower(self, modality: Modality, expert: int) -> Tower:
        """The tower that denoises `modality`; `expert` (0 or 1) selects the video tower."""
        name = EXPERTS[expert] if modality == "video" else modality
        tower: Tower | None = getattr(self, name)
        if tower is None:
            raise ValueError(
                f"a {modality} stream needs the component {shown(name)}, but this model was built without it"
            )
        return tower
