"""What `talkies sample` is asked for by its options, and where it goes."""

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from talkies.generate.prompts import Asked
    from talkies.recipe.config import PhaseRecipe


def check_file(args: argparse.Namespace) -> None:
    """RecipeError for an --out that is no file of a clip, StorageError for one that cannot be written."""
    from talkies.config import RecipeError
    from talkies.files.durable import check_writable
    from talkies.media.write_sound import SOUNDS

    if args.out is not None and args.out.suffix not in (".mp4", *SOUNDS):
        raise RecipeError(
            f"sample: --out {args.out}: the file must end in .mp4, or of sound alone in {', '.join(SOUNDS)}"
        )
    if args.out is not None and args.out.is_dir():
        raise RecipeError(f"sample: --out {args.out} is a folder: give a file")
    folder = (args.out or Path("sample")).parent
    if not folder.is_dir():
        raise RecipeError(f"sample: --out {args.out}: there is no folder {folder}: make it, or give another file")
    check_writable(args.out or Path("sample"), folder)


def file_of(args: argparse.Namespace, recipe: "PhaseRecipe") -> Path:
    """Where the clip goes. RecipeError for an --out that cannot hold it."""
    from talkies.config import RecipeError
    from talkies.runs.run_sample import suffix_of

    suffix = suffix_of(recipe)
    out: Path = args.out or Path(f"sample{suffix}")
    if suffix == ".mp4" and out.suffix != suffix:
        raise RecipeError(f"sample: --out {out} holds sound alone, and this model makes pictures: give an mp4")
    if out.is_dir():
        raise RecipeError(f"sample: --out {out} is a folder: give a file")
    return out


def check_folder(args: argparse.Namespace) -> None:
    """RecipeError for an --out that is no folder, and for options of a single clip; StorageError for a folder that
    cannot be written."""
    from talkies.config import RecipeError
    from talkies.config.records import present
    from talkies.files.durable import check_writable, nearest
    from talkies.media.write_sound import SOUNDS
    from talkies.models.options import MEDIA, WORDING

    for name in ("prompt", *WORDING, "seconds", *MEDIA):
        if getattr(args, name) is not None:
            raise RecipeError(f"sample: --{name} is for one clip: drop it, or say it in the lines of --prompts")
    if args.out is None:
        raise RecipeError("sample: --out is missing: with --prompts, give the folder of the clips")
    if args.out.suffix in (".mp4", *SOUNDS) or (present(args.out) and not args.out.is_dir()):
        raise RecipeError(f"sample: --out {args.out} is a file: with --prompts, give a folder")
    check_writable(args.out, nearest(args.out))


def asked_here(args: argparse.Namespace) -> "Asked":
    """The clip of the options. RecipeError for texts that cannot be used, or do not go together."""
    from talkies.generate.prompts import MEDIA, Asked
    from talkies.generate.wording import caption_of

    files = {name: getattr(args, name) for name in MEDIA if getattr(args, name) is not None}
    worded = _worded(args)
    asked = Asked(
        name="sample",
        prompt=caption_of(worded, {part: f"sample: --{part}" for part in worded}) if worded else args.prompt,
        negative=args.negative,
        files=files,
        seed=args.seed,
        worded=tuple(worded),
        seconds=args.seconds,
        consent=args.consent,
    )
    asked.check()
    return asked


def _worded(args: argparse.Namespace) -> dict[str, str]:
    """The parts of the prompt that are given apart."""
    from talkies.config import RecipeError
    from talkies.generate.wording import WORDING, read_script

    given = [part for part in WORDING if getattr(args, part) is not None]
    if given and args.prompt is not None:
        raise RecipeError(f"sample: --prompt and --{given[0]} both say what to make: give one of them")
    return {
        part: read_script(args.script, option="sample: --script") if part == "script" else getattr(args, part)
        for part in given
    }


def asked_by_file(args: argparse.Namespace) -> "list[Asked]":
    """The clips of --prompts. RecipeError as above, and for options that no line heeds."""
    from talkies.config import RecipeError
    from talkies.generate.prompts import SOUNDS, read_prompts

    asked = read_prompts(args.prompts, seed=args.seed, negative=args.negative, consent=args.consent)
    if args.consent is not None and not any("voice" in one.files for one in asked):
        raise RecipeError("sample: --consent is for voices that are given: no line has a `voice`; drop it")
    if args.overlap is not None and not any(one.files.keys() & SOUNDS for one in asked):
        raise RecipeError("sample: --overlap is for windows of a sound: no line has an `audio`; drop it")
    return asked


def check_scales(scales: Collection[str], asked: "list[Asked]", recipe: "PhaseRecipe") -> None:
    """RecipeError for a scale on the command line that guides by what is not given."""
    from talkies.config import RecipeError
    from talkies.generate.prompts import TRACKS
    from talkies.recipe.media import guides

    for name in scales:
        media = guides(recipe, name)
        if not media or any(one.files.keys() & media for one in asked):
            continue
        tracks = [f"--{medium}" for medium in media if medium in TRACKS]
        what = "tracks that are" if tracks else f"{'sound' if 'audio' in media else media[0]} that is"
        whole = [f"--{medium}" for medium in media if medium not in TRACKS]
        give = " or ".join([*whole, f"a track ({', '.join(tracks)})"] if tracks else whole)
        raise RecipeError(f"sample: the scale {name} guides by the {what} given: give {give}, or drop it")
