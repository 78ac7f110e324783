"""What a preparation reads and does not make, opened before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from talkies.codecs.config import SoundVaeConfig
from talkies.codecs.load import load_bare, load_codecs, load_demixer
from talkies.prepare.config import PrepareConfig
from talkies.prepare.fitting import given_codecs
from talkies.prepare.items import Beside
from talkies.prepare.plan import SetPlan, fitted_parts
from talkies.prepare.sources import MediaSource, collect
from talkies.prepare.track_plan import beside
from talkies.streams.codec import Codecs, Demixer
from talkies.world.config import SyntheticSource

if TYPE_CHECKING:
    from talkies.codecs.sound_vae import SoundVae


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The `media` of sources that are not rendered; the `codecs` that are not fitted, of those that a set uses, on
    `device`; the networks of those that are, `bare`; `given`: codec -> its identity in the folder of `codecs_from`;
    the `demixers` of all sets, by the keys of their sections; what is looked for `beside` the media of each source."""

    media: Mapping[str, MediaSource]
    codecs: Codecs
    bare: "Mapping[str, SoundVae]"
    given: Mapping[str, str]
    demixers: Mapping[str, Demixer]
    beside: Mapping[str, Beside]
    device: torch.device


def open_inputs(
    config: PrepareConfig, plans: Mapping[str, SetPlan], *, recipe_folder: Path, codecs: Path | None
) -> Inputs:
    """Raises RecipeError for what a recipe names and is not there or does not fit, DataError for the contents."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tracks = {name: one.tracks for name, one in plans.items()}
    found = beside(config, tracks)
    media = {
        name: collect(name, section, recipe_folder=recipe_folder, rendered=None, seed=config.seed, beside=found[name])
        for name, section in config.sources.items()
        if not isinstance(section, SyntheticSource)
    }
    given = {} if codecs is None else given_codecs(config, codecs)
    fitted = {name: config.codecs[name] for name in fitted_parts(config)} if codecs is None else {}
    unfitted = {name for name in used_codecs(plans) if not config.codecs[name].fitted}
    return Inputs(
        media=media,
        codecs=load_codecs(config.codecs, None, names=unfitted, device=device),
        bare={p: load_bare(p, one, device=device) for p, one in fitted.items() if isinstance(one, SoundVaeConfig)},
        given=given,
        demixers={
            key: load_demixer(section, key=key, device=device)
            for one in tracks.values()
            if one is not None
            for key, section in one.sections.items()
        },
        beside=found,
        device=device,
    )


def used_codecs(plans: Mapping[str, SetPlan]) -> set[str]:
    """The codecs of the streams and texts of all sets."""
    streams = {stream.codec for one in plans.values() for stream in one.streams.values()}
    return streams | {codec for one in plans.values() for codec in one.texts.values()}
