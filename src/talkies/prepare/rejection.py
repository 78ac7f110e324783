"""Why a media file is quarantined."""

from typing import Literal

Reason = Literal[
    "undecodable",
    "no video",
    "no audio",
    "wrong fps",
    "too short",
    "no reference",
    "broken stream",
    "colours",
    "orientation",
    "audio and video disagree",
    "sync unknown",
    "lip sync",
    "no channel",
    "channels cancel",
    "silent",
    "clipped",
    "no caption",
    "caption encoding",
    "caption too long",
    "script",
    "not finite",
    "tracks",
    "demixers disagree",
    "people",
    "subset",
]
SUBSET = "subset"
"""The reason of a clip that its set does not take: it is counted, and not quarantined."""


class Rejected(Exception):  # noqa: N818 - not an error: preparation continues
    """A clip that is quarantined: `reason` is one of a closed list, `detail` has the measured values."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail
