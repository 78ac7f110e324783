"""How long a held-out sound lasts, and what it is called, follow from its texts, whether they are one or two."""

from fractions import Fraction

import pytest
import torch
from voice_data import PHASE, fitted, recipe

from talkies.generate.model import Generator
from talkies.models.build import build
from talkies.runs.validation import captions, lasts
from talkies.streams import Grid
from talkies.streams.batch import Batch, Stream
from talkies.streams.codec import Codecs

TEXTS = {
    "joined": {"text": "<describe> A hall. <script> [S1] Hi."},
    "apart": {"script": "[S1] Hi.", "description": "A hall."},
}
GRID = Grid(channels=8, shape=(25,), rate=Fraction(25, 2))


@pytest.mark.parametrize("texts", TEXTS)
def test_the_padding_of_a_script_s_sound_is_not_heard(texts: str) -> None:
    setup = recipe(model={**PHASE["model"], "texts": texts})
    system = setup.system
    model = Generator(
        denoiser=build(system, setup, system.parts(setup).components, seed=0),
        codecs=Codecs(audio={"sound": fitted()}),
        system=system,
        setup=setup,
        grids={"sound": GRID},
        fps=12.5,
    )
    sound = Stream(
        latent=torch.zeros(1, *GRID.latent_shape), time=torch.zeros(1), grid=GRID, mask=torch.arange(25)[None] < 10
    )
    batch = Batch(
        ids=("clip",),
        visits=(0,),
        streams={"sound": sound},
        captions={name: (text,) for name, text in TEXTS[texts].items()},
        texts={},
        null_texts={},
    )
    assert lasts(batch, model, 0) == 10 / 12.5
    assert captions(batch, system) == ["<describe> A hall. <script> [S1] Hi."]
