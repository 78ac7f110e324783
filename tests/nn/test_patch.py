"""Tokens from latents and back."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from talkies.nn.patch import PatchEmbedding, patchify, unpatchify


@pytest.mark.parametrize(
    ("patch", "shape"), [((1,), (7,)), ((2,), (6,)), ((1, 2, 2), (3, 4, 6)), ((2, 1, 3), (4, 2, 6))]
)
def test_patch_embedding_is_the_convolution(patch: tuple[int, ...], shape: tuple[int, ...]) -> None:
    m, x = PatchEmbedding(5, 8, patch), torch.randn(2, 5, *shape)
    conv = {1: F.conv1d, 3: F.conv3d}[len(patch)]
    assert_close(m(x), conv(x, m.weight, m.bias, stride=patch).flatten(2).transpose(1, 2))


def test_patch_embedding_starts_like_the_convolution() -> None:
    m, conv = PatchEmbedding(5, 64, (1, 2, 2)), torch.nn.Conv3d(5, 64, (1, 2, 2))
    for ours, torchs in ((m.weight, conv.weight), (m.bias, conv.bias)):
        assert ours.abs().max() <= 20**-0.5
        assert abs(ours.std() / torchs.std() - 1) < 0.4


def test_unpatchify_puts_token_values_channel_fastest() -> None:
    channels, patch, shape = 3, (1, 2, 2), (2, 3, 2)
    tokens = torch.arange(2 * 12 * 12).reshape(2, 12, 12)
    latent = unpatchify(tokens, shape, patch)
    assert latent.shape == (2, channels, 2, 6, 4)
    # token (frame 1, row 2, column 1), inside it (0, row 1, column 0), channel 2
    assert latent[1, 2, 1, 5, 2] == tokens[1, (1 * 3 + 2) * 2 + 1, (1 * 2 + 0) * channels + 2]


def test_a_framewise_patch_embedding_is_a_convolution_of_every_frame() -> None:
    m, x = PatchEmbedding(5, 8, (1, 2, 2), framewise=True), torch.randn(2, 5, 3, 4, 6)
    frames = F.conv2d(x.transpose(1, 2).flatten(0, 1), m.weight, m.bias, stride=2)
    assert_close(m(x), frames.flatten(2).transpose(1, 2).unflatten(0, (2, 3)).flatten(1, 2))


@pytest.mark.parametrize(("patch", "shape"), [((2,), (6,)), ((1, 2, 2), (3, 4, 6)), ((2, 1, 3), (4, 2, 6))])
def test_unpatchify_with_the_channel_slowest_inverts_patchify(patch: tuple[int, ...], shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 5, *shape)
    tokens = [size // p for size, p in zip(shape, patch, strict=True)]
    assert torch.equal(unpatchify(patchify(x, patch), tokens, patch, channel_slowest=True), x)


def test_unpatchify_inverts_patchify_up_to_the_channel_order() -> None:
    x = torch.randn(2, 3, 4, 4, 6)
    tokens = patchify(x, (2, 2, 3)).unflatten(-1, (3, 12)).transpose(-1, -2).flatten(-2)
    assert torch.equal(unpatchify(tokens, (2, 2, 2), (2, 2, 3)), x)
