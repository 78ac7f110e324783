"""Mirage video: one transformer over video, text, sound and reference (arXiv 2506.08279)."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkies.config.quoting import listed, shown
from talkies.models.mirage.block import MODALITY, JointBlock
from talkies.models.mirage.config import COMPONENTS, MirageShape
from talkies.models.mirage.ends import SoundEnds, TextEnds, VideoEnds
from talkies.models.mirage.positions import begun, pace, positions
from talkies.nn.patch import key_mask, unpatchify
from talkies.nn.precision import widened
from talkies.nn.rope import Rope, rope_of
from talkies.nn.split import UNDIVIDED, Split
from talkies.streams.batch import Condition, Stream, Text
from talkies.streams.system import Setup

STREAMS = ("video", "sound", "reference")


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What the blocks take, by stream: `tokens` [B, T, width] fp32, which they change; `conditions` [B, D] fp32 with
    SiLU applied; `ropes` of the tokens; and the `mask` of all keys [B, 1, 1, keys] bool (None: nothing is masked)."""

    tokens: dict[str, Tensor]
    conditions: dict[str, Tensor]
    ropes: dict[str, Rope | None]
    mask: Tensor | None


class JointDiT(nn.Module):
    """A Denoiser of `video`. Parts missing from `components` are None and have no parameters."""

    text: TextEnds | None
    sound: SoundEnds | None

    def __init__(self, shape: MirageShape, *, components: frozenset[str] = frozenset(COMPONENTS)) -> None:
        super().__init__()
        if components - set(COMPONENTS) or "video" not in components:
            raise ValueError(
                f"Mirage has the components {', '.join(COMPONENTS)}, video always; got {sorted(components)}"
            )
        self.shape = shape
        self.split: Split = UNDIVIDED
        self.video = VideoEnds(shape)
        self.text = TextEnds(shape) if "text" in components else None
        self.sound = SoundEnds(shape) if "sound" in components else None
        modalities = [name for name in COMPONENTS if name in components]
        self.blocks = nn.ModuleList(
            JointBlock(shape, modalities, last=index == shape.layers - 1) for index in range(shape.layers)
        )

    def forward(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """The velocity noise - data of `video`, [B, C, *shape] fp32.

        `streams` may hold sound and reference besides. Those that the condition is `without` are left out, and a text
        that is not given, or that it is `without`, is an empty prompt. A step that is masked is no key of attention;
        a stream whose steps are all masked, for a sample, is as if absent. Raises ValueError for streams of other names
        or shapes, noise levels by latent step, a stream whose component was not built, and a block that does not exist.
        """
        if condition.skipped - set(range(self.shape.layers)):
            raise ValueError(f"blocks 0 to {self.shape.layers - 1} can be skipped, got {sorted(condition.skipped)}")
        state = self.embed(streams, condition)
        tokens = state.tokens
        for index, block in enumerate(self.blocks):
            if index not in condition.skipped:
                tokens = block(tokens, state.conditions, state.ropes, state.mask, recall=condition.recall(index))
        return {"video": self.velocity(tokens["video"], state.conditions["video"], streams["video"])}

    def embed(self, streams: Mapping[str, Stream], condition: Condition) -> Embedded:
        """The inputs of the first block."""
        given = {name: stream for name, stream in streams.items() if name not in condition.without}
        self._check(given)
        text = None if self.text is None else self._text(condition, given["video"])
        whole = {name: widened(self._ends(name).embedding(stream.latent)) for name, stream in given.items()}
        keys = {name: self._keys(name, stream) for name, stream in given.items()}
        if self.text is not None and text is not None and text.embedding.shape[1]:
            whole["text"], keys["text"] = widened(self.text.embedding(text.embedding)), _valid(text)[:, None, None]
        tokens = {name: self.split.tokens(x) for name, x in whole.items()}
        masks = [self.split.mask(keys[name], x) for name, x in whole.items()]
        return Embedded(
            tokens=tokens,
            conditions=self._conditions(given, text, tokens),
            ropes={name: self._rope(name, given, x) for name, x in whole.items()},
            mask=self.split.joined(masks, [x.shape[1] for x in tokens.values()]),
        )

    def velocity(self, tokens: Tensor, condition: Tensor, video: Stream) -> Tensor:
        """The video's tokens after the last block -> [B, C, *shape] fp32."""
        shape = video.grid.token_shape(self.shape.patch)
        return unpatchify(self.split.whole(self.video.final(tokens, condition), prod(shape)), shape, self.shape.patch)

    def _conditions(self, given: Mapping[str, Stream], text: Text | None, names: Collection[str]) -> dict[str, Tensor]:
        """SiLU of the time's embedding, and for most streams the pooled text's."""
        time = self.video.time(given["video"].time)
        pooled = None if text is None or self.text is None else self.text.pool(text.embedding, _valid(text))
        found = {}
        for name in names:
            clean = name == "reference" and self.shape.reference_time == "clean"
            own = self.video.time(given[name].time) if clean else time
            joint = pooled is not None and (name != "sound" or self.shape.text_time == "all")
            found[name] = F.silu(own + pooled if joint else own)
        return found

    def _rope(self, name: str, given: Mapping[str, Stream], whole: Tensor) -> Rope | None:
        """Rotations of this process's tokens of a stream; None for a text without positions."""
        unit = pace(given["video"].grid)
        if name == "text":
            if self.text is None or self.text.rope is None:
                return None
            place = torch.arange(whole.shape[1], dtype=torch.float32, device=whole.device)[None, :, None]
            return rope_of(self.text.rope(self.split.tokens(place)), halves=False)
        stream, by = given[name], "seconds" if name == "sound" else self.shape.video_time
        place = begun(positions(stream.grid, self._patch(name), unit, by, whole.device), stream.start, unit)
        place = self.split.tokens(place)
        if self.sound is None or name != "sound":
            return rope_of(self.video.rope(place), halves=False)
        angles = self.sound.rope(place)
        if self.shape.sound_positions == "relative":
            angles = angles + self.video.rope(F.pad(place, (0, 2)))
        return rope_of(angles, halves=False)

    def _text(self, condition: Condition, video: Stream) -> Text:
        text = condition.texts.get("text")
        batch, width = video.latent.shape[0], self.shape.text.channels
        if text is None or "text" in condition.without:
            return Text(embedding=video.latent.new_zeros(batch, 0, width), length=video.latent.new_zeros(batch).long())
        if text.embedding.shape[::2] != (batch, width) or text.length.shape != (batch,):
            raise ValueError(
                f"{batch} latents need a text [{batch}, L, {width}] with a length each, but got "
                f"{tuple(text.embedding.shape)} and lengths {tuple(text.length.shape)}"
            )
        return text

    def _keys(self, name: str, stream: Stream) -> Tensor | None:
        return None if stream.mask is None else key_mask(stream.mask, stream.grid, self._patch(name))

    def _patch(self, name: str) -> tuple[int, ...]:
        return (1,) if name == "sound" else self.shape.patch

    def _ends(self, name: str) -> VideoEnds | SoundEnds:
        found = self.sound if name == "sound" else self.video
        if found is None:
            raise ValueError(f"a {name} stream needs the component {shown(name)}, but this model was built without it")
        return found

    def _check(self, given: Mapping[str, Stream]) -> None:
        if "video" not in given or given.keys() - set(STREAMS):
            raise ValueError(f"Mirage takes video, and besides sound and reference; got {listed(sorted(given))}")
        batch = given["video"].latent.shape[0]
        for name, stream in given.items():
            needed = (batch, self.shape.modality(MODALITY[name]).channels, *stream.grid.shape)
            if tuple(stream.latent.shape) != needed:
                raise ValueError(
                    f"{name}: the network takes latents with the grid's shape, {needed}, but got "
                    f"{tuple(stream.latent.shape)}: the codec belongs to another model"
                )
            if stream.time.shape != (batch,):
                raise ValueError(
                    f"{name}: {batch} latents need one noise level each, but got levels {tuple(stream.time.shape)}"
                )


def _valid(text: Text) -> Tensor:
    """[B, L] bool: False past a text's length."""
    return torch.arange(text.embedding.shape[1], device=text.length.device) < text.length[:, None]


def counted(model: nn.Module) -> dict[str, int]:
    """Parameters by component; video and text together are Mochi's."""
    found = dict.fromkeys(COMPONENTS, 0)
    for name, parameter in model.named_parameters():
        component = next(part for part in name.split(".") if part in found)
        found[component] += parameter.numel()
    return found


class MirageNetwork:
    """How the house builds and feeds a JointDiT."""

    def build(self, setup: Setup, components: Collection[str]) -> nn.Module:
        """A JointDiT with these components."""
        return JointDiT(setup.model.shape, components=frozenset(components))

    def inputs(self, setup: Setup, streams: Mapping[str, Stream]) -> dict[str, Stream]:
        """The video and what is given with it; others, such as the sound itself, are no input."""
        del setup
        return {name: stream for name, stream in streams.items() if name in STREAMS}

    def units(self, model: nn.Module) -> Iterator[nn.Module]:
        """Every block."""
        yield from (module for module in model.modules() if isinstance(module, JointBlock))
