"""Recipes that cannot be made are refused before any work, by key."""

from collections.abc import Callable
from typing import Any

import pytest

from talkies.config import RecipeError
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.prepare.plan import fitted_parts, plan

Recipe = Callable[..., PrepareConfig]
WAN = {"kind": "wan", "weights": "somewhere"}
DAC = {"kind": "mova_dac", "weights": "somewhere"}
OOBLECK = {"kind": "oobleck", "weights": "somewhere"}
BYTES = {"kind": "bytes"}


def one_set(**keys: Any) -> dict[str, Any]:
    return {
        "sets": {"low": {"source": "media", "split": "all", "geometry": "32x32x25@12", **keys}},
        "fit_sets": ["low"],
    }


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"sets": {}}, "`sets` is empty"),
        (one_set(source="medai"), r"`sets\.low\.source` is 'medai'.*there are: media"),
        (one_set(split="heldout"), r"`sets\.low\.split` is heldout, but `sources\.media\.heldout` is 0"),
        (one_set(geometry="32x32x25"), r"`sets\.low\.geometry` is '32x32x25'; needed HEIGHTxWIDTH"),
        (one_set(geometry="32x32x24@12"), r"`sets\.low\.geometry` is 32x32x24@12: 24 frames do not fit.*23 or 25"),
        (one_set(geometry="36x32x25@12"), r"`sets\.low\.geometry` is 36x32x25@12: height 36.*32 or 40"),
        (one_set(geometry="2s"), r"`sets\.low\.geometry` is 2s: seconds are for sound alone, but there are pictures"),
        (one_set(geometry="0s", modalities=["audio"]), r"`sets\.low\.geometry` is '0s'; needed HEIGHTx.* sound alone"),
        (one_set(modalities=[]), r"`sets\.low\.modalities` is empty: name video"),
        (one_set(modalities=["audio", "audio"]), r"`sets\.low\.modalities`"),
        (one_set(without=["imgae"]), r"`sets\.low\.without` leaves out 'imgae', .*streams \(audio, image, video\)"),
        (one_set(without=["audio"], modalities=["video"]), r"without` leaves out 'audio', .*\(image, video\): rem"),
        (one_set(without=["audio"]), r"`sets\.low\.without` leaves out all audio of the set: set `sets"),
        (
            {"sources": {"media": {"kind": "folder", "path": "media", "sync": {"offset": 0}}}},
            r"`sources\.media\.sync\.near` is 1, above `sources\.media\.sync\.offset` 0",
        ),
        (
            {"sources": {"media": {"kind": "folder", "path": "media", "sync": {"confidence": 1.0}}}},
            r"`sources\.media\.sync\.near_confidence` is 1\.5, above",
        ),
        (one_set(modalities=["video"], lufs=-23.0), r"`sets\.low` has `lufs` or `duration_token`, which need audio"),
        ({"fit_sets": ["al"]}, "`fit_sets` names 'al', which is not a set; there are: all"),
        ({"fit_sets": []}, r"`codecs\.video` is fitted on clips: `fit_sets` must name a set with video"),
        ({"codecs": {"video": WAN, "audio": DAC, "text": BYTES}}, "`fit_sets` is given, but no codec is fitted"),
        ({"codecs_from": "base"}, "`codecs_from` takes codecs that are fitted already: remove `fit_sets`"),
        (
            {"codecs_from": "base", "fit_sets": [], "codecs": {"video": WAN, "audio": DAC, "text": BYTES}},
            "`codecs_from` is given, but no codec is of a fitted kind",
        ),
        ({"sources": {"../x": {"kind": "folder", "path": "media"}}}, r"`sources\.\.\./x` names a folder"),
        (
            {"sources": {"media": {"kind": "folder", "path": "a"}, "more": {"kind": "folder", "path": "b"}}},
            r"`sources\.more` is used by no set",
        ),
        (
            {"sources": {"media": {"kind": "synthetic", "domain": "speakers", "clips": 5, "speakers": 2}}},
            r"`sources\.media` with 5 clips of 2 speakers",
        ),
        ({"codecs": {"../x": {"kind": "linear_video"}, "text": BYTES}}, r"unknown key `codecs\.\.\./x`; known: video"),
        ({"codecs": {"audio": DAC, "text": BYTES}}, r"`sets\.all\.modalities` keeps video, of which mova models"),
        (
            {"codecs": {"video": {"kind": "linear_audio"}, "text": BYTES}},
            r"`codecs\.video\.kind` is linear_audio, which encodes audio: choose a codec of video",
        ),
        ({"codecs": {"text": DAC}}, r"`codecs\.text\.kind` is mova_dac, which encodes audio"),
        (
            {"codecs": {"video": WAN, "audio": DAC, "text": BYTES, "film": WAN}},
            r"unknown key `codecs\.film`; known: video, audio, text",
        ),
        ({"system": "nova"}, "`system` is 'nova'; known: mova"),
        ({"sets": {"a/b": {"source": "media", "geometry": "32x32x25@12"}}}, r"`sets\.a/b` names a folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_made(recipe: Recipe, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        plan(recipe(**sections), SYSTEMS)


def test_latents_that_last_unequally_are_refused(recipe: Recipe) -> None:
    """25 frames at 12 fps last 2.083 s; hops of 0.2 s make 2.2 s of latents."""
    codecs = {"video": {"kind": "linear_video"}, "audio": {"kind": "linear_audio", "hop": 3200}, "text": BYTES}
    with pytest.raises(RecipeError, match=r"2\.083 s of frames become 2\.200 s of audio latents"):
        plan(recipe(codecs=codecs), SYSTEMS)


def test_a_sound_set_needs_no_video_geometry(recipe: Recipe) -> None:
    assert not plan(recipe(**one_set(geometry="5x7x24@12", modalities=["audio"])), SYSTEMS)["low"].video


def test_a_codec_is_fitted_on_sound_at_its_own_rate(recipe: Recipe) -> None:
    """A set without its stream is read at the rate of another codec."""
    codecs = {"video": {"kind": "linear_video"}, "sound": {"kind": "log_mel"}, "audio": OOBLECK, "text": BYTES}
    heard = {"source": "media", "split": "all", "geometry": "32x32x25@12"}
    sections = {"system": "mirage", "codecs": codecs, "fit_sets": ["features"]}
    features = {"features": {**heard, "without": ["audio"]}}
    with pytest.raises(RecipeError, match=r"`codecs\.audio` is fitted on .*44100, .* 'features', .* read at 16000"):
        plan(recipe(**sections, sets=features), SYSTEMS)
    both = {**features, "sound": {**heard, "without": ["sound"]}}
    planned = plan(recipe(**sections | {"fit_sets": ["sound"]}, sets=both), SYSTEMS)
    assert {name: one.sample_rate for name, one in planned.items()} == {"features": 16000, "sound": 44100}


def test_only_codecs_of_a_fitted_kind_that_are_used_are_fitted(recipe: Recipe) -> None:
    linear = {"kind": "linear_audio", "hop": 640}
    assert fitted_parts(recipe()) == ("video", "audio")
    assert fitted_parts(recipe(codecs={"video": WAN, "audio": linear, "text": BYTES})) == ("audio",)
    assert fitted_parts(recipe(codecs={"video": WAN, "audio": OOBLECK, "text": BYTES})) == ("audio",)
    assert fitted_parts(recipe(**one_set(modalities=["audio"]))) == ("audio",)
