"""What a preparation reads and does not make, opened before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from talkies.codecs.config import SoundVaeConfig
from talkies.codecs.demix_config import DemixerConfig
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
    """The `media` of sources that are not rendered; what is looked for `beside` those of each source; on `device`, the
    `codecs` that are not fitted, of those that a set uses, and the `demixers`, by the keys of their sections; the
    networks of those that are fitted, `bare`; `given`: codec -> its identity in the folder of `codecs_from`."""

    media: Mapping[str, MediaSource]
    beside: Mapping[str, Beside]
    codecs: Codecs
    demixers: Mapping[str, Demixer]
    bare: "Mapping[str, SoundVae]"
    given: Mapping[str, str]
    device: torch.device


def open_inputs(
    config: PrepareConfig, plans: Mapping[str, SetPlan], *, recipe_folder: Path, codecs: Path | None
) -> Inputs:
    """Raises RecipeError for what a recipe names and is not there or does not fit, DataError for the contents."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    looked_for = beside(config, {name: one.tracks for name, one in plans.items()})
    media = {
        name: collect(
            name, section, recipe_folder=recipe_folder, rendered=None, seed=config.seed, beside=looked_for[name]
        )
        for name, section in config.sources.items()
        if not isinstance(section, SyntheticSource)
    }
    given = {} if codecs is None else given_codecs(config, codecs)
    fitted = {name: config.codecs[name] for name in fitted_parts(config)} if codecs is None else {}
    unfitted = {name for name in used_codecs(plans) if not config.codecs[name].fitted}
    return Inputs(
        media=media,
        beside=looked_for,
        codecs=load_codecs(config.codecs, None, names=unfitted, device=device),
        demixers=_demixers(plans, device),
        bare={p: load_bare(p, one, device=device) for p, one in fitted.items() if isinstance(one, SoundVaeConfig)},
        given=given,
        device=device,
    )


def _demixers(plans: Mapping[str, SetPlan], device: torch.device) -> dict[str, Demixer]:
    sections: dict[str, DemixerConfig] = {}
    for one in plans.values():
        sections |= {} if one.tracks is None else one.tracks.sections
    return {key: load_demixer(section, key=key, device=device) for key, section in sections.items()}


def used_codecs(plans: Mapping[str, SetPlan]) -> set[str]:
    """The codecs of the streams and texts of all sets."""
    streams = {stream.codec for one in plans.values() for stream in one.streams.values()}
    return streams | {codec for one in plans.values() for codec in one.texts.values()}
