"""The file formats in which an adapter is exported. A release holds PEFT's; others are written from it."""

import shutil
from collections.abc import Callable
from pathlib import Path

from talkies.training.adapter import Adapter

Format = Callable[[Adapter, Path], None]
"""Writes an adapter into an empty folder."""


def peft(adapter: Adapter, folder: Path) -> None:
    """adapter_model.safetensors and adapter_config.json, as in the release."""
    shutil.copytree(adapter.folder, folder, dirs_exist_ok=True)


FORMATS: dict[str, Format] = {"peft": peft}
