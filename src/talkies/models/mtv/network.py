"""MTV: a backbone that makes a video, steered by tracks of its sound (arXiv 2506.08003; docs/mtv.md)."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from torch import Tensor, nn

from talkies.config.quoting import listed
from talkies.models.mtv.backbones import Backbone, backbone_of, children_of
from talkies.models.mtv.config import ENCODED, MtvShape
from talkies.models.mtv.control import Control
from talkies.models.mtv.encoder import interval_of
from talkies.models.mtv.injection import Injection, Places
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream
from talkies.streams.system import Setup


class Mtv(nn.Module):
    """A Denoiser of `video`. Without the component `control` it is the backbone."""

    control: Control | None

    def __init__(self, shape: MtvShape, *, components: Collection[str]) -> None:
        super().__init__()
        self.shape = shape
        for name, child in children_of(shape.backbone).items():
            self.add_module(name, child)
        self.control = _control(shape) if "control" in components else None

    @property
    def backbone(self) -> Backbone:
        """The components besides the control, at work."""
        return backbone_of(self)

    def forward(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """The prediction [B, C, *shape] fp32 for the video. Tracks that are not given, or that the condition is
        `without`, count as features of 0. ValueError for other streams, for tracks of a model without control, and for
        a layer that does not exist."""
        tracks = self._tracks(streams, condition)
        if condition.skipped - set(range(self.shape.layers)):
            raise ValueError(f"layers 0 to {self.shape.layers - 1} can be skipped, got {sorted(condition.skipped)}")
        backbone, video, text = self.backbone, streams["video"], condition.texts["text"]
        state = backbone.embed(video, text)
        if self.control is not None:
            tokens = self.control(tracks, video.grid, backbone.level(state))
            places = self._places(backbone, video.grid, state.tokens)
        for index in range(self.shape.layers):
            if index in condition.skipped:
                continue
            state = backbone.attended(index, state, text, condition.recall(index))
            if self.control is not None:
                state = replace(state, tokens=self.control.injections[index](state.tokens, tokens, places))
            state = backbone.fed(index, state)
        return {"video": backbone.predicted(state)}

    def _tracks(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Stream]:
        tracks = {name: s for name, s in streams.items() if name != "video" and name not in condition.without}
        known = self.shape.control.tracks if self.control is not None else ()
        if "video" not in streams or tracks.keys() - set(known):
            raise ValueError(
                f"the network takes video, and besides only {listed(known) or 'nothing'}; got {listed(sorted(streams))}"
            )
        return tracks

    def _places(self, backbone: Backbone, video: Grid, tokens: Tensor) -> Places:
        steps, *space = video.token_shape(self.shape.backbone.patch)
        count = space[0] * space[1]
        return Places(
            interval=interval_of(steps, self.shape.control.intervals),
            space=count,
            first=backbone.split.first(steps * count),
            rope=backbone.frame_rope(video, tokens.device),
        )


def _control(shape: MtvShape) -> Control:
    backbone = shape.backbone
    return Control(
        shape.control, dim=backbone.dim, heads=backbone.heads, layers=backbone.layers, time_dim=shape.time_dim
    )


class MtvNetwork:
    """How talkies builds and feeds an Mtv."""

    def build(self, setup: Setup, components: Collection[str]) -> nn.Module:
        """An Mtv with these components."""
        return Mtv(setup.model.shape, components=components)

    def inputs(self, setup: Setup, streams: Mapping[str, Stream]) -> dict[str, Stream]:
        """The video and its tracks; the sound as a whole is only heard."""
        del setup
        return {name: stream for name, stream in streams.items() if name == "video" or name in ENCODED}

    def units(self, model: nn.Module) -> Iterator[nn.Module]:
        """The parts of the backbone's layers, and those of the control."""
        assert isinstance(model, Mtv)
        yield from model.backbone.units()
        if model.control is not None:
            yield from model.control.units()

    def heard(self, model: nn.Module) -> dict[str, list[nn.Module]]:
        """The tracks with an attention of their own; the pooled music has none."""
        assert isinstance(model, Mtv)
        found: dict[str, list[nn.Module]] = {}
        for injection in [] if model.control is None else model.control.injections:
            assert isinstance(injection, Injection)
            for name, module in injection.added.items():
                if name in ENCODED:
                    found.setdefault(name, []).append(module)
        return found
