"""Files of prompts: what they ask for, and what is refused, with the number of the line."""

import json
from pathlib import Path
from typing import Any

import pytest

from talkies.config import DataError, RecipeError, UserError
from talkies.generate.prompts import SEEDS, Asked, read_prompts


def asked(path: Path, content: bytes | str, **more: Any) -> list[Asked]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_prompts(path, **{"seed": 5, "negative": None, **more})


def lines(*values: object) -> str:
    return "\n".join(map(json.dumps, values)) + "\n"


def test_a_text_has_a_prompt_a_line(tmp_path: Path) -> None:
    text = "\ufeff# of the cat\nThe Happy \u00e9t\u00e9 mask!\r\n\n  \u732b  \n   # none\n" + "word " * 30
    found = asked(tmp_path / "p.txt", text, negative="blur")
    assert [one.prompt for one in found] == ["The Happy \u00e9t\u00e9 mask!", "\u732b", ("word " * 30).strip()]
    assert [one.name for one in found] == ["0001-the-happy-ete-mask", "0002", "0003" + "-word" * 8]
    assert {(one.seed, one.negative, len(one.files)) for one in found} == {(5, "blur", 0)}
    assert found[1].option("prompt") == f"{tmp_path / 'p.txt'} line 4: `prompt`"


def test_json_lines_may_say_more(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.wav"):
        (tmp_path / "in" / name).touch()
    more = {"prompt": "b", "negative": "n", "image": "in/a.png", "audio": "in/b.wav", "seed": 0, "name": "B.1_x"}
    found = asked(tmp_path / "p.jsonl", "\n" + lines({"prompt": "a"}, more, {"audio": "in/b.wav"}), negative="blur")
    assert [(one.name, one.prompt, one.negative, one.seed) for one in found] == [
        ("0001-a", "a", "blur", 5),
        ("B.1_x", "b", "n", 0),
        ("0003", None, "blur", 5),
    ]
    assert found[1].files == {"image": tmp_path / "in" / "a.png", "audio": tmp_path / "in" / "b.wav"}


def test_a_line_may_give_the_parts_of_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    both = {"script": "[S1] Hi.\nYou?", "describe": " soft ", "voice": "a.wav", "seconds": 2}
    found = asked(tmp_path / "p.jsonl", lines(both, {"describe": "loud"}, {"prompt": "a"}), consent="mine")
    assert [(one.name, one.prompt) for one in found] == [
        ("0001-s1-hi-you", "<describe> soft <script> [S1] Hi. You?"),
        ("0002-loud", "<describe> loud"),
        ("0003-a", "a"),
    ]
    assert [one.worded for one in found] == [("script", "describe"), ("describe",), ()]
    assert [(one.seconds, one.consent) for one in found] == [(2, "mine"), (None, None), (None, None)]


BAD: list[tuple[str, bytes | str, str]] = [
    ("p.txt", "", "holds no prompts: give one a line"),
    ("p.txt", "\n# only this\n\n", "holds no prompts: give one a line"),
    ("p.jsonl", "\n\n", "holds no prompts"),
    ("p.txt", b"a\n\xff\n", "line 2 is not UTF-8 at byte 0"),
    ("p.txt", "a" * 65_537, "line 1: `prompt` has 65,537 bytes; at most 65,536"),
    ("p.txt", 'a\n{"prompt": "b"}', r"line 2 looks like JSON: let the file's name end in \.jsonl"),
    ("p.jsonl", "a prompt\n", "line 1: it holds no JSON object: Expecting value$"),
    ("p.jsonl", '{"prompt": "a"} {}\n', "line 1: it holds no JSON object: Extra data"),
    ("p.jsonl", '{"prompt": "a", "prompt": "b"}', "line 1: it has the key 'prompt' twice"),
    ("p.jsonl", lines({"prompt": "a"}, ["b"]), "line 2: found a list of 1, needed an object"),
    ("p.jsonl", lines({"prompt": "a"}, {"promt": "b"}), "line 2: unknown key `promt`; known: prompt, negative, image"),
    ("p.jsonl", lines({"prompt": 3}), "line 1: `prompt` is 3; needed text"),
    ("p.jsonl", lines({"prompt": "a", "seed": "3"}), "line 1: `seed` is '3'; needed an integer"),
    ("p.jsonl", lines({"script": 3}), "line 1: `script` is 3; needed text"),
    ("p.jsonl", lines({"script": "a\x00"}), "line 1: `script`: it has the control character U.0000 at position 1"),
    ("p.jsonl", lines({"script": "..."}), "line 1: `script`: it says nothing: no letter and no digit"),
    ("p.jsonl", lines({"script": " "}), "line 1: `script` is empty: write what is said"),
    ("p.jsonl", lines({"describe": "a", "prompt": "b"}), "line 1: `prompt` and `describe` both say what to make"),
    ("p.jsonl", lines({"describe": "a <script> b"}), "line 1: `describe` has the mark <script>"),
    ("p.jsonl", lines({"prompt": "a", "consent": "x"}), "line 1: `consent` is for the voice of .*`voice`: give one"),
    ("p.jsonl", lines({"prompt": "a", "seconds": True}), "line 1: `seconds` is true; needed a number"),
    ("p.jsonl", lines({"prompt": "a", "seed": True}), "line 1: `seed` is true; needed an integer"),
    ("p.jsonl", lines({"prompt": "a", "seed": SEEDS}), "line 1: `seed` is 9223372036854775808; give 0 to"),
    ("p.jsonl", lines({"prompt": "a", "seed": -1}), "line 1: `seed` is -1; give 0 to"),
    ("p.jsonl", lines({"name": "a"}), "line 1: `prompt` is missing"),
    ("p.jsonl", lines({"prompt": " "}), "line 1: `prompt` is empty"),
    ("p.jsonl", lines({"prompt": "\ud800"}), "line 1: `prompt` is not UTF-8"),
    ("p.jsonl", lines({"prompt": "a", "negative": ""}), "line 1: `negative` is empty"),
    ("p.jsonl", lines({"prompt": "a", "name": "../a"}), "line 1: `name` is '../a'; it names a file"),
    ("p.jsonl", lines({"prompt": "a", "name": "Zo\u00eb"}), "line 1: `name` is .*: give up to 100 ASCII letters"),
    ("p.jsonl", lines({"speech": ""}), "line 1: `speech` is empty: give a file, or drop it"),
    ("p.jsonl", lines({"prompt": "a", "name": ""}), "line 1: `name` is ''; it names a file"),
    ("p.jsonl", lines({"prompt": "a", "name": "x"}, {"prompt": "b", "name": "X"}), "line 2: the name 'X' is that of l"),
    (
        "p.jsonl",
        lines({"prompt": "a", "name": "0002-b"}, {"prompt": "b"}),
        "line 2: the name '0002-b' is that of line 1",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_what_a_file_cannot_mean_is_refused(tmp_path: Path, name: str, content: bytes | str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        asked(tmp_path / name, content)
    assert str(caught.value).startswith(f"sample: {tmp_path / name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["no.png", ".", "a\0b"])
def test_files_that_are_not_there_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(DataError, match=r"p\.jsonl line 1: `image`: cannot read"):
        asked(tmp_path / "p.jsonl", lines({"prompt": "a", "image": value}))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(UserError, match="sample: cannot read the prompts"):
            read_prompts(path, seed=0, negative=None)
