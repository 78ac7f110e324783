"""The same content is never on both sides of a split, and copies are reported."""

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from talkies.config import DataError
from talkies.data.shards import ShardSet
from talkies.models.systems import SYSTEMS
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
        return prepare(recipe(**keys), tmp_path / root, systems=SYSTEMS, recipe_folder=tmp_path, progress=False)

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


CODECS = {"aac": "aac", "flac": "flac", "mp3": "libmp3lame", "mp2": "mp2", "opus": "libopus", "pcm": "pcm_s16le"}


def recoded(path: Path, name: str, codec: str, *, sound: Path | None = None, bit_rate: int = 64000) -> Path:
    """The same video packets, with the sound of `sound` (default: its own) re-encoded."""
    target = path.with_name(name)
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        audio = out.add_stream(CODECS[codec], rate=48000, layout="mono")
        audio.bit_rate = bit_rate
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        resampler = av.AudioResampler(
            format=audio.format, layout="mono", rate=48000, frame_size=audio.codec_context.frame_size or 960
        )
        with av.open(str(sound or path)) as heard:
            frames = [frame for frame in heard.decode(audio=0) for frame in resampler.resample(frame)]
        for frame in [*frames, *resampler.resample(None), None]:
            out.mux(audio.encode(frame))
    target.with_suffix(".txt").write_text("a copy hums")
    return target


def frozen(path: Path, image: Any) -> None:
    """An mkv beside a file, with its sound and one picture."""
    with av.open(str(path)) as source, av.open(str(path.with_suffix(".mkv")), "w") as out:
        video = out.add_stream("ffv1", rate=12)
        video.width, video.height, video.pix_fmt = image.width, image.height, image.format.name
        audio = out.add_stream_from_template(source.streams.audio[0])
        for number in range(9):
            image.pts, image.time_base = number, Fraction(1, 12)
            out.mux(video.encode(image))
        out.mux(video.encode(None))
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = audio
                out.mux(packet)


def test_without_copies_nothing_moves(five: list[Path], run: Callable[..., Report], tmp_path: Path) -> None:
    report = run()
    assert not report.copies
    assert (len(ids(tmp_path / "root", "held")), len(ids(tmp_path / "root", "train"))) == (2, 3)


def test_every_copy_is_found_counted_and_used_once(
    five: list[Path], run: Callable[..., Report], tmp_path: Path
) -> None:
    """One copy of every clip, so that some would be on the other side."""
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


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mkv", "flac"), ("mkv", "mp3"), ("ts", "mp2"), ("mov", "pcm"), ("mp4", "aac"), ("mkv", "opus")],
)
def test_sound_that_was_coded_again_leaves_a_copy(
    five: list[Path], run: Callable[..., Report], tmp_path: Path, suffix: str, codec: str
) -> None:
    for path in five:
        recoded(path, f"{path.stem}-again.{suffix}", codec)
    report = run()
    assert {copy.id: (copy.of, copy.kept) for copy in report.copies["media"]} == {
        f"c{i}-again.{suffix}": (f"c{i}.mp4", False) for i in range(5)
    }
    held, train = ids(tmp_path / "root", "held"), ids(tmp_path / "root", "train")
    assert (len(held), len(train)) == (2, 3)
    assert held | train == {path.name for path in five}


def test_dubbed_clips_are_used_and_stand_on_one_side(
    five: list[Path], make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    for number, path in enumerate(five):
        voice = make("voice.mp4", seed=20 + number, frames=9)
        recoded(path, f"{path.stem}-dubbed.mkv", "flac", sound=voice)
        recoded(path, f"{path.stem}-dubbed-again.ts", "mp2", sound=voice)
        voice.unlink()
    report = run()
    held, train = ids(tmp_path / "root", "held"), ids(tmp_path / "root", "train")
    assert held | train == {name for i in range(5) for name in (f"c{i}.mp4", f"c{i}-dubbed.mkv")}
    assert len(held) == 2
    for i in range(5):
        assert ({f"c{i}.mp4", f"c{i}-dubbed.mkv"} <= held) or ({f"c{i}.mp4", f"c{i}-dubbed.mkv"} <= train)
    text = "\n".join(report.lines())
    assert "copies left out: 5: " in text
    assert "copies kept on one side of the split: 5: " in text
    assert "c0-dubbed.mkv (as c0.mp4, but with other sound or tags)" in text


def test_still_pictures_are_distinguished_by_sound(make: Maker, run: Callable[..., Report], tmp_path: Path) -> None:
    """As in podcasts: one picture, different speech."""
    paths = [make(f"p{i}.mp4", seed=i, frames=9) for i in range(4)]
    with av.open(str(paths[0])) as source:
        image = next(source.decode(video=0))
    for path in paths:
        frozen(path, image)
        path.unlink()
    recoded(paths[1].with_suffix(".mkv"), "p1-again.mkv", "pcm")
    for seed in (4, 5, 20):
        make(f"moving-{seed}.mp4", seed=seed, frames=9)
    report = run()
    assert [copy.id for copy in report.copies["media"]] == ["p1-again.mkv"]
    assert len(ids(tmp_path / "root", "held") | ids(tmp_path / "root", "train")) == 7


def test_a_copy_without_sound_is_kept_beside(five: list[Path], run: Callable[..., Report], tmp_path: Path) -> None:
    """In a set with sound, the copy is quarantined and the file with sound is used."""
    mute = five[0].with_name("c.mp4")
    with av.open(str(five[0])) as source, av.open(str(mute), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
    mute.with_suffix(".txt").write_text("a copy hums")
    report = run()
    assert [(copy.id, copy.of, copy.kept) for copy in report.copies["media"]] == [("c0.mp4", "c.mp4", True)]
    assert {entry.id for found in report.sets.values() for entry in found.quarantined} == {"c.mp4"}
    assert "c0.mp4" in ids(tmp_path / "root", "held") | ids(tmp_path / "root", "train")


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["c3 (1).mp4", "c3.mp4"], "c3.mp4"),
        (["c3.mp4", "c3 - Copy.mp4", "c3 (2).mp4"], "c3.mp4"),
        (["Copy of c3.mp4", "c3.mp4"], "c3.mp4"),
        (["c10.mp4", "c9.mp4"], "c9.mp4"),
        (["b.mp4", "a.mp4"], "a.mp4"),
        (["a/c3 (1).mp4", "z/c3.mp4"], "z/c3.mp4"),
        (["a/c3.mp4", "c3.mp4"], "c3.mp4"),
    ],
)
def test_the_shortest_name_is_kept_and_other_captions_are_reported(
    make: Maker, run: Callable[..., Report], tmp_path: Path, names: list[str], kept: str
) -> None:
    path = make(names[0], frames=9, caption=f"caption of {names[0]}")
    for name in names[1:]:
        target = tmp_path / "media" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
        target.with_suffix(".txt").write_text(f"caption of {name}")
    make("other.mp4", seed=5, frames=9)
    report = run(source={"heldout": 0}, sets={"train": SETS["train"]})
    assert ids(tmp_path / "root", "train") == {kept, "other.mp4"}
    shards = ShardSet.open(tmp_path / "root" / "sets" / "train")
    assert f"caption of {kept}" in {shards.read(index).texts["text"].caption for index in range(2)}
    assert {copy.id: (copy.of, copy.differs) for copy in report.copies["media"]} == {
        name: (kept, "caption") for name in names if name != kept
    }
    text = "\n".join(report.lines())
    assert f"(as {kept}, whose other caption is kept)" in text
    assert f"source media: {len(names) - 1} of them had other captions, which are left out with them" in text


def test_equal_and_missing_captions_are_not_reported(make: Maker, run: Callable[..., Report], tmp_path: Path) -> None:
    path = make("a.mp4", frames=9, caption="hums")
    copied(path, "a (1).mp4", caption="hums \n")
    copied(path, "a (2).mp4", caption=None)
    make("other.mp4", seed=5, frames=9)
    report = run(source={"heldout": 0}, sets={"train": SETS["train"]})
    assert [copy.differs for copy in report.copies["media"]] == ["", ""]
    assert "other caption" not in "\n".join(report.lines())


def test_what_was_found_is_remembered(
    five: list[Path], run: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in five:
        recoded(path, f"{path.stem}-again.mkv", "flac")
    first = run()

    def never(*args: Any, **keys: Any) -> Any:
        raise AssertionError("decoded again")

    for name in ("pictures_of", "sounds_alike", "sound_digest", "has_sound"):
        monkeypatch.setattr(f"talkies.prepare.duplicates.{name}", never)
    again = run()
    assert again.copies == first.copies
    assert all(found.reused for found in again.sets.values())


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
    with pytest.raises(DataError, match=r"1 different media files \(copies.*\) and holds out 2"):
        run()


def test_jobs_of_an_array_agree(five: list[Path], recipe: Recipe, run: Callable[..., Report], tmp_path: Path) -> None:
    for path in five:
        copied(path, f"again-{path.name}")
    whole = run("whole")
    sources = {"media": {"kind": "folder", "path": "media", "heldout": 2}}
    config = recipe(sets=SETS, fit_sets=["train"], sources=sources)
    for names in ([], ["held"], ["train"]):
        prepare_sets(config, tmp_path / "parts", systems=SYSTEMS, recipe_folder=tmp_path, progress=False, names=names)
    assert (
        prepare(config, tmp_path / "parts", systems=SYSTEMS, recipe_folder=tmp_path, progress=False).manifest
        == whole.manifest
    )


@pytest.mark.parametrize("unfit", ["<describe> calm <script> ...", "<script> [s1] so ba", "<script> a <script> b"])
def test_of_two_copies_the_one_whose_script_can_be_said_is_kept(
    five: list[Path], run: Callable[..., Report], tmp_path: Path, unfit: str
) -> None:
    """Although its name is longer; MOVA, which says no scripts, keeps the shorter one."""
    copied(five[2], "c2 (1).mp4", "<script> [S1] so ba")
    five[2].with_suffix(".txt").write_text(unfit)
    audio = {"source": "media", "geometry": "0.4s", "modalities": ["audio"], "without": ["reference"]}
    sound = {"kind": "linear_audio", "channels": 8, "hop": 640}
    keys = {"codecs": {"sound": sound, "text": {"kind": "bytes"}}, "sets": {"train": audio}, "source": {"heldout": 0}}
    report = run("voices", system="mirage_audio", **keys)
    assert [(copy.id, copy.of, copy.differs) for copy in report.copies["media"]] == [("c2.mp4", "c2 (1).mp4", "")]
    assert ids(tmp_path / "voices", "train") == {path.name for path in five} - {"c2.mp4"} | {"c2 (1).mp4"}
    assert not report.sets["train"].quarantined
    assert [(copy.id, copy.of) for copy in run().copies["media"]] == [("c2 (1).mp4", "c2.mp4")]
