"""benchmarks/parity.py: in bf16, our towers are no further from fp64 than diffusers' are."""

from dataclasses import replace

import pytest
from parity import SMALL, table, tower_errors, vae_errors

TINY = replace(SMALL, dim=96, ffn_dim=192, heads=4, layers=3, text_dim=48)


@pytest.mark.parametrize("seed", range(4))
def test_a_tower_in_bf16_errs_no_more_than_diffusers(seed: int) -> None:
    errors = tower_errors(TINY, seed)
    assert errors["ours, fp32"] < 1e-5
    assert errors["diffusers, fp32"] < 1e-5
    assert 1e-4 < errors["ours, bf16"] <= errors["diffusers, bf16"] < 0.1


def test_the_vae_is_diffusers_own() -> None:
    for errors in vae_errors(0).values():
        assert errors["ours, fp32"] < 1e-4
        assert errors["ours, fp32"] <= 1.01 * errors["diffusers, fp32"] + 1e-7
        assert errors["ours, fp32"] < errors["diffusers, bf16"] / 10
    assert "-" in table({"encode": [vae_errors(0)["encode"]]})
