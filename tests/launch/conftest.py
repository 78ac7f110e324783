"""One cluster for all tests of a file."""

from collections.abc import Iterator

import pytest
from toys import Toys, start_toys


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toys]:
    """A throw-away cluster of two nodes."""
    yield from start_toys(tmp_path_factory.mktemp("slurm"))
