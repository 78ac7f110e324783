"""Who is seen in a clip: captions of the template, files beside the media, and the subsets that are chosen by them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talkies.config import DataError
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.prepare.pipeline import Report, prepare
from talkies.prepare.speakers import Cast, cast_of

Maker = Callable[..., Path]
TWO = (
    "2 person conversation. Persons: Person1: A man in a coat. Person2: A girl. Person2 is speaking. "
    "Scene Description: A park."
)
ONE = "1 person conversation. Persons: Person1: A man. Person1 is speaking. Scene Description: A room."
NOBODY = "No conversation. Scene Description: A road in rain."


@pytest.mark.parametrize(
    ("caption", "cast"),
    [
        (TWO, Cast(people=2, speaking=(2,), scene="A park.")),
        (ONE, Cast(people=1, speaking=(1,), scene="A room.")),
        (NOBODY, Cast(people=0, speaking=(), scene="A road in rain.")),
        (ONE.replace(" Person1 is speaking.", ""), Cast(people=1, speaking=(), scene="A room.")),
        ("A man talks.", None),
        ("12 people in a conversation.", None),
        ("", None),
    ],
)
def test_captions_of_the_template_are_read(caption: str, cast: Cast | None) -> None:
    assert cast_of(caption) == cast


@pytest.mark.parametrize(
    ("caption", "why"),
    [
        (TWO.replace("2 person", "3 person"), r"says 3 person conversation, and describes the persons \[1, 2\]"),
        (TWO.replace("Person2: A girl. ", ""), r"says 2 person conversation, and describes the persons \[1\]"),
        (TWO.replace("Person2 is", "Person3 is"), r"Person3 is speaking, who is none of its 2"),
        (NOBODY.replace("Scene Description", "Scene"), r"has no 'Scene Description:'"),
        ("1 person conversation. Scene Description: A room.", r"describes the persons none"),
    ],
)
def test_captions_that_contradict_the_template_are_refused(caption: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        cast_of(caption)


@pytest.fixture
def run(tmp_path: Path, recipe: Callable[..., PrepareConfig]) -> Callable[..., Report]:
    def once(subset: str, source: dict[str, Any] | None = None) -> Report:
        sets = {"all": {"source": "media", "split": "all", "geometry": "32x32x25@12", "subset": subset}}
        sources = {"media": source or {"kind": "folder", "path": "media"}}
        codecs = {
            "video": {"kind": "linear_video", "channels": 8},
            "audio": {"kind": "linear_audio", "channels": 8, "hop": 640},
            "text": {"kind": "bytes", "dim": 16, "length": 40},
        }
        made = recipe(sources=sources, sets=sets, codecs=codecs)
        return prepare(made, tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False)

    return once


@pytest.fixture
def four(make: Maker) -> None:
    """Two people, one, nobody, and a clip whose people only the file beside it tells."""
    for seed, (name, caption) in enumerate({"two": TWO, "one": ONE, "none": NOBODY, "told": "A man."}.items()):
        path = make(f"{name}.mp4", seed=seed, caption=caption)
        if name == "told":
            path.with_suffix(".json").write_text(json.dumps({"people": 1, "talking_head": True}))


@pytest.mark.parametrize(("subset", "kept"), [("single_character", 2), ("multiple_characters", 1)])
def test_people_are_counted(four: None, run: Callable[..., Report], subset: str, kept: int) -> None:
    report = run(subset)
    found = report.sets["all"]
    assert (found.kept, found.outside, found.quarantined) == (kept, 4 - kept, ())
    assert report.ignored == {}
    assert f"{4 - kept} outside of its subset" in "\n".join(report.lines())


def test_talking_heads_are_told_by_the_file_beside_them(four: None, make: Maker, run: Callable[..., Report]) -> None:
    crowd = make("crowd.mp4", seed=8)
    crowd.with_suffix(".json").write_text(json.dumps({"people": 9}))
    found = run("basic_face").sets["all"]
    assert (found.kept, found.outside) == (1, 1)
    assert {lost.id: lost.reason for lost in found.quarantined} == dict.fromkeys(
        ("two.mp4", "one.mp4", "none.mp4"), "people"
    )


def test_a_file_beside_the_media_outweighs_the_caption(four: None, run: Callable[..., Report], tmp_path: Path) -> None:
    assert run("multiple_characters").sets["all"].kept == 1
    (tmp_path / "media" / "none.json").write_text(json.dumps({"people": 2}))
    found = run("multiple_characters").sets["all"]
    assert (found.kept, found.reused) == (2, False)


def test_people_who_are_not_known_and_bad_captions_are_quarantined(make: Maker, run: Callable[..., Report]) -> None:
    make("unknown.mp4", seed=1, caption="A man.")
    make("wrong.mp4", seed=2, caption=TWO.replace("2 person", "4 person"))
    make("two.mp4", seed=3, caption=TWO)
    details = {lost.id: (lost.reason, lost.detail) for lost in run("multiple_characters").sets["all"].quarantined}
    assert {reason for reason, _ in details.values()} == {"people"}
    assert details["unknown.mp4"][1].startswith("nothing says how many people are seen: write NAME.json")
    assert details["wrong.mp4"][1].startswith("its caption contradicts its template: it says 4 person conversation")


def test_a_manifest_tells_who_is_seen(make: Maker, run: Callable[..., Report], tmp_path: Path) -> None:
    make("a.mp4", seed=1, caption=None)
    make("b.mp4", seed=2, caption=None)
    lines = [
        {"media": "media/a.mp4", "caption": "A man.", "seen": {"people": 1, "talking_head": True}},
        {"media": "media/b.mp4", "caption": "A crowd.", "seen": {"people": 7}},
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = {"kind": "manifest", "path": "m.jsonl"}
    assert run("basic_face", source).sets["all"].kept == 1
    manifest.write_text(json.dumps({**lines[0], "seen": {"people": "one"}}) + "\n")
    with pytest.raises(DataError, match=r"m\.jsonl:1: `seen`"):
        run("basic_face", source)
