"""A Slurm cluster of one node on this machine, in a folder of its own, for tests.

`python3 tests/slurm_cluster.py start FOLDER` prints the variable under which `sbatch` and its like find it, and
`stop FOLDER` ends it. It takes root, Debian's `slurm-wlm` and `munge`, and nothing that was configured before.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
# Of the node, whatever the machine has: two tasks of two cores run side by side.
N_CPUS = 4
_TIMEOUT_SECONDS = 30.0
_CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=60 State=UP
"""


def missing() -> str:
    """Why there can be no cluster here; empty where there can."""
    absent = [name for name in (*DAEMONS, "sbatch") if _program(name) is None]
    if absent:
        return f"no {', '.join(absent)} here: install slurm-wlm and munge"
    return "" if os.getuid() == 0 else "a cluster on one machine is started by root alone"


def start(folder: Path) -> None:
    """Starts the daemons in a folder and waits until the node is idle.

    Raises:
      RuntimeError: it has not come up; what had been started has been stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    names = {"host": _host(), "folder": folder, "ports": _free_ports(2), "n_cpus": N_CPUS, "memory": memory}
    _conf(folder).write_text(_CONF.format(**names))
    munge_files = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
    try:
        # By force: it would have its socket where every user of the machine can reach it, and here root alone does.
        _run(["munged", "--force", f"--socket={folder}/munge.socket", *munge_files], folder)
        _run(["slurmctld"], folder)
        _run(["slurmd"], folder)
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while "idle" not in _run(["sinfo", "--noheader", "--format=%T"], folder, check=False):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the node is not idle: {(folder / 'slurmctld.log').read_text()[-2000:]}")
            time.sleep(0.1)
    except BaseException:
        stop(folder)
        raise


def stop(folder: Path) -> None:
    """Ends every job and every daemon that the folder's files name, and waits until they are gone."""
    if (folder / "slurmctld.pid").exists():
        with contextlib.suppress(OSError, RuntimeError, subprocess.TimeoutExpired):
            _run(["scancel", "--user=root"], folder, check=False)
            deadline = time.monotonic() + 5
            while _run(["squeue", "--noheader"], folder, check=False) and time.monotonic() < deadline:
                time.sleep(0.1)
    for name in ("slurmd", "slurmctld", "munge"):
        with contextlib.suppress(OSError, ValueError):
            _end(int((folder / f"{name}.pid").read_text()))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster for the length of a block, which is given the variables to find it by."""
    start(folder)
    try:
        yield {"SLURM_CONF": str(_conf(folder))}
    finally:
        stop(folder)


def _conf(folder: Path) -> Path:
    return folder / "slurm.conf"


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _run(words: list[str], folder: Path, check: bool = True) -> str:
    """A program's output, of the cluster in a folder."""
    # A daemon keeps what it is given: with a pipe for its output this would wait for its end.
    with open(folder / "output", "w+b") as said:
        done = subprocess.run(
            [_program(words[0]), *words[1:]],
            env={**os.environ, "SLURM_CONF": str(_conf(folder))},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_SECONDS,
        )
        said.seek(0)
        text = said.read().decode(errors="replace")
    if check and done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {text}")
    return text


def _end(process: int) -> None:
    """Asks a daemon to end, and after a while makes it."""
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)):
        os.kill(process, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # What nobody waits for stays in the table of processes after its end.
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.05)


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        raise SystemExit("use: slurm_cluster.py start|stop FOLDER")
    place = Path(sys.argv[2]).resolve()
    if sys.argv[1] == "stop":
        stop(place)
    elif missing():
        raise SystemExit(missing())
    else:
        start(place)
        print(f"export SLURM_CONF='{_conf(place)}'")
