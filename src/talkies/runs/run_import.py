"""A folder of released weights as a release: recognised, accounted for, copied and hashed in one pass."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from talkies.checkpoints.release import complete_release, release_sha256
from talkies.codecs.streamed import streamed_identity
from talkies.config import CheckpointError, RecipeError
from talkies.config.canonical import recipe_hash, to_dict
from talkies.config.quoting import shown
from talkies.files.durable import storage_errors
from talkies.files.folders import replacing_folder
from talkies.models.build import build
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, Systems
from talkies.runs.import_choices import Choices, check_choices, check_space
from talkies.runs.import_copy import codec_files, copy_all, origin_files
from talkies.runs.import_recipe import import_recipe, missing_lines
from talkies.runs.parents import shape_json
from talkies.runs.recorded import released_values
from talkies.runs.result import commit
from talkies.streams.layout import by_folder
from talkies.weights.account import Account, Shapes, account
from talkies.weights.found import Found, found_files
from talkies.weights.pickled import pickled_files, read_pickle
from talkies.weights.recognition import Recognised, recognised
from talkies.weights.stored import stored

Say = Callable[[str], None]


def import_folder(folder: Path, out: Path, choices: Choices, systems: Systems, say: Say = print) -> str:
    """Make the release `out` of `folder`; returns its sha256. An error leaves nothing behind: CheckpointError for the
    folder's contents, RecipeError for a choice, DataError for a codec, StorageError for the disk."""
    check_choices(folder, out, choices)
    known = recognised(folder, systems, choices.layout)
    recipe = import_recipe(known, choices)
    say(f"import:   {folder}: {known.name} layout, {recipe.phase.kind}, {_sizes(recipe)}")
    accounts = _accounts(known, recipe, choices, say)
    identities = _identities(known, recipe, say)
    for line in missing_lines(known, recipe, choices):
        say(f"import:   {line}")
    info = _info(known, recipe, identities)
    files = codec_files(known, identities) | origin_files(known, accounts)
    weights = {kept.found.path for one in accounts.values() for kept in one.kept}
    needed = sum(path.stat().st_size for path in (*weights, *files.values()))
    with storage_errors(out, needed):
        check_space(folder, out, 0 if choices.link else needed)
        with replacing_folder(out) as work:
            copied = copy_all(work, accounts, files, link=choices.link)
            complete_release(work, components=copied.components, info=info, known=copied.table)
    if choices.link:
        say(f"import:   {copied.linked} files linked, {copied.copied} copied")
    return release_sha256(out)


def _sizes(recipe: PhaseRecipe) -> str:
    known = recipe.model.preset is not None and recipe.model == type(recipe.model)(preset=recipe.model.preset)
    return f"sizes of {recipe.model.preset}" if known else "sizes of its own (`model` in release.json)"


def _accounts(known: Recognised, recipe: PhaseRecipe, choices: Choices, say: Say) -> dict[str, Account]:
    """The account of every component, from the headers of its files."""
    shapes = _shapes(recipe, known.folder)
    found: dict[str, Account] = {}
    for folder, inside in by_folder({name: known.layout.components[name] for name in known.configs}).items():
        where = known.folder / folder
        files = _files(where, next(iter(inside.values())).stem, choices, say)
        for component, held in inside.items():
            beside = [(other, shapes[name]) for name, other in inside.items() if name != component]
            found[component] = account(str(where), held, shapes[component], files, choices.drop, beside=beside)
            what = folder if len(inside) == 1 else f"{folder}, {component}"
            say(f"import:   {found[component].line(what)}")
    if choices.pickle and all(kept.found.begin is not None for one in found.values() for kept in one.kept):
        raise RecipeError("import: --pickle: no component here is a pickle alone: drop it")
    dropped = [key for one in found.values() for key in one.dropped]
    for glob in choices.drop:
        if not any(fnmatchcase(key, glob) for key in dropped):
            raise RecipeError(f"import: --drop {shown(glob)} matches no tensor: leave it out")
    return found


def _files(where: Path, stem: str, choices: Choices, say: Say) -> list[Found]:
    pickles = pickled_files(where) if choices.pickle and not any(where.glob("*.safetensors")) else []
    if not pickles:
        return found_files(where, stem)
    found = []
    for path in pickles:
        file, words = read_pickle(path)
        say(f"import:   {path}: {words}")
        found.append(file)
    return found


def _shapes(recipe: PhaseRecipe, folder: Path) -> dict[str, Shapes]:
    """Component -> the shapes of its parameters, from the network without values."""
    try:
        model = build(recipe.system, recipe, parts(recipe).components, seed=None)
    except ValueError as error:
        raise CheckpointError(f"import: {folder}: its config.json files describe no network: {error}") from None
    return {
        component: {name: tuple(p.shape) for name, p in module.named_parameters()}
        for component, module in model.named_children()
    }


def _identities(known: Recognised, recipe: PhaseRecipe, say: Say) -> dict[str, str]:
    """Part -> identity of the pretrained codecs that are there."""
    found = {}
    for part in known.codecs:
        if part not in recipe.codecs:
            say(f"import:   {part} codec: not read by {recipe.phase.kind}, left out")
            continue
        folders = known.layout.codecs[part].folders
        first = known.folder / next(iter(folders.values()))
        weights = first if "" in folders else first.parent
        section: Any = recipe.codecs[part]
        found[part] = streamed_identity(replace(section, weights=str(weights)), stored, key=f"codecs.{part}")
        say(f"import:   {part} codec {section.kind}: {found[part][:16]}")
    return found


def _info(known: Recognised, recipe: PhaseRecipe, identities: Mapping[str, str]) -> dict[str, Any]:
    """The contents of release.json other than its files."""
    held, components = known.layout.components, recipe.system.components(recipe)
    sections = {components[name].section for name in known.configs}
    values = released_values(recipe)
    untrained = {"optimizer", "steps", "validation", "ema", "train", "flow", "parents", "seed"}
    untrained -= {"flow"} if known.layout.flow(known.files) else set()  # what is said of it, samplers need
    kept = {key: value for key, value in values.items() if key not in untrained}
    kept["data"] = {"geometry": recipe.data.geometry}
    return {
        "name": recipe.name,
        "phase": recipe.phase.kind,
        "step": 0,
        "weights": "imported",
        "recipe": kept,
        "recipe_hash": recipe_hash(recipe),
        "commit": commit(),
        "model": to_dict(recipe.model),
        "shape": {section: sizes for section, sizes in shape_json(recipe).items() if section in sections},
        "data": None,
        "codecs": dict(identities),
        "survival": None,
        "quarantined": None,
        "parents": {},
        "imported": {"layout": known.name, "folders": {name: held[name].folder for name in known.configs}},
    }
