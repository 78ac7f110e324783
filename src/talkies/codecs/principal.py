"""Principal components, normalised to unit variance: the linear part of the toy's codecs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from talkies.config import DataError


@dataclass(frozen=True, kw_only=True)
class Principal:
    """`mean` [D], orthonormal `basis` [D, C], and `scale` [C], the standard deviation of each component."""

    mean: Tensor
    basis: Tensor
    scale: Tensor

    def project(self, rows: Tensor) -> Tensor:
        """Rows [..., D] -> components [..., C] of unit variance."""
        mean, basis, scale = (x.to(rows.device) for x in (self.mean, self.basis, self.scale))
        return (rows - mean) @ (basis / scale)

    def restore(self, components: Tensor) -> Tensor:
        """Components [..., C] -> the nearest rows [..., D] in their span."""
        mean, basis, scale = (x.to(components.device) for x in (self.mean, self.basis, self.scale))
        return components @ (basis * scale).T + mean

    def to_weights(self) -> dict[str, Tensor]:
        """Tensors by name."""
        return asdict(self)

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> "Principal":
        """The inverse of `to_weights`; ignores other names."""
        return cls(mean=weights["mean"], basis=weights["basis"], scale=weights["scale"])

    @classmethod
    def joined(cls, parts: Sequence["Principal"]) -> "Principal":
        """One set of components from several that describe the same rows and whose bases are mutually orthogonal."""
        return cls(
            mean=torch.stack([part.mean for part in parts]).sum(0),
            basis=torch.cat([part.basis for part in parts], dim=1),
            scale=torch.cat([part.scale for part in parts]),
        )


def fit_principal(groups: Iterable[Tensor], channels: int, name: str) -> Principal:
    """Fit on groups of rows [n, D]; each group has the same weight. Signs are fixed: the largest entry is positive.

    Raises DataError if the rows have fewer than `channels` directions.
    """
    first, second, count = torch.zeros(()).double(), torch.zeros(()).double(), 0
    for group in groups:
        rows = group.double()
        first, second, count = first + rows.mean(0), second + rows.T @ rows / len(rows), count + 1
    mean = first / count
    values, vectors = torch.linalg.eigh(second / count - mean[:, None] * mean[None, :])
    values, basis = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
    if len(values) < channels or float(values[-1]) <= 1e-9 * float(values[0]):
        raise DataError(
            f"{name}: the clips it is fitted on vary in fewer than {channels} directions; "
            "lower its `channels` or fit it on more clips"
        )
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    return Principal(mean=mean.float(), basis=basis.float().contiguous(), scale=values.sqrt().float())
