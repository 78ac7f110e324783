"""The same content is never on both sides of a split, and is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from talkies.config import DataError
from talkies.data.shards import ShardSet
from talkies.prepare.config import PrepareConfig
from talkies.prepare.pipeline import Report, prepare, prepare_sets

Maker = Callable[..., Path]
Recipe = Callable[..., PrepareConfig]
SETS = {
    "train": {"source": "media", "geometry": "32x32x5@12"},
    "held": {"source": "media", "split": "heldout", "geometry": "32x32x5@12"},
}


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> Callable[..., Report]:
    def once(root: str = "root", *, source: dict[str, Any] | None = None, **sections: Any) -> Report:
        media = {"kind": "folder", "path": "media", "heldout": 2, **(source or {})}
        keys = {"sets": SETS, "fit_sets": ["train"], "sources": {"media": media}, **sections}
        return prepare(recipe(**keys), tmp_path / root, recipe_folder=tmp_path, progress=False)

    return once


@pytest.fixture
def five(make: Maker) -> list[Path]:
    return [make(f"c{i}.mp4", seed=i, frames=9) for i in range(5)]


def ids(root: Path, name: str) -> set[str]:
    return set(ShardSet.open(root / "sets" / name).ids)


def copied(path: Path, name: str, caption: str | None = "a copy hums") -> Path:
    target = path.with_name(name)
    shutil.copy(path, target)
    if caption is not None:
        target.with_suffix(".txt").write_text(caption)
    return target


def remuxed(path: Path, name: str) -> Path:
    """The same streams in another container."""
    target = path.with_name(name)
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    target.with_suffix(".txt").write_text("a remux hums")
    return target


def test_without_copies_nothing_moves(five: list[Path], run: Callable[..., Report], tmp_path: Path) -> None:
    report = run()
    assert not report.copies
    assert (len(ids(tmp_path / "root", "held")), len(ids(tmp_path / "root", "train"))) == (2, 3)


def test_every_copy_is_found_counted_and_used_once(
    five: list[Path], run: Callable[..., Report], tmp_path: Path
) -> None:
    """Of every clip one, so that some would have been on the other side."""
    run("before")
    for path in five:
        copied(path, f"{path.stem} (1).mp4", caption=None)
    report = run()
    held, train = ids(tmp_path / "root", "held"), ids(tmp_path / "root", "train")
    assert (len(held), len(train)) == (2, 3)
    assert held | train == {path.name for path in five}  # the ones that have captions
    found = {copy.id: copy.of for copy in report.copies["media"]}
    assert found == {f"c{i} (1).mp4": f"c{i}.mp4" for i in range(5)}
    assert "source media: copies left out: 5: " in "\n".join(report.lines())
    assert len(json.loads((tmp_path / "root" / "report.json").read_text())["copies"]["media"]) == 5


@pytest.mark.parametrize("suffix", ["mkv", "mov", "ts"])
def test_a_remux_is_a_copy(five: list[Path], run: Callable[..., Report], tmp_path: Path, suffix: str) -> None:
    for path in five:
        remuxed(path, f"{path.stem}-{suffix}.{suffix}")
    report = run()
    assert len(report.copies["media"]) == 5
    assert len(ids(tmp_path / "root", "held") | ids(tmp_path / "root", "train")) == 5


def test_kept_copies_are_on_one_side(five: list[Path], run: Callable[..., Report], tmp_path: Path) -> None:
    for path in five:
        copied(path, f"again-{path.name}")
    report = run(source={"duplicates": "keep"})
    held, train = ids(tmp_path / "root", "held"), ids(tmp_path / "root", "train")
    assert len(held) + len(train) == 10
    assert len(held) >= 2
    for path in five:
        assert ({path.name, f"again-{path.name}"} <= held) or ({path.name, f"again-{path.name}"} <= train)
    assert "copies kept on one side of the split: 5" in "\n".join(report.lines())


def test_another_source_does_not_train_on_what_is_held_out(
    five: list[Path], make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    lines = [json.dumps({"media": f"media/{path.name}", "caption": "hums"}) for path in five]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    sources = {
        "media": {"kind": "folder", "path": "media", "heldout": 2},
        "more": {"kind": "manifest", "path": "list.jsonl"},
    }
    report = run(sources=sources, sets={**SETS, "more": {**SETS["train"], "source": "more"}})
    held, more = ids(tmp_path / "root", "held"), ids(tmp_path / "root", "more")
    assert len(more) == 3
    assert not {f"media/{name}" for name in held} & more
    assert {copy.of for copy in report.copies["more"]} == {f"media: {name}" for name in held}


def test_a_file_that_a_manifest_lists_through_a_link_is_a_copy(
    five: list[Path], run: Callable[..., Report], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "media")
    names = [f"{folder}/{path.name}" for path in five for folder in ("media", "link")]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps({"media": n, "caption": "hums"}) for n in names))
    report = run(sources={"media": {"kind": "manifest", "path": "list.jsonl", "heldout": 2}})
    assert len(report.copies["media"]) == 5
    assert not ids(tmp_path / "root", "held") & ids(tmp_path / "root", "train")


def test_nothing_left_but_copies_is_refused(make: Maker, run: Callable[..., Report]) -> None:
    path = make("a.mp4", frames=9)
    copied(path, "b.mp4")
    copied(path, "c.mp4")
    with pytest.raises(DataError, match="1 media files of different content and holds out 2"):
        run()


def test_jobs_of_an_array_agree(five: list[Path], recipe: Recipe, run: Callable[..., Report], tmp_path: Path) -> None:
    for path in five:
        copied(path, f"again-{path.name}")
    whole = run("whole")
    sources = {"media": {"kind": "folder", "path": "media", "heldout": 2}}
    config = recipe(sets=SETS, fit_sets=["train"], sources=sources)
    for names in ([], ["held"], ["train"]):
        prepare_sets(config, tmp_path / "parts", recipe_folder=tmp_path, progress=False, names=names)
    assert prepare(config, tmp_path / "parts", recipe_folder=tmp_path, progress=False).manifest == whole.manifest
