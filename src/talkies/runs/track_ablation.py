"""What `evaluate --ablate` measures and draws of a model that hears tracks, besides what every condition decides."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from talkies.evaluation.heat import heat_shares, recorded
from talkies.flow.config import SamplingConfig
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.media.heat_sheet import heat_sheet
from talkies.runs.bleeding import bleeding, draw_bleeding
from talkies.runs.condition_arms import Clips, tracks_of
from talkies.runs.condition_metrics import ABLATION
from talkies.streams.codec import Media
from talkies.streams.system import Hears

FIGURES = "ablation-*.png"
"""The pictures of an evaluation."""
HEATED = 4
"""Clips of which it is drawn where tracks act."""


def track_ablation(
    model: Generator,
    network: nn.Module,
    clips: Clips,
    conditions: Collection[str],
    sampling: SamplingConfig,
    *,
    seed: int,
    folder: Path | None,
) -> dict[str, float]:
    """`bleeding`, and `ablation/heat-TRACK/heat` and `area` as `heat_shares`, of the world's scenes alone. `network`:
    the module of the model. `folder` receives the pictures: `ablation-bleed.png`, and `ablation-heat-NN.png` of a few
    clips, whatever they show. Nothing of a model that hears no tracks."""
    found = bleeding(model, clips, conditions, sampling, seed=seed)
    films, heats = heated(model, network, clips, sampling, seed=seed)
    if heats and clips.scenes:
        shares = heat_shares(heats)
        found |= {f"{ABLATION}/heat-{track}/{key}": v for track, row in shares.items() for key, v in row.items()}
    if folder is not None:
        _draw(found, films, heats, folder)
    return found


def remove_figures(folder: Path) -> None:
    """Remove the pictures of an earlier evaluation."""
    for path in folder.glob(FIGURES):
        path.unlink()


def heated(
    model: Generator, network: nn.Module, clips: Clips, sampling: SamplingConfig, *, seed: int
) -> tuple[list[Media], Mapping[str, Tensor]]:
    """The first clips as they are made without guidance, whose evaluations would hear nothing, and the heat
    [B, T, h, w] of each track: the norm of what it adds to a token of the video, averaged over layers and steps."""
    system, video = model.system.network(), model.stream_of("video")
    heard = system.heard(network) if isinstance(system, Hears) else {}
    heard = {track: heard[track] for track in tracks_of(model) if track in heard}
    if not heard or video is None:
        return [], {}
    plain = replace(sampling, scales={}, skip_layer=None, reuse=None, batch=1)
    with recorded(heard) as heats:
        films = generate(model, clips.requests[:HEATED], plain, seed=seed)
    return films, {track: heat.over(model.grids[video]) for track, heat in heats.items()}


def _draw(metrics: Mapping[str, float], films: list[Media], heats: Mapping[str, Tensor], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draw_bleeding(metrics, folder / FIGURES.replace("*", "bleed"))
    for number, film in enumerate(films):
        assert film.frames is not None, "the model makes a video"
        own = {track: heat[number] for track, heat in heats.items()}
        heat_sheet(folder / FIGURES.replace("*", f"heat-{number:02d}"), film.frames, own)
