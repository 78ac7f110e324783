"""Checks of a layout against its recipe, before a process is started."""

from collections.abc import Mapping
from math import isqrt

from talkies.config import RecipeError
from talkies.config.quoting import listed
from talkies.parallel.config import ComputeConfig, Layout


def check_layout(layout: Layout, compute: ComputeConfig, *, global_batch: int, accumulate: int) -> None:
    """Raise RecipeError if degrees do not divide each other or the batch (naming the nearest values that do), or if the
    strategy does not support the layout."""
    for key in ("shard", "sequence") if layout.kind == "ddp" else ():
        if getattr(layout, key) > 1:
            raise RecipeError(
                f"recipe: `parallel.{key}` is {getattr(layout, key)}, but ddp's ranks hold the whole model and whole "
                "sequences: set `parallel.kind` to fsdp2"
            )
    if layout.kind == "deepspeed" and layout.stage == 3 and compute.compile:
        raise RecipeError(
            "recipe: `compute.compile` is true, but ZeRO-3 gathers weights in hooks inside of blocks, which cannot be "
            "compiled: set it to false, `parallel.stage` to 2, or `parallel.kind` to fsdp2"
        )
    if layout.kind == "deepspeed" and layout.replicate > 1:
        raise RecipeError(
            f"recipe: `parallel.replicate` is {layout.replicate}, but DeepSpeed's ZeRO shards over all ranks: set it "
            f"to 1 and `parallel.shard` to {layout.ranks}, or take `parallel.kind` fsdp2, which does both"
        )
    if layout.shard % layout.sequence:
        raise RecipeError(
            f"recipe: `parallel.sequence` {layout.sequence} does not divide `parallel.shard` {layout.shard}, inside "
            f"which sequence groups lie; divisors: {divisors(layout.shard)}"
        )
    readers = layout.ranks // layout.sequence
    if global_batch % (readers * accumulate):
        near = _nearest(global_batch, readers * accumulate)
        raise RecipeError(
            f"recipe: `steps.global_batch` {global_batch} does not divide among {readers} readers "
            f"(`parallel`: {layout.ranks} ranks / sequence {layout.sequence}) x {accumulate} (`steps.accumulate`); "
            f"nearest: {near}"
        )


def check_sequence(layout: Layout, tokens: Mapping[str, int]) -> None:
    """Raise RecipeError if a stream has fewer tokens than a sequence group has ranks: some would get only padding."""
    name, least = min(tokens.items(), key=lambda item: item[1])
    if layout.sequence > least:
        raise RecipeError(
            f"recipe: `parallel.sequence` {layout.sequence} shares the {least} {name} tokens of a clip "
            f"(`data.geometry`) among more ranks than there are tokens; divisors of `parallel.shard` {layout.shard} up "
            f"to {least}: {divisors(layout.shard, least)}"
        )


def divisors(number: int, most: int | None = None) -> str:
    """The divisors of `number` (up to `most`), for a message."""
    small = [k for k in range(1, isqrt(number) + 1) if number % k == 0]
    every = sorted({*small, *(number // k for k in small)})
    return listed([k for k in every if most is None or k <= most])


def _nearest(number: int, step: int) -> str:
    below, above = number // step * step, -(-number // step) * step
    return f"{below} or {above}" if below else str(above)
