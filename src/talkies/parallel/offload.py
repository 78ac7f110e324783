"""Sampling with weights in host memory: only what computes, and what computes next, is on the device."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from talkies.models.build import component_of
from talkies.parallel.host_copies import Copies, copies_to
from talkies.streams.batch import Condition, Denoiser, Stream
from talkies.streams.codec import Codecs

USES = ("encode", "decode", "film", "demix")
"""The methods of a codec that need its network."""


class Held(Protocol):
    """What has weights on the device."""

    def release(self) -> None:
        """Free all of them."""


class Seat:
    """The device: one network has weights there at a time, the last that was used."""

    def __init__(self) -> None:
        self._taken: Held | None = None

    def take(self, holder: Held) -> None:
        """The weights of any other are freed."""
        if self._taken is not None and self._taken is not holder:
            self._taken.release()
        self._taken = holder


class Weights:
    """Parameters and buffers whose values lie in host memory. Between `bring` and `free` they are on the device."""

    def __init__(self, tensors: Iterable[Tensor], copies: Copies) -> None:
        self._host, self._copies = [(tensor, tensor.data) for tensor in tensors], copies
        self.here = False

    @torch.no_grad()
    def bring(self) -> None:
        """Begin to copy them, unless they are here."""
        if self.here:
            return
        self._copies.begin()
        for tensor, host in self._host:
            tensor.data = self._copies.copy(host)
        self._copied, self.here = self._copies.end(), True

    def wait(self) -> None:
        """From here on the device may compute with them."""
        self.bring()
        self._copies.wait(self._copied, [tensor for tensor, _ in self._host])

    def free(self) -> None:
        """The host's values take their place, if they are here."""
        if not self.here:
            return
        self._copies.freed()
        for tensor, host in self._host:
            tensor.data = host
        self.here = False


class Guest:
    """The network of a codec."""

    def __init__(self, network: nn.Module, seat: Seat, copies: Copies) -> None:
        self._weights, self._seat = Weights(_tensors(network), copies), seat

    def release(self) -> None:
        """Back to the host."""
        self._weights.free()

    def use(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call a method that needs the network."""
        self._seat.take(self)
        self._weights.wait()
        return method(*args)


class Offloaded:
    """A Denoiser whose `model` has on the device the components that an evaluation needs: whole, or (`units`) what is
    outside of units, the unit that computes, and the next one, in the order of the last evaluation of its kind.

    `groups`: component -> the parameter group by which it may be inactive.
    """

    def __init__(
        self,
        model: nn.Module,
        units: Collection[nn.Module],
        groups: Mapping[str, str | None],
        seat: Seat,
        copies: Copies,
    ) -> None:
        self.model, self._groups, self._seat = model, groups, seat
        self._units = {unit: Weights(_tensors(unit), copies) for unit in units}
        inside = {id(tensor) for unit in units for tensor in _tensors(unit)}
        rest: dict[str, list[Tensor]] = {}
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if id(tensor) not in inside:
                rest.setdefault(component_of(name), []).append(tensor)
        self._rest = {component: Weights(tensors, copies) for component, tensors in rest.items()}
        self._orders: dict[Hashable, list[nn.Module]] = {}
        self._expected: list[nn.Module] = []
        self._called: list[nn.Module] = []
        for unit in units:
            unit.register_forward_pre_hook(self._enter)
            unit.register_forward_hook(self._leave)

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        """As the model's; a failure frees everything."""
        kind = (frozenset(streams), condition.inactive, condition.skipped, condition.without)
        self._expected, self._called = self._orders.get(kind, []), []
        self._seat.take(self)
        try:
            self._choose(condition.inactive)
            predicted: dict[str, Tensor] = self.model(streams, condition)
        except BaseException:
            self.release()
            raise
        self._orders[kind] = self._called
        return predicted

    def release(self) -> None:
        """All back to the host."""
        for weights in (*self._units.values(), *self._rest.values()):
            weights.free()

    def _choose(self, inactive: frozenset[str]) -> None:
        """Free the components that take no part, then bring those that do."""
        idle = {name for name in self._rest if self._groups.get(name) in inactive}
        for name in idle:
            self._rest[name].free()
        for name in self._rest.keys() - idle:
            self._rest[name].wait()

    def _enter(self, unit: nn.Module, args: object) -> None:
        del args
        for other, weights in self._units.items():
            if other is not unit:
                weights.free()  # at most one, which was expected in the place of this
        self._units[unit].wait()
        self._called.append(unit)

    def _leave(self, unit: nn.Module, args: object, output: object) -> None:
        """Bring the next unit while the device still computes this one, then free this one."""
        del args, output
        done = len(self._called)
        following = self._expected[done % len(self._expected)] if done <= len(self._expected) else None
        if following is unit:  # of two streams
            return
        if following is not None:
            self._units[following].bring()
        self._units[unit].free()


def offloaded(
    model: nn.Module,
    units: Iterable[nn.Module],
    groups: Mapping[str, str | None],
    codecs: Codecs,
    *,
    how: Literal["component", "block"],
    device: torch.device,
) -> Denoiser:
    """`model`, and the networks of `codecs`, computing on `device` with weights that stay in host memory. One of them
    has weights on the device at a time; `how` says which of the model's."""
    seat, copies = Seat(), copies_to(device)
    for codec in chain(codecs.video.values(), codecs.audio.values(), codecs.text.values(), codecs.demix.values()):
        network = getattr(codec, "network", None)
        if isinstance(network, nn.Module):
            guest = Guest(network, seat, copies)
            for name in (use for use in USES if hasattr(codec, use)):
                setattr(codec, name, partial(guest.use, getattr(codec, name)))
    return Offloaded(model, [*units] if how == "block" else [], groups, seat, copies)


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    return chain(module.parameters(), module.buffers())
