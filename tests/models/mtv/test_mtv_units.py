"""The units of a backbone alone, and which parameters of the control are lowered."""

import pytest
import torch
from mtv_toy import toy

from talkies.models.mtv.network import MtvNetwork
from talkies.nn.lowering import hold_lowered


@pytest.mark.parametrize("backbone", ["cogvideox", "wan"])
def test_a_backbone_alone_has_its_own_units(backbone: str) -> None:
    model, steered = toy(backbone, components=("video", "attention")), toy(backbone)
    assert len([*MtvNetwork().units(model)]) == len([*MtvNetwork().units(steered)]) - 8


def test_lowered_are_the_matmuls() -> None:
    """Modulations, norms, time, vectors of speakers and the style of the music stay fp32."""
    model = toy(speakers=2)
    hold_lowered(model)
    found = {name for name, p in model.control.named_parameters() if p.dtype is torch.float32} if model.control else {}
    kinds = {name.split(".")[0] for name in found}
    assert kinds == {"encoders", "speakers", "interactions", "injections"}
    assert all(any(part in name for part in (".norm", "speakers.vectors", ".time.", ".style.")) for name in found), (
        found
    )
