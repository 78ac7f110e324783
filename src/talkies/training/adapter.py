"""The adapter of a release, as formats of adapters are written from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from talkies.checkpoints.names import renamed
from talkies.checkpoints.release import names_schema, read_release
from talkies.checkpoints.weights import read_weights
from talkies.config import CheckpointError
from talkies.training.lora import ADAPTER, AdapterRecord

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """y = W x + alpha / rank B A x for every adapted layer. `folder` has it in PEFT's format; `record`: its rank, alpha
    and targets; `schema`: of the names in it."""

    folder: Path
    record: AdapterRecord
    schema: int

    def pairs(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(path of the layer in the model, A [rank, in], B [out, rank]), by path."""
        weights = read_weights(self.folder / "adapter_model.safetensors")
        for key in sorted(weights):
            if key.endswith(_A):
                name = renamed(key.removeprefix(_PREFIX), self.schema).removesuffix(_A)
                yield name, weights[key], weights[key.removesuffix(_A) + _B]


def adapter_of(release: Path) -> Adapter:
    """The verified adapter of a release folder. CheckpointError if it is damaged, or has none."""
    if not read_release(release)["adapter"]:
        raise CheckpointError(f"export: {release} holds whole weights, no adapter: give the release of an adapter")
    folder = release / "adapter"
    return Adapter(folder=folder, record=ADAPTER.read(folder / "adapter_config.json"), schema=names_schema(release))
