"""Copies of host memory on a device, made while the device computes."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

STAGE = 64 * 2**20
"""Bytes of each of the two pinned buffers through which memory goes to a GPU: pinning all of it would take as much
again where it is a mapped file."""


class Copies(Protocol):
    """Between `begin` and `end` lie the copies of one load; `end` returns what `wait` takes."""

    def begin(self) -> None: ...

    def copy(self, host: Tensor) -> Tensor: ...

    def end(self) -> Any: ...

    def wait(self, copied: Any, tensors: Iterable[Tensor]) -> None:
        """From here on the device may compute with `tensors`."""

    def freed(self) -> None:
        """What the device computes up to here is the last that needs some copies."""


def copies_to(device: torch.device) -> Copies:
    """The Copies for a device."""
    return CudaCopies(device) if device.type == "cuda" else PlainCopies(device)


class PlainCopies:
    """One after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def begin(self) -> None:
        """Nothing"""

    def copy(self, host: Tensor) -> Tensor:
        """`host` on the device."""
        return host.to(self._device, copy=True)

    def end(self) -> None:
        """Nothing"""

    def wait(self, copied: Any, tensors: Iterable[Tensor]) -> None:
        """Nothing"""

    def freed(self) -> None:
        """Nothing"""


class CudaCopies:
    """On a stream of their own, through two pinned buffers in turn: while the GPU takes one, the CPU fills the
    other."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._buffers = [torch.empty(STAGE, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self._taken = [torch.cuda.Event() for _ in self._buffers]  # type: ignore[no-untyped-call]
        self._last: torch.cuda.Event | None = None

    def begin(self) -> None:
        """Wait until what was freed is no longer needed: the CPU runs ahead of the GPU, and would allocate the memory
        of many units beside those in use."""
        if self._last is not None:
            self._last.synchronize()

    def copy(self, host: Tensor) -> Tensor:
        """`host` on the device, when `wait` returns."""
        with torch.cuda.stream(self._stream):
            found = torch.empty_like(host, device=self._device, memory_format=torch.contiguous_format)
        source, target = (x.contiguous().view(-1).view(torch.uint8) for x in (host, found))
        for begin in range(0, len(source), STAGE):
            self._staged(source[begin : begin + STAGE], target[begin : begin + STAGE])
        return found

    def _staged(self, source: Tensor, target: Tensor) -> None:
        buffer, taken = self._buffers[0], self._taken[0]
        taken.synchronize()  # an event that was never recorded is complete
        staged = buffer[: len(source)]
        staged.copy_(source)
        with torch.cuda.stream(self._stream):
            target.copy_(staged, non_blocking=True)
            taken.record()
        self._buffers.reverse()
        self._taken.reverse()

    def end(self) -> torch.cuda.Event:
        """The event after these copies."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def wait(self, copied: torch.cuda.Event, tensors: Iterable[Tensor]) -> None:
        """The GPU waits, not the CPU; the memory is in use by the computing stream until it has used it."""
        current = torch.cuda.current_stream(self._device)
        current.wait_event(copied)
        for tensor in tensors:
            tensor.data.record_stream(current)

    def freed(self) -> None:
        """Mark what has been queued so far."""
        self._last = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._last.record(torch.cuda.current_stream(self._device))
