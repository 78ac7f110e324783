"""Whether the sections of a recipe agree: what the `check` of several systems asks."""

from collections.abc import Iterable, Mapping
from typing import Any

from talkies.config import RecipeError
from talkies.streams.system import Parts, Setup, sizes_key


def check_codecs(setup: Setup, needed: Iterable[str], *, why: str | None = None) -> None:
    """RecipeError for a codec that is missing; `why`: what needs it, if it is not the phase as such."""
    for name in needed:
        if name not in setup.codecs:
            needs = f"{setup.phase.kind} phases need" if why is None else f"{why} needs"
            raise RecipeError(f"recipe: `codecs.{name}` is missing: {needs} it")


def check_width(setup: Setup, codec: str, needed: int, *, key: str | None = None, sized_by: str | None = None) -> None:
    """RecipeError unless the latents or features of a codec have the width `needed` that the network takes; `key`: that
    of `model` by which it takes another; `sized_by`: see Component."""
    section = setup.codecs[codec]
    name, width = ("dim", section.dim) if section.medium == "text" else ("channels", section.channels)
    if width == needed:
        return
    if key is not None and getattr(setup.model, key) is not None:
        raise RecipeError(f"recipe: `codecs.{codec}.{name}` is {width}, but `model.{key}` is {needed}: make them equal")
    raise RecipeError(
        f"recipe: `codecs.{codec}.{name}` is {width}, the network of {sizes_key(setup.model, sized_by)} takes {needed}"
        + ("" if key is None else f"; set `model.{key}`")
    )


def check_scale(setup: Setup, parts: Parts, scales: Mapping[str, Any], stream: str) -> None:
    """RecipeError for a guidance scale of a stream that the phase does not read."""
    if scales.get(stream, 1.0) != 1.0 and stream not in parts.streams:
        raise RecipeError(f"recipe: `sampling.scales.{stream}` needs a {stream}, which {setup.phase.kind} phases lack")
