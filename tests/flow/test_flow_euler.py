import pytest
import torch
from analytic import GRIDS, GaussianDenoiser, streams, text

from talkies.flow.euler import euler
from talkies.flow.guidance import guided
from talkies.flow.schedule import sigma_grid
from talkies.streams import Modality
from talkies.streams.batch import Condition

CONDITION = Condition(text=text(0.75, -1.0))


def grid(steps: int, video: float = 5.0, audio: float = 5.0) -> dict[Modality, list[float]]:
    return {"video": sigma_grid(steps, video), "audio": sigma_grid(steps, audio)}


def largest_error(steps: int, video: float, audio: float) -> float:
    """Against the exact flow of the Gaussian, mean + std noise."""
    denoiser, start = GaussianDenoiser(std=0.5), streams()
    found = euler(denoiser, start, CONDITION, grid(steps, video, audio), boundary=0.9)
    mean = denoiser.mean(CONDITION)
    exact = {m: mean.view(-1, *[1] * (s.latent.ndim - 1)) + 0.5 * s.latent for m, s in start.items()}
    return max(float((found[m] - exact[m]).abs().max()) for m in found)


def test_a_point_is_reached_exactly_whatever_the_grid() -> None:
    """The velocity towards a single point is constant along the path, so Euler makes no error."""
    for steps in (1, 3, 50):
        found = euler(GaussianDenoiser(std=0.0), streams(), CONDITION, grid(steps, 5.0, 1.0), boundary=0.9)
        for m, x in found.items():
            assert x.dtype == torch.float32
            assert x.shape == (2, *GRIDS[m].latent_shape)
            expected = torch.tensor([0.75, -1.0]).view(-1, *[1] * (x.ndim - 1)).expand_as(x)
            torch.testing.assert_close(x, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("video", "audio"), [(1.0, 1.0), (5.0, 1.0), (3.0, 5.0)])
def test_a_gaussian_is_reached_at_first_order(video: float, audio: float) -> None:
    errors = [largest_error(steps, video, audio) for steps in (50, 100, 200)]
    assert errors[2] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.15)


def test_guidance_moves_the_mean_by_the_formula_of_the_report() -> None:
    """The velocity is affine in the mean and the branches' weights sum to 1: the guided flow has the guided mean."""
    denoiser = GaussianDenoiser(std=0.0, coupling=0.5)
    guide = guided(denoiser, null_text=text(0.25), text_scale=4.0, bridge_scale=2.0)
    found = euler(guide, streams(), CONDITION, grid(10), boundary=0.9)
    for x in found.values():
        for sample, caption in zip(x, (0.75, -1.0), strict=True):
            mean = 0.25 + 2.0 * 0.5 + 4.0 * (caption - 0.25)
            torch.testing.assert_close(sample, torch.full_like(sample, mean), rtol=0, atol=2e-5)
    assert len(denoiser.calls) == 30


def test_every_step_passes_levels_and_expert() -> None:
    denoiser, done, levels = GaussianDenoiser(std=0.5), [], grid(50, 5.0, 1.0)
    start = streams()
    euler(denoiser, start, CONDITION, levels, boundary=0.9, on_step=done.append)
    assert done == list(range(1, 51))
    assert [c.expert for c in denoiser.calls] == [0] * 18 + [1] * 32
    for m in start:
        times = torch.stack([seen[m].time for seen in denoiser.seen])
        assert times.dtype == torch.float32
        assert torch.equal(times, torch.tensor(levels[m][:-1])[:, None].expand(50, 2))
    assert torch.equal(denoiser.seen[0]["video"].latent, start["video"].latent)


def test_the_expert_follows_the_video_s_level_alone() -> None:
    denoiser = GaussianDenoiser(std=0.5)
    euler(denoiser, streams(), CONDITION, grid(50, 1.0, 9.0), boundary=0.9)
    assert [c.expert for c in denoiser.calls] == [0] * 6 + [1] * 44
    alone = GaussianDenoiser(std=0.5)
    euler(alone, streams(modalities=("audio",)), CONDITION, {"audio": sigma_grid(4, 5.0)}, boundary=0.9)
    assert [c.expert for c in alone.calls] == [0] * 4


def test_uncoupled_modalities_do_not_affect_each_other() -> None:
    both = euler(GaussianDenoiser(std=0.5), streams(), CONDITION, grid(8, 5.0, 1.0), boundary=0.9)
    for m in ("video", "audio"):
        levels = {m: grid(8, 5.0, 1.0)[m]}
        alone = euler(GaussianDenoiser(std=0.5), streams(modalities=(m,)), CONDITION, levels, boundary=0.9)
        assert torch.equal(alone[m], both[m])


def test_the_state_is_fp32_and_the_given_streams_stay() -> None:
    class Half(GaussianDenoiser):
        def __call__(self, *args):  # noqa: ANN002, ANN204
            return {m: v.bfloat16() for m, v in super().__call__(*args).items()}

    start = streams()
    before = {m: s.latent.clone() for m, s in start.items()}
    found = euler(Half(std=0.5), start, CONDITION, grid(4), boundary=0.9)
    assert all(x.dtype == torch.float32 for x in found.values())
    assert all(torch.equal(start[m].latent, before[m]) for m in start)
