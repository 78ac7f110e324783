"""Named tensors as a torch.distributed.checkpoint (DCP) folder, written and read by one process or several.

DCP's index is a pickle. It is read only after the folder's manifest has verified it, by an unpickler that allows
nothing but DCP's own record types.
"""

import io
import pickle
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from talkies.checkpoints.spans import StateTensor, TensorSpan
from talkies.config import CheckpointError
from talkies.config.quoting import shown

Rename = Callable[[str], str]
_ALLOWED = {
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
    ("torch", "Size"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.distributed.checkpoint.metadata", "ChunkStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "Metadata"),
    ("torch.distributed.checkpoint.metadata", "MetadataIndex"),
    ("torch.distributed.checkpoint.metadata", "StorageMeta"),
    ("torch.distributed.checkpoint.metadata", "TensorProperties"),
    ("torch.distributed.checkpoint.metadata", "TensorStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"),
    ("torch.serialization", "_get_layout"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Allow only the classes of DCP's index."""
        dtype = module == "torch" and isinstance(vars(torch).get(name), torch.dtype)
        if not dtype and (module, name) not in _ALLOWED:
            raise CheckpointError(f"checkpoint: its index asks for {module}.{name}: refusing to unpickle it")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    """DCP's reader, with metadata that was read and checked before."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        super().__init__(folder)
        self.metadata = metadata

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """The checked metadata."""
        return self.metadata


class _Writer(FileSystemWriter):
    """DCP's writer. DCP sends an error to all ranks without its cause; this writer raises the cause itself."""

    def write_data(self, plan: Any, planner: Any) -> Any:
        """Like DCP's, but a full disk is an OSError on every rank."""
        try:
            return super().write_data(plan, planner)
        except Exception as error:
            raise _root(error) from error


class _SavePlanner(DefaultSavePlanner):
    """DCP's planner for saving, which also finds the boxes of a TensorSpan."""

    def lookup_object(self, index: MetadataIndex) -> Any:
        """The values to write."""
        held = self.state_dict[index.fqn]
        return held.box(index.offset) if isinstance(held, TensorSpan) else super().lookup_object(index)


class _LoadPlanner(DefaultLoadPlanner):
    """DCP's planner for loading, with spans; names are flat already."""

    def set_up_planner(
        self, state_dict: dict[str, Any], metadata: Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        """Keep the state as it is: DCP would flatten a span in search of tensors."""
        self.flatten_state_dict = self.flatten_sharded_tensors = False
        self.state_dict, self.metadata, self.is_coordinator = state_dict, metadata, is_coordinator

    def lookup_tensor(self, index: MetadataIndex) -> Tensor:
        """The tensor to read values into."""
        held = self.state_dict[index.fqn]
        return held.box(index.offset) if isinstance(held, TensorSpan) else super().lookup_tensor(index)


def save_tensors(folder: Path, tensors: Mapping[str, StateTensor], group: ProcessGroup | None = None) -> None:
    """Write `tensors` bitwise and sync them to the disk; every process of `group` calls it with its own parts."""
    assert all(isinstance(value, StateTensor) for value in tensors.values()), "DCP would pickle anything but tensors"
    plain = {name: value.detach() if isinstance(value, Tensor) else value for name, value in tensors.items()}
    writer = _Writer(folder, sync_files=True, overwrite=False)
    with _single_process():
        save(plain, storage_writer=writer, planner=_SavePlanner(), process_group=group, no_dist=group is None)


def load_tensors(
    folder: Path,
    files: Collection[str],
    wanted: Callable[[str], bool],
    *,
    like: Callable[[str], StateTensor | None] = lambda _: None,
    group: ProcessGroup | None = None,
    rename: Rename = str,
) -> dict[str, Any]:
    """The tensors whose names, after `rename`, are `wanted`. `files`: the names in `folder` that its manifest lists.

    Every process of `group` calls it. If `like(name)` is sharded and has the stored shape and dtype, the result is this
    rank's part, on the same device; other tensors are whole, on the CPU. Raises CheckpointError if the index holds
    anything but tensors, or names a file that is not in `files`.
    """
    metadata = _checked(folder, files, rename)
    state = {name: _target(entry, like(name)) for name, entry in _entries(folder, metadata).items() if wanted(name)}
    _load(folder, metadata, state, group)
    return state


def open_tensors(folder: Path, files: Collection[str], rename: Rename = str) -> Callable[[str], Tensor]:
    """A function that reads one whole tensor by name, on the CPU; the index is read once. Errors as `load_tensors`."""
    metadata = _checked(folder, files, rename)
    entries = _entries(folder, metadata)

    def read(name: str) -> Tensor:
        tensor = torch.empty(entries[name].size, dtype=entries[name].properties.dtype)
        _load(folder, metadata, {name: tensor}, None)
        return tensor

    return read


def _checked(folder: Path, files: Collection[str], rename: Rename) -> Metadata:
    """The index; CheckpointError if it names a file that is not in `files`."""
    metadata = _read_metadata(folder, rename)
    for info in metadata.storage_data.values():
        if info.relative_path not in files:
            raise CheckpointError(f"checkpoint: {folder} keeps tensors in {info.relative_path}, which is not verified")
    return metadata


def _entries(folder: Path, metadata: Metadata) -> dict[str, TensorStorageMetadata]:
    """The entries of the index; CheckpointError unless all are tensors."""
    entries: dict[str, TensorStorageMetadata] = {}
    for name, entry in metadata.state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata):
            raise CheckpointError(f"checkpoint: {name} in {folder} is not a tensor: refusing to unpickle it")
        entries[name] = entry
    return entries


def _load(folder: Path, metadata: Metadata, state: dict[str, Any], group: ProcessGroup | None) -> None:
    with _single_process():
        reader = _Reader(folder, metadata)
        load(state, storage_reader=reader, planner=_LoadPlanner(), process_group=group, no_dist=group is None)


def stored_tensors(folder: Path, rename: Rename = str) -> dict[str, Tensor]:
    """The tensors of a verified folder, on the meta device. Raises CheckpointError if it holds anything else."""
    entries = _entries(folder, _read_metadata(folder, rename))
    return {name: torch.empty(e.size, dtype=e.properties.dtype, device="meta") for name, e in entries.items()}


def _target(entry: TensorStorageMetadata, like: StateTensor | None) -> StateTensor:
    """Memory for a stored tensor: this rank's part if `like` is sharded and fits, else the whole, on the CPU."""
    if like is not None and (like.shape, like.dtype) == (entry.size, entry.properties.dtype):
        if isinstance(like, DTensor):
            return torch.empty_like(like)
        if isinstance(like, TensorSpan):
            return like.mapped(torch.empty_like)
    return torch.empty(entry.size, dtype=entry.properties.dtype)


def _read_metadata(folder: Path, rename: Rename) -> Metadata:
    path = folder / ".metadata"
    try:
        metadata = _Unpickler(io.BytesIO(path.read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint: {path} is not an index of torch.distributed.checkpoint: {shown(error)}"
        ) from None
    if not isinstance(metadata, Metadata):
        raise CheckpointError(f"checkpoint: {path} is not an index of torch.distributed.checkpoint")
    metadata.state_dict_metadata = {rename(name): entry for name, entry in metadata.state_dict_metadata.items()}
    metadata.storage_data = {replace(i, fqn=rename(i.fqn)): info for i, info in metadata.storage_data.items()}
    return metadata


@contextmanager
def _single_process() -> Iterator[None]:
    """Suppress DCP's warning that there is no process group, and raise errors as they were raised within DCP."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
        try:
            yield
        except CheckpointException as error:  # a BaseException: no `except Exception` would see it
            cause, _ = next(iter(error.failures.values()))
            raise _root(cause) from error


def _root(error: BaseException) -> BaseException:
    """The OSError behind `error`, if there is one: torch's zip writer hides a full disk behind a RuntimeError."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause or error
