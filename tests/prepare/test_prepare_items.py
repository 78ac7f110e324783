"""Folders and manifests as lists of items, and how a source is split."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from talkies.codecs.prompt import LONGEST
from talkies.config import DataError, RecipeError
from talkies.prepare.config import FolderSource, ManifestSource
from talkies.prepare.items import read_manifest, scan
from talkies.prepare.paths import source_path
from talkies.prepare.sources import MediaSource, collect, render
from talkies.world.config import SyntheticSource


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def source(folder: Path, heldout: int = 0) -> MediaSource:
    config = FolderSource(path=str(folder), heldout=heldout)
    return collect("s", config, recipe_folder=Path("/nowhere"), rendered=folder, seed=0)


def test_a_folder_lists_its_media_and_counts_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.txt", "deep/er/B.MOV", "c.wav", "README.md", "alone.txt", ".hidden.mp4", ".git/x.mp4")
    items, ignored = scan(tmp_path)
    assert [item.id for item in items] == ["a.mp4", "c.wav", "deep/er/B.MOV"]
    assert items[2].caption == tmp_path / "deep/er/B.txt"
    assert ignored == {".md": 1, ".txt": 1}


def test_files_of_tracks_are_no_media(tmp_path: Path) -> None:
    """Of those, a name alone makes none: what it belongs to must be there."""
    parts = ["a.speech.wav", "a.speech2.wav", "a.effects.WAV", "a.other.music.wav", "B\u0308.dialog.wav"]
    touch(tmp_path, "a.mp4", "\u00d6.wav", *parts, "alone.music.wav", "a.voice.wav", "a.speech.mp4", "far/a.speech.wav")
    touch(tmp_path, "O\u0308.speech.wav")
    items, ignored = scan(tmp_path)
    assert [item.id for item in items] == [
        "B\u0308.dialog.wav",
        "a.mp4",
        "a.speech.mp4",
        "a.voice.wav",
        "alone.music.wav",
        "far/a.speech.wav",
        "\u00d6.wav",
    ]
    assert ignored == {".wav": 5}


@pytest.mark.parametrize("name", ["phone.3gp", "phone.3g2", "camera.MTS", "camera.m2ts", "disc.vob", "voice.m4a"])
def test_what_phones_and_cameras_write_is_media(name: str, tmp_path: Path) -> None:
    touch(tmp_path, name)
    items, ignored = scan(tmp_path)
    assert ([item.id for item in items], ignored) == ([name], {})


def test_links_and_folders_named_like_media_are_counted_too(tmp_path: Path) -> None:
    """A dangling link is a missing media file; linked folders and folders named like media are counted as folders."""
    touch(tmp_path / "clips", "a.mp4", "day.mp4/b.mp4", "plain/c.mp4", "lost.\udcff")
    touch(tmp_path / "elsewhere", "d.mp4")
    (tmp_path / "clips" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "clips" / "gone.doc").symlink_to(tmp_path / "nowhere.doc")
    (tmp_path / "clips" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "clips" / "loop.mp4").symlink_to(tmp_path / "clips")
    items, ignored = scan(tmp_path / "clips")
    assert [item.id for item in items] == ["a.mp4", "day.mp4/b.mp4", "gone.mp4", "plain/c.mp4"]
    assert ignored == {
        ".doc": 1,
        ".mp4 (folder)": 1,
        ".mp4 (linked folder)": 1,
        ".\\udcff": 1,
        "more (linked folder)": 1,
    }


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot list .*gone \(No such file or directory\); make it readable"):
        scan(tmp_path / "gone")


def test_a_name_that_is_not_utf8_gets_an_id_that_is(tmp_path: Path) -> None:
    (tmp_path / b"x\xff.mp4".decode(errors="surrogateescape")).touch()
    items, _ = scan(tmp_path)
    assert items[0].id == "x\\udcff.mp4"
    assert items[0].media.is_file()


NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("media", "caption"), [(NFD, NFC), (NFC, NFD), (NFC, NFC), ("cafe", "cafe")])
@pytest.mark.parametrize("suffixes", [(".mp4", ".txt"), (".MP4", ".TXT")])
def test_names_match_by_their_letters(tmp_path: Path, media: str, caption: str, suffixes: tuple[str, str]) -> None:
    touch(tmp_path, f"deep/{media}{suffixes[0]}", f"deep/{caption}{suffixes[1]}")
    items, ignored = scan(tmp_path)
    assert items[0].caption == tmp_path / "deep" / f"{caption}{suffixes[1]}"
    assert ignored == {}


def test_captions_that_collide_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, f"{NFD}.mp4", f"{NFD}.txt", f"{NFC}.txt")
    with pytest.warns(UserWarning, match=r"has 2 captions .*differ only in their Unicode form"):
        items, ignored = scan(tmp_path)
    assert items[0].caption == tmp_path / f"{NFD}.txt"  # spelled as the media file
    assert ignored == {".txt": 1}


@pytest.mark.parametrize("captions", [(NFC,), (NFD,), (NFC, NFD)])
def test_media_that_collide_are_reported_with_their_captions(tmp_path: Path, captions: Sequence[str]) -> None:
    touch(tmp_path, f"{NFC}.mp4", f"{NFD}.mp4", *(f"{stem}.txt" for stem in captions))
    with pytest.warns(UserWarning, match=r"media files whose names differ only .* takes .* takes ") as warned:
        items, ignored = scan(tmp_path)
    assert len(warned) == 1
    for item in items:
        own = item.media.with_suffix(".txt")
        assert item.caption == (own if own.exists() else tmp_path / f"{captions[0]}.txt")
        assert f"{item.media.name!a} takes {Path(item.caption).name!a}" in str(warned[0].message)
    assert ignored == {}


@pytest.mark.parametrize(("here", "asked"), [(NFD, NFC), (NFC, NFD)])
def test_a_manifest_finds_a_file_by_its_letters(tmp_path: Path, here: str, asked: str) -> None:
    touch(tmp_path, f"{here}/deep/{here}.mp4", f"{here}/{NFC}.mov", f"{here}/{NFD}.mov")
    named = [f"{asked}/deep/{asked}.mp4", f"{asked}/{NFC}.mov", f"{asked}/{NFD}.mov"]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps({"media": name, "caption": "x"}) + "\n" for name in named))
    items = read_manifest(tmp_path / "m.jsonl")
    assert [item.media for item in items] == [
        tmp_path / here / "deep" / f"{here}.mp4",
        tmp_path / here / f"{NFC}.mov",
        tmp_path / here / f"{NFD}.mov",
    ]
    assert [item.id for item in items] == named


def test_a_source_is_found_by_its_letters(tmp_path: Path) -> None:
    touch(tmp_path, f"{NFD}/a.mp4")
    assert source_path("clips", FolderSource(path=NFC), tmp_path) == tmp_path / NFD


def test_a_name_that_no_file_can_have_is_an_item(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(f'{{"media": "{"x" * 300}.mp4", "caption": "x"}}')
    assert len(read_manifest(tmp_path / "m.jsonl")) == 1


def test_a_manifest_is_read_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"media": "clips/a.mp4", "caption": "über"}\n\n{"media": "/b.mp4"}\n')
    first, second = read_manifest(tmp_path / "m.jsonl")
    assert (first.id, first.media, first.caption) == ("clips/a.mp4", tmp_path / "clips/a.mp4", "über")
    assert (second.media, second.caption) == (Path("/b.mp4"), "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "found list"),
        (b'{"media": "a.mp4", "captoin": "x"}', "unknown key 'captoin'; did you mean 'caption'"),
        (b'{"caption": "x"}', "`media` must be a path"),
        (b'{"media": "a.mp4", "caption": 3}', "`caption` text, found 'a.mp4' and 3"),
        (b'{"media": "a.mp4", "caption": "\xff"}', "not UTF-8"),
        (b'{"media": "./ok.mp4", "caption": "again"}', "'ok.mp4' is listed twice, first in line 1"),
        (rb'{"media": "\ud800.mp4", "caption": "x"}', "a lone surrogate and cannot be a file name"),
        (rb'{"media": "a\u0000.mp4", "caption": "x"}', "contains NUL and cannot be a file name"),
        (b'{"%s": 1}' % (b"x" * 100_000), f"unknown key '{'x' * 76}...; only"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, words: str) -> None:
    (tmp_path / "m.jsonl").write_bytes(b'{"media": "ok.mp4", "caption": "fine"}\n' + line + b"\n")
    with pytest.raises(DataError, match=rf"m\.jsonl:2: .*{words}"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_long_manifest_is_read_line_by_line(tmp_path: Path) -> None:
    with (tmp_path / "m.jsonl").open("w") as file:
        for i in range(20_000):
            file.write(f'{{"media": "{i}.mp4", "caption": "clip {i}"}}\n')
        file.write('{"media": "book.mp4", "caption": "' + "word " * 400_000 + '"}\n')
    items = read_manifest(tmp_path / "m.jsonl")
    assert len(items) == 20_001
    assert len(str(items[-1].caption)) == LONGEST + 1  # enough to be quarantined as too long


def test_a_manifest_of_one_endless_line_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "m.jsonl").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(DataError, match=r"m\.jsonl:1: longer than 16,777,216 bytes; one clip per line"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest .* cannot be read \(Is a directory\)"):
        read_manifest(tmp_path)


def test_a_split_is_exact_disjoint_and_depends_on_names_only(tmp_path: Path) -> None:
    names = [f"{i:03}.mp4" for i in range(40)]
    touch(tmp_path / "one", *names)
    touch(tmp_path / "two", *reversed(names))
    one, two = source(tmp_path / "one", heldout=7), source(tmp_path / "two", heldout=7)
    assert [item.id for item in one.items] == [item.id for item in two.items]
    heldout, train = ({item.id for item in one.split(name)} for name in ("heldout", "train"))
    assert (len(heldout), len(train)) == (7, 33)
    assert not heldout & train
    assert [item.id for item in one.split("all")] != names  # not the order of the names


def test_adding_a_file_moves_at_most_one_other(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i:03}.mp4" for i in range(40)))
    before = {item.id for item in source(tmp_path, heldout=7).split("heldout")}
    touch(tmp_path, "new.mp4")
    assert len(before - {item.id for item in source(tmp_path, heldout=7).split("heldout")}) <= 1


def test_a_source_without_enough_media_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    with pytest.raises(DataError, match=r"has 2 media files and holds out 2"):
        source(tmp_path, heldout=2)
    touch(tmp_path / "empty", "x.doc")
    with pytest.raises(DataError, match="has 0 media files"):
        source(tmp_path / "empty")


@pytest.mark.parametrize(("config", "kind"), [(FolderSource(path="no"), "folder"), (ManifestSource(path="no"), "file")])
def test_a_path_that_is_not_there_names_the_key(tmp_path: Path, config: FolderSource, kind: str) -> None:
    with pytest.raises(RecipeError, match=rf"`sources\.s\.path`: {tmp_path / 'no'} is not a {kind}"):
        collect("s", config, recipe_folder=tmp_path, rendered=tmp_path, seed=0)


def test_an_unknown_home_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"`sources\.s\.path` is '~nobody-here/clips': .*write the whole path"):
        collect("s", FolderSource(path="~nobody-here/clips"), recipe_folder=tmp_path, rendered=tmp_path, seed=0)


def test_rendering_happens_once_and_again_when_the_source_changes(tmp_path: Path) -> None:
    folder, config = tmp_path / "faces", SyntheticSource(clips=2, frames=5)
    progress: list[int] = []
    render(config, folder, 0, progress.append)
    assert progress == [1, 2]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    render(config, folder, 0, progress.append)
    render(SyntheticSource(clips=2, frames=5, heldout=1), folder, 0, progress.append)
    assert progress == [1, 2]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    render(SyntheticSource(clips=1, frames=5), folder, 0, progress.append)
    assert progress == [1, 2, 1]
    assert len(scan(folder)[0]) == 1


def test_rendering_that_was_interrupted_starts_again(tmp_path: Path) -> None:
    folder, config = tmp_path / "faces", SyntheticSource(clips=3, frames=5)

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(config, folder, 0, stop)
    assert not folder.exists()
    render(config, folder, 0)
    assert len(scan(folder)[0]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_speakers_are_held_out_whole(tmp_path: Path) -> None:
    config = SyntheticSource(domain="speakers", clips=12, speakers=6, heldout=4, size=16, frames=5)
    found = collect("s", config, recipe_folder=Path("/nowhere"), rendered=tmp_path / "rendered", seed=0)
    heldout, train = ({item.id.partition("/")[0] for item in found.split(name)} for name in ("heldout", "train"))
    assert (len(heldout), len(train)) == (2, 4)
    assert not heldout & train
    assert len(found.split("heldout")) == 4
    assert [item.id for item in found.items] != sorted(item.id for item in found.items)
