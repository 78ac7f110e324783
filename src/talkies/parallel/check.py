"""What of a layout does not fit its recipe, found before a process is started."""

from collections.abc import Mapping
from math import isqrt

from talkies.config import RecipeError
from talkies.parallel.config import DdpConfig, Fsdp2Config
from talkies.streams import Modality


def check_layout(layout: DdpConfig | Fsdp2Config, *, global_batch: int, accumulate: int) -> None:
    """Raise RecipeError where degrees do not divide each other or the batch, with the nearest values that do."""
    if layout.shard % layout.sequence:
        raise RecipeError(
            f"recipe: `parallel.sequence` {layout.sequence} does not divide `parallel.shard` {layout.shard}, inside "
            f"which sequence groups lie; divisors: {_divisors(layout.shard)}"
        )
    readers = layout.ranks // layout.sequence
    if global_batch % (readers * accumulate):
        near = _nearest(global_batch, readers * accumulate)
        raise RecipeError(
            f"recipe: `steps.global_batch` {global_batch} does not divide among {readers} readers "
            f"(`parallel`: {layout.ranks} ranks / sequence {layout.sequence}) x {accumulate} (`steps.accumulate`); "
            f"nearest: {near}"
        )


def check_sequence(layout: DdpConfig | Fsdp2Config, tokens: Mapping[Modality, int]) -> None:
    """Raise RecipeError where a modality has fewer tokens than ranks to share them: some would hold padding alone."""
    name, least = min(tokens.items(), key=lambda item: item[1])
    if layout.sequence > least:
        raise RecipeError(
            f"recipe: `parallel.sequence` {layout.sequence} shares the {least} {name} tokens of a clip "
            f"(`data.geometry`) among more ranks than there are tokens; divisors of `parallel.shard` {layout.shard} up "
            f"to {least}: {_divisors(layout.shard, least)}"
        )


def _divisors(number: int, most: int | None = None) -> str:
    small = [k for k in range(1, isqrt(number) + 1) if number % k == 0]
    found = sorted({*small, *(number // k for k in small)})
    return ", ".join(str(k) for k in found if most is None or k <= most)


def _nearest(number: int, step: int) -> str:
    below, above = number // step * step, -(-number // step) * step
    return f"{below} or {above}" if below else str(above)
