"""The files of prompts of sampling.md are what `talkies sample --prompts` reads."""

import re
from pathlib import Path

from pages import ROOT

from talkies.generate.prompts import KEYS, read_prompts

PAGE = (ROOT / "docs" / "sampling.md").read_text()


def test_the_files_of_prompts_are_read(tmp_path: Path) -> None:
    for name in ("first.png", "voice.wav"):
        (tmp_path / name).touch()
    found = {}
    for kind, suffix in (("text", "txt"), ("json", "jsonl")):
        (block,) = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
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
