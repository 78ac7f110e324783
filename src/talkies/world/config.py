"""Recipe keys of the synthetic world."""

from typing import Literal

from talkies.config import RecipeError, config
from talkies.config.numbers import Clips, Fps, Frames, Natural, Side
from talkies.config.schema import added

SHORTEST = 0.7
"""Seconds after the first frame in which the shortest script is said."""


@config
class SyntheticSource:
    """Synthetic clips of talking faces, rendered as H.264 + AAC mp4 files with captions of the same stem. `domain`:
    'faces', 'masks' as a second one, 'speakers', whose voices and looks go together, 'scripts', which such speakers
    say in clean, noisy and echoing recordings, or 'scenes', in which speech, effects and music are heard and followed.
    `size`: side in pixels; `heldout` clips are split off by id, those of speakers by speaker.

    Of speakers and scripts only: `speakers`, among whom the clips are shared out evenly (0: each has one clip); `shot`,
    the frames after which the same speaker is seen and heard in another setting, with another script (0: a clip has
    one setting). Of scenes only: `people`, beside each other in frames as many times as wide; `stems`: whether each
    track lies beside the mp4 file as NAME.TRACK.wav, too."""

    kind: Literal["synthetic"] = "synthetic"
    domain: Literal["faces", "masks", "speakers", "scripts", "scenes"] = "faces"
    clips: Clips
    heldout: Natural = 0
    size: Side = 32
    frames: Frames = 25
    fps: Fps = 12.5
    seed: Natural = 0
    speakers: Natural = added(0)
    shot: Natural = added(0)
    people: Literal[1, 2] = added(1)
    stems: bool = added(False)

    @property
    def has_speakers(self) -> bool:
        """Whether each clip is one of a speaker's."""
        return self.domain in ("speakers", "scripts")

    @property
    def tracks(self) -> tuple[str, ...]:
        """Of scenes: the tracks of a clip's sound."""
        voices = ("speech", "speech2")[: self.people]
        return (*voices, "effects", "music") if self.domain == "scenes" else ()

    @property
    def clips_each(self) -> int:
        """Clips of each speaker."""
        return self.clips // self.speakers if self.speakers else 1


def check_source(source: SyntheticSource, *, where: str = "a synthetic source") -> None:
    """Raise RecipeError, beginning with `where`, if a source cannot be drawn or its speakers cannot be held out."""
    shot = source.shot or source.frames
    if shot < 2 or source.fps <= 0 or source.size < 16 or source.size % 2:
        raise RecipeError(
            f"{where} with shots of {shot} frames at {source.fps} fps and {source.size} pixels cannot be "
            "drawn: at least 2 frames, a positive fps and an even size of 16 or more are needed"
        )
    _check_domain(source, where)
    if source.has_speakers:
        _check_shots(source, shot, where)
        _check_split(source, where)


def _check_domain(source: SyntheticSource, where: str) -> None:
    """RecipeError for keys of other domains than the source's."""
    if source.domain != "scenes" and (source.people != 1 or source.stems):
        key, found = ("people", source.people) if source.people != 1 else ("stems", "true")
        raise RecipeError(
            f"{where} of {source.domain} has no `{key}`, found {found}: remove it, or set `domain` to scenes"
        )
    if not source.has_speakers and (source.speakers or source.shot):
        raise RecipeError(
            f"{where} of {source.domain} has no `speakers` and no `shot`, found {source.speakers} and "
            f"{source.shot}: remove them, or set `domain` to speakers or scripts"
        )


def _check_shots(source: SyntheticSource, shot: int, where: str) -> None:
    """RecipeError for shots in which no script can be said, or that do not divide a clip."""
    if source.domain == "scripts" and shot / source.fps < SHORTEST + 1 / source.fps:
        raise RecipeError(
            f"{where} with shots of {shot} frames at {source.fps} fps is too short for a script: "
            f"{SHORTEST:g} seconds and a frame are needed: raise `shot`, or `frames`"
        )
    if source.frames % shot:
        raise RecipeError(
            f"{where} of {source.frames} frames cannot be drawn in shots of {shot}: make `frames` a multiple of `shot`"
        )


def _check_split(source: SyntheticSource, where: str) -> None:
    """RecipeError for clips that cannot be shared out among the speakers, or held out by speaker."""
    if source.speakers and (source.clips % source.speakers or source.heldout % source.clips_each):
        raise RecipeError(
            f"{where} with {source.clips} clips of {source.speakers} speakers, of which {source.heldout} clips are "
            "held out, cannot be split by speaker: make `clips` a multiple of `speakers`, and `heldout` a multiple of "
            "the clips of each"
        )
