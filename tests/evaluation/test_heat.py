"""Where tracks act: the norms of what modules give, and the share of them where a track is seen."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from talkies.evaluation.heat import heat_shares, recorded, touched
from talkies.streams import Grid
from talkies.world.events import places
from talkies.world.faces import MOUTH, UNITS
from talkies.world.scenes import LAMP


def grid(*shape: int) -> Grid:
    return Grid(shape=shape, channels=3, rate=Fraction(6))


def test_the_heat_is_the_mean_norm_over_layers_and_calls() -> None:
    layers = [nn.Identity(), nn.Identity()]
    x = torch.randn(2 * 3, 4, 5)
    with recorded({"speech": layers, "effects": layers[:1]}) as heats:
        for scale in (1.0, 3.0):
            layers[0](scale * x)
            layers[1](0 * x)
    layers[0](100 * x)
    assert not layers[0]._forward_hooks
    found = heats["speech"].over(grid(3, 4, 4))
    assert found.shape == (2, 3, 2, 2)
    norms = x.norm(dim=-1).unflatten(0, (2, 3)).unflatten(2, (2, 2))
    torch.testing.assert_close(found, norms)
    torch.testing.assert_close(heats["effects"].over(grid(3, 4, 4)), 2 * norms)


def test_tokens_of_another_grid_are_refused() -> None:
    layer = nn.Identity()
    with recorded({"speech": [layer]}) as heats:
        layer(torch.randn(6, 4, 5))
    for other in (grid(4, 4, 4), grid(3, 4, 6), grid(3, 2, 3)):
        with pytest.raises(ValueError, match="tokens are not those"):
            heats["speech"].over(other)


def test_parts_of_a_picture_that_a_box_touches() -> None:
    assert touched([MOUTH], 2, 2).tolist() == [[False, False], [True, True]]
    assert touched([LAMP], 4, 4).nonzero().tolist() == [[0, 0]]
    assert touched(places("speech2", 2), 2, 4).nonzero().tolist() == [[1, 2], [1, 3]]
    assert places("speech2", 1) == ()
    assert len(places("music", 2)) == 2
    whole = touched([(0.0, 0.0, UNITS, UNITS)], 3, 5)
    assert whole.sum() == 9, "of a picture that is wider"


def test_shares_compare_heat_with_area() -> None:
    heat = torch.zeros(1, 2, 2, 2)
    heat[:, :, 1] = 3.0
    heat[:, :, 0, 0] = 2.0
    found = heat_shares({"speech": heat, "effects": heat, "speech2": heat, "music": torch.zeros(1, 2, 2, 2)})
    assert found["speech"] == {"heat": pytest.approx(0.75), "area": 0.5}
    assert found["effects"] == {"heat": pytest.approx(0.25), "area": 0.25}
    assert found["music"]["heat"] == 0, "nothing acts anywhere"
    assert "speech2" not in found
