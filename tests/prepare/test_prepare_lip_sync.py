"""The lip-sync filter: scores beside the media decide what is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talkies.config import DataError
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig, SyncConfig
from talkies.prepare.lip_sync import SyncScores, out_of_sync
from talkies.prepare.pipeline import Report, prepare

Maker = Callable[..., Path]
FOLDER = {"kind": "folder", "path": "media", "sync": {}}
MANIFEST = {"kind": "manifest", "path": "m.jsonl", "sync": {}}


@pytest.fixture
def run(tmp_path: Path, recipe: Callable[..., PrepareConfig]) -> Callable[..., Report]:
    def once(source: dict[str, Any]) -> Report:
        made = recipe(sources={"media": source})
        return prepare(made, tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False)

    return once


@pytest.mark.parametrize(
    ("offset", "confidence", "why"),
    [
        (3, 3.0, None),
        (-3, 3.0, None),
        (4, 10.0, "its sound is 4 frames off its lips; at most 3 are allowed"),
        (2, 2.9, "its sound is 2 frames off its lips with a confidence of 2.9; at least 3 is needed there"),
        (-1, 1.5, None),  # noise and singing: a small offset, less confidence
        (1.5, 2.0, "its sound is 1.5 frames off its lips with a confidence of 2; at least 3 is needed there"),
        (0, 1.4, "its sound is 0 frames off its lips with a confidence of 1.4; at least 1.5 is needed there"),
    ],
)
def test_offset_and_confidence_decide_together(offset: float, confidence: float, why: str | None) -> None:
    assert out_of_sync(SyncConfig(), SyncScores(offset=offset, confidence=confidence)) == why


def scored(make: Maker, *scores: tuple[float, float]) -> None:
    """Files in the media folder, with their scores beside them."""
    for i, (offset, confidence) in enumerate(scores):
        path = make(f"{i}.mp4", seed=i)
        path.with_suffix(".sync.json").write_text(json.dumps({"offset": offset, "confidence": confidence}))


def test_a_folder_has_scores_beside_its_files(make: Maker, run: Callable[..., Report]) -> None:
    scored(make, (0, 5.0), (7, 5.0), (3, 3.5))
    report = run(FOLDER)
    assert report.sets["all"].kept == 2
    (lost,) = report.sets["all"].quarantined
    assert (lost.id, lost.reason) == ("1.mp4", "lip sync")
    assert report.ignored == {}
    assert run(FOLDER).sets["all"].reused
    scored(make, (0, 5.0), (2, 5.0), (3, 3.5))
    assert run(FOLDER).sets["all"].kept == 3
    strict = run({**FOLDER, "sync": {"offset": 1}}).sets["all"]
    assert (strict.kept, [entry.reason for entry in strict.quarantined]) == (1, ["lip sync", "lip sync"])


def test_a_folder_without_the_filter_ignores_scores_and_says_so(make: Maker, run: Callable[..., Report]) -> None:
    scored(make, (0, 5.0), (7, 5.0))
    report = run({"kind": "folder", "path": "media"})
    assert report.sets["all"].kept == 2
    assert report.ignored == {"media": {".json": 2}}


def manifest(folder: Path, make: Maker, *scores: Any) -> None:
    lines = []
    for i, score in enumerate(scores):
        path = make(f"{i}.mp4", seed=i)
        line = {"media": f"media/{path.name}", "caption": "a square hums"}
        lines.append(json.dumps(line if score is None else {**line, "sync": score}))
    (folder / "m.jsonl").write_text("\n".join(lines))


def test_a_manifest_has_scores_in_its_lines(tmp_path: Path, make: Maker, run: Callable[..., Report]) -> None:
    good, bad = {"offset": 1, "confidence": 2.0}, {"offset": 2, "confidence": 2.0}
    manifest(tmp_path, make, good, bad)
    report = run(MANIFEST).sets["all"]
    assert [(entry.id, entry.reason) for entry in report.quarantined] == [("media/1.mp4", "lip sync")]
    assert run({"kind": "manifest", "path": "m.jsonl"}).sets["all"].kept == 2


def test_missing_scores_are_refused_by_name(tmp_path: Path, make: Maker, run: Callable[..., Report]) -> None:
    make("a.mp4")
    with pytest.raises(DataError, match=r"`sources\.media\.sync` .* 1 of 1 files lack: a\.mp4; .* to NAME\.sync\.json"):
        run(FOLDER)
    manifest(tmp_path, make, {"offset": 1, "confidence": 2.0}, None)
    with pytest.raises(DataError, match=r"1 of 2 files lack: media/1\.mp4; write .* to its line, as \"sync\""):
        run(MANIFEST)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"offset": 1}, "it has no `confidence`"),
        ({"offset": "1", "confidence": 2.0}, "its `offset` is '1', and must be a number"),
        ([], "it holds no JSON object"),
        ({"offset": 1, "confidence": float("nan")}, "NaN"),
    ],
)
def test_scores_that_are_none_name_their_place(
    tmp_path: Path, make: Maker, run: Callable[..., Report], scores: Any, words: str
) -> None:
    manifest(tmp_path, make, scores)
    with pytest.raises(DataError, match=rf"m\.jsonl:1: `sync` is damaged: .*{words}"):
        run(MANIFEST)
    make("0.mp4").with_suffix(".sync.json").write_text(json.dumps(scores))
    with pytest.raises(DataError, match=rf"0\.sync\.json is damaged: .*{words}"):
        run(FOLDER)
