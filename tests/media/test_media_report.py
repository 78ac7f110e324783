"""Through `prepare`: its report on pictures that need more than decoding, and on those that are refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from painted import TO_2020, coded, filled, light, marked, picture, pq, write

from talkies.codecs.load import load_codecs
from talkies.config import DataError
from talkies.config.decode import decode_values
from talkies.data.shards import ShardSet
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.prepare.pipeline import prepare
from talkies.prepare.report import Report

FRAMES, HEIGHT, WIDTH = 9, 64, 112
COLOUR = (199, 39, 40)
TAGS = ("colorspace", "color_primaries", "color_trc", "color_range")


def plain(pixels: str = "yuv420p") -> list[Any]:
    """COLOUR, with a lighter square that moves."""
    made = []
    for index in range(FRAMES):
        image = torch.tensor(COLOUR, dtype=torch.uint8)[:, None, None].repeat(1, HEIGHT, WIDTH)
        image[:, 8:24, 4 * index : 4 * index + 16] = 230
        made.append(picture(image, pixels))
    return made


def hdr() -> list[Any]:
    values = coded(pq(203 * (TO_2020 @ light(COLOUR))), "bt2020", bits=10)
    return [filled(values, "yuv444p10le", HEIGHT, WIDTH) for _ in range(FRAMES)]


def clear() -> list[Any]:
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[:] = (*COLOUR, 255)
    rgba[:, WIDTH // 2 :, 3] = 0
    return [av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="bgra") for _ in range(FRAMES)]


def halves(mark: str | None) -> list[Any]:
    """A bar of white on COLOUR that moves by 4 pixels per field, odd lines after even ones, or before them."""
    made = []
    for index in range(FRAMES):
        image = torch.tensor(COLOUR, dtype=torch.uint8)[:, None, None].repeat(1, HEIGHT, WIDTH)
        for row, left in ((0, 8 * index), (1, 8 * index + 4)):
            image[:, row if mark else 1 - row :: 2, left : left + 16] = 255
        made.append(picture(image, "yuv420p"))
    return made if mark is None else marked(made, mark)


def tagged(*values: int) -> dict[str, int]:
    return dict(zip(TAGS, values, strict=True))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """One clip of each kind."""
    folder = tmp_path / "clips"
    folder.mkdir()
    shear = (1 << 16, 1 << 14, 0, 1 << 16)
    mirror = (-(1 << 16), 0, 0, 1 << 16)
    write(folder / "plain.mkv", plain())
    write(folder / "hdr.mkv", hdr(), tags=tagged(9, 9, 16, 1))
    write(folder / "clear.mkv", clear())
    write(folder / "marked.mkv", halves("tff"))
    write(folder / "combed.mkv", halves(None))
    write(folder / "mirrored.mov", plain(), codec="mpeg4", options={"qmax": "2"}, matrix=mirror)
    write(folder / "sheared.mov", plain(), codec="mpeg4", matrix=shear)
    write(folder / "linear.mkv", plain(), tags=tagged(1, 1, 8, 1))
    write(folder / "lms.mkv", plain("yuv444p"), tags=tagged(14, 9, 1, 1))
    write(folder / "fast.mkv", plain(), fps=48)
    for path in folder.iterdir():
        path.with_suffix(".txt").write_text(f"a square that is {path.stem}")
    return folder


def prepared(folder: Path, sets: Sequence[str] = ("all",)) -> tuple[Report, PrepareConfig]:
    values = {
        "kind": "prepare",
        "name": "small",
        "sources": {"clips": {"kind": "folder", "path": str(folder)}},
        "codecs": {
            "video": {"kind": "linear_video", "channels": 24, "motion": 12},
            "audio": {"kind": "linear_audio", "channels": 8, "hop": 320},
            "text": {"kind": "bytes", "dim": 16, "length": 6},
        },
        "sets": {
            name: {
                "source": "clips",
                "split": "all",
                "geometry": f"{HEIGHT}x{WIDTH}x{FRAMES}@24",
                "modalities": ["video"],
            }
            for name in sets
        },
        "fit_sets": ["all"],
    }
    config = decode_values(PrepareConfig, values, where="test")
    return prepare(config, folder.parent / "root", systems=SYSTEMS, recipe_folder=folder, progress=False), config


def test_the_report_counts_and_gives_reasons(clips: Path) -> None:
    report, config = prepared(clips)
    found = report.sets["all"]
    assert found.kept == 6
    assert found.treated == {"deinterlaced": 2, "laid on white": 1, "tone-mapped": 1}
    refused = {entry.id: (entry.reason, entry.detail) for entry in found.quarantined}
    assert {name: reason for name, (reason, _) in refused.items()} == {
        "sheared.mov": "orientation",
        "linear.mkv": "colours",
        "lms.mkv": "colours",
        "fast.mkv": "wrong fps",
    }
    assert "display matrix [1 0.25; 0 1]" in refused["sheared.mov"][1]
    assert "transfer characteristics 8 (LINEAR)" in refused["linear.mkv"][1]
    assert "matrix coefficients 14" in refused["lms.mkv"][1]
    assert "convert it (ffmpeg -i IN -r 24 OUT)" in refused["fast.mkv"][1]
    text = "\n".join(report.lines())
    assert "all: 6 clips, 2 s, 4 quarantined, 2 deinterlaced, 1 laid on white, 1 tone-mapped (" in text
    assert "  colours: 2: " in text
    assert "  orientation: 1: sheared.mov (its display matrix" in text
    written = json.loads((clips.parent / "root" / "report.json").read_text())["sets"]["all"]
    assert written["treated"] == found.treated
    assert len(written["quarantined"]) == 4
    check_pictures(clips.parent / "root", config)


def check_pictures(root: Path, config: PrepareConfig) -> None:
    """Clips decoded from the stored latents have the intended colours and places."""
    shards = ShardSet.open(root / "sets" / "all")
    codecs = load_codecs(config.codecs, root / "codecs", names=["video"])
    stored = (shards.read(index) for index in range(len(shards)))
    films = {clip.id: codecs.video["video"].decode(clip.streams["video"].values[None])[0] for clip in stored}
    places = {
        "plain.mkv": ((40, 60), COLOUR),
        "hdr.mkv": ((40, 60), COLOUR),
        "clear.mkv": ((40, 20), COLOUR),
        "marked.mkv": ((40, 100), COLOUR),
        "combed.mkv": ((40, 100), COLOUR),
        "mirrored.mov": ((16, WIDTH - 8), (230, 230, 230)),
    }
    for name, ((row, column), colour) in places.items():
        seen = (films[name][0, :, row, column] + 1) * 127.5
        assert (seen - torch.tensor(colour)).abs().max() < 12, name
    assert ((films["clear.mkv"][0, :, 40, 100] + 1) * 127.5).min() > 243


def test_a_second_run_reports_the_same(clips: Path) -> None:
    first, again = prepared(clips)[0], prepared(clips)[0]
    assert again.sets["all"].reused
    assert again.sets["all"].treated == first.sets["all"].treated
    assert again.sets["all"].quarantined == first.sets["all"].quarantined
    assert again.lines()[1:] == first.lines()[1:]


def test_if_only_refused_clips_are_left_the_reasons_are_reported(clips: Path) -> None:
    for path in clips.glob("*.m*"):
        if path.stem not in ("sheared", "linear"):
            path.unlink()
    with pytest.raises(DataError, match=r"no usable clip .*: (colours|orientation): 1: .*(colours|orientation): 1: "):
        prepared(clips)
