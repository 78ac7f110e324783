"""From files to shard sets: what is kept, dropped and reused; a set is never left incomplete."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talkies.codecs.load import load_codecs
from talkies.config import DataError, RecipeError, StorageError
from talkies.data.shards import ShardSet
from talkies.media.frames import read_frames
from talkies.media.sound import read_audio
from talkies.models.systems import SYSTEMS
from talkies.prepare import building, fitting
from talkies.prepare.config import PrepareConfig
from talkies.prepare.jobs import OLDER, InUse
from talkies.prepare.pipeline import Report, prepare

Maker = Callable[..., Path]
Recipe = Callable[..., PrepareConfig]
BYTES = {"kind": "bytes", "dim": 16, "length": 6}
AUDIO = {"source": "media", "split": "all", "geometry": "32x32x25@12", "modalities": ["audio"], "duration_token": True}


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> Callable[..., Report]:
    """Prepare the media folder into tmp_path/root."""

    def once(root: str = "root", **sections: Any) -> Report:
        return prepare(recipe(**sections), tmp_path / root, systems=SYSTEMS, recipe_folder=tmp_path, progress=False)

    return once


@pytest.fixture
def three(make: Maker) -> list[Path]:
    """Three good clips."""
    return [make(f"clip-{i}.mp4", seed=i, caption=f"square {i} hums") for i in range(3)]


def times(folder: Path) -> dict[str, int]:
    """When every file below was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".verified.json"
    }


def test_a_set_holds_what_the_codecs_make_of_the_files(
    three: list[Path], run: Callable[..., Report], recipe: Recipe, tmp_path: Path
) -> None:
    report = run()
    shards = ShardSet.open(tmp_path / "root" / "sets" / "all")
    codecs = load_codecs(recipe().codecs, tmp_path / "root" / "codecs")
    video, audio, words = codecs.video["video"], codecs.audio["audio"], codecs.text["text"]
    assert sorted(shards.ids) == ["clip-0.mp4", "clip-1.mp4", "clip-2.mp4"]
    assert report.sets["all"].fingerprint == shards.fingerprint
    assert (shards.header.geometry, shards.header.fps) == ("32x32x25@12", 12.0)
    assert shards.header.codecs == codecs.identities
    assert shards.header.made_by == {"video": "video", "audio": "audio", "image": "video", "text": "text"}
    assert {name: grid.rate for name, grid in shards.grids.items()} == {"video": 6, "audio": 25, "image": 6}
    for index, name in enumerate(shards.ids):
        clip, path = shards.read(index), tmp_path / "media" / name
        frames = read_frames(path, frames=25, fps=12.0, height=32, width=32)[None] / 127.5 - 1
        samples = read_audio(path, sample_rate=16000, seconds=25 / 12)
        found = {name: one.values for name, one in clip.streams.items()}
        torch.testing.assert_close(found["video"], video.encode(frames)[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["audio"], audio.encode(samples[None])[0], atol=1e-5, rtol=1e-5)
        still = torch.cat([frames[:, :1], torch.zeros(1, 24, 3, 32, 32)], dim=1)
        torch.testing.assert_close(found["image"], video.encode(still)[0], atol=1e-5, rtol=1e-5)
        assert {name: grid.latent_shape for name, grid in shards.grids.items()} == {
            "video": video.encode(frames).shape[1:],
            "audio": audio.encode(samples[None]).shape[1:],
            "image": video.encode(still).shape[1:],
        }
        text, stored = words.encode([f"square {name[5]} hums"]), clip.texts["text"]
        torch.testing.assert_close(stored.features, text.embedding[0, :3])
        assert (len(stored.features), stored.caption) == (3, f"square {name[5]} hums")
        assert {name: one.valid for name, one in clip.streams.items()} == {"video": 13, "audio": 53, "image": 13}
    null = words.encode([""])
    torch.testing.assert_close(shards.null_texts["text"].embedding, null.embedding)


def test_bad_files_are_quarantined_and_the_others_go_on(
    three: list[Path], make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    make("mute.mp4", seed=7, audio=False)
    make("alone.mp4", seed=8, caption=None)
    (tmp_path / "media" / "broken.mp4").write_bytes(b"nothing")
    (tmp_path / "media" / "broken.txt").write_text("x")
    (tmp_path / "media" / "notes.md").write_text("x")
    report = run()
    assert report.sets["all"].kept == 3
    found = {entry.id: entry.reason for entry in report.sets["all"].quarantined}
    assert found == {"mute.mp4": "no audio", "alone.mp4": "no caption", "broken.mp4": "undecodable"}
    text = "\n".join(report.lines())
    assert "all: 3 clips, 6 s, 3 quarantined" in text
    assert "no caption: 1: alone.mp4 (alone.txt is missing)" in text
    assert "source media: ignored beside the media: 1 .md" in text
    written = json.loads((tmp_path / "root" / "report.json").read_text())
    assert written == json.loads(json.dumps(report.to_json()))
    assert str(tmp_path) not in (tmp_path / "root" / "report.json").read_text()


def test_odd_names_stay_on_one_line_and_missing_files_are_counted(
    three: list[Path], make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    make("new\nline \x1b[31m.mp4", seed=7, caption=None)
    media = tmp_path / "media"
    (media / "notes.\udcff").touch()
    (media / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(media / "pipe.mp4")  # reading it would block
    for name in ("gone", "pipe"):
        (media / f"{name}.txt").write_text("x")
    report = run()
    assert report.sets["all"].kept == 3
    reasons = {entry.id: entry.reason for entry in report.sets["all"].quarantined}
    assert reasons == {
        "new\nline \x1b[31m.mp4": "no caption",
        "gone.mp4": "undecodable",
        "pipe.mp4": "undecodable",
    }
    assert all(line.isprintable() for line in report.lines())
    assert r"new\nline \x1b[31m.mp4 (new\nline \x1b[31m.txt is missing)" in "\n".join(report.lines())
    assert len(run().sets["all"].quarantined) == 3


def test_half_a_character_in_a_manifest_is_quarantined(
    three: list[Path], run: Callable[..., Report], tmp_path: Path
) -> None:
    lines = [json.dumps({"media": f"media/{path.name}", "caption": f"hum {path.stem}"}) for path in three]
    lines[1] = lines[1].replace("hum", r"hum \ud83d")
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    report = run(sources={"media": {"kind": "manifest", "path": "list.jsonl"}})
    assert {entry.id: entry.reason for entry in report.sets["all"].quarantined} == {
        "media/clip-1.mp4": "caption encoding"
    }
    assert report.sets["all"].kept == 2


def test_more_than_the_allowed_number_is_an_error_and_leaves_no_set(
    three: list[Path], make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    for i in range(3):
        make(f"mute-{i}.mp4", seed=i, audio=False)
    with pytest.raises(DataError, match=r"more than `quarantine_max` = 2 .*no audio: 3: mute-.*raise `quarantine_max`"):
        run(quarantine_max=2)
    assert list((tmp_path / "root" / "sets").iterdir()) == []
    assert not (tmp_path / "root" / "report.json").exists()
    assert run(quarantine_max=3).sets["all"].kept == 3
    with pytest.raises(DataError, match="quarantine_max"):  # a finished set does not evade the limit
        run(quarantine_max=2)


def test_no_clip_at_all_is_an_error(make: Maker, run: Callable[..., Report], tmp_path: Path) -> None:
    make("mute.mp4", audio=False)
    with pytest.raises(DataError, match=r"no usable clip to fit codecs on: no audio: 1: mute\.mp4"):
        run()
    make("good.mp4", caption="one good clip")
    sets = {"all": {"source": "media", "split": "all", "geometry": "32x32x25@12"}, "long": {**AUDIO, "source": "mute"}}
    sources = {"media": {"kind": "folder", "path": "media"}, "mute": {"kind": "manifest", "path": "mute.jsonl"}}
    (tmp_path / "mute.jsonl").write_text('{"media": "media/mute.mp4", "caption": "nothing to hear"}\n')
    with pytest.raises(DataError, match=r"set 'long' is empty: all 1 media files are quarantined: no audio"):
        run(sets=sets, sources=sources)


def test_recipe_mistakes_are_found_before_any_work(run: Callable[..., Report], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"sets\.low\.geometry"):
        run(sets={"low": {"source": "media", "geometry": "32x32x24@12"}}, fit_sets=["low"])
    assert not (tmp_path / "root").exists()


def test_a_root_that_cannot_be_written_is_a_storage_error(
    three: list[Path], run: Callable[..., Report], tmp_path: Path
) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot write to .*root.*choose another folder"):
        run()


def test_a_second_run_reuses_everything(three: list[Path], run: Callable[..., Report], tmp_path: Path) -> None:
    first = run()
    before = times(tmp_path / "root")
    second = run()
    after = times(tmp_path / "root")
    assert {name for name in after if before.get(name) != after[name]} <= {"report.json", "sources/media.files.json"}
    assert second.sets["all"].reused
    assert second.manifest == first.manifest
    assert second.sets["all"].kept == first.sets["all"].kept


def test_two_preparations_of_the_same_files_are_the_same_data(three: list[Path], run: Callable[..., Report]) -> None:
    assert run("one").manifest == run("two").manifest


def test_a_prepared_folder_can_be_moved(three: list[Path], run: Callable[..., Report], tmp_path: Path) -> None:
    first = run()
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    second = run("elsewhere")
    assert second.sets["all"].reused
    assert second.manifest == first.manifest
    for path in (tmp_path / "elsewhere").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize("change", ["caption", "media", "added", "removed"])
def test_changed_files_make_the_set_again(
    three: list[Path], make: Maker, run: Callable[..., Report], tmp_path: Path, change: str
) -> None:
    first = run()
    if change == "caption":
        three[0].with_suffix(".txt").write_text("square 0 sings")
    elif change == "media":
        make("clip-0.mp4", seed=11, caption="square 0 hums")
    elif change == "added":
        make("clip-3.mp4", seed=3)
    else:
        three[0].unlink()
    second = run()
    assert not second.sets["all"].reused
    assert second.manifest != first.manifest


@pytest.mark.parametrize("reader", OLDER)
def test_data_that_a_run_has_begun_with_is_kept_when_the_reader_changes(
    three: list[Path], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: int
) -> None:
    """If the files are the same; other sets of an older version are made again."""

    def made(**options: Any) -> Report:
        return prepare(recipe(), tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False, **options)

    with monkeypatch.context() as older:
        for module in (building, fitting):
            older.setattr(module, "READER", reader)
        old = made()
    before = times(tmp_path / "root")
    codecs = frozenset(old.codecs.values())
    in_use = InUse(sets=frozenset({old.sets["all"].fingerprint}), codecs=codecs)
    kept = made(in_use=in_use)
    assert kept.sets["all"].reused
    assert kept.manifest == old.manifest
    changed = {name for name, time in times(tmp_path / "root").items() if before.get(name) != time}
    assert changed <= {"report.json", "sources/media.files.json"}
    three[0].with_suffix(".txt").write_text("square 0 sings")
    assert not made(in_use=in_use).sets["all"].reused


def test_data_that_no_run_has_begun_with_is_made_by_the_current_reader(
    three: list[Path], run: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        for module in (building, fitting):
            older.setattr(module, "READER", OLDER[0])
        run()
    assert not run().sets["all"].reused
    assert run().sets["all"].reused


def test_another_set_leaves_the_finished_ones_alone(three: list[Path], run: Callable[..., Report]) -> None:
    run()
    sets = {"all": {"source": "media", "split": "all", "geometry": "32x32x25@12"}, "sound": AUDIO}
    report = run(sets=sets)
    assert report.sets["all"].reused
    assert not report.sets["sound"].reused


def test_damaged_shards_and_codecs_are_made_again(
    three: list[Path], run: Callable[..., Report], tmp_path: Path
) -> None:
    first = run()
    for name in ("sets/all/shard-00000.safetensors", "codecs/video/model.safetensors"):
        path = tmp_path / "root" / name
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(bytes(data))
        with pytest.warns(UserWarning, match="again: .*damaged"):
            second = run()
        assert second.manifest == first.manifest
        ShardSet.open(tmp_path / "root" / "sets" / "all")


def test_a_preparation_that_was_killed_leaves_no_half_set(
    three: list[Path], run: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from talkies.data.writer import ShardWriter

    def die(self: ShardWriter) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "close", die)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert list((tmp_path / "root" / "sets").iterdir()) == []
    assert not (tmp_path / "root" / "report.json").exists()
    (tmp_path / "root" / "sets" / ".all.new").mkdir()
    (tmp_path / "root" / "sets" / ".all.new" / "shard-00009.safetensors").write_bytes(b"what a killed process left")
    assert run().sets["all"].kept == 3
    assert [path.name for path in (tmp_path / "root" / "sets").iterdir()] == ["all"]
    assert len(list((tmp_path / "root" / "sets" / "all").glob("shard-*"))) == 2


def test_sound_that_is_shorter_is_padded_and_marked(
    three: list[Path], make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    make("short.m4a", video=False, seconds=1.0, caption="a short hum")
    sets = {"all": {"source": "media", "split": "all", "geometry": "32x32x25@12"}, "sound": AUDIO}
    report = run(sets=sets, codecs={
        "video": {"kind": "linear_video", "channels": 8},
        "audio": {"kind": "linear_audio", "channels": 8, "hop": 640},
        "text": {"kind": "bytes", "dim": 16, "length": 12},
    })  # fmt: skip
    assert {entry.id: entry.reason for entry in report.sets["all"].quarantined} == {"short.m4a": "no video"}
    sound = ShardSet.open(tmp_path / "root" / "sets" / "sound")
    clips = {clip.id: clip for clip in (sound.read(i) for i in range(len(sound)))}
    assert report.sets["sound"].padded == 1
    assert {name: one.valid for name, one in clips["short.m4a"].streams.items()} == {"audio": 25}
    assert {name: one.valid for name, one in clips["clip-0.mp4"].streams.items()} == {"audio": 53}
    assert clips["short.m4a"].texts["text"].caption == "a short hum Duration 1.0 seconds."
    assert set(sound.header.codecs) == {"audio", "text"}


def test_long_captions_are_counted_with_one_warning(three: list[Path], make: Maker, run: Callable[..., Report]) -> None:
    for i in range(2):
        make(f"long-{i}.mp4", seed=20 + i, caption="seven words are more than six here")
    with pytest.warns(UserWarning, match="2 of 5 captions are longer") as warned:
        report = run()
    assert len(warned) == 1
    assert report.sets["all"].truncated == 2


def test_splits_share_no_clip_between_sets(make: Maker, run: Callable[..., Report], tmp_path: Path) -> None:
    for i in range(6):
        make(f"clip-{i}.mp4", seed=i)
    sets = {
        "train": {"source": "media", "geometry": "32x32x25@12"},
        "held": {"source": "media", "split": "heldout", "geometry": "32x32x5@12"},
    }
    run(sets=sets, fit_sets=["train"], sources={"media": {"kind": "folder", "path": "media", "heldout": 2}})
    train, held = (set(ShardSet.open(tmp_path / "root" / "sets" / name).ids) for name in ("train", "held"))
    assert (len(train), len(held)) == (4, 2)
    assert not train & held


def test_loudness_targets_and_peaks_are_reported(three: list[Path], run: Callable[..., Report]) -> None:
    sets = {"all": {"source": "media", "split": "all", "geometry": "32x32x25@12", "lufs": -3.0}}
    report = run(sets=sets)
    assert report.sets["all"].peak_limited == 3
    assert "3 limited by their peak" in "\n".join(report.lines())


def test_the_synthetic_world_goes_the_same_way(run: Callable[..., Report], tmp_path: Path) -> None:
    sources = {"faces": {"kind": "synthetic", "clips": 4, "heldout": 1}}
    sets = {"low": {"source": "faces", "geometry": "32x32x25@12.5"}}
    with pytest.warns(UserWarning, match="captions are longer"):
        report = run(sources=sources, sets=sets, fit_sets=["low"])
    assert report.sets["low"].kept == 3
    assert len(list((tmp_path / "root" / "sources" / "faces").glob("*.mp4"))) == 4
    shutil.rmtree(tmp_path / "root" / "sets")
    with pytest.warns(UserWarning, match="captions are longer"):
        assert run(sources=sources, sets=sets, fit_sets=["low"]).manifest == report.manifest


def test_scripts_are_prepared_with_a_codec_that_keeps_them(run: Callable[..., Report], tmp_path: Path) -> None:
    scripts = {"kind": "synthetic", "domain": "scripts", "clips": 6, "speakers": 3, "heldout": 2, "frames": 50}
    sets = {"said": {"source": "scripts", "geometry": "32x32x25@12.5", "modalities": ["audio"]}}
    codecs = {"audio": {"kind": "source_filter", "channels": 6}, "text": {"kind": "bytes", "dim": 16, "length": 12}}
    video = {"video": {"kind": "linear_video", "channels": 8}}
    report = run(sources={"scripts": {**scripts, "shot": 25}}, sets=sets, fit_sets=["said"], codecs=codecs | video)
    assert report.sets["said"].kept == 4
    clip = ShardSet.open(tmp_path / "root" / "sets" / "said").read(0)
    assert clip.streams["audio"].values.shape == (6, 50)
    assert clip.texts["text"].caption.startswith("<describe> A")


def test_the_real_clip_in_both_orientations(real_clips: Path, run: Callable[..., Report], tmp_path: Path) -> None:
    sets = {
        "wide": {"source": "cat", "split": "all", "geometry": "64x112x25@24", "lufs": -23.0},
        "tall": {"source": "cat", "split": "all", "geometry": "112x64x25@24"},
    }
    sources = {"cat": {"kind": "folder", "path": str(real_clips)}}
    with pytest.warns(UserWarning, match="1 of 1 captions are longer"):
        report = run(sources=sources, sets=sets, fit_sets=["wide", "tall"])
    assert [report.sets[name].truncated for name in ("wide", "tall")] == [1, 1]
    assert [len(report.sets[name].quarantined) for name in ("wide", "tall")] == [0, 0]
    wide, tall = (ShardSet.open(tmp_path / "root" / "sets" / name) for name in ("wide", "tall"))
    assert wide.grids["video"].shape == (13, 8, 14)
    assert tall.grids["video"].shape == (13, 14, 8)
    assert wide.grids["audio"] == tall.grids["audio"]
    assert wide.ids == ["cat_yarn_352x624_24fps.mp4"]


def test_codecs_are_taken_from_where_they_were_fitted(
    three: list[Path], make: Maker, run: Callable[..., Report], recipe: Recipe, tmp_path: Path
) -> None:
    """Other clips, encoded with the codecs of the first ones; the second time everything is reused."""
    codecs = run().codecs
    shutil.rmtree(tmp_path / "media")
    make("other.mp4", seed=9)
    taken = recipe(codecs_from="root", fit_sets=[])
    where = {"systems": SYSTEMS, "recipe_folder": tmp_path, "progress": False, "codecs": tmp_path / "root" / "codecs"}
    report = prepare(taken, tmp_path / "other", **where)
    assert report.codecs == codecs
    assert ShardSet.open(tmp_path / "other" / "sets" / "all").header.codecs == codecs
    before = times(tmp_path / "other" / "codecs")
    assert prepare(taken, tmp_path / "other", **where).sets["all"].reused
    assert times(tmp_path / "other" / "codecs") == before
    run("fitted again", fit_sets=["all"])
    assert run("fitted again").codecs != codecs


@pytest.mark.parametrize("fault", ["gone", "damaged", "another config"])
def test_codecs_that_cannot_be_taken_are_refused_by_name(
    three: list[Path], run: Callable[..., Report], recipe: Recipe, tmp_path: Path, fault: str
) -> None:
    run()
    given = tmp_path / "root" / "codecs"
    sections: dict[str, Any] = {"codecs_from": "root", "fit_sets": []}
    if fault == "gone":
        shutil.rmtree(given / "audio")
    elif fault == "damaged":
        (given / "audio" / "model.safetensors").write_bytes(b"nothing")
    else:
        audio = {"kind": "linear_audio", "channels": 8, "hop": 320}
        sections["codecs"] = {"video": {"kind": "linear_video", "channels": 8}, "audio": audio, "text": BYTES}
    with pytest.raises(DataError, match=r"prepare: `codecs_from`: .*audio"):
        prepare(
            recipe(**sections),
            tmp_path / "other",
            systems=SYSTEMS,
            recipe_folder=tmp_path,
            progress=False,
            codecs=given,
        )
    assert not (tmp_path / "other" / "codecs").exists()
