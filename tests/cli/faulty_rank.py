"""`talkies` in two processes with a slow rank 1: python faulty_rank.py MARK WHERE WHEN SECONDS VERB ...

WHERE: `step`, the training step, or `read`, the reading of a clip; WHEN: the numbers of steps (or clips) from 0 on, as
`5:` or `5:6`. The file MARK records when. The processes are started by talkies' own launcher, or by torchrun.
"""

import os
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from talkies.cli.main import run
from talkies.parallel.launch import launch


def spoil(mark: Path, where: str, when: str, seconds: float) -> None:
    """Make this process slow from now on."""
    from talkies.data.shards import ShardSet
    from talkies.training.phase import Phase

    owner, name = {"step": (Phase, "training_step"), "read": (ShardSet, "read")}[where]
    real, counted = getattr(owner, name), count()
    first, _, end = when.partition(":")

    def late(self: Any, *args: Any) -> Any:
        number = self.global_step if where == "step" else next(counted)
        if int(first) <= number < int(end or 10**9):
            mark.write_text(str(time.time()))
            time.sleep(seconds)
        return real(self, *args)

    setattr(owner, name, late)


if __name__ == "__main__":
    mark, where, when, seconds = sys.argv[1:5]
    if "RANK" not in os.environ:
        sys.exit(launch([sys.executable, *sys.argv], 2))
    if os.environ["RANK"] == "1":
        spoil(Path(mark), where, when, float(seconds))
    sys.argv = ["talkies", *sys.argv[5:]]
    sys.exit(run())
