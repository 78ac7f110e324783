"""The pretrained codecs of a release, copied to where a layout has them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talkies.codecs.streamed import streamed_identity
from talkies.config import DataError
from talkies.files.tensors import without_pickles
from talkies.recipe.config import PhaseRecipe
from talkies.streams.layout import HeldCodec, Layout
from talkies.weights.stored import stored

Files = dict[str, Path]
"""Path in the layout -> file."""


def codec_files(recipe: PhaseRecipe, layout: Layout, identities: Mapping[str, str]) -> tuple[Files, dict[str, str]]:
    """The files of every codec that the layout holds, and part -> why a codec of the recipe is left out. `identities`:
    of the codecs that the release was made with.

    Raises DataError if a codec is not where the release says, or is another one.
    """
    files: Files = {}
    left = {}
    for part, config in recipe.codecs.items():
        held = layout.codecs.get(part)
        weights = getattr(config, "weights", None)
        if held is None:
            left[part] = "this layout holds none"
        elif config.fitted and weights is not None:
            left[part] = f"its kind is {config.kind}, whose fitted part no layout holds"
        elif weights is None:
            left[part] = f"its kind is {config.kind}, and no folder of pretrained weights is known for it"
        else:
            files |= _files(part, held, Path(weights).expanduser())
            _check(part, config, identities.get(part))
    return files, left


def _files(part: str, held: HeldCodec, weights: Path) -> Files:
    found: Files = {}
    for inner, folder in held.folders.items():
        if not (weights / inner).is_dir():
            raise DataError(
                f"export: the {part} codec is not at {weights / inner}: put it back, or leave codecs out with "
                "--no-codecs"
            )
        for path in without_pickles(weights / inner):
            found[f"{folder}/{path.relative_to(weights / inner).as_posix()}"] = path
    return found


def _check(part: str, config: Any, known: str | None) -> None:
    """DataError if the codec is not the one with this identity: what it decodes would be noise."""
    found = streamed_identity(config, stored, key=f"codecs.{part}")
    if known is not None and found != known:
        raise DataError(
            f"export: the {part} codec at {config.weights} is {found[:16]}, and the release was made with "
            f"{known[:16]}: put that one back, or leave codecs out with --no-codecs"
        )
