"""Sound from texts and a reference: what the network heeds, and what it does not."""

from dataclasses import replace

import pytest
import torch
from audio_toy import WORDS, given, prompt, stream, streams, toy
from torch.nn.functional import pad

from talkies.models.build import count_parameters
from talkies.models.mirage_audio.config import PRESETS
from talkies.models.mochi.network import JointDiT
from talkies.streams.batch import Condition, Stream


@pytest.fixture(scope="module")
def model() -> JointDiT:
    return toy()


def made(model: JointDiT, found: dict[str, Stream], condition: Condition) -> torch.Tensor:
    return model(found, condition)["sound"]


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def differ(one: torch.Tensor, other: torch.Tensor) -> None:
    assert float((one - other).detach().abs().max()) > 1e-3


def test_the_sound_depends_on_reference_and_text(model: JointDiT) -> None:
    found, condition = streams(), prompt(WORDS, 3)
    base = made(model, found, condition)
    assert base.shape == found["sound"].latent.shape
    other = found | {"reference": replace(found["reference"], latent=torch.randn_like(found["reference"].latent))}
    differ(base, made(model, other, condition))
    differ(base, made(model, found, prompt(WORDS, 3)))


def test_a_reference_ends_where_the_clip_begins(model: JointDiT) -> None:
    """So padding after it, and where its recording had it, change nothing; and its steps lie on the sound's clock."""
    found, condition = streams(), prompt(WORDS, 3)
    voice = found["reference"]
    assert torch.equal(voice.start, torch.full((2,), -4 / 12.5))  # type: ignore[arg-type]
    longer = replace(voice.grid, shape=(6,))
    mask = (torch.arange(6) < 4).expand(2, 6)
    padded = replace(voice, latent=pad(voice.latent, (0, 2), value=9.0), grid=longer, mask=mask, start=torch.ones(2))
    close(made(model, found, condition), made(model, given(found | {"reference": padded}), condition))
    moved = replace(voice, start=torch.full((2,), -3.0))
    differ(made(model, found, condition), made(model, found | {"reference": moved}, condition))


def test_a_reference_that_is_dropped_is_as_if_absent(model: JointDiT) -> None:
    found, condition = streams(), prompt(WORDS, 3)
    voice = found["reference"]
    dropped = given(found | {"reference": replace(voice, mask=torch.zeros(2, 4, dtype=torch.bool))})
    alone = made(model, {"sound": found["sound"]}, condition)
    close(alone, made(model, dropped, condition))
    close(alone, made(model, found, replace(condition, without=frozenset({"reference"}))))


def test_padding_of_a_short_sound_changes_nothing(model: JointDiT) -> None:
    short, condition = stream(steps=5), prompt(WORDS, 3)
    grid = replace(short.grid, shape=(8,))
    mask = (torch.arange(8) < 5).expand(2, 8)
    padded = replace(short, latent=pad(short.latent, (0, 3), value=9.0), grid=grid, mask=mask)
    close(made(model, {"sound": short}, condition), made(model, {"sound": padded}, condition)[..., :5])


def test_the_order_of_words_is_heard_unless_texts_have_no_positions() -> None:
    found, condition = streams(), prompt(WORDS, WORDS)
    text = condition.texts["text"]
    turned = Condition(texts={"text": replace(text, embedding=text.embedding.flip(1))})
    differ(made(toy(), found, condition), made(toy(), found, turned))
    plain = toy(text_positions="none")
    close(made(plain, found, condition), made(plain, found, turned))


def test_two_texts_have_layers_of_their_own() -> None:
    model, names = toy(texts="apart"), ("script", "description")
    assert [name for name, _ in model.named_children()] == ["sound", *names]
    found, condition = streams(), prompt(WORDS, 3, names=names)
    base = made(model, found, condition)
    for name in names:
        differ(base, made(model, found, replace(condition, without=frozenset({name}))))
    exchanged = dict(zip(names, [condition.texts[name] for name in reversed(names)], strict=True))
    differ(base, made(model, found, Condition(texts=exchanged)))


def test_every_parameter_learns() -> None:
    for texts, names in (("joined", ("text",)), ("apart", ("script", "description"))):
        model = toy(texts=texts)
        made(model, streams(), prompt(WORDS, 3, names=names)).square().mean().backward()
        assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(("preset", "billions"), [("0.3b", (0.3, 0.4)), ("1b", (0.9, 1.3))])
def test_presets_have_the_sizes_of_their_names(preset: str, billions: tuple[float, float]) -> None:
    with torch.device("meta"):
        count = count_parameters(JointDiT(PRESETS[preset])) / 1e9
    assert billions[0] <= count <= billions[1]
