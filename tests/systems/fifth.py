"""A system that no package of talkies knows: the sound of a talking face from its caption, by a small network."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from talkies.config import RecipeError, config
from talkies.nn.attention import Attention
from talkies.nn.embedding import sinusoid
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream
from talkies.streams.captions import WHOLE, Captions
from talkies.streams.layout import Layout
from talkies.streams.system import Component, Parts, Rung, Setup, Stored


@config
class FifthModel:
    kind: Literal["fifth"] = "fifth"
    preset: Literal["tiny"] = "tiny"
    width: int = 16


@config
class FifthPhase:
    kind: Literal["speaking"] = "speaking"
    text_dropout: float = 0.1


class Block(nn.Module):
    """Attention over the steps, then over the words."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.steps, self.words = (Attention(width, 2, eps=1e-6, over_text=text) for text in (False, True))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        x = x + self.steps(x)
        return x + self.words(x, words)


class Voice(nn.Module):
    def __init__(self, width: int, channels: int, text_dim: int) -> None:
        super().__init__()
        self.begin, self.words, self.time = nn.Linear(channels, width), nn.Linear(text_dim, width), nn.Linear(8, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.end = nn.Linear(width, channels)

    def forward(self, sound: Stream, text: Tensor) -> Tensor:
        x = self.begin(sound.latent.transpose(1, 2)) + self.time(sinusoid(1000 * sound.time, 8).float())[:, None]
        for block in self.blocks:
            x = block(x, self.words(text))
        return self.end(x).transpose(1, 2).float()


class Network(nn.Module):
    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self.voice = voice

    def forward(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        return {"audio": self.voice(streams["audio"], condition.texts["text"].embedding)}


class FifthNetwork:
    def build(self, setup: Setup, components: Collection[str]) -> nn.Module:
        assert set(components) == {"voice"}
        return Network(Voice(setup.model.width, setup.codecs["audio"].channels, setup.codecs["text"].dim))

    def inputs(self, setup: Setup, streams: Mapping[str, Stream]) -> dict[str, Stream]:
        return dict(streams)

    def units(self, model: nn.Module) -> Iterator[nn.Module]:
        yield from model.get_submodule("voice.blocks").children()


class FifthSystem:
    model: Any = FifthModel
    phases: Any = FifthPhase
    codecs: Mapping[str, str] = {"audio": "audio", "text": "text"}
    slots: Mapping[str, tuple[str, ...]] = {}
    scales: Mapping[str, str] = {"text": "the caption"}
    options: Mapping[str, str] = {}
    captions: Captions = WHOLE
    layouts: Mapping[str, Layout] = {}
    voices = False
    kind = "fifth"

    def network(self) -> FifthNetwork:
        return FifthNetwork()

    def components(self, setup: Setup) -> dict[str, Component]:
        width, reads = setup.model.width, ("audio", "text")
        return {"voice": Component(section="voice", shape={"width": width}, reads=reads, rate="all", width=width)}

    def parts(self, setup: Setup) -> Parts:
        texts, dropout = frozenset({"text"}), {"text": setup.phase.text_dropout}
        return Parts(components=frozenset({"voice"}), targets={"audio": 1.0}, texts=texts, dropout=dropout)

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        return {"audio": Stored(codec="audio")}

    def texts(self, codecs: Mapping[str, Any]) -> dict[str, str]:
        return {"text": "text"}

    def check(self, setup: Setup, scales: Mapping[str, Any]) -> None:
        if setup.model.width % 2:
            raise RecipeError(f"recipe: `model.width` is {setup.model.width}; it must be even")

    def tokens(self, setup: Setup, grids: Mapping[str, Grid]) -> dict[str, int]:
        return {"audio": grids["audio"].shape[0]}

    def ladder(self, setup: Setup) -> tuple[Rung, ...]:
        return Rung(without=frozenset({"text"})), Rung(without=frozenset(), scale="text")


FIFTH = FifthSystem()
