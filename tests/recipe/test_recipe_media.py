"""What a phase makes and can be given, as cards say it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from talkies.codecs.config import ByteTextConfig, WaveformConfig
from talkies.config.source import load
from talkies.flow.known_config import KnownFrames
from talkies.models.mirage.system import MirageSystem
from talkies.models.mirage_audio.config import MirageAudioConfig
from talkies.models.mirage_audio.phases import CloningConfig, DesignConfig
from talkies.models.mirage_audio.system import MIRAGE_AUDIO
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import decode_phase
from talkies.recipe.media import guides, makes, takes
from talkies.streams.system import Parts, Setup

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("path", "made", "taken"),
    [
        ("mova/toy/video_pretraining", ("video",), {"image"}),
        ("mova/toy/audio_pretraining", ("audio",), set()),
        ("mova/toy/joint_phase1", ("audio", "video"), {"image", "audio", "video"}),
        ("mirage/toy/video_pretraining", ("video",), set()),
        ("mirage/toy/stitch", ("video",), {"audio"}),
        ("mirage/toy/reference", ("video",), {"audio", "image"}),
    ],
)
def test_a_phase_makes_its_targets_and_takes_what_it_reads(path: str, made: tuple[str, ...], taken: set[str]) -> None:
    recipe = decode_phase(load(RECIPES / f"{path}.yaml"), SYSTEMS)
    assert makes(recipe) == made
    assert takes(recipe).keys() == taken
    assert all(words == recipe.system.options[name] for name, words in takes(recipe).items())


@pytest.mark.parametrize(
    ("path", "scale", "media"),
    [
        ("mtv/toy/visual_mood", "tracks", ("audio", "speech", "effects", "music")),
        ("mtv/visual_mood", "tracks", ("audio", "speech", "effects", "music")),
        ("mtv/toy/basic_face", "tracks", ("audio", "speech")),
        ("mtv/toy/visual_mood", "text", ()),
        ("mtv/toy/video_pretraining", "tracks", ()),
        ("mirage/toy/reference", "sound", ("audio",)),
        ("mirage_audio/toy/cloning", "reference", ("voice",)),
        ("mova/toy/joint_phase1", "bridge", ()),
    ],
)
def test_a_scale_guides_by_what_is_given_of_its_condition(path: str, scale: str, media: tuple[str, ...]) -> None:
    assert guides(decode_phase(load(RECIPES / f"{path}.yaml"), SYSTEMS), scale) == media


def test_files_of_tracks_demix_no_sound() -> None:
    files = ["codecs.demix={kind: tracks, names: [speech, effects, music]}"]
    recipe = decode_phase(load(RECIPES / "mtv/visual_mood.yaml", files), SYSTEMS)
    assert guides(recipe, "tracks") == ("speech", "effects", "music")


class Shown(MirageSystem):
    """Mirage with known frames in training."""

    def parts(self, setup: Setup) -> Parts:
        return replace(super().parts(setup), known={"video": KnownFrames(head=0.2)})


def test_a_phase_with_known_frames_of_a_picture_takes_an_image() -> None:
    recipe = decode_phase(load(RECIPES / "mirage/toy/stitch.yaml"), (Shown(),))
    assert takes(recipe).keys() == {"audio", "image"}


@pytest.mark.parametrize(("kind", "taken"), [("design", set()), ("cloning", {"voice"})])
def test_a_phase_that_hears_a_passage_takes_a_voice(kind: str, taken: set[str]) -> None:
    recipe: Any = SimpleNamespace(
        system=MIRAGE_AUDIO,
        model=MirageAudioConfig(preset="tiny"),
        phase=DesignConfig() if kind == "design" else CloningConfig(),
        codecs={"sound": WaveformConfig(), "text": ByteTextConfig()},
    )
    assert (makes(recipe), takes(recipe).keys()) == (("audio",), taken)
