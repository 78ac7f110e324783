"""talkies import FOLDER --out RELEASE: released weights as a release, which `sample`, `evaluate` and `parents` take."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("folder", type=Path, help="a folder of released weights, as it was downloaded")
    parser.add_argument("--out", type=Path, required=True, help="the release to make")
    parser.add_argument("--as", dest="layout", metavar="LAYOUT", help="its layout, if it is not the one recognised")
    parser.add_argument("--name", help="the release's name (that of the folder)")
    parser.add_argument("--geometry", metavar="HxWxF@FPS", help="of the clips that it makes (the layout's own)")
    parser.add_argument("--link", action="store_true", help="hard-link files that may stay as they are")
    parser.add_argument("--pickle", action="store_true", help="read components from a .pt or .pth of plain tensors")
    parser.add_argument("--drop", action="append", default=[], metavar="GLOB", help="tensors that may be left out")


def run(args: argparse.Namespace) -> int:
    """Import in one process."""
    from talkies.models.systems import SYSTEMS
    from talkies.runs.run_import import Choices, import_folder

    choices = Choices(
        layout=args.layout,
        name=args.name,
        geometry=args.geometry,
        link=args.link,
        pickle=args.pickle,
        drop=args.drop,
    )
    sha256 = import_folder(args.folder, args.out, choices, SYSTEMS)
    print(f"release:  {args.out} sha256 {sha256[:16]}")
    return 0
