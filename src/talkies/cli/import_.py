"""talkies import FOLDER --out RELEASE: released weights as a release, which `sample`, `evaluate` and `parents` take; or
(--as htdemucs) as the weights of a demixer."""

import argparse

from talkies.cli.place import folder_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("folder", type=folder_of, help="a folder of released weights, as it was downloaded")
    parser.add_argument("--out", type=folder_of, required=True, help="the release to make")
    parser.add_argument(
        "--as", dest="layout", metavar="LAYOUT", help="its layout, if it is not the one recognised; htdemucs: a demixer"
    )
    parser.add_argument("--name", help="the release's name (the name of the folder)")
    parser.add_argument(
        "--geometry", metavar="HxWxF@FPS", help="size and length of the clips that the release makes (the layout's)"
    )
    parser.add_argument("--link", action="store_true", help="hard-link files that may stay as they are")
    parser.add_argument("--pickle", action="store_true", help="read components from a .pt or .pth of plain tensors")
    parser.add_argument(
        "--drop", action="append", default=[], metavar="GLOB", help="leave out the tensors of these names; repeatable"
    )


def run(args: argparse.Namespace) -> int:
    """Import in one process."""
    from talkies.models.systems import SYSTEMS
    from talkies.runs.import_choices import Choices
    from talkies.runs.import_demixer import import_demixer
    from talkies.runs.run_import import import_folder
    from talkies.weights.recognition import DEMIXER

    choices = Choices(
        layout=args.layout,
        name=args.name,
        geometry=args.geometry,
        link=args.link,
        pickle=args.pickle,
        drop=args.drop,
    )
    if choices.layout == DEMIXER:
        import_demixer(args.folder, args.out, choices)
        print(f"demixer:  {args.out}")
        return 0
    sha256 = import_folder(args.folder, args.out, choices, SYSTEMS)
    print(f"release:  {args.out} sha256 {sha256[:16]}")
    return 0
