"""The adapter of a release, as formats of adapters are written from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from talkies.checkpoints.names import renamed
from talkies.checkpoints.release import names_schema, read_release
from talkies.config import CheckpointError
from talkies.config.quoting import shown
from talkies.training.lora import ADAPTER, AdapterRecord
from talkies.weights.headers import read_header
from talkies.weights.pieces import Piece

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """y = W x + alpha / rank B A x for every adapted layer. `folder` has it in PEFT's format; `record`: its rank, alpha
    and targets; `schema`: of the names in it."""

    folder: Path
    record: AdapterRecord
    schema: int

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.record.lora_alpha / self.record.r

    @cached_property
    def layers(self) -> Mapping[str, tuple[Piece, Piece]]:
        """Path of the layer in the model -> where A [rank, in] and B [out, rank] are, by path. CheckpointError without
        either."""
        found = read_header(self.folder / "adapter_model.safetensors").pieces
        pairs = {}
        for key in sorted(key for key in found if key.endswith(_A)):
            other = key.removesuffix(_A) + _B
            if other not in found:
                raise CheckpointError(f"export: {self.folder} lacks {shown(other)}: restore the release from a copy")
            name = renamed(key.removeprefix(_PREFIX), self.schema).removesuffix(_A)
            pairs[name] = found[key], found[other]
        return pairs

    def pairs(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(path of the layer in the model, A [rank, in], B [out, rank]), by path; one layer in memory at a time."""
        for name, (down, up) in self.layers.items():
            yield name, down.tensor(), up.tensor()


def adapter_of(release: Path) -> Adapter:
    """The verified adapter of a release folder. CheckpointError if it is damaged, or has none."""
    if not read_release(release)["adapter"]:
        raise CheckpointError(f"export: {release} holds whole weights, no adapter: give the release of an adapter")
    folder = release / "adapter"
    return Adapter(folder=folder, record=ADAPTER.read(folder / "adapter_config.json"), schema=names_schema(release))
