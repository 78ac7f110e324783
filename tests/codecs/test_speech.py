"""wav2vec 2.0, HuBERT and Whisper behind the sound encoder's protocol: real loading, small random weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_speech import network, voice, written

from talkies.codecs.config import CodecConfig, HubertConfig, Wav2Vec2Config, WhisperConfig
from talkies.codecs.load import load_codecs
from talkies.config import DataError, RecipeError
from talkies.streams.codec import AudioEncoder

KINDS: dict[str, Any] = {
    "wav2vec2": Wav2Vec2Config(channels=32),
    "hubert": HubertConfig(channels=32),
    "whisper": WhisperConfig(channels=32, piece=1, context=0),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: written(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def loaded(config: CodecConfig, folder: Path) -> AudioEncoder:
    return load_codecs({"sound": replace(config, weights=str(folder))}, None).audio["sound"]


def states(kind: str, sound: torch.Tensor) -> torch.Tensor:
    """The last hidden states [N, C] of one sound, as transformers computes them."""
    made = network(kind)
    normal = (sound - sound.mean()) / (sound.var(correction=0) + 1e-7).sqrt()
    with torch.no_grad():
        model = made.wav2vec2 if kind == "wav2vec2" else made
        found: torch.Tensor = model(normal[None]).last_hidden_state[0]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_features_follow_the_grid_and_not_the_batch(folders: dict[str, Path], kind: str) -> None:
    encoder = loaded(KINDS[kind], folders[kind])
    sounds = torch.stack([voice(0.81), voice(0.81, seed=1)])
    found = encoder.encode(sounds)
    grid = encoder.grid(sounds.shape[1])
    assert (tuple(found.shape[1:]), float(grid.rate)) == (grid.latent_shape, 25.0) == ((32, 21), 25.0)
    assert found.dtype == torch.float32
    assert torch.equal(found[1:], encoder.encode(sounds[1:]))
    assert torch.equal(found, encoder.encode(sounds))  # nothing is masked or dropped


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_features_are_interpolated_states(folders: dict[str, Path], kind: str, align_corners: bool) -> None:
    """The alignment says at which of the N states, 50 a second, the T features lie."""
    sound = voice(0.8)
    found = loaded(replace(KINDS[kind], align_corners=align_corners), folders[kind]).encode(sound[None])[0]
    expected = states(kind, sound)
    count, steps = len(expected), found.shape[1]
    assert (count, steps) == (39, 20)
    k = np.arange(steps)
    places = k * (count - 1) / (steps - 1) if align_corners else (k + 0.5) * count / steps - 0.5
    columns = [np.interp(places, np.arange(count), column) for column in expected.T.numpy()]
    np.testing.assert_allclose(found.numpy(), np.stack(columns), atol=1e-5)
    if align_corners:
        torch.testing.assert_close(found.T, expected[::2], atol=1e-6, rtol=0)


def stable(folder: Path) -> Path:
    """The folder of a wav2vec 2.0 whose layers normalise first, like a large one."""
    changed = network("wav2vec2", do_stable_layer_norm=True)
    changed.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "sampling_rate": 16000}))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_all_layers_lie_one_after_another(folders: dict[str, Path], kind: str) -> None:
    """The last `channels` are what `last` has; the others are the states that transformers counts as 1 to L - 1."""
    config, sound = replace(KINDS[kind], layers="all", channels=64, rate=50), voice(0.8)
    encoder = loaded(config, folders[kind])
    found = encoder.encode(sound[None])[0]
    last = loaded(replace(KINDS[kind], rate=50), folders[kind]).encode(sound[None])[0]
    assert found.shape == encoder.grid(len(sound)).latent_shape == (64, 40)
    assert torch.equal(found[32:], last)
    if kind == "whisper":
        return  # whose spectrum is the encoder's
    normal = (sound - sound.mean()) / (sound.var(correction=0) + 1e-7).sqrt()
    made = network(kind)
    model = made.wav2vec2 if kind == "wav2vec2" else made
    with torch.no_grad():
        states = model(normal[None], output_hidden_states=True).hidden_states
    assert len(states) == 3
    expected = torch.cat(states[1:], dim=-1).transpose(1, 2)
    expected = torch.nn.functional.interpolate(expected, size=40, mode="linear", align_corners=True)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_last_layer_is_normalised_as_the_network_s_output(tmp_path: Path) -> None:
    """Of a network whose layers normalise first, transformers' last hidden state is not in `hidden_states`."""
    folder, sound = stable(tmp_path), voice(0.8)[None]
    config = KINDS["wav2vec2"]
    every = loaded(replace(config, layers="all", channels=64), folder).encode(sound)
    assert torch.equal(every[:, 32:], loaded(config, folder).encode(sound))


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("rate", [24, 25])
def test_the_transformer_may_see_what_was_interpolated(folders: dict[str, Path], kind: str, rate: int) -> None:
    """As in MTV's released code: as many states as features."""
    config: Any = replace(KINDS[kind], layers="all", channels=64, rate=rate, interpolate="before")
    sound = voice(0.8)
    found = loaded(config, folders[kind]).encode(sound[None])[0]
    made = network(kind)
    model = made.wav2vec2 if kind == "wav2vec2" else made
    steps = -(-len(sound) * rate // 16000)
    heard = torch.nn.functional.pad(sound, (0, -(-steps * 16000 // rate) - len(sound)))
    normal = (heard - heard.mean()) / (heard.var(correction=0) + 1e-7).sqrt()
    with torch.no_grad():
        convolved = model.feature_extractor(normal[None])
        convolved = torch.nn.functional.interpolate(convolved, size=steps, mode="linear", align_corners=True)
        projected = model.feature_projection(convolved.transpose(1, 2))
        state = projected[0] if kind == "wav2vec2" else projected
        state = model.encoder.layer_norm(state + model.encoder.pos_conv_embed(state))
        states = []
        for layer in model.encoder.layers:
            state = layer(state)
            states.append(state[0])
    torch.testing.assert_close(found, torch.cat(states, dim=-1).T, atol=1e-5, rtol=0)
    after = loaded(replace(config, interpolate="after"), folders[kind])
    assert (after.encode(sound[None])[0] - found).abs().max() > 1e-2


def test_nothing_stays_in_the_network(folders: dict[str, Path]) -> None:
    """Features do not depend on what was encoded before, and no state of it is kept."""
    config = replace(KINDS["wav2vec2"], layers="all", channels=64, interpolate="before")
    encoder: Any = loaded(config, folders["wav2vec2"])
    first = encoder.encode(voice(0.8)[None])
    encoder.encode(voice(1.2, seed=1)[None])
    assert torch.equal(encoder.encode(voice(0.8)[None]), first)
    assert not any(module._forward_hooks for module in encoder.network.modules())


def test_whisper_hears_silence_after_the_sound(folders: dict[str, Path]) -> None:
    encoder = loaded(KINDS["whisper"], folders["whisper"])
    short = encoder.encode(voice(0.8)[None])
    padded = torch.nn.functional.pad(voice(0.8), (0, 3200))
    whole = loaded(replace(KINDS["whisper"], rate=50), folders["whisper"]).encode(padded[None])
    assert short.shape == (1, 32, 20)
    torch.testing.assert_close(short[:, :, 0], whole[:, :, 0], atol=1e-6, rtol=0)
    with pytest.raises(DataError, match=r"2.4 s of sound, but Whisper hears at most 2 s"):
        encoder.encode(voice(2.4)[None])


def test_normalised_sound_has_no_loudness(tmp_path: Path, folders: dict[str, Path]) -> None:
    plain = written(tmp_path, "wav2vec2", do_normalize=False)
    normal, other = (loaded(KINDS["wav2vec2"], folder) for folder in (folders["wav2vec2"], plain))
    sound = voice(0.4)[None]
    torch.testing.assert_close(normal.encode(sound), normal.encode(0.5 * sound), atol=1e-3, rtol=0)
    assert (other.encode(sound) - other.encode(0.5 * sound)).abs().max() > 1e-2
    assert normal.identity != other.identity


def test_identity_follows_what_shapes_the_features(tmp_path: Path, folders: dict[str, Path]) -> None:
    config = KINDS["wav2vec2"]
    first = loaded(config, folders["wav2vec2"]).identity
    changes: list[dict[str, Any]] = [{"align_corners": False}, {"rate": 50}, {"piece": 10}, {"context": 2}]
    changes += [{"layers": "all", "channels": 64}, {"interpolate": "before"}]
    others = {loaded(replace(config, **change), folders["wav2vec2"]).identity for change in changes}
    folder = written(tmp_path, "wav2vec2")
    assert loaded(config, folder).identity == first  # not the place of the weights
    path = folder / "model.safetensors"
    state = load_file(path)
    name = next(key for key in state if key.endswith("layers.1.feed_forward.output_dense.bias"))
    save_file({**state, name: state[name] + 1}, path, metadata={"format": "pt"})
    assert len({first, *others, loaded(config, folder).identity}) == 8


def test_released_names_of_the_positional_convolution_are_read(tmp_path: Path, folders: dict[str, Path]) -> None:
    """Releases are older than torch's parametrizations: weight_g and weight_v."""
    folder = written(tmp_path, "wav2vec2")
    path = folder / "model.safetensors"
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = load_file(path)
    for new, name in old.items():
        (key,) = [key for key in state if key.endswith(new)]
        state[key.replace(new, name)] = state.pop(key)
    save_file(state, path, metadata={"format": "pt"})
    sound = voice(0.4)[None]
    config = KINDS["wav2vec2"]
    assert torch.equal(loaded(config, folder).encode(sound), loaded(config, folders["wav2vec2"]).encode(sound))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_enough_and_less_is_refused(folders: dict[str, Path], kind: str) -> None:
    encoder = loaded(replace(KINDS[kind], rate=50), folders[kind])
    assert encoder.encode(voice(0.02)[None]).shape == (1, 32, 1)
    with pytest.raises(DataError, match=rf"319 audio samples: at least 320 \(a step of {kind}, 20 ms\)"):
        encoder.encode(voice(0.02)[None, :-1])


def test_errors_name_what_to_change(tmp_path: Path, folders: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match=r"`codecs\.sound\.weights` is not set.*preprocessor_config\.json"):
        load_codecs({"sound": Wav2Vec2Config()}, None)
    with pytest.raises(RecipeError, match=r"`codecs\.sound\.channels` is 1024, the weights have 32"):
        loaded(Wav2Vec2Config(), folders["wav2vec2"])
    with pytest.raises(RecipeError, match=r"`codecs\.sound\.channels` is 32, the weights have 64: set it to 64"):
        loaded(replace(KINDS["wav2vec2"], layers="all"), folders["wav2vec2"])
    with pytest.raises(DataError, match=r"needed a network of type wav2vec2, but its config\.json names 'hubert'"):
        loaded(KINDS["wav2vec2"], folders["hubert"])
    with pytest.raises(RecipeError, match=r"`codecs\.sound` hears `piece` 20 \+ 2 `context` 5 = 30 seconds.*network 2"):
        loaded(WhisperConfig(channels=32), folders["whisper"])
    folder = written(tmp_path / "a", "hubert", sampling_rate=8000)
    with pytest.raises(DataError, match=r"`sampling_rate` is 8000, but only networks for 16000 Hz"):
        loaded(KINDS["hubert"], folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 16000}))
    with pytest.raises(DataError, match=r"`do_normalize` is null, needed true or false"):
        loaded(KINDS["hubert"], folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_tensor_is_refused_and_not_filled_at_random(tmp_path: Path, kind: str) -> None:
    folder = written(tmp_path, kind)
    path = folder / "model.safetensors"
    state = load_file(path)
    name = next(key for key in state if "layers.1" in key and key.endswith("q_proj.weight"))
    del state[name]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"missing keys: .*layers\.1.*q_proj\.weight"):
        loaded(KINDS[kind], folder)
