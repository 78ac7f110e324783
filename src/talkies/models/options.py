"""What `talkies sample` may be given for any of the systems. Read by `--help`, so it imports nothing heavy."""

from collections.abc import Mapping

from talkies.models.mirage import options as mirage
from talkies.models.mirage_audio import options as mirage_audio
from talkies.models.mova import options as mova
from talkies.models.mtv import options as mtv


def _joined(**systems: Mapping[str, str]) -> dict[str, str]:
    """Name -> what it is for, by system if several know it and differ."""
    found: dict[str, dict[str, str]] = {}
    for system, options in systems.items():
        for name, words in options.items():
            found.setdefault(name, {})[system] = words
    return {
        name: words.popitem()[1]
        if len({*words.values()}) == 1
        else "; ".join(f"{system}: {text}" for system, text in words.items())
        for name, words in found.items()
    }


MEDIA: dict[str, str] = _joined(mova=mova.MEDIA, mirage=mirage.MEDIA, mirage_audio=mirage_audio.MEDIA, mtv=mtv.MEDIA)
WORDING: dict[str, str] = _joined(mirage_audio=mirage_audio.WORDING)
SCALES: dict[str, str] = _joined(
    mova=mova.SCALES, mirage=mirage.SCALES, mirage_audio=mirage_audio.SCALES, mtv=mtv.SCALES
)
