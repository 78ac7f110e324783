"""The systems of this package."""

from talkies.models.mirage.system import MIRAGE
from talkies.models.mirage_audio.system import MIRAGE_AUDIO
from talkies.models.mova.system import MOVA
from talkies.models.mtv.system import MTV
from talkies.streams.system import System

SYSTEMS: tuple[System, ...] = (MOVA, MIRAGE, MIRAGE_AUDIO, MTV)
