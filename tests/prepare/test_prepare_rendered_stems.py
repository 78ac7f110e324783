"""Tracks that are rendered beside the world's clips are no media, whatever the demixer."""

from pathlib import Path

import pytest

from talkies.prepare.sources import collect
from talkies.prepare.track_plan import Beside
from talkies.world.config import SyntheticSource


@pytest.mark.parametrize("stems", [(), (".speech.wav",)])
def test_clips_alone_are_items(tmp_path: Path, stems: tuple[str, ...]) -> None:
    source = SyntheticSource(domain="scenes", clips=2, stems=True)
    found = collect(
        "scenes", source, recipe_folder=tmp_path, rendered=tmp_path / "r", seed=0, beside=Beside(stems=stems)
    )
    assert [item.media.suffix for item in found.items] == [".mp4"] * 2
    assert all(set(item.stems) == set(stems) for item in found.items)
