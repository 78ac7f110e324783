"""What a folder of released weights says, as a recipe; and what it does not say."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from talkies.config import CheckpointError, RecipeError
from talkies.prepare.geometry import Geometry
from talkies.recipe.check import cut_grids
from talkies.recipe.config import PhaseRecipe, decode_phase_values
from talkies.runs.import_choices import Choices, release_name
from talkies.runs.recorded import as_trained
from talkies.streams.clip_size import spelled
from talkies.streams.layout import CONFIG
from talkies.weights.recognition import Recognised


def import_recipe(known: Recognised, choices: Choices) -> PhaseRecipe:
    """The recipe of a folder, decoded and checked. CheckpointError for what the folder says, RecipeError for a geometry
    that it cannot make."""
    layout, folder = known.layout, known.folder
    try:
        values: dict[str, Any] = {
            "kind": "phase",
            "name": release_name(folder, choices),
            "phase": layout.phase(known.configs),
            "model": layout.model(known.configs, known.files),
            "codecs": {},
            "precision": "bf16",
            "data": {"geometry": choices.geometry or layout.geometry},
            "sampling": layout.sampling(known.files),
            "flow": layout.flow(known.files),
        }
        model = _decoded(values, known).model
        wanted = layout.sections(model, known.configs, {})
        values["codecs"] = layout.sections(model, known.configs, known.codecs)
        recipe = _decoded(values, known)
        _check_codecs(known, recipe, wanted)
        recipe.system.check(recipe, recipe.sampling.scales)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"import: {_source(error, known)}: {str(error).removeprefix('recipe: ')}") from None
    _check_geometry(recipe, choices)
    return recipe


def _decoded(values: Mapping[str, Any], known: Recognised) -> PhaseRecipe:
    return decode_phase_values(as_trained(values), (known.system,), where=str(known.folder))


def _check_codecs(known: Recognised, recipe: PhaseRecipe, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """CheckpointError for a codec whose sizes are not those `wanted` by the networks."""
    for part in known.codecs:
        for key, value in wanted.get(part, {}).items():
            found = getattr(recipe.codecs[part], key)
            if found != value:
                raise CheckpointError(
                    f"import: {_config(known, part)}: its {part} codec has {key} {found}, and the networks of "
                    f"{known.folder} need {value}: give the folder with the codec that belongs to them"
                )


def _source(error: ValueError, known: Recognised) -> Path:
    """The file of the codec that an error of the recipe is about, else the folder."""
    return next((_config(known, part) for part in known.codecs if f"`codecs.{part}" in str(error)), known.folder)


def _config(known: Recognised, part: str) -> Path:
    return known.folder / next(iter(known.layout.codecs[part].folders.values())) / CONFIG


def _check_geometry(recipe: PhaseRecipe, choices: Choices) -> None:
    geometry = Geometry.parse(recipe.data.geometry, key="data.geometry")
    if choices.geometry is not None:
        cut_grids(recipe, geometry, where="import: --geometry")
        return
    try:
        cut_grids(recipe, geometry, where="import: the layout's geometry")
    except RecipeError as error:
        raise RecipeError(f"{error}; give one that fits with --geometry") from None


def missing_lines(known: Recognised, recipe: PhaseRecipe, choices: Choices) -> Iterator[str]:
    """For the user: the codecs that are not there, and the values that no file of the folder says."""
    for part in recipe.codecs:
        if part not in known.codecs:
            yield f"{part} codec: {_remedy(known, part)}"
    for key, value in known.layout.taken(known.configs, known.files).items():
        yield f"{key} {value:g}: no file of the folder says it, this is the default"
    if choices.geometry is None:
        yield f"geometry {spelled(recipe.data.geometry)}: no file of the folder says it; --geometry gives another"


def _remedy(known: Recognised, part: str) -> str:
    held = known.layout.codecs.get(part)
    if held is None:
        return (
            f"a {known.name} folder has none that can be read, so `sample` cannot use the release; a phase that starts "
            f"from it needs `codecs.{part}.weights`"
        )
    folders = " and ".join(f"{folder}/" for folder in held.folders.values())
    return f"not in the folder, so `sample` needs {folders} there: download it, and import again"
