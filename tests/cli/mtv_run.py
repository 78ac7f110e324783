"""A tiny run of MTV's whole toy curriculum, shared by the tests that inspect it, and sounds to steer by."""

from pathlib import Path
from typing import Any

import av
import pytest
from given_sounds import sound_file
from torch import Tensor
from toy_run import PHASES, ToyRun, curriculum_run

from talkies.config.source import load

MTV = Path(__file__).parents[2] / "recipes" / "mtv" / "toy"
FEW_SCENES = [
    "prepare.sources.scenes.clips=20",
    "prepare.sources.scenes.heldout=8",
    "prepare.sources.pairs.clips=12",
    "prepare.sources.pairs.heldout=8",
    "prepare.fit_clips=8",
    *PHASES,
    "visual_mood.tracking.gates=[{metric: evaluation/speech/sync_reference, op: '>=', value: 0.9}]",
]
HERTZ = {"music": 40.0, "speech": 1000.0, "speech2": 3000.0, "effects": 5000.0}
"""Track -> a tone within its band of the toy."""


@pytest.fixture(scope="session")
def mtv_run(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """Render scenes, part their sounds, prepare, six phases of 4 steps, evaluate, promote, sample."""
    return curriculum_run(tmp_path_factory, MTV, FEW_SCENES)


def own_clips(demix: dict[str, Any], sets: dict[str, Any]) -> dict[str, Any]:
    """A preparation of the folder `media`, whose codecs are the toy's but for `demix`, fitted on the first set."""
    return {
        "kind": "prepare",
        "name": "own",
        "system": "mtv",
        "sources": {"media": {"kind": "folder", "path": "media", "heldout": 4}},
        "codecs": {**load(MTV / "prepare.yaml").values["codecs"], "demix": demix},
        "fit_sets": [next(iter(sets))],
        "fit_clips": 8,
        "sets": sets,
    }


def track_file(folder: Path, track: str, *, seconds: float = 2.0, beep: float | None = 0.5) -> Path:
    """A sound that is one track of the toy alone: silent but for 0.1 s of a tone in its band."""
    return sound_file(folder / f"{track}.wav", seconds=seconds, beep=beep, hertz=HERTZ[track])


def float_wav(path: Path, samples: Tensor) -> Path:
    """A sound of samples [S] at 16 kHz, as they are."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("pcm_f32le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None].float().numpy(), format="flt", layout="mono")
        frame.sample_rate = 16000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    return path
