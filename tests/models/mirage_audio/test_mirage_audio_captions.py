"""Mirage audio reads scripts in captions."""

import pytest

from talkies.models.mirage_audio.captions import ScriptCaptions
from talkies.models.mirage_audio.config import MirageAudioConfig

SPOKEN = "<describe> A calm voice. <script> [S1] Hello you. [S2] Hi!"
MODEL = MirageAudioConfig(preset="tiny", characters_per_second=5.0)


def test_a_text_encodes_its_part_of_a_caption_or_all_of_it() -> None:
    written = ScriptCaptions().written
    assert written("script", SPOKEN) == "[S1] Hello you. [S2] Hi!"
    assert written("description", SPOKEN) == "A calm voice."
    assert written("text", SPOKEN) == SPOKEN
    assert (written("script", "Rain."), written("description", "Rain.")) == ("", "Rain.")


def test_a_script_is_said_and_a_description_is_not() -> None:
    said = ScriptCaptions().said
    assert [said(text, SPOKEN) for text in ("text", "script", "description")] == [True, True, False]
    assert not any(said(text, "Rain.") for text in ("text", "script", "description"))


@pytest.mark.parametrize("caption", ["<script>", "<describe> A voice. <script> [S1] ...", "<script> Say <script> it"])
def test_a_script_that_cannot_be_said_is_unfit(caption: str) -> None:
    assert ScriptCaptions().unfit(caption) is not None


@pytest.mark.parametrize("caption", [SPOKEN, "Rain on a roof.", ""])
def test_a_script_that_can_be_said_and_a_description_alone_are_fit(caption: str) -> None:
    assert ScriptCaptions().unfit(caption) is None


def test_a_script_lasts_as_long_as_its_letters_at_the_pace_of_the_model() -> None:
    assert ScriptCaptions().seconds(MODEL, SPOKEN) == len("HelloyouHi") / 5
    assert ScriptCaptions().seconds(MODEL, "Rain on a roof.") is None


@pytest.mark.parametrize("names", [("text",), ("script", "description")])
def test_what_is_joined_is_what_was_written(names: tuple[str, ...]) -> None:
    captions = ScriptCaptions()
    assert captions.joined({name: captions.written(name, SPOKEN) for name in names}) == SPOKEN
