"""Jobs on a real Slurm of two nodes on this machine: arrays, a training on both, requeueing, and what goes wrong.

The test installs Debian's slurm-wlm and munge where it may (root, packages reachable), and stops what it started.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.recipe

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until credentials of its first run have expired.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 CoresPerSocket=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 CoresPerSocket=2 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""
DEADLINE = 300  # seconds after which something that was waited for will not come any more
UNITS = ["--data_options", "--num_train 60 --num_dev 9 --num_test 9 --num_llm_text 200", "--ctc_units", "80"]
# One epoch of some ten seconds, so that there is an inside to be stopped in.
EPOCH = "--max_epoch 1 --num_iters_per_epoch 300 --batch_type unsorted --batch_size 4 --log_interval 5"
TRAINING = ["--ctc_options", EPOCH]


def install() -> None:
    """Make sure that Slurm is here, or skip."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if all(shutil.which(name) for name in PROGRAMS):
        if os.geteuid() == 0:
            return
        pytest.skip("only root may start a Slurm whose user is root")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no Slurm here, and it cannot be installed: that takes root and apt-get")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "slurm-wlm", "munge"]):
        done = subprocess.run(["apt-get", "--quiet", *arguments], env=environment, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no Slurm here, and apt-get {arguments[0]} failed: {done.stderr.decode()[-300:]}")


def wait_until(condition: Callable[[], object], what: str, log: Path | None = None) -> None:
    """Wait for something that comes soon; if it does not, the end of a log tells why."""
    end = time.monotonic() + DEADLINE
    while not condition():
        said = f"; {log}: {log.read_text()[-4000:]}" if log and log.exists() else ""
        assert time.monotonic() < end, f"it never came: {what}{said}"
        time.sleep(0.1)


def free_ports(number: int) -> list[int]:
    """Free ports."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """A Slurm of two nodes, and the mini recipe on it."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        for name in ("munge", "state", "spool.n1", "spool.n2", "recipe"):
            (folder / name).mkdir(mode=0o755)
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PYTHONPATH": str(root)}
        self.environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        text = CONF.format(folder=folder, ports=free_ports(3), host=socket.gethostname().split(".")[0])
        (folder / "slurm.conf").write_text(text)
        key = folder / "munge/key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        cmd = (root / "egs/TEMPLATE/cmd.sh").read_text()
        self.cmd = folder / "cmd.sh"
        for ours, small in (("{launcher:-local}", "{launcher:-slurm}"), ("poll=10", "poll=1"), ("task=4", "task=1")):
            assert ours in cmd
            cmd = cmd.replace(ours, small)
        self.cmd.write_text(cmd)
        self.started: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Start munge, the controller and both nodes."""
        place = self.folder / "munge"
        munge = [f"--{name}={place / name}" for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")]
        munge[0] = f"--key-file={place / 'key'}"
        self.call("munged", "--force", *munge)
        self.call("slurmctld")
        for node in ("n1", "n2"):
            self.call("slurmd", "-N", node)
        wait_until(lambda: "2 idle" in self.call("sinfo", "-h", "-o", "%D %t"), "two idle nodes")

    def stop(self) -> None:
        """Stop them, the last started first, and what a failed test left running."""
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        subprocess.run(["scancel", "--user=root"], env=self.environment, check=False, timeout=60)
        for name in ("slurmd.n2.pid", "slurmd.n1.pid", "slurmctld.pid", "munge/pid-file"):
            path = self.folder / name
            if path.exists():
                os.kill(int(path.read_text()), signal.SIGTERM)

    def call(self, *command: str) -> str:
        """Run a program of Slurm's; what it printed."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def start_recipe(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the mini recipe with its jobs on Slurm."""
        where = [word for name in ("datadir", "dumpdir", "expdir", "downloads")
                 for word in (f"--{name}", str(self.folder / "recipe" / name))]  # fmt: skip
        command = [str(self.root / "egs/mini_covost2/run.sh"), "--cmd", str(self.cmd), *where, *UNITS, *arguments]
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started.append(process)
        return process

    def recipe(self, *arguments: str) -> str:
        """Run it to a good end; what it said."""
        process = self.start_recipe(*arguments)
        said, _ = process.communicate()
        assert process.returncode == 0, said[-4000:]
        return said

    def launch(self, *arguments: str) -> subprocess.Popen[str]:
        """Start utils/launch.sh on Slurm."""
        command = [str(self.root / "utils/launch.sh"), "--launcher", "slurm", "--poll", "1", "--every", "1", *arguments]
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.started.append(process)
        return process

    def job(self, log: str) -> str:
        """The number of the array that writes a log, once it has been submitted."""
        path = self.folder / Path(log).parent / f".{Path(log).name}.jobs" / "slurm_job"
        wait_until(path.exists, str(path))
        return path.read_text().strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Cluster]:
    """A running cluster."""
    install()
    made = Cluster(tmp_path_factory.mktemp("slurm"), root)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    """The stages of data work, as arrays."""
    said = cluster.recipe("--stop_stage", "4")
    assert said.count(": 2 jobs\n") == 1  # features, of all sets in one array
    logs = [cluster.folder / f"recipe/dumpdir/log/features.{job}.log" for job in (1, 2)]
    assert all(" on n" in log.read_text().splitlines()[0] for log in logs)
    assert not list(cluster.folder.rglob(".*.jobs"))
    return cluster


def test_a_job_that_fails_shows_its_own_error(prepared: Cluster) -> None:
    other = ["--dumpdir", str(prepared.folder / "bad"), "--stage", "2", "--stop_stage", "2"]
    process = prepared.start_recipe(*other, "--feature_options", "--no_such 1")
    said, _ = process.communicate()
    assert process.returncode == 2
    assert "failed and tried again (1 of 1 times): job 1 2" in said
    assert "2 of 2 jobs failed; the last lines of job 1 (status 2, n" in said
    assert "unrecognized arguments: --no_such 1" in said
    assert "stage 2 features failed with status 2" in said


def test_a_training_on_two_nodes_that_is_told_to_stop_is_requeued_and_ends_well(prepared: Cluster) -> None:
    process = prepared.start_recipe("--stage", "5", "--stop_stage", "5", "--num_nodes", "2", *TRAINING, "--seed", "2")
    log = prepared.folder / "recipe/expdir/ctc_transcript_bpe80_seed2/train.log"
    job = prepared.job(str(log))
    wait_until(lambda: log.exists() and "1epoch:train:1-5batch" in log.read_text(), "the first updates")
    prepared.call("scancel", "--signal=USR1", "--batch", job)  # as Slurm does ahead of the time limit
    said, _ = process.communicate()
    assert process.returncode == 0, said[-4000:]
    text = log.read_text()
    assert "shared by 2 processes" in text
    assert text.count("# started ") == 2 and text.count("# back into the queue") == 1
    assert "resuming epoch 1 after " in text.split("# started ")[2]
    assert (log.parent / "model.pth").exists() and not (log.parent / "interrupted.pth").exists()


def test_a_cancelled_training_is_reported_and_resumes_with_the_same_command(prepared: Cluster) -> None:
    arguments = ["--stage", "5", "--stop_stage", "5", *TRAINING]
    process = prepared.start_recipe(*arguments)
    log = prepared.folder / "recipe/expdir/ctc_transcript_bpe80/train.log"
    job = prepared.job(str(log))
    wait_until(lambda: log.exists() and "1epoch:train:1-5batch" in log.read_text(), "the first updates")
    prepared.call("scancel", job)
    said, _ = process.communicate()
    assert process.returncode == 137, said[-4000:]
    assert "1 of 1 jobs failed" in said and "CANCELLED by Slurm" in said and "tried again" not in said
    assert "to resume here" in said
    # Slurm may call the job cancelled while its process still saves.
    wait_until(lambda: (log.parent / "interrupted.pth").exists(), "what a cancelled training saves", log)
    prepared.recipe(*arguments)
    assert "resuming epoch 1 after " in log.read_text().split("# started ")[2]


def test_a_wrong_partition_is_named_with_the_right_ones(cluster: Cluster) -> None:
    cluster.environment["slurm_options"] = "--partition=gpus"
    try:
        process = cluster.launch("--log", "partition.log", "--", "true")
        _, said = process.communicate()
    finally:
        del cluster.environment["slurm_options"]
    assert process.returncode == 1
    assert "invalid partition specified: gpus" in said
    assert "cmd.sh; the partitions here: main" in said


def test_a_job_whose_node_dies_goes_on_elsewhere_and_dead_nodes_are_named(cluster: Cluster) -> None:
    process = cluster.launch("--log", "node.log", "--", "bash", "-c", "sleep 5; echo ended well")
    log = cluster.folder / "node.log"
    wait_until(lambda: log.exists() and "# started" in log.read_text(), "the start")
    for node in ("n1", "n2"):
        cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=burnt")
    time.sleep(10)  # until it has been requeued and may not run; the launcher says so every second
    for node in ("n1", "n2"):
        cluster.call("scontrol", "update", f"nodename={node}", "state=resume")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert log.read_text().count("# started") == 2 and "ended well" in log.read_text()
    assert "1 pending (" in said
    assert "not in service: n[1-2]: burnt" in said


def test_a_launcher_that_was_killed_finds_its_jobs_again(cluster: Cluster) -> None:
    arguments = ["--nj", "2", "--log", "kill.JOB.log", "--", "bash", "-c", "sleep 6; echo ran", "name", "JOB"]
    first = cluster.launch(*arguments)
    job = cluster.job("kill.log")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    other = cluster.launch(*arguments[:-1], "more", "JOB")
    _, said = other.communicate()
    assert other.returncode == 1
    assert f"Slurm job {job} of an earlier run still writes kill.JOB.log, with another command" in said
    again = cluster.launch(*arguments)
    _, said = again.communicate()
    assert again.returncode == 0
    assert f"Slurm job {job} of an earlier run is still there; waiting for it" in said
    assert (cluster.folder / "kill.1.log").read_text().count("ran\n") == 1


def test_an_interrupt_cancels_the_jobs_and_a_lost_terminal_does_not(cluster: Cluster) -> None:
    for number, left in ((signal.SIGHUP, True), (signal.SIGINT, False)):
        process = cluster.launch("--log", f"signal{number}.log", "--", "sleep", "60")
        job = cluster.job(f"signal{number}.log")
        process.send_signal(number)
        process.communicate()
        assert bool(cluster.call("squeue", "-h", "-j", job, "-t", "PENDING,RUNNING")) == left
