"""Kills a run repeatedly, at random moments and with random signals."""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

from same_run import check_same
from training_runs import TrainingRun

SIGNALS = ("SIGKILL", "SIGTERM", "SIGUSR1", "SIGINT")


@dataclass(frozen=True, kw_only=True)
class Kills:
    """The signals sent, by name; how many of them came before the first step of a process (`starting`); the steps
    repeated after SIGKILL (`again`) and after the other signals; the seconds from each start to its first step."""

    signals: Counter[str]
    starting: int
    again: int
    again_after_stops: int
    back_s: list[float]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.signals.items()))
        return (
            f"{self.signals.total()} kills ({kinds}; {self.starting} before a first step): {self.again} steps "
            f"repeated after SIGKILL, {self.again_after_stops} after the others"
        )


def _kill(
    broken: TrainingRun, generator: random.Random, name: str, target: int, process: "subprocess.Popen[str]"
) -> None:
    """Send the signal at a random moment after step `target`; to every fifth process, during its start."""
    if generator.random() < 0.2:
        time.sleep(generator.uniform(0.0, 6.0))
    else:
        known = broken.record.stat().st_size if broken.record.exists() else 0
        while process.poll() is None and not _reached(broken, known, target):
            time.sleep(0.005)
        time.sleep(generator.uniform(0.0, 0.1))
    if process.poll() is None:
        process.send_signal(signal.Signals[name])


def _reached(broken: TrainingRun, known: int, target: int) -> bool:
    """Whether this attempt has made a step, and the step `target`."""
    if not broken.record.exists() or broken.record.stat().st_size == known:
        return False
    with broken.record.open() as file:
        file.seek(known)
        lines = [line for line in file if line.endswith("\n")]
    return bool(lines) and int(json.loads(lines[-1])["step"]) >= target


def kill_repeatedly(broken: TrainingRun, whole: TrainingRun, *, kills: int, seed: int) -> Kills:
    """Kill `broken` `kills` times on its way to its last step, then require that it equals `whole`."""
    generator = random.Random(seed)
    last_step = max(line["step"] for line in whole.lines())
    targets = sorted(generator.sample(range(1, last_step - 20), kills))
    names = [generator.choice(SIGNALS) for _ in targets]
    made: Counter[str] = Counter()
    starting, after_stops, back = 0, 0, []
    for target, name in zip(targets, names, strict=True):
        attempt = broken.attempt(meanwhile=partial(_kill, broken, generator, name, target))
        assert attempt.code in {-signal.Signals[name], 130}, f"{name} at {target}: {attempt.code} {attempt.err}"
        made[name] += 1
        starting += not attempt.made
        if attempt.made:
            back.append(attempt.back_s)
        if attempt.made and name != "SIGKILL":
            after_stops += attempt.steps[-1] - broken.newest()
    last = broken.attempt()
    assert last.code == 0, last.err
    back.append(last.back_s)
    again = check_same(broken, whole)
    return Kills(
        signals=made, starting=starting, again=len(again) - after_stops, again_after_stops=after_stops, back_s=back
    )
