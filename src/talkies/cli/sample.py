"""talkies sample SOURCE --prompt ...: a run, a checkpoint, a release or models:/name@alias to an mp4 with sound."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from talkies.cli.offload import add_offload
from talkies.cli.place import add_store, path_of, registry_of, seed_of
from talkies.config.quoting import shown

MAX_SCALE, MAX_STEPS, MAX_OVERLAP = 100.0, 10_000, 3600.0

if TYPE_CHECKING:
    from talkies.flow.config import SamplingConfig
    from talkies.generate.given import Given
    from talkies.generate.model import Generator
    from talkies.media.carried import Medium
    from talkies.parallel.ranks import Ranks
    from talkies.recipe.config import PhaseRecipe
    from talkies.streams.system import System


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; those of media and guidance are declared by the systems."""
    from talkies.models.options import MEDIA, SCALES

    parser.add_argument("source", help="a run, a checkpoint, a release folder, or models:/name@alias")
    parser.add_argument("--prompt", help="what to show and to hear; with --audio it may be left out")
    parser.add_argument("--negative", help="what guidance leads away from (the empty prompt)")
    for name, text in MEDIA.items():
        parser.add_argument(f"--{name}", type=path_of, help=text)
    parser.add_argument("--out", type=path_of, default=Path("sample.mp4"), help="where the mp4 goes (sample.mp4)")
    parser.add_argument("--seed", type=seed_of, default=0, help="seed of the initial noise (0)")
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
    from talkies.models.options import SCALES

    short = {name: getattr(args, f"{name}_scale") for name in SCALES}
    given = [(name, f"--{name}-scale {value}", value) for name, value in short.items() if value is not None]
    for text in args.scale:
        name, _, value = text.partition("=")
        given.append((name, f"--scale {shown(text)}", value))
    found: dict[str, float] = {}
    for name, option, value in given:
        if name in found:
            raise RecipeError(f"sample: {option}: the scale {name} is given twice")
        if name not in system.scales:
            raise RecipeError(f"sample: {option}: a {system.kind} model has the scales {', '.join(system.scales)}")
        try:
            found[name] = float(value)
        except ValueError:
            raise RecipeError(f"sample: {option}: give NAME=NUMBER") from None
        if not math.isfinite(found[name]) or not 0 <= found[name] <= MAX_SCALE:
            raise RecipeError(f"sample: {option}: give 0 to {MAX_SCALE:g}; 1 is off")
    return found


def sampling_of(args: argparse.Namespace, recipe: "PhaseRecipe") -> "SamplingConfig":
    """The recipe's sampling with the changes of the command line; RecipeError for values out of range."""
    from dataclasses import replace

    from talkies.config import RecipeError
    from talkies.flow.config import WindowsConfig
    from talkies.recipe.sampling import check_sampling

    if args.steps is not None and not 1 <= args.steps <= MAX_STEPS:
        raise RecipeError(f"sample: --steps {shown(args.steps)}: give a value from 1 to {MAX_STEPS}")
    base, scales = recipe.sampling, scales_of(args, recipe.system)
    changed = replace(base, steps=args.steps or base.steps, scales={**base.scales, **scales})
    if args.overlap is not None:
        if args.audio is None:
            raise RecipeError("sample: --overlap is for windows of a sound: give --audio, or drop it")
        if not 0 <= args.overlap <= MAX_OVERLAP:
            raise RecipeError(f"sample: --overlap {args.overlap:g}: give 0 to {MAX_OVERLAP:g} seconds")
        changed = replace(changed, windows=replace(base.windows or WindowsConfig(), overlap=args.overlap))
    check_sampling(recipe, changed)
    return changed


def negative_of(args: argparse.Namespace, recipe: "PhaseRecipe", sampling: "SamplingConfig") -> dict[str, str]:
    """Text -> the negative prompt, for the texts that guidance leaves out; RecipeError if there is none."""
    from talkies.config import RecipeError
    from talkies.flow.ladder import left_out
    from talkies.recipe.components import parts

    if args.negative is None:
        return {}
    texts = left_out(recipe.system.ladder(recipe), sampling.scales, sampling.steps) & parts(recipe).texts
    if not texts:
        raise RecipeError(
            "sample: --negative: no evaluation leaves the prompt out, so nothing leads away from it: set the guidance "
            "scale of the prompt (such as --text-scale) to another value than 1, or drop it"
        )
    return dict.fromkeys(sorted(texts), args.negative)


def run(args: argparse.Namespace) -> int:
    """Sample one clip."""
    from talkies.cli.ranks import with_ranks
    from talkies.config import RecipeError
    from talkies.parallel.world import world_of

    if args.out.suffix != ".mp4":
        raise RecipeError(f"sample: --out {args.out}: the file must end in .mp4")
    if args.out.is_dir():
        raise RecipeError(f"sample: --out {args.out} is a folder: give a file")
    if args.prompt is None and args.audio is None:
        raise RecipeError("sample: --prompt is missing: describe what to show and to hear")
    if args.prompt is not None:
        _check_prompt("--prompt", args.prompt, empty="describe what to show and to hear")
    if args.negative is not None:
        _check_prompt("--negative", args.negative, empty="drop it, since the default is the empty prompt")
    return with_ranks(args.argv, {"sample": world_of().size}, partial(_sample, args))


def _check_prompt(option: str, text: str, *, empty: str) -> None:
    from talkies.codecs.prompt import LONGEST
    from talkies.config import RecipeError

    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RecipeError(f"sample: {option} is not UTF-8: encode it as UTF-8")
    if (size := len(text.encode())) > LONGEST:
        raise RecipeError(f"sample: {option} has {size:,} bytes; at most {LONGEST:,} are allowed")
    if not text.strip():
        raise RecipeError(f"sample: {option} is empty: {empty}")


def _check_media(args: argparse.Namespace, system: "System") -> None:
    """RecipeError for a medium that the system does not take."""
    from talkies.config import RecipeError
    from talkies.models.options import MEDIA

    for name in MEDIA:
        if getattr(args, name) is not None and name not in system.options:
            known = ", ".join(f"--{option}" for option in system.options) or "none"
            raise RecipeError(f"sample: --{name}: a {system.kind} model takes no such file; it takes: {known}")


def _sample(args: argparse.Namespace, ranks: "Ranks") -> int:
    from talkies.config import RecipeError
    from talkies.generate.image import load_image
    from talkies.generate.request import Request
    from talkies.models.systems import SYSTEMS
    from talkies.runs.run_sample import make_clip
    from talkies.runs.source import open_source

    registry = registry_of(args.runs, args.tracking_uri, source=args.source)
    source = open_source(args.source, registry, ranks, systems=SYSTEMS, data=args.data, offload=args.offload)
    _check_media(args, source.recipe.system)
    sampling, model = sampling_of(args, source.recipe), source.generator()
    negative = negative_of(args, source.recipe, sampling)
    image = None
    if args.image is not None:
        if model.shape is None:
            raise RecipeError(f"sample: {args.source} generates sound only; drop --image")
        if not model.takes_image:
            raise RecipeError(f"sample: --image: {args.source} takes no image; drop it")
        _, height, width = model.shape
        image = load_image(args.image, height=height, width=width)
    given = _given(args, model, sampling)
    request = Request(
        prompts=dict.fromkeys(model.text_codecs, args.prompt or ""),
        image=image,
        id="sample",
        given={name: one.values for name, (_, _, one) in given.items()},
        negative=negative,
    )
    beside = [(medium, path, one) for medium, path, one in given.values()]
    make_clip(
        source, request, sampling, seed=args.seed, out=args.out, ranks=ranks, beside=beside[0] if beside else None
    )
    return 0


def _given(
    args: argparse.Namespace, model: "Generator", sampling: "SamplingConfig"
) -> "dict[str, tuple[Medium, Path, Given]]":
    """Stream -> the medium, the file and the values that the command line gives for it."""
    from talkies.config import RecipeError

    if args.audio is not None and args.video is not None:
        raise RecipeError("sample: --audio and --video give everything, and leave nothing to make: give one of them")
    if args.audio is not None:
        return _given_sound(args, model, whole=sampling.windows is not None)
    return {} if args.video is None else _given_film(args, model)


def _given_sound(
    args: argparse.Namespace, model: "Generator", *, whole: bool
) -> "dict[str, tuple[Medium, Path, Given]]":
    from talkies.config import RecipeError
    from talkies.generate.given import check_audible, given_sound

    if (stream := model.listens) is None:
        raise RecipeError(f"sample: --audio: {args.source} does not make a video for a sound; drop it")
    rate, samples = model.codecs.audio[model.codec_of(stream)].sample_rate, model.samples_of(stream)
    more = None if whole else (model.hears(stream) - samples) / rate
    given = given_sound(args.audio, sample_rate=rate, samples=samples, more=more)
    if stream not in model.targets:
        check_audible(args.audio, given.values, rate)
    return {stream: ("audio", args.audio, given)}


def _given_film(args: argparse.Namespace, model: "Generator") -> "dict[str, tuple[Medium, Path, Given]]":
    from talkies.config import RecipeError
    from talkies.generate.given import given_film

    film = model.stream_of("video")
    if film is None or model.shape is None or model.stream_of("audio") is None:
        raise RecipeError(f"sample: --video: {args.source} does not make a sound for a film; drop it")
    if args.image is not None:
        raise RecipeError("sample: --video has a first frame of its own; drop --image")
    frames, height, width = model.shape
    read = given_film(args.video, frames=frames, fps=model.fps, height=height, width=width)
    return {film: ("video", args.video, read)}
