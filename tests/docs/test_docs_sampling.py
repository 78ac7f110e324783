"""The files of prompts of sampling.md are what `talkies sample --prompts` reads."""

import re
from pathlib import Path

from pages import ROOT

from talkies.generate.prompts import KEYS, read_prompts
from talkies.generate.wording import caption_of
from talkies.streams.script import Script

PAGE = (ROOT / "docs" / "sampling.md").read_text()


def blocks(kind: str) -> list[str]:
    """The fenced blocks of a kind, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_files_of_prompts_are_read(tmp_path: Path) -> None:
    for name in ("first.png", "voice.wav"):
        (tmp_path / name).touch()
    found = {}
    for kind, suffix in (("text", "txt"), ("json", "jsonl")):
        block = blocks(kind)[0]
        path = tmp_path / f"prompts.{suffix}"
        path.write_text(block)
        found[suffix] = read_prompts(path, seed=1, negative=None)
    assert [one.name for one in found["txt"]] == [
        "0001-the-happy-silver-mask-of-the-cat-chants",
        "0002-the-sad-jade-mask-of-the-owl-hums",
    ]
    assert [(one.name, one.seed) for one in found["jsonl"]] == [
        ("cat", 3),
        ("0002-the-sad-jade-mask-of-the-owl-hums", 1),
        ("0003-somebody-is-talking", 1),
    ]
    assert all(f"`{key}`" in PAGE for key in KEYS if key != "video")


def test_takes_are_read_and_the_script_can_be_said(tmp_path: Path) -> None:
    (_, script), (_, lines) = blocks("text"), blocks("json")
    (tmp_path / "ada.wav").touch()
    (tmp_path / "takes.jsonl").write_text(lines)
    found = read_prompts(tmp_path / "takes.jsonl", seed=0, negative=None)
    assert [(one.name, one.seconds, one.consent) for one in found] == [
        ("child", None, None),
        ("0002-s1-good-morning", 1.5, "Ada, by letter"),
    ]
    assert found[0].prompt == "<describe> A happy child <script> [S1] Good morning!"
    caption = caption_of({"script": script}, {"script": "sample: --script"})
    assert [turn.speaker for turn in Script.parse(caption).turns] == [1, 2]
