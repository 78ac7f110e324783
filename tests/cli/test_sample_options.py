"""Options of `talkies sample` that change the recipe's sampling; those without effect are refused."""

import argparse
from pathlib import Path
from typing import get_args

import pytest

from talkies.cli.offload import OFFLOAD
from talkies.cli.sample import add_arguments, run, sampling_of
from talkies.cli.sample_asked import asked_here, file_of
from talkies.config import RecipeError
from talkies.config.source import load
from talkies.flow.config import Offload, SamplingConfig
from talkies.generate import prompts
from talkies.models import options
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase
from talkies.runs.asked import check_asked, negative_prompt

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    add_arguments(parser)
    return parser.parse_args(["a-source", "--prompt", "x", *words])


def sampling(*words: str, recipe: str = "joint_phase2") -> SamplingConfig:
    return sampling_of(arguments(*words), decode_phase(load(RECIPES / f"{recipe}.yaml"), SYSTEMS))


def test_offload_has_the_values_of_the_key() -> None:
    """They are listed apart, too."""
    assert get_args(Offload) == OFFLOAD
    assert [arguments("--offload", how).offload for how in OFFLOAD] == [*OFFLOAD]
    assert arguments().offload is None


def test_the_options_are_those_of_the_systems() -> None:
    """They are listed apart, for a help that imports nothing."""
    assert tuple(options.MEDIA) == prompts.MEDIA
    assert tuple(options.WORDING) == prompts.WORDING
    known = [(options.SCALES, [system.scales for system in SYSTEMS])]
    known += [(options.MEDIA, [system.options for system in SYSTEMS])]
    known += [(options.WORDING, [system.captions.wording for system in SYSTEMS])]
    for found, each in known:
        words = [(name, text) for one in each for name, text in one.items()]
        assert list(found) == list(dict(words))
        assert all(text in found[name] for name, text in words)


@pytest.mark.parametrize(
    ("words", "scales"),
    [
        ([], {"text": 5.0}),
        (["--bridge-scale", "3.5"], {"text": 5.0, "bridge": 3.5}),
        (["--text-scale", "1", "--bridge-scale", "0"], {"text": 1.0, "bridge": 0.0}),
        (["--scale", "text=2"], {"text": 2.0}),
        (["--scale", "text=2.5", "--scale", "bridge=100"], {"text": 2.5, "bridge": 100.0}),
        (["--text-scale", "2", "--scale", "bridge=1e0"], {"text": 2.0, "bridge": 1.0}),
    ],
)
def test_a_scale_is_changed_by_name(words: list[str], scales: dict[str, float]) -> None:
    """The recipe's own scales stay if they are not named, and so does all else."""
    found = sampling(*words)
    assert found.scales == scales
    assert (found.steps, found.schedule) == (sampling().steps, sampling().schedule)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "speech=2"], "--scale 'speech=2': mova models have the scales text, bridge"),
        (["--scale", "=2"], "--scale '=2': mova models have the scales text, bridge"),
        (["--scale", "text"], "--scale 'text': give NAME=NUMBER"),
        (["--scale", "text=much"], "--scale 'text=much': give NAME=NUMBER"),
        (["--scale", "text=-1"], "sample: --scale 'text=-1': give 0 to 100; 1 is off"),
        (["--scale", "text=101"], "sample: --scale 'text=101': give 0 to 100; 1 is off"),
        (["--scale", "bridge=nan"], "sample: --scale 'bridge=nan': give 0 to 100; 1 is off"),
        (["--text-scale", "inf"], "--text-scale inf: give 0 to 100; 1 is off"),
        (["--text-scale", "2", "--scale", "text=2"], "--scale 'text=2': the scale text is given twice"),
        (["--scale", "text=2", "--scale", "text=3"], "--scale 'text=3': the scale text is given twice"),
    ],
)
def test_an_unknown_or_impossible_scale_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        sampling(*words)
    assert str(caught.value).startswith("sample: ")
    assert str(caught.value).endswith(message)


def test_a_scale_of_a_condition_that_the_model_lacks_is_refused() -> None:
    for option in ("--scale 'bridge=2'", "--bridge-scale 2.0"):
        with pytest.raises(RecipeError, match=f"^sample: {option} needs a Bridge, but this phase has one stream"):
            sampling(*option.replace("'", "").split(), recipe="audio_pretraining")


@pytest.mark.parametrize(
    ("words", "overlap"),
    [
        ([], None),
        (["--audio", "a.wav"], None),
        (["--audio", "a.wav", "--overlap", "0.5"], 0.5),
        (["--audio", "a.wav", "--overlap", "0"], 0.0),
    ],
)
def test_windows_are_asked_for_by_their_overlap(words: list[str], overlap: float | None) -> None:
    windows = sampling(*words).windows
    assert (None if windows is None else windows.overlap) == overlap


@pytest.mark.parametrize(
    ("words", "recipe", "message"),
    [
        (["--overlap", "1"], "joint_phase2", "sample: --overlap is for windows of a sound: give --audio, or drop it"),
        (["--audio", "a.wav", "--overlap", "-1"], "joint_phase2", "sample: --overlap -1: give 0 to 3600 seconds"),
        (["--audio", "a.wav", "--overlap", "nan"], "joint_phase2", "sample: --overlap nan: give 0 to 3600 seconds"),
        (
            ["--audio", "a.wav", "--overlap", "9"],
            "joint_phase2",
            "sample: --overlap 9: a clip lasts 8.04167 s (`data.geometry` 352x640x193@24): give less",
        ),
        (["--audio", "a.wav", "--overlap", "1"], "audio_pretraining", "sample: --overlap 1 is for videos that"),
    ],
)
def test_windows_that_would_be_ignored_are_refused(words: list[str], recipe: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        sampling(*words, recipe=recipe)
    assert str(caught.value).startswith(message)


def negative(*words: str, recipe: str = "joint_phase2") -> dict[str, str]:
    args = arguments(*words)
    found = decode_phase(load(RECIPES / f"{recipe}.yaml"), SYSTEMS)
    return negative_prompt(asked_here(args), found, sampling_of(args, found))


def test_a_negative_prompt_takes_the_empty_one_s_place_where_guidance_leaves_the_prompt_out() -> None:
    assert negative() == {}
    assert negative("--negative", "a blur") == {"text": "a blur"}
    assert negative("--negative", "a blur", "--text-scale", "1", "--bridge-scale", "2") == {"text": "a blur"}
    with pytest.raises(RecipeError, match="sample: --negative: no evaluation leaves the prompt out"):
        negative("--negative", "a blur", "--text-scale", "1")


@pytest.mark.parametrize("option", ["--audio", "--video", "--image", "--out", "--data"])
@pytest.mark.parametrize("path", ["", " "])
def test_empty_paths_are_refused(option: str, path: str) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    add_arguments(parser)
    with pytest.raises(
        argparse.ArgumentError, match=f"argument {option}: the path is empty: give one, or drop the option"
    ):
        parser.parse_args(["a-source", "--prompt", "a", option, path])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "sample: --prompt is missing: describe what is seen and heard, or, for a model that speaks, give --script "
            "or --describe, or, for one that follows a sound, --audio or its tracks (--speech, --speech2, --effects, "
            "--music)",
        ),
        (["--prompt", ""], "sample: --prompt is empty: describe what is seen and heard"),
        (["--audio", "a.wav", "--prompt", " "], "sample: --prompt is empty: describe what is seen and heard"),
        (
            ["--prompt", "a", "--negative", ""],
            "sample: --negative is empty: drop it, since the default is the empty prompt",
        ),
        (
            ["--prompt", "a", "--negative", "x" * 65_537],
            "sample: --negative has 65,537 bytes; at most 65,536 are allowed",
        ),
    ],
)
def test_prompts_are_there_and_not_empty(words: list[str], message: str) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    add_arguments(parser)
    with pytest.raises(RecipeError) as caught:
        run(parser.parse_args(["a-source", *words]))
    assert str(caught.value) == message


def checked(*words: str, recipe: str = "joint_phase2") -> None:
    """What is checked of a command line before weights are read."""
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    add_arguments(parser)
    args = parser.parse_args(["a-source", *words])
    found = decode_phase(load(RECIPES / f"{recipe}.yaml"), SYSTEMS)
    check_asked(asked_here(args), found, sampling_of(args, found), "a-source")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--script", "{script}"], "sample: --script: mova models have no such text; give a prompt"),
        (["--describe", "calm"], "sample: --describe: mova models have no such text; give a prompt"),
        (
            ["--prompt", "a", "--voice", "a.wav"],
            "sample: --voice: mova models take no such file; they take: --image, --audio, --video",
        ),
        (["--prompt", "a", "--seconds", "2"], "sample: --seconds is for sound alone; clips with pictures are as long"),
    ],
)
def test_what_other_systems_say_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "script.txt").write_text("Hello.")
    with pytest.raises(RecipeError) as caught:
        checked(*(word.format(script=tmp_path / "script.txt") for word in words))
    assert str(caught.value).startswith(message)


def test_sound_alone_lasts_as_long_as_is_asked_for() -> None:
    checked("--prompt", "rain", "--seconds", "2", recipe="audio_pretraining")
    with pytest.raises(RecipeError, match=r"sample: --seconds is 9.0: this model makes 0.08 to 8.04"):
        checked("--prompt", "rain", "--seconds", "9", recipe="audio_pretraining")


@pytest.mark.parametrize(
    ("recipe", "out", "found"),
    [
        ("joint_phase2", None, "sample.mp4"),
        ("joint_phase2", "a.mp4", "a.mp4"),
        ("audio_pretraining", None, "sample.wav"),
        *(("audio_pretraining", f"a{suffix}", f"a{suffix}") for suffix in (".wav", ".flac", ".m4a", ".mp4")),
    ],
)
def test_the_file_is_of_what_the_model_makes(recipe: str, out: str | None, found: str) -> None:
    args = arguments(*([] if out is None else ["--out", out]))
    assert file_of(args, decode_phase(load(RECIPES / f"{recipe}.yaml"), SYSTEMS)) == Path(found)


@pytest.mark.parametrize("out", ["a.wav", "a.flac", "a.m4a"])
def test_pictures_are_not_left_out(out: str) -> None:
    with pytest.raises(RecipeError, match=f"sample: --out {out} holds sound alone, and this model makes pictures"):
        file_of(arguments("--out", out), decode_phase(load(RECIPES / "joint_phase2.yaml"), SYSTEMS))
