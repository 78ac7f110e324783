"""talkies sample SOURCE --prompt ...: a run, a checkpoint, a release or models:/name@alias to an mp4 with sound."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.place import add_store, registry_of, seed_of
from talkies.config.quoting import shown

MAX_SCALE, MAX_STEPS = 100.0, 10_000

if TYPE_CHECKING:
    from talkies.generate.config import SamplingConfig
    from talkies.parallel.ranks import Ranks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("source", help="a run, a checkpoint, a release folder, or models:/name@alias")
    parser.add_argument("--prompt", required=True, help="what to show and to hear")
    parser.add_argument("--image", type=Path, help="first frame; without it a white image")
    parser.add_argument("--out", type=Path, default=Path("sample.mp4"), help="where the mp4 goes (sample.mp4)")
    parser.add_argument("--seed", type=seed_of, default=0, help="seed of the noise (0)")
    parser.add_argument("--steps", type=int, help="Euler steps (the recipe's)")
    parser.add_argument("--text-scale", type=float, help="text guidance, 1 is off (the recipe's)")
    parser.add_argument("--bridge-scale", type=float, help="Bridge guidance, 1 is off (the recipe's)")
    parser.add_argument("--data", type=Path, help="prepared data with the codecs of a checkpoint (its run's own)")
    add_store(parser)


def sampling_of(args: argparse.Namespace, base: "SamplingConfig") -> "SamplingConfig":
    """The recipe's sampling with the changes of the command line; RecipeError for values out of range."""
    import math
    from dataclasses import replace

    from talkies.config import RecipeError

    changed = {
        key: getattr(args, key) for key in ("steps", "text_scale", "bridge_scale") if getattr(args, key) is not None
    }
    scales = {key: value for key, value in changed.items() if key != "steps"}
    if not 1 <= changed.get("steps", 1) <= MAX_STEPS:
        raise RecipeError(f"sample: --steps {shown(changed['steps'])}: give a value from 1 to {MAX_STEPS}")
    for key, value in scales.items():
        if not math.isfinite(value) or not 0 <= value <= MAX_SCALE:
            raise RecipeError(f"sample: --{key.replace('_', '-')} {value}: give 0 to {MAX_SCALE:g}; 1 is off")
    return replace(base, **changed)


def run(args: argparse.Namespace) -> int:
    """Sample one clip."""
    from talkies.cli.ranks import with_ranks
    from talkies.codecs.prompt import LONGEST
    from talkies.config import RecipeError
    from talkies.parallel.world import world_of

    if args.out.suffix != ".mp4":
        raise RecipeError(f"sample: --out {args.out}: the file must end in .mp4")
    if args.out.is_dir():
        raise RecipeError(f"sample: --out {args.out} is a folder: give a file")
    if any("\ud800" <= letter <= "\udfff" for letter in args.prompt):
        raise RecipeError("sample: --prompt is not UTF-8: encode it as UTF-8")
    if (size := len(args.prompt.encode())) > LONGEST:
        raise RecipeError(f"sample: --prompt has {size:,} bytes; at most {LONGEST:,} are allowed")
    if not args.prompt.strip():
        raise RecipeError("sample: --prompt is empty: describe what to show and to hear")
    return with_ranks(args.argv, {"sample": world_of().size}, partial(_sample, args))


def _sample(args: argparse.Namespace, ranks: "Ranks") -> int:
    from talkies.config import RecipeError
    from talkies.generate.clip import Request
    from talkies.generate.image import load_image
    from talkies.runs.run_sample import make_clip
    from talkies.runs.source import open_source

    source = open_source(
        args.source, registry_of(args.runs, args.tracking_uri, source=args.source), ranks, data=args.data
    )
    image = None
    if args.image is not None:
        if "video" not in source.grids:
            raise RecipeError(f"sample: {args.source} generates sound only; drop --image")
        block = source.recipe.codecs.video.block
        height, width = (n * block for n in source.grids["video"].shape[1:])
        image = load_image(args.image, height=height, width=width)
    sampling = sampling_of(args, source.recipe.sampling)
    if len(source.grids) < 2 and sampling.bridge_scale != 1:
        raise RecipeError(f"sample: {args.source} has one modality and no Bridge: --bridge-scale must be 1")
    request = Request(prompt=args.prompt, image=image, id="sample")
    make_clip(source, request, sampling, seed=args.seed, out=args.out, ranks=ranks)
    return 0
