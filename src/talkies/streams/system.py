"""What talkies asks of a system: its parts, its streams, its guidance and its network. A system is a folder below
`models` with one object of this protocol; it is pure description, and importing it imports no torch.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from talkies.streams.captions import Captions
from talkies.streams.grid import Grid
from talkies.streams.layout import Layout

if TYPE_CHECKING:
    from torch import nn

    from talkies.streams.batch import Stream


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A stream that shards store: what `codec` makes of a clip. `of`: the whole clip; its first frame followed by
    mid-grey ones; one frame of its file from outside of the clip, repeated to 1 + stride frames, and its time; or a
    passage of its file's sound from outside of the clip, at most as long as the clip, and its time. `track`: the part
    of the clip's sound that is encoded, as a demixer (a codec of `tracks`) names it; None: all of it."""

    codec: str
    of: Literal["clip", "first frame", "reference", "passage"] = "clip"
    track: str | None = None

    def __post_init__(self) -> None:
        assert self.track is None or self.of == "clip", "tracks are parts of a clip's own sound"


@dataclass(frozen=True, kw_only=True)
class Degraded:
    """A share of the samples whose condition is encoded anew, of the sound `source` that is degraded: a stored stream
    with the samples of the same stretch. `by`: the recipe's section that says how (flow/degradation_config.py)."""

    source: str
    share: float
    by: Any


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What an optimizer step leaves out: the parameter groups that are `inactive`, and the noise levels outside of
    `levels` [low, high) by stream. No step draws pure noise, 1; it belongs to the range that ends there."""

    inactive: frozenset[str] = frozenset()
    levels: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def trains(self, levels: Mapping[str, float]) -> bool:
        """Whether these noise levels by stream are within its own."""
        return all(
            name in levels and low <= levels[name] and (levels[name] < high or high >= 1)
            for name, (low, high) in self.levels.items()
        )


@dataclass(frozen=True, kw_only=True)
class Task:
    """A share of the samples whose `given` streams are clean and have no loss. `turns`: the turns of the optimizer
    steps that can train it (None: all)."""

    share: float
    given: frozenset[str] = frozenset()
    turns: frozenset[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A phase of a system.

    `components`: what it builds, of which the `frozen` ones keep the weights of their parents; `targets`: the loss
    weight of each stream that it trains; `conditions`: the streams that it reads besides; `texts`: the texts that it
    reads; `beside`: stored streams that it does not read, with which what it makes is heard and measured; `whole`:
    short streams that every process has whole where a sequence is split; `dropout` of conditions and texts, by name
    (`all`: together), or of the `groups` of them that are dropped together; `degraded`: the conditions that are
    degraded for some samples; `cycle`: what the optimizer steps train, in turn; `tasks` by name (none: nothing is
    given); `known`: by trained stream, how often which of its latent steps are clean (flow/known_config.py), so that
    what is made may have clean beginnings of it; `blocks`: how many the network has that heed `Condition.skipped` and
    `Condition.cache`.
    """

    components: frozenset[str]
    targets: Mapping[str, float]
    conditions: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    beside: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    dropout: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    degraded: Mapping[str, Degraded] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    cycle: tuple[Turn, ...] = (Turn(),)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    blocks: int = 0

    def inactive(self, levels: Mapping[str, float]) -> frozenset[str]:
        """The parameter groups that take no part in an evaluation at these noise levels by stream: those of the turn
        that trains them. None without a level that decides it."""
        return next((turn.inactive for turn in self.cycle if turn.trains(levels)), frozenset())

    @property
    def streams(self) -> tuple[str, ...]:
        """Every stream that it reads, those that it trains first."""
        return (*self.targets, *sorted(self.conditions))

    @property
    def read(self) -> tuple[str, ...]:
        """Every stream that is read of training clips: also the sounds that are degraded, which no network sees."""
        sources = {one.source for one in self.degraded.values()}
        return (*self.streams, *sorted(sources - {*self.streams}))

    @property
    def held_out(self) -> tuple[str, ...]:
        """Every stream that is read of held-out clips."""
        return (*self.read, *sorted(self.beside - {*self.read}))


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of a network that is built, trained, stored and inherited on its own.

    `section`: where a release records `shape`, the sizes that determine its parameters (components of one section have
    equal sizes); `reads`: the codecs whose latents or features it learns; `rate`: its key in `optimizer.lr`; `group`:
    the parameter group by which it may be inactive (None: it never is); `undecayed`: ends of the names of matrices
    without weight decay; `optional`: a parent may lack it; `width`: that of its widest layers; `sized_by`: the key of
    `model` that decides its sizes where it is given (None: only the preset does).
    """

    section: str
    shape: Mapping[str, Any]
    reads: tuple[str, ...]
    rate: str
    width: int
    group: str | None = None
    undecayed: tuple[str, ...] = ()
    optional: bool = False
    sized_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One evaluation of guidance: the conditions that it does `without`, and the condition whose scale multiplies its
    difference from the rung below (None for the first)."""

    without: frozenset[str]
    scale: str | None = None


def sizes_key(model: Any, own: str | None = None) -> str:
    """The key of the section `model` that decides how large it is, as messages name it: `own` where it is given
    (Component.sized_by), else the preset, with its value."""
    if own is not None and getattr(model, own) is not None:
        return f"`model.{own}`"
    return "`model.sizes`" if model.preset is None else f"`model.preset` {model.preset}"


class Setup(Protocol):
    """What a system sees of a phase recipe."""

    @property
    def model(self) -> Any:
        """The section `model`, of the class that the system names."""

    @property
    def phase(self) -> Any:
        """The section `phase`, of one of the classes that the system names."""

    @property
    def codecs(self) -> Mapping[str, Any]:
        """The codecs' sections by name."""


class Network(Protocol):
    """The part of a system that needs torch."""

    def build(self, setup: Setup, components: Collection[str]) -> "nn.Module":
        """A Denoiser with these components as its children, on the current default device."""

    def inputs(self, setup: Setup, streams: "Mapping[str, Stream]") -> "dict[str, Stream]":
        """The streams as the network takes them, from those of a batch or a request."""

    def units(self, model: "nn.Module") -> "Iterator[nn.Module]":
        """The modules that are sharded, recomputed and compiled as one, in order."""


@runtime_checkable
class Hears(Protocol):
    """A Network whose models add what they hear of tracks to the tokens of a video, in several layers."""

    def heard(self, model: "nn.Module") -> "Mapping[str, Sequence[nn.Module]]":
        """Stream of a track -> the modules that give what it adds, as [B T, S, d]: to the S tokens, row by row, of each
        of T latent steps, sample by sample. Without the tracks that have no such modules of their own."""


class System(Protocol):
    """A kind of model. Names: `model`, the class of that section of a recipe (its `kind` is the system's name);
    `phases`, the class or tagged union of the section `phase`.

    `codecs`: keys of `codecs` -> what each encodes (video, audio, text; tracks: a demixer, at most one); `slots`: key
    of `parents`, besides `base` -> the components that it brings; `scales`: keys of `sampling.scales` -> what they
    guide; `options`: the media that `talkies sample` may be given (image, audio, video, voice, or a track) -> what each
    is for; `captions`: how it reads captions; `layouts`: name of a form of released folders -> its description;
    `voices`: whether its models speak with the voices that they were trained on, so that their cards must say whose
    these are.
    """

    model: Any
    phases: Any
    codecs: Mapping[str, str]
    slots: Mapping[str, tuple[str, ...]]
    scales: Mapping[str, str]
    options: Mapping[str, str]
    captions: Captions
    layouts: Mapping[str, Layout]
    voices: bool

    def __hash__(self) -> int:
        """A system is one object."""

    @property
    def kind(self) -> str:
        """Its name, the `kind` of `model`."""

    def network(self) -> Network:
        """The part that needs torch; imported by this call."""

    def components(self, setup: Setup) -> Mapping[str, Component]:
        """Every component that the model may have, by name; the names of its parameters begin with it."""

    def parts(self, setup: Setup) -> Parts:
        """What the phase builds, reads and trains."""

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        """The streams that shards made with these codecs' sections should store."""

    def texts(self, codecs: Mapping[str, Any]) -> dict[str, str]:
        """Text -> the codec that encodes it."""

    def check(self, setup: Setup, scales: Mapping[str, Any]) -> None:
        """Raise RecipeError if sections disagree."""

    def tokens(self, setup: Setup, grids: Mapping[str, Grid]) -> dict[str, int]:
        """Tokens by stream. ValueError, beginning with the stream, if a Grid cannot be cut into them."""

    def ladder(self, setup: Setup) -> Sequence[Rung]:
        """The evaluations of guidance; the last one uses every condition."""
