"""Bytes that autograd keeps from the forward pass for the backward pass, on one rank: a formula that follows the code
of nn/block.py, nn/attention.py, models/bridge.py, models/tower.py and parallel/sequence.py, tensor by tensor.

Every term is tokens x width x bytes: F for fp32, `w` for the dtype of the matmuls. Tests count the same on real
processes (`saved_tensors_hooks`). Kernels differ: CUDA's fused RMSNorm keeps its input and one value per token; the
CPU's composite keeps the normalised tokens, too (`fused` False). SDPA is planned as a flash kernel: q, k, v, the result
and one fp32 value per query and head, which holds for CUDA's flash and efficient kernels and for the CPU's; the plain
("math") kernel would keep all probabilities. torch.compile may keep less.
"""

from dataclasses import dataclass
from itertools import permutations
from math import gcd

from talkies.models.config import TowerConfig
from talkies.planning.work import BF16, FP32, Work
from talkies.streams import Modality

F = FP32


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Bytes. `blocks`: the insides of all blocks or, with recomputation, of the largest one; `inputs`: the tokens
    between blocks; `ends`: embeddings, heads, losses; `working`: temporary gradients in the largest block, which no
    hook counts."""

    blocks: int
    inputs: int
    ends: int
    working: int

    @property
    def kept(self) -> int:
        """Bytes that autograd keeps after the forward pass, with the insides of a block that is recomputed."""
        return self.blocks + self.inputs + self.ends

    @property
    def total(self) -> int:
        """The peak."""
        return self.kept + self.working


def activations(work: Work, *, fused: bool = True) -> Activations:
    """Bytes of one micro-batch on one rank."""
    rules, towers = _Rules(work, fused=fused), work.towers
    insides = [(towers[m].layers, rules.block(m)) for m in towers]
    if work.bridges:
        insides += [(work.bridges, rules.conditioner(q, m)) for q, m in permutations(towers, 2)]
    recomputed = max(size for _, size in insides)
    return Activations(
        blocks=recomputed if work.checkpointing else sum(count * size for count, size in insides),
        inputs=sum(rules.inputs(m) for m in towers),
        ends=sum(rules.ends(m) for m in towers),
        working=max(rules.working(m) for m in towers),
    )


class _Rules:
    """The terms for one layout. b: clips; w, r: bytes per value in the matmuls inside and outside of blocks."""

    def __init__(self, work: Work, *, fused: bool) -> None:
        self.work, self.fused, self.b = work, fused, work.micro
        self.w = BF16 if work.bf16 else F
        self.r = F if work.sharded or work.zero else self.w  # only blocks are in bf16; under DDP all that autocast can
        self.trains = not work.lora_rank  # frozen weights do not need the factors of their gradients

    def block(self, m: Modality) -> int:
        """Insides of nn.block.Block, without its input tokens."""
        config, t, text = self.work.towers[m], self.work.rank_tokens(m), self.work.tokens["text"]
        d, w = config.dim, self.w
        per_clip = 8 * d * F + 6 * t * F  # vectors of adaLN, statistics of three LayerNorms
        per_clip += 3 * t * d * w + 2 * t * d * F  # inputs of q/k/v, cross q and ffn; tokens before norm3 and norm2
        per_clip += (2 * t * d * F + 2 * t * d * w) * self.trains  # normalised tokens, and the factors of the gates
        per_clip += 2 * t * config.ffn_dim * w + 2 * t * self.work.lora_rank * w  # before and after GELU
        per_clip += text * d * w * (self.r != w)  # the block's own copy of the text
        per_clip += self._attention(config, t, t, over_tokens=True)
        per_clip += self._attention(config, t, text, over_tokens=False)
        return self.b * per_clip

    def conditioner(self, q: Modality, m: Modality) -> int:
        """Insides of models.bridge.Conditioner: attention of q's tokens over m's."""
        config, width = self.work.towers[q], self.work.towers[m].dim
        queries, keys = self.work.rank_tokens(q), self.work.rank_tokens(m)
        per_clip = 2 * keys * F + keys * width * self.w  # y_norm
        per_clip += queries * config.dim * self.w * (self.w != F)  # queries in bf16
        per_clip += self._attention(config, queries, keys, over_tokens=True)
        return self.b * per_clip + 2 * (queries + keys) * config.head_dim * F  # cos and sin

    def _attention(self, config: TowerConfig, queries: int, keys: int, *, over_tokens: bool) -> int:
        d, w, degree = config.dim, self.w, self.work.layout.sequence if over_tokens else 1
        gathered = degree // gcd(config.heads, degree)  # factor of gathered keys and values if heads do not suffice
        norms = self._rms(queries, d) + self._rms(keys, d)
        sdpa = 2 * queries * d * w + 2 * keys * gathered * d * w + config.heads * queries * F
        exchanged = queries * d * w * (degree > 1)  # the result after the second all-to-all
        return norms + sdpa + exchanged + (2 * queries + 2 * keys) * self.work.lora_rank * w

    def _rms(self, tokens: int, d: int) -> int:
        normalised = tokens * d * F * (self.trains and not self.fused)
        return tokens * d * F + normalised + tokens * F

    def inputs(self, m: Modality) -> int:
        """fp32 tokens before every block, conditioner and head, RoPE's table, and further inputs of recomputation."""
        config, t, whole = self.work.towers[m], self.work.rank_tokens(m), self.work.padded(m)
        d, text = config.dim, self.work.tokens["text"]
        tokens = (config.layers + self.work.bridges + 1) * t * d
        extra = (6 * d * F + text * d * self.r * (self.r != self.w)) * self.work.checkpointing
        return self.b * (tokens * F + extra) + whole * config.head_dim // 2 * 8

    def ends(self, m: Modality) -> int:
        """Patches, text and time embedding, head, and the error of every predicted value, which every rank holds."""
        config, t, count = self.work.towers[m], self.work.rank_tokens(m), self.work.tokens[m]
        d, text = config.dim, self.work.tokens["text"]
        error = count * config.out_channels * config.patch_volume * F + 2 * t * F
        if not self.trains:
            return self.b * error
        patches = count * config.in_channels * config.patch_volume * self.r
        widths = config.text_dim + 2 * d + d * (self.r == self.w)  # the result, too, if blocks make no bf16 copy of it
        embedded = text * widths * self.r + (config.freq_dim + 4 * d) * F
        return self.b * (error + patches + embedded + 2 * t * d * F + 2 * d * F)

    def working(self, m: Modality) -> int:
        """Gradients at the start of a block's backward pass: of its result and the residual, and around GELU."""
        config, t = self.work.towers[m], self.work.rank_tokens(m)
        return self.b * 2 * t * (config.dim * F + config.ffn_dim * self.w)
