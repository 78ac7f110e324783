import subprocess
import sys
from itertools import combinations

import pytest
import torch
from scipy import stats
from torch import Tensor

from talkies.flow.draw import gaussian, shuffled, uniform

IDS = [f"clip-{i:06d}" for i in range(4000)]
FIRST = [0] * len(IDS)


def test_uniform_is_uniform() -> None:
    u = uniform(0, IDS, FIRST, "time/video")
    assert u.dtype == torch.float64
    assert u.shape == (len(IDS),)
    assert 0 <= float(u.min()) < float(u.max()) < 1
    assert stats.kstest(u.numpy(), "uniform").pvalue > 0.01
    assert float(u.mean()) == pytest.approx(0.5, abs=0.015)
    assert float(u.var()) == pytest.approx(1 / 12, abs=0.004)


def test_gaussian_is_normal_within_and_across_samples() -> None:
    x = gaussian(0, IDS[:500], FIRST[:500], "noise/video", (4, 50))
    assert x.dtype == torch.float32
    assert x.shape == (500, 4, 50)
    assert stats.kstest(x[7].flatten().numpy(), "norm").pvalue > 0.01
    assert stats.kstest(x[:, 2, 3].numpy(), "norm").pvalue > 0.01
    assert float(x.mean()) == pytest.approx(0, abs=0.01)
    assert float(x.var()) == pytest.approx(1, abs=0.02)
    assert float((x**4).mean()) == pytest.approx(3, abs=0.1)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    ids, visits = ["a", "b", "c"], [0, 3, 1]
    order = [2, 0, 1]
    shuffled = ([ids[i] for i in order], [visits[i] for i in order])
    u, x = uniform(5, ids, visits, "n"), gaussian(5, ids, visits, "n", (3, 2))
    assert torch.equal(uniform(5, *shuffled, "n"), u[order])
    assert torch.equal(gaussian(5, *shuffled, "n", (3, 2)), x[order])
    assert torch.equal(uniform(5, ["b"], [3], "n"), u[1:2])
    assert torch.equal(gaussian(5, ["b"], [3], "n", (3, 2)), x[1:2])


def test_nothing_global_is_read_or_changed() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = gaussian(1, ["a"], [0], "n", (8,))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    assert torch.equal(gaussian(1, ["a"], [0], "n", (8,)), first)


def test_another_process_draws_the_same() -> None:
    """No hash randomisation, no global state: a second rank or a resumed run draws the same."""
    call = "(1, ['x'], [2], 'n'"
    code = f"from talkies.flow.draw import *; print(uniform{call}).item(), gaussian{call}, (1,)).item())"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    here = [uniform(1, ["x"], [2], "n").item(), gaussian(1, ["x"], [2], "n", (1,)).item()]
    assert [float(value) for value in printed] == here


def test_the_streams_never_change() -> None:
    """Pinned values: a change here changes every training run and every sample of a published version."""
    assert uniform(42, ["clip-0"], [3], "time/video").item() == 0.06121367285759938
    x = gaussian(42, ["clip-0"], [3], "noise/video", (3,))[0]
    torch.testing.assert_close(x, torch.tensor([0.9783175, -2.3257620, 0.4159400]), rtol=0, atol=1e-6)


VARIANTS = {
    "plain": (0, "", 0, "time/video"),
    "seed": (1, "", 0, "time/video"),
    "far seed": (2**32, "", 0, "time/video"),
    "id": (0, "x", 0, "time/video"),
    "visit": (0, "", 1, "time/video"),
    "name": (0, "", 0, "time/audio"),
}


def _draw(kind: str, variant: tuple[int, str, int, str]) -> Tensor:
    seed, suffix, visit, name = variant
    ids, visits = [i + suffix for i in IDS[:2000]], [visit] * 2000
    return uniform(seed, ids, visits, name) if kind == "uniform" else gaussian(seed, ids, visits, name, ())


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_every_part_of_the_name_gives_an_independent_stream(kind: str) -> None:
    drawn = {name: _draw(kind, variant) for name, variant in VARIANTS.items()}
    for a, b in combinations(drawn, 2):
        assert not bool((drawn[a] == drawn[b]).any()), (a, b)
        correlation = torch.corrcoef(torch.stack([drawn[a], drawn[b]]).double())[0, 1]
        assert abs(float(correlation)) < 0.08, (a, b)


def test_successive_visits_of_one_sample_are_uniform() -> None:
    u = uniform(0, ["one"] * 4000, list(range(4000)), "time/video")
    assert stats.kstest(u.numpy(), "uniform").pvalue > 0.01
    assert abs(float(torch.corrcoef(torch.stack([u[1:], u[:-1]]))[0, 1])) < 0.06


def test_the_values_are_framed() -> None:
    """('a', 11) and ('a1', 1), or a separator inside an id, are different draws."""
    names = [("a", 11, "n"), ("a1", 1, "n"), ("a", 1, "1n"), ('a",1,"n', 1, "n")]
    assert len({uniform(1, [sample], [visit], name).item() for sample, visit, name in names}) == 4


def test_more_than_32_bits_of_the_key_count() -> None:
    """torch's CPU generator would repeat itself among so many samples; see the module docstring."""
    many = [str(i) for i in range(120_000)]
    assert uniform(0, many, [0] * len(many), "n").unique().numel() == len(many)
    pairs = gaussian(0, many[:20_000], [0] * 20_000, "n", (2,))
    assert len({tuple(pair) for pair in pairs.tolist()}) == 20_000


def test_ids_and_visits_must_pair_up() -> None:
    with pytest.raises(ValueError, match="zip"):
        uniform(0, ["a", "b"], [0], "n")


def test_shuffled_noise_is_the_first_visit_s_in_another_order() -> None:
    """By sample and visit, and whatever else is in the batch."""
    shape = (3, 6, 2)
    first = gaussian(1, ["a", "b"], [0, 0], "x", shape)
    assert torch.equal(shuffled(1, ["a", "b"], [0, 0], "x", shape), first)
    found = shuffled(1, ["a", "b", "a"], [2, 0, 3], "x", shape)
    assert torch.equal(found[1], first[1])
    assert torch.equal(found[0], shuffled(1, ["a"], [2], "x", shape)[0])
    orders = [
        tuple(next(i for i in range(6) if torch.equal(first[0][:, i], row[:, at])) for at in range(6))
        for row in found[::2]
    ]
    assert len({*orders, tuple(range(6))}) == 3
    assert all(sorted(order) == list(range(6)) for order in orders)
