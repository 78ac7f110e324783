"""Counts what runs on the meta device: FLOPs, bytes that autograd keeps, bytes in use during a backward pass."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Key = tuple[str, ...]


@dataclass(kw_only=True)
class Tally:
    """What one piece of a network did. `counts` by (kind, pass, component); `saved`: storage -> its bytes, of those
    that autograd keeps; `timeline`: storages allocated (positive bytes) and freed, in order."""

    counts: Counter[Key] = field(default_factory=Counter)
    saved: dict[int, int] = field(default_factory=dict)
    timeline: list[tuple[int, int]] = field(default_factory=list)

    def total(self, *key: str) -> int:
        """The sum of all counts whose key begins with `key`."""
        return sum(value for found, value in self.counts.items() if found[: len(key)] == key)

    def peak(self, without: Iterable[int]) -> int:
        """The most bytes that were in use at once beyond those in use at first, leaving out some storages."""
        left_out = {*without}
        return max(0, *accumulate(size for storage, size in self.timeline if storage not in left_out), 0)


class Storages:
    """Numbers storages: a number is never used again, while addresses are."""

    def __init__(self, freed: Callable[[int, int], None]) -> None:
        self._freed, self._count = freed, 0
        self._known: dict[int, tuple[int, Any]] = {}

    def of(self, tensor: Tensor) -> tuple[int, bool]:
        """(number, whether it is new)."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._known:
            return self._known[address][0], False
        self._count += 1
        gone = partial(self._gone, address, self._count, storage.nbytes())
        self._known[address] = (self._count, weakref.ref(storage, gone))
        return self._count, True

    def _gone(self, address: int, number: int, size: int, _: object) -> None:
        del self._known[address]
        self._freed(number, size)


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts into `tally`, of which `into` makes another one the current one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tally, self.passing, self.component = Tally(), "forward", ""
        self.storages = Storages(self._free)
        self.weights = {self.storages.of(p)[0] for p in model.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda x: x)

    @contextmanager
    def into(self, component: str) -> Iterator[Tally]:
        """Count into a new tally, as a part of `component`."""
        before = self.tally, self.passing, self.component
        self.tally, self.passing, self.component = Tally(), "forward", component
        try:
            yield self.tally
        finally:
            self.tally, self.passing, self.component = before

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count all that runs within."""
        with self, self._hooks:
            yield

    def count(self, kind: str, size: int) -> None:
        """Add `size` to FLOPs or bytes of this kind."""
        self.tally.counts[kind, self.passing, self.component] += size

    def number(self, tensor: Tensor) -> int:
        """The number of its storage."""
        return self.storages.of(tensor)[0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` and count it."""
        del types
        named = kwargs or {}
        out = func(*args, **named)
        if (cost := flop_registry.get(func._overloadpacket)) is not None:
            self.count("flops", cost(*args, **named, out_val=out))
        for tensor in (out,) if isinstance(out, Tensor) else out if isinstance(out, (tuple, list)) else ():
            if isinstance(tensor, Tensor):
                self._made(tensor, func, args)
        return out

    def _made(self, tensor: Tensor, func: Any, args: Any) -> None:
        number, new = self.storages.of(tensor)
        if new and func is torch.ops.aten._to_copy.default and self.number(args[0]) in self.weights:
            self.weights.add(number)  # a cast of a weight is no activation
        if new and self.passing == "backward":
            self.tally.timeline.append((number, tensor.untyped_storage().nbytes()))

    def _free(self, number: int, size: int) -> None:
        self.tally.saved.pop(number, None)
        if self.passing == "backward":
            self.tally.timeline.append((number, -size))

    def _pack(self, tensor: Tensor) -> Tensor:
        number = self.number(tensor)
        if number not in self.weights:
            self.tally.saved[number] = tensor.untyped_storage().nbytes()
        return tensor
