"""A text pooled to one vector."""

import torch
from torch.testing import assert_close

from talkies.nn.pooling import AttentionPool


def test_padding_is_not_looked_at() -> None:
    pool, text = AttentionPool(8, 2, 5), torch.randn(2, 4, 8)
    valid = torch.tensor([[True] * 4, [True] * 3 + [False]])
    found = pool(text, valid)
    assert_close(found[1:], pool(text[1:, :3], valid[1:, :3]))
    assert not torch.allclose(found[1:], pool(text[1:], valid[:1]), atol=1e-4)


def test_an_empty_text_is_its_mean_of_zero() -> None:
    """However it is padded."""
    pool = AttentionPool(8, 2, 5)
    expected = pool.o(pool.v(torch.zeros(2, 8)))
    for length in (0, 3):
        assert_close(pool(torch.randn(2, length, 8), torch.zeros(2, length, dtype=torch.bool)), expected)


def test_the_mean_of_one_token_attends_to_it_and_itself() -> None:
    pool, text = AttentionPool(8, 2, 5), torch.randn(3, 1, 8)
    assert_close(pool(text, torch.ones(3, 1, dtype=torch.bool)), pool.o(pool.v(text[:, 0])))
