"""What the paths in a preparation's recipe lead to. No torch: a plan asks, too."""

from dataclasses import replace
from pathlib import Path

from talkies.config import RecipeError
from talkies.config.regular import resolved
from talkies.config.shown import shown
from talkies.prepare.config import FolderSource, ManifestSource, PrepareConfig
from talkies.prepare.spelling import Spellings
from talkies.world.config import SyntheticSource


def source_path(name: str, config: FolderSource | ManifestSource, recipe_folder: Path, *, present: bool = True) -> Path:
    """Where a source's media or manifest are. Raises RecipeError for a path that leads nowhere, or (`present`) to
    nothing."""
    try:
        path = Spellings().there(recipe_folder / Path(config.path).expanduser())
    except RuntimeError as error:
        raise RecipeError(
            f"recipe: `sources.{name}.path` is {shown(config.path)}: {error}; write the whole path"
        ) from None
    wanted = "folder" if isinstance(config, FolderSource) else "file"
    if present and not (path.is_dir() if wanted == "folder" else path.is_file()):
        raise RecipeError(f"recipe: `sources.{name}.path`: {path} is no {wanted}")
    return path


def located(config: PrepareConfig, recipe_folder: Path, *, present: bool) -> PrepareConfig:
    """A preparation as its hash covers it, with its sources' paths as what they lead to from `recipe_folder`: two
    recipes with `./clips` beside them differ, and two that name the same clips in their own words do not. Raises as
    `source_path`."""
    sources = dict(config.sources)
    for name, source in config.sources.items():
        if not isinstance(source, SyntheticSource):
            path = source_path(name, source, recipe_folder, present=present)
            sources[name] = replace(source, path=str(resolved(path)))
    given = config.codecs_from
    if given is not None and not given.startswith("models:/"):
        given = str(resolved(recipe_folder / Path(given).expanduser()))
    return replace(config, sources=sources, codecs_from=given)
