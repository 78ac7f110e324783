"""Matmul FLOPs of MOVA, worked out by hand from its shape: the independent expectation of what planning counts."""

from talkies.models.mova.config import MovaShape
from talkies.models.wan.config import TowerConfig


def forward_flops(
    shape: MovaShape,
    *,
    video_tokens: int,
    audio_tokens: int,
    text_tokens: int,
    expert: int = 0,
    bridge: bool = True,
    degree: int = 1,
) -> dict[str, int]:
    """component -> matmul and attention FLOPs (2 per multiply-add) of one clip through one evaluation.

    Counts what runs: the expert's tower if there are video tokens, the audio tower if there are audio tokens, the
    Bridge if there are both and `bridge`. A `degree` above 1 counts one of `degree` sequence-parallel ranks: the
    sequence is padded to a multiple of it; text, time and patch embeddings are computed on every rank.
    """
    flops: dict[str, int] = {}
    if video_tokens:
        flops[("video_high", "video_low")[expert]] = tower_flops(shape.video, video_tokens, text_tokens, degree)
    if audio_tokens:
        flops["audio"] = tower_flops(shape.audio, audio_tokens, text_tokens, degree)
    if video_tokens and audio_tokens and bridge:
        flops["bridge"] = bridge_flops(shape, video_tokens, audio_tokens, degree)
    return flops


def tower_flops(config: TowerConfig, tokens: int, text_tokens: int, degree: int = 1) -> int:
    """One sample through one tower."""
    d, patch, local = config.dim, config.patch_volume, -(-tokens // degree)
    time = 2 * d * (config.freq_dim + 7 * d)
    text = 2 * text_tokens * d * (config.text_dim + d)
    ends = 2 * d * patch * (tokens * config.in_channels + local * config.out_channels)
    attention = _attention(local, local, local * degree, d, d) + _attention(local, text_tokens, text_tokens, d, d)
    return time + text + ends + config.layers * (attention + 4 * local * d * config.ffn_dim)


def bridge_flops(shape: MovaShape, video_tokens: int, audio_tokens: int, degree: int = 1) -> int:
    """One sample through every conditioner."""
    v, a = shape.video.dim, shape.audio.dim
    video, audio = -(-video_tokens // degree), -(-audio_tokens // degree)
    both = _attention(video, audio, audio * degree, v, a) + _attention(audio, video, video * degree, a, v)
    return shape.bridge.layers * both


def _attention(queries: int, local_keys: int, keys: int, dim: int, memory_dim: int) -> int:
    """Projections q and o of `queries`, k and v of `local_keys`; then q k^T and its product with v over all `keys`."""
    return 4 * queries * dim * dim + 4 * local_keys * memory_dim * dim + 4 * queries * keys * dim


def attention_products(shape: MovaShape, video: int, audio: int, text: int) -> int:
    """FLOPs of q k^T and its product with v, over every attention of one clip's forward pass."""
    total = 0
    for tower, tokens in ((shape.video, video), (shape.audio, audio)):
        total += tower.layers * 4 * tokens * (tokens + text) * tower.dim
    return total + shape.bridge.layers * 4 * video * audio * (shape.video.dim + shape.audio.dim)
