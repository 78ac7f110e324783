"""The option of verbs that evaluate a network."""

import argparse

OFFLOAD = ("none", "component", "block")
"""flow.config.Offload, whose module is not imported for --help."""


def add_offload(parser: argparse.ArgumentParser) -> None:
    """--offload, over the recipe's `sampling.offload`."""
    parser.add_argument(
        "--offload",
        choices=OFFLOAD,
        help="keep weights that are not at work in host memory: of components, or of blocks (the recipe's)",
    )
