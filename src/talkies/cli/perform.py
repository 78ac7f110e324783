"""talkies perform SCRIPT --audio-model A: takes of a script, and with --video-model V --take N the film of one."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkies.cli.offload import add_offload
from talkies.cli.place import add_store, path_of, registry_of, seed_of

MOST = 100
"""Takes."""
SCRIPT = "SCRIPT"
VERB: dict[str, Any] = {"verb": "perform", "arguments": {"script": SCRIPT, "audio": "the take"}}
"""How messages on what is asked for begin, and what they call arguments."""

if TYPE_CHECKING:
    from talkies.generate.prompts import Asked
    from talkies.parallel.ranks import Ranks
    from talkies.recipe.config import PhaseRecipe
    from talkies.runs.opened import Source
    from talkies.runs.source import Check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "script", type=path_of, metavar=SCRIPT, help="file with what is said; [S1], [S2] where another one speaks"
    )
    parser.add_argument("--audio-model", required=True, metavar="A", help="source of the sound, as for `sample`")
    parser.add_argument("--describe", metavar="TEXT", help="how it sounds: voices, mood, room")
    parser.add_argument("--voice", type=path_of, help="recording of the voice that speaks; without it anybody's")
    parser.add_argument("--consent", metavar="NOTE", help="what allows to clone the voice; it goes into the files")
    parser.add_argument("--seconds", type=float, metavar="S", help="how long a take lasts (what the script takes)")
    parser.add_argument("--takes", type=int, default=4, metavar="N", help="how many takes there shall be, at least (4)")
    parser.add_argument("--seed", type=seed_of, default=0, help="seed of the initial noise (0)")
    parser.add_argument("--video-model", metavar="V", help="source of the film, as for `sample`")
    parser.add_argument("--take", type=int, metavar="K", help="make the film of this take")
    parser.add_argument("--image", type=path_of, help="the person to show; without it anybody")
    parser.add_argument("--prompt", help="what else is to be seen")
    parser.add_argument("--out", type=path_of, default=Path("performance"), help="folder of takes and films")
    add_offload(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Make takes, and perhaps a film."""
    from talkies.cli.ranks import with_ranks
    from talkies.parallel.world import world_of

    _check(args)
    return with_ranks(args.argv, {"perform": world_of().size}, partial(_perform, args, _asked(args)))


def _check(args: argparse.Namespace) -> None:
    """RecipeError for options that do not go together."""
    from talkies.config import RecipeError
    from talkies.config.regular_files import present

    if present(args.out) and not args.out.is_dir():
        raise RecipeError(f"perform: --out {args.out} is a file: give a folder")
    if not 1 <= args.takes <= MOST:
        raise RecipeError(f"perform: --takes {args.takes}: give 1 to {MOST}")
    if args.take is not None and not 1 <= args.take <= _count(args):
        raise RecipeError(f"perform: --take {args.take}: there are takes 1 to {_count(args)}; --takes makes more")
    if args.take is not None and args.video_model is None:
        raise RecipeError("perform: --take makes a film: give --video-model, too")
    for option in ("image", "prompt"):
        if getattr(args, option) is not None and args.take is None:
            raise RecipeError(f"perform: --{option} is for the film of a take: give --take, or drop it")


def _count(args: argparse.Namespace) -> int:
    """How many takes there will be: those that are there stay."""
    from talkies.runs.run_perform import takes_in

    return max(int(args.takes), takes_in(args.out, MOST))


def _asked(args: argparse.Namespace) -> "Asked":
    """What all takes say. RecipeError for texts that cannot be used."""
    from talkies.generate.prompts import Asked
    from talkies.generate.wording import caption_of, read_script

    begin = f"perform: {SCRIPT}"
    worded = {"script": read_script(args.script, option=begin)}
    worded |= {} if args.describe is None else {"describe": args.describe}
    asked = Asked(
        name="take",
        prompt=caption_of(worded, {"script": begin, "describe": "perform: --describe"}),
        files={} if args.voice is None else {"voice": args.voice},
        seed=args.seed,
        worded=tuple(worded),
        seconds=args.seconds,
        consent=args.consent,
        **VERB,
    )
    asked.check()
    return asked


def _perform(args: argparse.Namespace, asked: "Asked", ranks: "Ranks") -> int:
    from talkies.runs.run_perform import asked_takes, check_audio, costs, make_film, make_takes, table_of

    video, count = args.video_model, _count(args)
    # What cannot be made is said before minutes of work.
    recipe = None if video is None else ranks.first(partial(_video_recipe, args))
    source = _open(args, args.audio_model, ranks, partial(check_audio, asked, args.audio_model))
    takes = make_takes(source, asked_takes(asked, count), spec=args.audio_model, folder=args.out, ranks=ranks)
    if ranks.main:
        print(*table_of(takes), costs(source.recipe, recipe, count), sep="\n")
    if args.take is None:
        return 0
    del source  # one model is in memory at a time
    film = _open(args, video, ranks, None)
    make_film(film, _film(args), spec=video, out=_film_path(args), ranks=ranks)
    return 0


def _film_path(args: argparse.Namespace) -> Path:
    path: Path = args.out / f"film-{args.take}.mp4"
    return path


def _film(args: argparse.Namespace) -> "Asked":
    """What the film shows. RecipeError for texts that cannot be used."""
    from talkies.generate.prompts import Asked

    files = {"audio": args.out / f"take-{args.take}.wav", **({} if args.image is None else {"image": args.image})}
    asked = Asked(name=f"film-{args.take}", prompt=args.prompt, files=files, seed=args.seed, **VERB)
    asked.check()
    return asked


def _video_recipe(args: argparse.Namespace) -> "PhaseRecipe":
    """That of the video model. RecipeError or DataError for one that makes no film, or not of what is given."""

    from talkies.config import RecipeError
    from talkies.config.regular_files import present
    from talkies.models.systems import SYSTEMS
    from talkies.runs.run_perform import check_film, check_video
    from talkies.runs.source_recipe import recipe_of_source

    registry = registry_of(args.runs, args.tracking_uri, source=args.video_model)
    recipe = recipe_of_source(args.video_model, registry, SYSTEMS, what="perform: --video-model")
    check_video(recipe)
    if args.take is not None:
        check_film(_film(args), recipe, args.video_model)
        if present(_film_path(args)):
            raise RecipeError(f"perform: {_film_path(args)} is there: move it away, or give another --out")
    return recipe


def _open(
    args: argparse.Namespace,
    spec: str,
    ranks: "Ranks",
    check: "Check | None",
) -> "Source":
    from talkies.models.systems import SYSTEMS
    from talkies.runs.source import open_source

    registry = registry_of(args.runs, args.tracking_uri, source=spec)
    return open_source(spec, registry, ranks, systems=SYSTEMS, offload=args.offload, check=check)
