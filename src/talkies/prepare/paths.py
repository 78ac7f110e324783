"""Resolves the paths in a preparation's recipe. No torch: planning uses it, too."""

from dataclasses import replace
from pathlib import Path

from talkies.config import RecipeError
from talkies.config.quoting import shown
from talkies.config.regular_files import resolved
from talkies.prepare.config import FolderSource, ManifestSource, PrepareConfig
from talkies.prepare.unicode_names import Spellings
from talkies.world.config import SyntheticSource


def source_path(name: str, config: FolderSource | ManifestSource, recipe_folder: Path, *, present: bool = True) -> Path:
    """The path of a source's media or manifest. Raises RecipeError if it cannot be resolved, or (`present`) if nothing
    is there."""
    try:
        path = Spellings().existing(recipe_folder / Path(config.path).expanduser())
    except RuntimeError as error:
        raise RecipeError(
            f"recipe: `sources.{name}.path` is {shown(config.path)}: {error}; write the whole path"
        ) from None
    wanted = "folder" if isinstance(config, FolderSource) else "file"
    if present and not (path.is_dir() if wanted == "folder" else path.is_file()):
        raise RecipeError(f"recipe: `sources.{name}.path`: {path} is not a {wanted}")
    return path


def located(config: PrepareConfig, recipe_folder: Path, *, present: bool) -> PrepareConfig:
    """The preparation as its hash covers it, with paths resolved from `recipe_folder`: recipes in two folders that both
    name `./clips` differ, and recipes that name the same clips by different paths do not. Raises as `source_path`."""
    sources = dict(config.sources)
    for name, source in config.sources.items():
        if not isinstance(source, SyntheticSource):
            path = source_path(name, source, recipe_folder, present=present)
            sources[name] = replace(source, path=str(resolved(path)))
    given = config.codecs_from
    if given is not None and not given.startswith("models:/"):
        given = str(resolved(recipe_folder / Path(given).expanduser()))
    return replace(config, sources=sources, codecs_from=given)
