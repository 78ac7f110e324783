"""The pretrained codecs of a release, copied to where a layout has them."""

from pathlib import Path

from talkies.codecs.pretrained import read_config
from talkies.config import DataError
from talkies.files.tensors import PICKLES
from talkies.recipe.config import PhaseRecipe
from talkies.streams.layout import CONFIG, HeldCodec, Layout

Files = dict[str, Path]
"""Path in the layout -> file."""


def codec_files(recipe: PhaseRecipe, layout: Layout) -> tuple[Files, dict[str, str]]:
    """The files of every codec that the layout holds, and part -> why a codec of the recipe is left out.

    Raises DataError if the weights of one are not where the release says, or are no longer those that it names.
    """
    files: Files = {}
    left = {}
    for part, config in recipe.codecs.items():
        held = layout.codecs.get(part)
        weights = getattr(config, "weights", None)
        if held is None:
            left[part] = "this layout holds none"
        elif weights is None:
            left[part] = f"a codec of the kind {config.kind} has no pretrained weights, or they are not known"
        else:
            files |= _files(part, held, Path(weights).expanduser(), config)
    return files, left


def _files(part: str, held: HeldCodec, weights: Path, config: object) -> Files:
    found: Files = {}
    for inner, folder in held.folders.items():
        if not (weights / inner).is_dir():
            raise DataError(
                f"export: the {part} codec is not at {weights / inner}: put it back, or leave codecs out with "
                "--no-codecs"
            )
        for path in sorted((weights / inner).iterdir()):
            if path.is_file() and path.suffix not in PICKLES:
                found[f"{folder}/{path.name}"] = path
    _check(part, held, weights, config)
    return found


def _check(part: str, held: HeldCodec, weights: Path, config: object) -> None:
    """DataError if its config.json says something else than the recipe."""
    folder = weights / next(iter(held.folders))
    try:
        section = held.section(read_config(folder, CONFIG))
    except ValueError as error:
        raise DataError(f"export: {folder / CONFIG}: {error}") from None
    for key, value in section.items():
        if (known := getattr(config, key)) != value:
            raise DataError(
                f"export: the {part} codec at {folder} has {key} {value}, and the release was made with {known}: put "
                "that one back, or leave codecs out with --no-codecs"
            )
