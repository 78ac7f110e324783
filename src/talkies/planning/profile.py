"""What one rank computes, keeps and sends in a micro-batch: measured on the network itself, on the meta device."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talkies.flow.loss import per_sample_loss
from talkies.planning.exchange import divided
from talkies.planning.kernels import Kernels
from talkies.planning.meter import Key, Meter
from talkies.planning.parameters import adapted
from talkies.planning.pieces import Piece, Pieces
from talkies.planning.standin import kind_of
from talkies.planning.work import Work
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text
from talkies.streams.system import Setup, System
from talkies.training.config import LoraConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One micro-batch on one rank. `rest`: the counts outside of units. Bytes: `inputs` of all units, of which autograd
    keeps `kept_inputs` if nothing is recomputed; `ends`, which it keeps outside of units. `exchanging`: tokens of a
    rank -> the fewest ranks that exchange heads for them."""

    components: tuple[str, ...]
    pieces: tuple[Piece, ...]
    rest: Mapping[Key, int]
    inputs: int
    kept_inputs: int
    ends: int
    exchanging: Mapping[int, int]

    @property
    def forward(self) -> dict[str, int]:
        """Component -> FLOPs of a forward pass (2 per multiply-add), of those that have any."""
        found = dict.fromkeys(self.components, 0)
        for (kind, passing, component), size in self._all():
            if (kind, passing) == ("flops", "forward"):
                found[component] = found.get(component, 0) + size
        return {component: size for component, size in found.items() if size}

    def total(self, kind: str, *, recomputed: bool = False) -> int:
        """FLOPs or bytes of a forward and a backward pass; if `recomputed`, of another one through all units."""
        pieces = ((p.count, key, size) for p in self.pieces for key, size in p.counts.items())
        again = sum(count * size for count, key, size in pieces if key[:2] == (kind, "forward"))
        return sum(size for key, size in self._all() if key[0] == kind) + again * recomputed

    def _all(self) -> Iterator[tuple[Key, int]]:
        for piece in self.pieces:
            yield from ((key, piece.count * size) for key, size in piece.counts.items())
        yield from self.rest.items()


class Profiler:
    """Profiles `model`, the network of a phase on the meta device. `grids` of all streams that the phase reads."""

    def __init__(
        self, system: System, setup: Setup, model: nn.Module, *, grids: Mapping[str, Grid], train: TrainConfig
    ) -> None:
        self.system, self.setup, self.model, self.grids = system, setup, model, grids
        self.network, self.parts = system.network(), system.parts(setup)
        self.lora = train if isinstance(train, LoraConfig) else None
        self.adapted = adapted(model, self.lora)
        model.requires_grad_(self.lora is None)
        for component in self.parts.frozen:
            model.get_submodule(component).requires_grad_(False)
        self.kinds = {unit: kind_of(unit) for unit in self.network.units(model)}
        self._found: dict[Any, Profile] = {}

    def turn(self) -> frozenset[str]:
        """The parameter groups that are inactive in the turn with the most work."""
        turns = dict.fromkeys(turn.inactive for turn in self.parts.cycle)
        return max(turns, key=lambda inactive: self.whole(inactive).total("flops"))

    def whole(self, inactive: frozenset[str]) -> Profile:
        """One clip, undivided, in fp32."""
        return self._profile(_Case(degree=1, clips=1, mode="fp32", inactive=inactive))

    def __call__(self, work: Work, *, fused: bool = True, backward: bool = True) -> Profile:
        """One micro-batch on one rank; with CUDA's RMSNorm or (`fused` False) the CPU's. Without `backward` the counts
        lack the backward pass outside of units."""
        return self._profile(
            _Case(
                degree=work.layout.sequence,
                clips=work.micro,
                mode=work.layout.kind if work.bf16 else "fp32",
                inactive=work.inactive,
                fused=fused,
                backward=backward,
            )
        )

    def _profile(self, case: "_Case") -> Profile:
        if case not in self._found:
            self._found[case] = self._measured(case)
        return self._found[case]

    def _measured(self, case: "_Case") -> Profile:
        meter = Meter(self.model)
        pieces = Pieces(self.kinds, meter, autocast=case.mode == "deepspeed", lowered=case.mode == "fsdp2")
        with self._measuring(case, meter, pieces) as exchanging:
            with torch.autocast("cpu", torch.bfloat16, enabled=case.mode == "ddp"):
                loss = self._loss(case)
            saved, inputs = dict(meter.tally.saved), pieces.inputs
            meter.passing = "backward"
            if case.backward:
                loss.backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad()
        return Profile(
            components=tuple(name for name, _ in self.model.named_children()),
            pieces=tuple(pieces.found.values()),
            rest=dict(meter.tally.counts),
            inputs=sum(inputs.values()),
            kept_inputs=sum(inputs[number] for number in pieces.kept | (saved.keys() & inputs.keys())),
            ends=sum(size for number, size in saved.items() if number not in inputs),
            exchanging=exchanging,
        )

    @contextmanager
    def _measuring(self, case: "_Case", meter: Meter, pieces: Pieces) -> Iterator[Mapping[int, int]]:
        """Within the block all that the model does is measured, on the meta device."""
        kernels = Kernels(meter, fused=case.fused, lora=self.lora, adapted=self.adapted)
        with (
            divided(self.model, case.degree, meter) as exchanging,
            pieces.in_place(self.model),
            _attributed(self.model, self.kinds, meter),
            torch.device("meta"),
            kernels,
            meter.running(),
        ):
            yield exchanging

    def _loss(self, case: "_Case") -> Tensor:
        """As a training step computes it."""
        streams, texts = example(self.system, self.setup, self.grids, case.clips)
        predicted = self.model(self.network.inputs(self.setup, streams), Condition(texts=texts, inactive=case.inactive))
        losses = [
            per_sample_loss(predicted[name], torch.empty_like(predicted[name]), streams[name].valid).mean()
            for name in self.parts.targets
        ]
        return torch.stack(losses).sum()


def example(
    system: System, setup: Setup, grids: Mapping[str, Grid], clips: int
) -> tuple[dict[str, Stream], dict[str, Text]]:
    """Streams and texts without values, for a phase, on the current default device."""
    codecs, parts = setup.codecs, system.parts(setup)
    streams = {
        name: Stream(latent=torch.empty(clips, *grid.latent_shape), time=torch.empty(clips), grid=grid)
        for name, grid in grids.items()
    }
    texts = {}
    for name, codec in system.texts(codecs).items():
        if name in parts.texts:
            features = torch.empty(clips, codecs[codec].length, codecs[codec].dim)
            texts[name] = Text(embedding=features, length=torch.empty(clips, dtype=torch.int64))
    return streams, texts


@dataclass(frozen=True, kw_only=True)
class _Case:
    """`mode`: fp32, or the kind of strategy that runs it in bf16."""

    degree: int
    clips: int
    mode: str
    inactive: frozenset[str]
    fused: bool = True
    backward: bool = True


@contextmanager
def _attributed(model: nn.Module, units: Iterable[nn.Module], meter: Meter) -> Iterator[None]:
    """Within the block the meter counts what a module does as its component's."""
    inside = {id(part) for unit in units for part in unit.modules()}
    before: list[str] = []

    def enter(name: str) -> None:
        before.append(meter.component)
        meter.component = name

    def leave(*_: Any) -> None:
        meter.component = before.pop()

    handles = []
    for name, child in model.named_children():
        for part in (p for p in child.modules() if id(p) not in inside):
            handles.append(part.register_forward_pre_hook(lambda *_, name=name: enter(name)))
            handles.append(part.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
