"""talkies sample SOURCE --prompt ...: a run, a checkpoint, a release or models:/name@alias to clips."""

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from talkies.cli.clip_size import MAX_BATCH, add_clip_size, at_geometry, geometry_of, size_options, tiles_of, whole
from talkies.cli.offload import add_offload
from talkies.cli.place import add_store, path_of, registry_of, seed_of
from talkies.cli.sample_asked import asked_by_file, asked_here, check_file, check_folder, check_scales, file_of
from talkies.config.quoting import shown

MAX_SCALE, MAX_STEPS, MAX_OVERLAP = 100.0, 10_000, 3600.0

if TYPE_CHECKING:
    from talkies.flow.config import SamplingConfig, WindowsConfig
    from talkies.generate.prompts import Asked
    from talkies.parallel.ranks import Ranks
    from talkies.recipe.config import PhaseRecipe
    from talkies.runs.opened import Source
    from talkies.runs.source import Opening
    from talkies.streams.system import System


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; those of media, texts and guidance are declared by the systems."""
    from talkies.models.options import MEDIA, SCALES, WORDING

    parser.add_argument("source", help="a run, a checkpoint, a release folder, or models:/name@alias")
    parser.add_argument("--prompt", help="what to show and to hear; with a sound it may be left out")
    parser.add_argument(
        "--prompts",
        type=path_of,
        metavar="FILE",
        help="many clips, into the folder --out: a prompt a line, or JSON Lines (docs/sampling.md)",
    )
    parser.add_argument("--script", type=path_of, metavar="FILE", help=f"{WORDING['script']}, instead of --prompt")
    parser.add_argument("--describe", metavar="TEXT", help=f"{WORDING['describe']}, instead of --prompt")
    parser.add_argument("--negative", help="what guidance leads away from (the empty prompt)")
    for name, text in MEDIA.items():
        parser.add_argument(f"--{name}", type=path_of, help=text)
    parser.add_argument("--consent", metavar="NOTE", help="what allows to clone the voice; it goes into the file")
    parser.add_argument(
        "--out", type=path_of, help="where the clip goes (sample.mp4, or sample.wav of sound); with --prompts, a folder"
    )
    parser.add_argument("--seed", type=seed_of, default=0, help="seed of the initial noise (0)")
    add_clip_size(parser)
    parser.add_argument("--seconds", type=float, metavar="S", help="how long a sound lasts (what its script takes)")
    parser.add_argument("--steps", type=int, help="steps of the sampler (the recipe's)")
    for name, text in SCALES.items():
        parser.add_argument(f"--{name}-scale", type=float, help=f"guidance by {text}, 1 is off (the recipe's)")
    parser.add_argument(
        "--scale", action="append", default=[], metavar="NAME=X", help="guidance by the condition NAME; repeatable"
    )
    parser.add_argument(
        "--overlap",
        type=float,
        metavar="S",
        help="seconds that windows of a long sound have in common (the recipe's)",
    )
    parser.add_argument("--data", type=path_of, help="prepared data with a checkpoint's codecs (its run's own)")
    add_offload(parser)
    add_store(parser)


def scales_of(args: argparse.Namespace, system: "System") -> dict[str, float]:
    """The guidance scales of the command line; RecipeError for a value out of range, or one that `system` does not
    have."""
    import math

    from talkies.config import RecipeError

    found: dict[str, float] = {}
    for name, option, value in _given_scales(args):
        if name in found:
            raise RecipeError(f"sample: {option}: the scale {name} is given twice")
        if name not in system.scales:
            raise RecipeError(f"sample: {option}: {system.kind} models have the scales {', '.join(system.scales)}")
        try:
            found[name] = float(value)
        except ValueError:
            raise RecipeError(f"sample: {option}: give NAME=NUMBER") from None
        if not math.isfinite(found[name]) or not 0 <= found[name] <= MAX_SCALE:
            raise RecipeError(f"sample: {option}: give 0 to {MAX_SCALE:g}; 1 is off")
    return found


def _given_scales(args: argparse.Namespace) -> list[tuple[str, str, Any]]:
    """The scales of the command line: name, option and value."""
    from talkies.models.options import SCALES

    short = {name: getattr(args, f"{name}_scale") for name in SCALES}
    given: list[tuple[str, str, Any]] = [
        (name, f"--{name}-scale {value}", value) for name, value in short.items() if value is not None
    ]
    for text in args.scale:
        name, _, value = text.partition("=")
        given.append((name, f"--scale {shown(text)}", value))
    return given


def _options(args: argparse.Namespace) -> dict[str, str]:
    """Key of the recipe -> the option that gives it here, as messages call it."""
    given = {"sampling.steps": ("steps", args.steps), "sampling.windows": ("overlap", args.overlap)}
    return {
        **{key: f"sample: --{name} {value:g}" for key, (name, value) in given.items() if value is not None},
        **{f"sampling.scales.{name}": f"sample: {option}" for name, option, _ in _given_scales(args)},
        **size_options(args, "sample"),
    }


def sampling_of(args: argparse.Namespace, recipe: "PhaseRecipe") -> "SamplingConfig":
    """The recipe's sampling with the changes of the command line; RecipeError for values out of range."""
    from dataclasses import replace

    from talkies.recipe.sampling import check_sampling

    base, scales = recipe.sampling, scales_of(args, recipe.system)
    changed = replace(
        base,
        steps=whole(args, "sample", "steps", MAX_STEPS) or base.steps,
        scales={**base.scales, **scales},
        windows=base.windows if args.overlap is None else _windows(args, base),
        batch=whole(args, "sample", "batch", MAX_BATCH) or base.batch,
        tiles=tiles_of(args, "sample", base.tiles),
    )
    check_sampling(recipe, changed, options=_options(args))
    return changed


def _windows(args: argparse.Namespace, base: "SamplingConfig") -> "WindowsConfig":
    from dataclasses import replace

    from talkies.config import RecipeError
    from talkies.flow.config import WindowsConfig
    from talkies.generate.prompts import SOUNDS

    if args.prompts is None and all(getattr(args, name) is None for name in SOUNDS):
        raise RecipeError("sample: --overlap is for windows of a sound: give --audio, or drop it")
    if not 0 <= args.overlap <= MAX_OVERLAP:
        raise RecipeError(f"sample: --overlap {args.overlap:g}: give 0 to {MAX_OVERLAP:g} seconds")
    return replace(base.windows or WindowsConfig(), overlap=args.overlap)


def run(args: argparse.Namespace) -> int:
    """Sample one clip, or those of a file."""
    from talkies.cli.ranks import with_ranks
    from talkies.parallel.world import world_of

    many = args.prompts is not None
    (check_folder if many else check_file)(args)
    asked = asked_by_file(args) if many else [asked_here(args)]
    return with_ranks(args.argv, {"sample": world_of().size}, partial(_sample, args, asked))


def _sample(args: argparse.Namespace, asked: "list[Asked]", ranks: "Ranks") -> int:
    from talkies.runs.asked import request_of, warn
    from talkies.runs.run_sample import Wanted, make_together
    from talkies.runs.run_samples import make_clips

    source = _source(args, asked, ranks)
    sampling, model = sampling_of(args, source.recipe), source.generator()
    if args.prompts is not None:
        make_clips(source, asked, sampling, spec=args.source, out=args.out, ranks=ranks)
        return 0
    (one,) = asked
    read = request_of(one, model, source.recipe, sampling, args.source)
    warn(asked, model, source.recipe, ranks)
    out = file_of(args, source.recipe)
    wanted = Wanted(
        request=read.request, out=out, beside=read.beside, tracks=read.tracks, notes=read.notes, tags=read.tags
    )
    make_together(source, [wanted], sampling, ranks=ranks)
    return 0


def _source(args: argparse.Namespace, asked: "list[Asked]", ranks: "Ranks") -> "Source":
    """The model, for clips of the geometry that is asked for. What is asked is checked before its weights are read."""
    from talkies.models.systems import SYSTEMS
    from talkies.runs.source import open_source

    geometry, check = geometry_of(args, "sample"), partial(_check_asked, args, asked)
    registry = registry_of(args.runs, args.tracking_uri, source=args.source)
    source = open_source(
        args.source, registry, ranks, systems=SYSTEMS, data=args.data, offload=args.offload, check=check
    )
    return source if geometry is None else source.at(geometry, where="sample: --geometry")


def _check_asked(args: argparse.Namespace, asked: "list[Asked]", opening: "Opening") -> None:
    """RecipeError or DataError for what the model cannot be asked for."""
    from talkies.runs.asked import check_asked

    found = at_geometry(args, "sample", opening.recipe)
    sampling = sampling_of(args, found)
    if args.prompts is None:
        file_of(args, found)
    check_scales(scales_of(args, found.system), asked, found)
    for one in asked:
        check_asked(one, found, sampling, args.source)
