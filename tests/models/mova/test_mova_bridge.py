"""The Bridge: both directions from the old states, aligned positions, masks."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.testing import assert_close
from toy_streams import TOY, audio, condition, toy, video

from talkies.models.mova.bridge import Bridge
from talkies.streams.batch import Stream

CPU = torch.device("cpu")
NO_MASKS = {"video": None, "audio": None}


def tokens_of(streams: dict[str, Stream]) -> dict[str, Tensor]:
    return {m: torch.randn(2, s.grid.tokens(getattr(TOY, m).patch), getattr(TOY, m).dim) for m, s in streams.items()}


def setup() -> tuple[Bridge, dict[str, Tensor], dict[str, Stream]]:
    streams = {"video": video(), "audio": audio()}
    bridge = toy("bridge").bridge
    assert bridge is not None
    return bridge, tokens_of(streams), streams


def test_both_directions_read_the_old_states() -> None:
    bridge, tokens, streams = setup()
    ropes = bridge.ropes({m: s.grid for m, s in streams.items()}, CPU)
    v, a = tokens["video"], tokens["audio"]
    heard = bridge.audio_to_video_conditioners[1](v, a, (ropes["video"]["video"], ropes["video"]["audio"]), None)
    seen = bridge.video_to_audio_conditioners[1](a, v, (ropes["audio"]["audio"], ropes["audio"]["video"]), None)
    after = bridge(1, tokens, ropes, NO_MASKS)
    assert torch.equal(after["video"], v + heard)
    assert torch.equal(after["audio"], a + seen)
    late = bridge.video_to_audio_conditioners[1](
        a, after["video"], (ropes["audio"]["audio"], ropes["audio"]["video"]), None
    )
    assert not torch.allclose(late, seen)


def test_only_the_memory_is_normalised() -> None:
    bridge, tokens, streams = setup()
    ropes = bridge.ropes({m: s.grid for m, s in streams.items()}, CPU)
    louder = bridge(0, tokens | {"audio": 3 * tokens["audio"] + 1}, ropes, NO_MASKS)["video"]
    plain = bridge(0, tokens, ropes, NO_MASKS)["video"]
    assert_close(louder, plain, atol=1e-4, rtol=1e-4)  # LayerNorm of the memory
    query = bridge(0, tokens | {"video": tokens["video"] + 1}, ropes, NO_MASKS)["video"] - tokens["video"] - 1
    assert not torch.allclose(query, plain - tokens["video"], atol=1e-3)  # no LayerNorm of the query


def test_conditioners_see_time_not_space() -> None:
    """Equal queries of one frame give equal results; those of two frames do not."""
    bridge, tokens, streams = setup()
    per_frame = tokens["video"].shape[1] // streams["video"].grid.token_shape(TOY.video.patch)[0]
    tokens["video"] = tokens["video"][:, :1].expand_as(tokens["video"])
    ropes = bridge.ropes({m: s.grid for m, s in streams.items()}, CPU)
    heard = bridge(0, tokens, ropes, NO_MASKS)["video"].unflatten(1, (-1, per_frame))
    assert_close(heard, heard[:, :, :1].expand_as(heard))
    assert not torch.allclose(heard[:, 0, 0], heard[:, 1, 0], atol=1e-5)


def test_padded_audio_is_masked() -> None:
    bridge, tokens, streams = setup()
    ropes = bridge.ropes({m: s.grid for m, s in streams.items()}, CPU)
    mask = torch.ones(2, 1, 1, tokens["audio"].shape[1], dtype=torch.bool)
    mask[..., 6:] = False
    noise = tokens["audio"].clone()
    noise[:, 6:] = 1e3 * torch.randn_like(noise[:, 6:])
    masks = NO_MASKS | {"audio": mask}
    assert_close(bridge(0, tokens | {"audio": noise}, ropes, masks)["video"], bridge(0, tokens, ropes, masks)["video"])
    assert not torch.allclose(bridge(0, tokens, ropes, masks)["video"], bridge(0, tokens, ropes, NO_MASKS)["video"])


def test_each_modality_changes_the_other() -> None:
    model, streams, cond = toy(), {"video": video(), "audio": audio()}, condition()
    before = model(streams, cond)
    for moved, heard in (("audio", "video"), ("video", "audio")):
        changed = streams | {moved: replace(streams[moved], latent=torch.randn_like(streams[moved].latent))}
        assert not torch.allclose(model(changed, cond)[heard], before[heard], atol=1e-5)
