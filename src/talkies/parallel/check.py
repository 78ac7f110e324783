"""What of a layout does not fit its recipe, found before a process is started."""

from math import isqrt

from talkies.config import RecipeError
from talkies.parallel.config import Layout


def check_layout(layout: Layout, *, global_batch: int, accumulate: int) -> None:
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


def _divisors(number: int) -> str:
    small = [k for k in range(1, isqrt(number) + 1) if number % k == 0]
    return ", ".join(map(str, sorted({*small, *(number // k for k in small)})))


def _nearest(number: int, step: int) -> str:
    below, above = number // step * step, -(-number // step) * step
    return f"{below} or {above}" if below else str(above)
