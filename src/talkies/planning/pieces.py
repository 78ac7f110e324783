"""The units of a network (the modules that are recomputed as one), measured one by one on the meta device.

Units of equal class and inputs are run once, apart from the rest; wherever the network calls one, a stand-in with the
same result takes its place.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from talkies.planning.meter import Key, Meter
from talkies.planning.standin import mapped, signature, stand_in, tensors


@dataclass(kw_only=True)
class Piece:
    """`count` equal units of a component. Of one: bytes `inside` that autograd keeps beside its inputs, `working` bytes
    more at the peak of its backward pass, and its `counts` (Tally). `keeps`: which tensors of its inputs it keeps, and
    which of its results; `result` has the structure of what it returns."""

    component: str
    count: int = 0
    inside: int = 0
    working: int = 0
    counts: Mapping[Key, int] = field(default_factory=dict)
    keeps: tuple[bool, ...] = ()
    keeps_result: tuple[bool, ...] = ()
    result: Any = None


class Pieces:
    """Takes the place of units while a model is profiled. `kinds`: unit -> equal for units that do the same;
    `autocast`: units run in bf16 autocast; `lowered`: their weights are bf16."""

    def __init__(self, kinds: Mapping[nn.Module, Any], meter: Meter, *, autocast: bool, lowered: bool) -> None:
        self.kinds, self.meter, self.autocast, self.lowered = kinds, meter, autocast, lowered
        self.found: dict[Any, Piece] = {}
        self.inputs: dict[int, int] = {}
        self.kept: set[int] = set()

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Within the block `model` calls stand-ins."""
        components = {part: name for name, child in model.named_children() for part in child.modules()}
        for unit, kind in self.kinds.items():
            vars(unit)["forward"] = partial(self._call, unit, components[unit], kind, unit.forward)
        try:
            yield
        finally:
            for unit in self.kinds:
                vars(unit).pop("forward")

    def _call(self, unit: nn.Module, component: str, kind: Any, forward: Any, *args: Any, **kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():  # much faster
            key = kind, component, signature((args, kwargs))
        if key not in self.found:
            self.found[key] = self._measured(unit, component, forward, args, kwargs)
        with torch._C.DisableTorchFunction():
            return self._counted(self.found[key], tensors((args, kwargs)))

    def _counted(self, piece: Piece, given: list[Tensor]) -> Any:
        piece.count += 1
        for tensor, keeps in zip(given, piece.keeps, strict=True):
            number = self.meter.number(tensor)
            self.inputs[number] = tensor.untyped_storage().nbytes()
            self.kept |= {number} if keeps else set()
        out = stand_in(piece.result, given)
        for tensor, keeps in zip(tensors(out), piece.keeps_result, strict=True):
            if keeps:
                self.meter.tally.saved[self.meter.number(tensor)] = tensor.untyped_storage().nbytes()
        return out

    def _measured(self, unit: nn.Module, component: str, forward: Any, args: Any, kwargs: Any) -> Piece:
        """Run a unit forward and backward, apart from the rest."""
        meter = self.meter
        with ExitStack() as stack:
            tally = stack.enter_context(meter.into(component))
            if self.lowered:
                unit.to(torch.bfloat16)
                stack.callback(unit.to, torch.float32)
            stack.callback(unit.zero_grad)
            args, kwargs = mapped((args, kwargs), lambda x: x.detach().requires_grad_(x.requires_grad))
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast or torch.is_autocast_enabled("cpu")):
                out = forward(*args, **kwargs)
            given, made = ([meter.number(x) for x in tensors(value)] for value in ((args, kwargs), out))
            saved = dict(tally.saved)
            meter.passing = "backward"
            _backward([x for x in tensors(out) if x.requires_grad])
            grads = [p.grad for p in unit.parameters() if p.grad is not None]
            return Piece(
                component=component,
                inside=sum(size for number, size in saved.items() if number not in {*given, *made}),
                working=tally.peak(without=map(meter.number, grads)),
                counts=dict(tally.counts),
                keeps=tuple(number in saved for number in given),
                keeps_result=tuple(number in saved and number not in given for number in made),
                result=mapped(out, lambda x: x.detach().requires_grad_(x.requires_grad)),
            )


def _backward(outputs: list[Tensor]) -> None:
    if outputs:
        torch.autograd.backward(outputs, [torch.empty_like(x) for x in outputs])
