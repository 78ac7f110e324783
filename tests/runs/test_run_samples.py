"""Many clips of a file of prompts: one file each, the same whatever is made with them; an interrupted run goes on."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from listening import FRAMES, SIDE, Lit, setup
from PIL import Image
from test_run_sample import given, source

from talkies.config import DataError, RecipeError, UserError
from talkies.flow.config import SamplingConfig, WindowsConfig
from talkies.generate.prompts import Asked, read_prompts
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.timeline import find_beginning
from talkies.media.write import read_tags
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.runs.opened import Source
from talkies.runs.run_samples import MANIFEST, REQUEST, make_clips

SAMPLING = SamplingConfig(steps=2, scales={"text": 3.0}, batch=3)


class Failing(Lit):
    """It fails at its call number `left`."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def forward(self, *inputs: Any) -> Any:
        """The velocity of the video."""
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().forward(*inputs)


def opened(model: Lit) -> Source:
    recipe: Any = SimpleNamespace(**vars(setup()), data=SimpleNamespace(geometry=f"{SIDE}x{SIDE}x{FRAMES}@12.5"))
    return replace(source(model), recipe=recipe)


def asked(folder: Path, *lines: dict[str, Any]) -> list[Asked]:
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return read_prompts(path, seed=0, negative="blur")


def make(model: Lit, wanted: Sequence[Asked], out: Path, sampling: SamplingConfig = SAMPLING) -> list[str]:
    """What was said."""
    said: list[str] = []
    make_clips(opened(model), wanted, sampling, spec="a-run", out=out, ranks=Ranks(ALONE), say=said.append)
    return said


def image(path: Path) -> Path:
    Image.new("RGB", (SIDE, SIDE), "red").save(path)
    return path


def pictures(path: Path) -> torch.Tensor:
    frames = probe(path).frames
    assert frames is not None
    return read_frames(path, frames=frames, fps=12.5, height=SIDE, width=SIDE, begin=find_beginning(path)).float()


@pytest.fixture
def lines(tmp_path: Path) -> list[dict[str, Any]]:
    given(tmp_path / "voice.wav")
    image(tmp_path / "face.png")
    return [
        {"prompt": "a face"},
        {"prompt": "a mask", "seed": 4, "image": "face.png"},
        {"prompt": "a talk", "audio": "voice.wav", "name": "talk"},
        {"prompt": "a face", "negative": "noise", "name": "other"},
    ]


NAMES = ["0001-a-face.mp4", "0002-a-mask.mp4", "talk.mp4", "other.mp4"]


def test_each_clip_is_what_it_is_alone(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    """With and without an image they go together, a given sound apart; none depends on the others."""
    model, wanted = Lit(), asked(tmp_path, *lines)
    said = make(model, wanted, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*NAMES, MANIFEST])
    assert {len(streams["video"].latent) for streams in model.seen} == {3, 2}, "clips, or branches"
    assert sum(line.startswith(f"sample:   {tmp_path / 'out'}") for line in said) == 4
    for one, name in zip(wanted, NAMES, strict=True):
        make(Lit(), [one], tmp_path / one.name)
        torch.testing.assert_close(
            pictures(tmp_path / one.name / name), pictures(tmp_path / "out" / name), rtol=0, atol=1
        )
    assert "seed 4" in read_tags(tmp_path / "out" / NAMES[1])["talkies-provenance"]


def test_the_manifest_says_what_is_there(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    make(Lit(), asked(tmp_path, *lines), tmp_path / "out")
    found = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert [clip["file"] for clip in found["clips"]] == NAMES
    assert (found["model"], found["sha256"], found["geometry"]) == ("lit", "ab" * 32, "16x16x9@12.5")
    clip = found["clips"][1]
    assert (clip["prompt"], clip["negative"], clip["seed"]) == ("a mask", "blur", 4)
    assert clip["image"] == str(tmp_path / "face.png")
    assert clip["request"] == read_tags(tmp_path / "out" / NAMES[1])[REQUEST]


def test_what_was_interrupted_goes_on_with_what_is_missing(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    wanted, out = asked(tmp_path, *lines), tmp_path / "out"
    sampling = replace(SAMPLING, batch=1)
    with pytest.raises(KeyboardInterrupt):
        make(Failing(left=2 * 2 * 2 + 1), wanted, out, sampling)
    there = sorted(p.name for p in out.glob("*.mp4"))
    assert len(there) == 2
    assert [clip["file"] for clip in json.loads((out / MANIFEST).read_text())["clips"]] == [
        n for n in NAMES if n in there
    ]
    before = {name: (out / name).stat().st_mtime_ns for name in there}
    model = Lit()
    said = make(model, wanted, out)
    assert said[0] == "sample:   2 of 4 clips are there"
    assert {name: (out / name).stat().st_mtime_ns for name in there} == before
    assert len(list(out.glob("*.mp4"))) == 4
    assert len(json.loads((out / MANIFEST).read_text())["clips"]) == 4
    model.seen.clear()
    assert make(model, wanted, out) == ["sample:   4 of 4 clips are there"]
    assert not model.seen


@pytest.mark.parametrize("change", ["prompt", "seed", "negative", "image", "sampling", "no clip"])
def test_a_clip_of_another_request_is_left_alone(tmp_path: Path, change: str) -> None:
    image(tmp_path / "face.png")
    line, out, sampling = {"prompt": "a", "name": "x", "image": "face.png"}, tmp_path / "out", SAMPLING
    make(Lit(), asked(tmp_path, line), out)
    if change == "image":
        Image.new("RGB", (SIDE, SIDE), "blue").save(tmp_path / "face.png")
    elif change == "sampling":
        sampling = replace(SAMPLING, steps=3)
    elif change == "no clip":
        (out / "x.mp4").write_bytes(b"something")
    else:
        line[change] = {"prompt": "b", "seed": 1, "negative": "n"}[change]  # type: ignore[assignment]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(DataError, match=r"x\.mp4"):
        make(Lit(), asked(tmp_path, line, {"prompt": "new"}), out, sampling)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    if change != "no clip":
        make(Lit(), asked(tmp_path, {"prompt": "a", "name": "x", "image": "face.png"}), tmp_path / "new", sampling)


def test_how_many_go_at_once_is_no_other_request(tmp_path: Path) -> None:
    wanted = asked(tmp_path, {"prompt": "a"}, {"prompt": "b"})
    make(Lit(), wanted, tmp_path / "out")
    assert make(Lit(), wanted, tmp_path / "out", replace(SAMPLING, batch=1)) == ["sample:   2 of 2 clips are there"]


BAD: list[tuple[dict[str, Any], type[UserError], str]] = [
    ({"prompt": "b", "image": "prompts.jsonl"}, DataError, "line 2: `image`: image .* is no PNG, JPEG or WebP file"),
    ({"prompt": "b", "audio": "face.png"}, DataError, "line 2: .*face.png"),
    (
        {"prompt": "b", "audio": "voice.wav", "video": "voice.wav"},
        RecipeError,
        "line 2: `audio` and `video` give every",
    ),
    (
        {"prompt": "b", "video": "voice.wav", "image": "face.png"},
        RecipeError,
        "line 2: `video` has a first frame of its",
    ),
]


@pytest.mark.parametrize(("line", "error", "message"), BAD)
def test_what_the_model_cannot_take_is_refused_before_anything_is_written(
    tmp_path: Path, line: dict[str, Any], error: type[UserError], message: str
) -> None:
    image(tmp_path / "face.png")
    given(tmp_path / "voice.wav")
    with pytest.raises(error, match=message):
        make(Lit(), asked(tmp_path, {"prompt": "a"}, line), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_negative_prompt_that_nothing_heeds_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="line 1: `negative`: no evaluation leaves the prompt out"):
        make(Lit(), asked(tmp_path, {"prompt": "a", "negative": "b"}), tmp_path / "out", SamplingConfig(steps=2))


def test_a_long_sound_becomes_a_film(tmp_path: Path) -> None:
    given(tmp_path / "voice.wav")
    wanted = asked(tmp_path, {"prompt": "a"}, {"audio": "voice.wav", "name": "film"})
    make(Lit(), wanted, tmp_path / "out", replace(SAMPLING, windows=WindowsConfig(overlap=3 / 12.5)))
    assert (probe(tmp_path / "out" / "film.mp4").frames or 0) > 4 * FRAMES
    assert probe(tmp_path / "out" / "0001-a.mp4").frames == FRAMES


def test_white_frames_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image(tmp_path / "face.png")
    with caplog.at_level(logging.WARNING, logger="talkies"):
        make(
            Lit(),
            asked(tmp_path, {"prompt": "a"}, {"prompt": "b", "image": "face.png"}, {"prompt": "c"}),
            tmp_path / "o",
        )
        (record,) = caplog.records
        assert record.getMessage() == (
            "sample: 2 of 3 clips begin with a white frame, since no image is given; users report flat colours in 40 % "
            "of such clips: give an `image` in their lines"
        )
        caplog.clear()
        make(Lit(), asked(tmp_path, {"prompt": "b", "image": "face.png"}), tmp_path / "p")
        assert not caplog.records
