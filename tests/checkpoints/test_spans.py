"""Spans of tensors are cut into boxes that cover them once, and stored like any other tensor."""

import random
from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor

from talkies.checkpoints.spans import TensorSpan
from talkies.checkpoints.tensors import load_tensors, save_tensors


def span(whole: Tensor, begin: int, end: int) -> TensorSpan:
    return TensorSpan(values=whole.reshape(-1)[begin:end].clone(), shape=whole.shape, start=begin)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_cover_a_span_once(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(200):
        shape = [source.randint(1, 4) for _ in range(source.randint(0, 4))]
        whole = torch.arange(prod(shape)).view(shape)
        begin, end = sorted(source.randint(0, prod(shape)) for _ in range(2))
        part, found = span(whole, begin, end), torch.full(shape, -1)
        boxes = list(part.boxes())
        for box in boxes:
            place = tuple(slice(o, o + s) for o, s in zip(box.offsets, box.sizes, strict=True))
            assert bool((found[place] == -1).all())
            found[place] = part.box(torch.Size(box.offsets))
        expected = torch.full_like(whole, -1).reshape(-1)
        expected[begin:end] = torch.arange(begin, end)
        assert torch.equal(found.reshape(-1), expected)
        assert len(boxes) <= max(1, 2 * len(shape) - 1)


def test_a_span_is_read_from_a_tensor_and_a_tensor_from_a_span(tmp_path: Path) -> None:
    whole, empty = torch.randn(5, 7, 3), TensorSpan(values=torch.empty(0), shape=torch.Size([3]), start=3)
    save_tensors(tmp_path / "a", {"span": span(whole, 0, 105), "whole": whole})
    files = {path.name for path in (tmp_path / "a").iterdir()}
    like = {"whole": span(torch.zeros(5, 7, 3), 20, 53), "span": torch.zeros(5, 7, 3)}
    found = load_tensors(tmp_path / "a", files, lambda _: True, like=like.get)
    assert torch.equal(found["whole"].values, whole.reshape(-1)[20:53])
    assert torch.equal(found["span"], whole)
    save_tensors(tmp_path / "b", {"nothing": empty, "whole": whole})
    files = {path.name for path in (tmp_path / "b").iterdir()}
    assert load_tensors(tmp_path / "b", files, lambda _: True).keys() == {"whole"}, "an empty span is not stored"


def test_a_span_keeps_its_place_when_its_values_change() -> None:
    whole = torch.randn(4, 4)
    doubled = span(whole, 3, 9).mapped(lambda values: values * 2)
    assert (doubled.start, doubled.shape, doubled.nbytes) == (3, whole.shape, 24)
    assert torch.equal(doubled.to_local(), whole.reshape(-1)[3:9] * 2)
    assert torch.equal(span(whole, 0, 16).full_tensor(), whole)
