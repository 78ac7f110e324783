"""A throw-away Slurm cluster: munged, slurmctld and two slurmd on this machine, in one folder, on loopback only.

Slurm 22.05 of Debian 12 runs several slurmd on one host (`-N n1`, `-N n2`). Its GPUs are two terminal devices: they are
scheduled and appear in CUDA_VISIBLE_DEVICES, nothing more.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from talkies.parallel.launch import _free_port

NODES = ("n1", "n2")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
CONF = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0,defer_batch
ReturnToService=0
JobRequeue=1
KillWait=10
CompleteWait=0
MinJobAge=600
SlurmctldTimeout=30
SlurmdTimeout=60
{nodes}
PartitionName=toys Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"needs {', '.join(absent)}: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "slurmctld and slurmd are started as root here"


def free_ports(count: int) -> list[int]:
    """Unused ports, none of which a connection gets as its local end before a daemon listens there."""
    found: set[int] = set()
    while len(found) < count:
        found.add(_free_port())
    return sorted(found)


def wait_for(condition: Callable[[], object], name: str, seconds: float = 120.0) -> None:
    """Return as soon as `condition()` is true; `name` names it if that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for: {name}"
        time.sleep(0.1)


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Start the daemons and yield the path of slurm.conf; stop them at the end."""
    port, *ports = free_ports(1 + len(NODES))
    host = socket.gethostname().partition(".")[0]
    lines = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs=4 RealMemory=8000 Gres=gpu:2"
        for name, node_port in zip(NODES, ports, strict=True)
    ]
    (folder / "state").mkdir(parents=True)
    folder.chmod(0o755)
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, port=port, folder=folder, nodes="\n".join(lines)))
    (folder / "gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/tty[0-1]\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    try:
        _start(folder, conf)
        yield conf
    finally:
        _stop(folder)


def _start(folder: Path, conf: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    files = {"socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munge.seed"}
    options = [f"--{option}={folder / name}" for option, name in files.items()]

    def run(*words: str) -> str | None:
        environment = {**os.environ, "SLURM_CONF": str(conf)}
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
        return done.stdout if done.returncode == 0 else None

    assert run("munged", "--force", f"--key-file={key}", *options, "--num-threads=2") is not None
    wait_for(lambda: run("munge", "-n", "-S", str(folder / "munge.sock")), "munged")
    assert run("slurmctld", "-f", str(conf), "-i") is not None
    for name in NODES:
        assert run("slurmd", "-N", name, "-f", str(conf)) is not None
    wait_for(lambda: (run("sinfo", "-h", "-N", "-o", "%t") or "").split() == ["idle"] * len(NODES), "idle nodes")


def _stop(folder: Path) -> None:
    files = [*sorted(folder.glob("slurmd.*.pid")), folder / "slurmctld.pid", folder / "munged.pid"]
    running = [int(path.read_text()) for path in files if path.is_file()]
    for process in running:
        os.kill(process, signal.SIGTERM)
    for process in running:
        wait_for(lambda process=process: not Path(f"/proc/{process}").exists(), "the end of a daemon")
