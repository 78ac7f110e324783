"""`talkies sample` with --script, --describe, --voice, --seconds and --consent, of a real model of random weights."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from readme import blocks, commands
from speaking import RATE, SECONDS, released, sample
from test_readme import VOICES, words_of
from torch import Tensor

from talkies.cli.main import run
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.write import read_tags

LINE = "<describe> A calm voice <script> [S1] Hello there, [S2] hi you!"
LETTERS = 15


def heard(path: str) -> Tensor:
    return read_audio(path, sample_rate=RATE, seconds=60)


SPEAKING = ("--script", "script.txt", "--describe", "A calm voice", "--voice", "low.wav", "--consent", "my own voice")


@pytest.mark.parametrize("out", [None, "a.flac", "a.m4a", "a.mp4"])
def test_a_take_is_as_long_as_its_script_and_says_what_it_is(
    speaking: Path, here: Path, out: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(speaking, *SPEAKING, *(() if out is None else ("--out", out))) == 0
    captured = capsys.readouterr()
    assert not captured.err, "consent is there"
    assert "low.wav: resampled from 24,000 to 16,000 Hz for the model" in captured.out
    path = out or "sample.wav"
    tags, digest = read_tags(path), hashlib.sha256(Path("low.wav").read_bytes()).hexdigest()
    assert tags["talkies-provenance"].startswith("synthetic; talkies speaking sha256 ")
    assert tags["talkies-provenance"].endswith(" seed 0; cloned voice")
    assert tags["comment"] == tags["talkies-provenance"]
    assert tags["talkies-voice"] == f"cloned from a recording, sha256 {digest}"
    assert tags["talkies-consent"] == "my own voice"
    assert tags["title"] == LINE
    info = probe(path)
    assert (info.audio_rate, info.fps) == (RATE, None)
    assert info.audio_seconds == pytest.approx(LETTERS / 10)


def test_a_prompt_of_both_parts_is_the_same_request(speaking: Path, here: Path) -> None:
    for words, out in ((SPEAKING, "a.wav"), (("--prompt", LINE, *SPEAKING[4:]), "b.wav")):
        assert sample(speaking, *words, "--out", out) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_voice_seed_scales_and_description_change_the_take(speaking: Path, here: Path) -> None:
    changes: dict[str, tuple[str, ...]] = {
        "same": (),
        "voice": ("--voice", "high.wav"),
        "seed": ("--seed", "1"),
        "text scale": ("--text-scale", "4"),
        "reference scale": ("--reference-scale", "4"),
        "description": ("--describe", "A wild voice"),
    }
    found = {}
    for name, words in changes.items():
        assert sample(speaking, *SPEAKING, *words, "--out", "a.wav") == 0
        found[name] = heard("a.wav")
    assert all(sound.shape == found["same"].shape for sound in found.values())
    assert all(not sound.equal(found["same"]) for name, sound in found.items() if name != "same")


def test_a_negative_prompt_is_heeded_beside_a_voice(speaking: Path, here: Path) -> None:
    """Also where the prompt's own scale is 1: what guides by the voice leaves the prompt out."""
    found = []
    for words in ((), ("--negative", "noise"), ("--negative", "hiss")):
        assert sample(speaking, *SPEAKING, "--text-scale", "1", *words, "--out", "a.wav") == 0
        found.append(heard("a.wav"))
    assert not found[0].equal(found[1])
    assert not found[1].equal(found[2])


def test_texts_apart_hear_their_parts(speaking: Path, here: Path) -> None:
    """A model with two texts takes the same line, and hears a change of each."""
    found = []
    for words in (LINE, LINE.replace("calm", "wild"), LINE.replace("there", "these")):
        assert sample(speaking, "--prompt", words, "--out", "a.wav", model="apart") == 0
        found.append(heard("a.wav"))
    assert not found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_seconds_choose_the_length_and_a_hurried_script_is_said(
    speaking: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(speaking, *SPEAKING, "--seconds", "1.205", "--out", "a.wav") == 0
    assert len(heard("a.wav")) == pytest.approx(1.21 * RATE), "whole steps of 10 ms"
    assert not capsys.readouterr().err
    assert sample(speaking, *SPEAKING, "--seconds", "0.7", "--out", "a.wav") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "the script of --script takes 1.5 s at this model's pace, more than the 0.7 s that are asked for" in line
    assert sample(speaking, "--prompt", "the sound of rain", "--out", "a.wav", model="design") == 0
    assert len(heard("a.wav")) == SECONDS * RATE, "without a script, the model's clips"


def test_a_voice_without_consent_is_warned_of_once(
    speaking: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(speaking, *SPEAKING[:-2]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "talkies: warning: sample: a voice is cloned, and nothing says who allows to: give --consent NOTE"
    assert "talkies-consent" not in read_tags("sample.wav")
    lines = [{"script": "hi there", "voice": "low.wav"}, {"script": "hello", "voice": "high.wav"}]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert sample(speaking, "--prompts", "p.jsonl", "--out", "o") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "sample: the voices of 2 clips are cloned, and nothing says who allows to: give --consent NOTE, or" in line


def test_many_takes_of_several_voices_and_lengths(
    speaking: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those with a voice and those without one are made apart, also where they last equally long."""
    lines = [
        {"script": "[S1] hello", "describe": "calm", "voice": "low.wav", "name": "a"},
        {"script": "hello", "voice": "high.wav", "seconds": 0.5, "name": "b", "consent": "hers"},
        {"script": "hello", "voice": "low.wav", "seconds": 0.5},
        {"prompt": "<script> good morning", "seed": 3, "name": "d"},
        {"script": "hello", "seconds": 0.5, "name": "e"},
    ]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    many = ("--prompts", "p.jsonl", "--out", "o", "--batch", "4", "--consent", "his")
    assert sample(speaking, *many) == 0
    assert not capsys.readouterr().err
    clips = json.loads(Path("o/clips.json").read_text())["clips"]
    assert [clip["file"] for clip in clips] == ["a.wav", "b.wav", "0003-hello.wav", "d.wav", "e.wav"]
    assert [clip.get("consent") for clip in clips] == ["his", "hers", "his", None, None]
    assert [clip.get("seconds") for clip in clips] == [None, 0.5, 0.5, None, 0.5]
    assert [clip.get("cloned") for clip in clips] == [
        read_tags(f"o/{clip['file']}").get("talkies-voice") for clip in clips
    ]
    assert clips[0]["prompt"] == "<describe> calm <script> [S1] hello"
    assert sample(speaking, "--prompt", "<script> good morning", "--seed", "3", "--out", "x.wav") == 0
    assert [len(heard(f"o/{clip['file']}")) for clip in clips] == [0.5 * RATE] * 3 + [1.1 * RATE, 0.5 * RATE]
    capsys.readouterr()
    assert sample(speaking, *many) == 0
    assert capsys.readouterr().out == "sample:   5 of 5 clips are there\n"
    assert sample(speaking, *many[:-1], "somebody else") == 65
    assert "o/a.wav was not made of this prompt" in capsys.readouterr().err


def test_the_documented_commands_end_well(speaking: Path, here: Path) -> None:
    """With a model of clips of eight seconds."""
    (here / "voices").mkdir()
    released(here / "voices" / "cloning", "data.geometry=1x1x8000@1000")
    shutil.copy("low.wav", "ada.wav")
    script = max((block for block in blocks("text") if block.startswith("[S1]")), key=len)  # the toy's is one line
    (takes,) = (block for block in blocks("json") if "consent" in block)
    Path("greeting.txt").write_text(script)
    Path("takes.jsonl").write_text(takes)
    for command in commands():
        if command.startswith(VOICES):
            assert run(words_of(command)) == 0, command
    assert len(heard("sample.wav")) == 4 * RATE
    assert len(heard("take.wav")) == pytest.approx(4.2 * RATE)
    assert sorted(path.name for path in Path("takes").iterdir()) == [
        "0002-s1-good-morning.wav",
        "child.wav",
        "clips.json",
    ]
