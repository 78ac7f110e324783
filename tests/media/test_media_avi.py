"""AVI does not record its audio encoder's delay: files for which it matters are quarantined."""

from pathlib import Path

import pytest
from films import FPS, HEIGHT, WIDTH, Film

from talkies.config.decode import decode_values
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.prepare.pipeline import prepare
from talkies.prepare.report import SetReport


def made(folder: Path, source: dict[str, str], *modalities: str) -> SetReport:
    """A set of films with sound of several kinds in AVI, and one elsewhere."""
    (folder / "clips").mkdir()
    films = [*(Film("avi", "mpeg4", audio) for audio in ("pcm", "mp3", "ac3", "mp2")), Film("mkv", "mpeg4", "mp3")]
    for film in films:
        path = folder / "clips" / f"{film.audio}-{film.container}.{film.container}"
        film.write(folder).rename(path)
        path.with_suffix(".txt").write_text("a film")
    values = {
        "kind": "prepare",
        "name": "small",
        "sources": {"films": {"kind": "folder", "path": "clips", "duplicates": "keep", **source}},
        "codecs": {
            "video": {"kind": "linear_video", "channels": 6, "motion": 3},
            "audio": {"kind": "linear_audio", "channels": 8, "hop": 320},
            "text": {"kind": "bytes"},
        },
        "sets": {
            "all": {"source": "films", "geometry": f"{HEIGHT}x{WIDTH}x21@{FPS}", "modalities": modalities},
            "fitted": {"source": "films", "geometry": f"{HEIGHT}x{WIDTH}x21@{FPS}"},
        },
        "fit_sets": ["fitted"],
    }
    config = decode_values(PrepareConfig, values, where="test")
    return prepare(config, folder / "root", systems=SYSTEMS, recipe_folder=folder, progress=False).sets["all"]


def test_it_is_quarantined_with_the_key_that_takes_it(tmp_path: Path) -> None:
    report = made(tmp_path, {}, "video", "audio")
    assert {entry.id: entry.reason for entry in report.quarantined} == dict.fromkeys(
        ("ac3-avi.avi", "mp2-avi.avi", "mp3-avi.avi"), "sync unknown"
    )
    assert all("`sources.films.avi` to keep" in entry.detail for entry in report.quarantined)
    assert report.kept == 2


@pytest.mark.parametrize(
    ("source", "modalities"),
    [({"avi": "keep"}, ("video", "audio")), ({}, ("audio",)), ({}, ("video",))],
    ids=["keep", "sound alone", "pictures alone"],
)
def test_it_is_used(source: dict[str, str], modalities: tuple[str, ...], tmp_path: Path) -> None:
    report = made(tmp_path, source, *modalities)
    assert (report.kept, report.quarantined) == (5, ())
