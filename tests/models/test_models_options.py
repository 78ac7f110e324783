"""The command line's options are those that the systems declare."""

import pytest

from talkies.models.options import MEDIA, SCALES, WORDING
from talkies.models.systems import SYSTEMS
from talkies.streams.system import System


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.kind)
def test_every_option_of_a_system_is_there_and_says_what_it_is_for(system: System) -> None:
    for declared, known in ((system.options, MEDIA), (system.captions.wording, WORDING), (system.scales, SCALES)):
        assert declared.keys() <= known.keys()
        for name, words in declared.items():
            assert words in known[name]


def test_no_option_is_left_of_a_system_that_is_gone() -> None:
    assert MEDIA.keys() == {name for system in SYSTEMS for name in system.options}
    assert WORDING.keys() == {name for system in SYSTEMS for name in system.captions.wording}
    assert SCALES.keys() == {name for system in SYSTEMS for name in system.scales}


def test_what_several_systems_take_is_explained_by_system() -> None:
    mirage = "mirage: the person to show; without it anybody"
    assert MEDIA["image"] == f"mova: first frame; without it a white image; {mirage}; mtv: the first frame"
    assert SCALES["text"] == "the prompt"
