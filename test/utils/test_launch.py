"""utils/launch.sh: parallel jobs, their logs, and what is said when one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def launch(root: Path, directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run launch.sh in a directory."""
    command = [str(root / "utils" / "launch.sh"), *arguments]
    threads = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    env = {key: value for key, value in os.environ.items() if key not in threads} | environment
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, env=env)


def test_each_job_has_its_number_and_its_log(root: Path, tmp_path: Path) -> None:
    arguments = ["--nj", "3", "--log", "my logs/x.JOB.log", "--", "echo", "job", "JOB", "part.JOB.ark", "JOBS"]
    result = launch(root, tmp_path, *arguments)
    assert result.returncode == 0
    assert "3/3 jobs done" in result.stderr
    for job in (1, 2, 3):
        assert f"job {job} part.{job}.ark JOBS\n" in (tmp_path / "my logs" / f"x.{job}.log").read_text()


def test_a_failing_job_shows_its_own_last_lines_and_its_log(root: Path, tmp_path: Path) -> None:
    code = 'for i in $(seq 30); do echo "line $i of $1"; done; if [[ $1 != 1 ]]; then exit $((3 + $1)); fi'
    result = launch(root, tmp_path, "--nj", "3", "--log", "x.JOB.log", "--", "bash", "-c", code, "name", "JOB")
    assert result.returncode == 5
    assert "2 of 3 jobs failed; the last lines of job 2 (status 5, " in result.stderr
    assert "line 30 of 2" in result.stderr and "line 16 of 2" in result.stderr
    assert "line 15 of 2" not in result.stderr and "of 1\n" not in result.stderr
    assert "failing log: x.2.log\nfailing log: x.3.log" in result.stderr


def test_only_the_last_run_of_a_log_is_shown(root: Path, tmp_path: Path) -> None:
    launch(root, tmp_path, "--log", "x.log", "--", "bash", "-c", "echo before; exit 1")
    result = launch(root, tmp_path, "--log", "x.log", "--", "bash", "-c", "echo after; exit 1")
    assert "after" in result.stderr and "before" not in result.stderr
    assert "before" in (tmp_path / "x.log").read_text()


def test_failed_jobs_alone_are_tried_again(root: Path, tmp_path: Path) -> None:
    code = 'echo run >>"ran.$1"; [[ $1 != 2 || $(wc -l <ran.2) == 2 ]] || { echo "ValueError: not yet"; exit 4; }'
    command = ["--nj", "3", "--log", "x.JOB.log", "--retries", "1", "--", "bash", "-c", code, "name", "JOB"]
    result = launch(root, tmp_path, *command)
    assert result.returncode == 0, result.stderr
    assert "failed and tried again (1 of 1 times): job 2\n" in result.stderr
    assert [len((tmp_path / f"ran.{job}").read_text().splitlines()) for job in (1, 2, 3)] == [1, 2, 1]
    (tmp_path / "ran.2").write_text("run\nrun\n")  # fails for good
    result = launch(root, tmp_path, *command)
    assert result.returncode == 4
    assert "1 of 3 jobs failed; the last lines of job 2 (status 4," in result.stderr
    assert "ValueError: not yet" in result.stderr
    assert not list(tmp_path.glob(".*.jobs"))


def test_a_sites_command_starts_the_jobs(root: Path, tmp_path: Path) -> None:
    script = '#!/usr/bin/env bash\necho "$JOB_KIND $JOB_GPUS" >>kinds\n[[ $FULL ]] || exec "$@"\n'
    (tmp_path / "submit").write_text(script)
    (tmp_path / "submit").chmod(0o755)
    command = ["--launcher", "site", "--kind", "gpu", "--gpus", "4", "--nj", "2", "--log", "x.JOB.log", "--"]
    command += ["echo", "JOB"]
    result = launch(root, tmp_path, *command, site_command="./submit", FULL="")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "kinds").read_text() == "gpu 4\ngpu 4\n"
    assert "\n2\n" in (tmp_path / "x.2.log").read_text()
    result = launch(root, tmp_path, *command, site_command="./submit", FULL="1")  # it never starts them
    assert result.returncode == 137
    assert "2 of 2 jobs failed" in result.stderr


# What ssh does: it joins its arguments for a shell of another machine, with a home and an environment of its own, and
# what runs there does not end with it.
SSH = """#!/usr/bin/env bash
shift
cd / && setsid env -i HOME=/ PATH=/usr/bin:/bin sh -c "$*" &
wait
"""


def site_by_ssh(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A directory with a space and a quote in its name, and the environment that reaches it over ssh."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    directory = tmp_path / "my user's place"
    directory.mkdir()
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    return directory, {"PATH": path, "PYTHONPATH": "/ours", "OUR_SETTING": "two words", "site_command": "ssh node7"}


def test_a_job_over_ssh_has_the_directory_and_the_environment(root: Path, tmp_path: Path) -> None:
    directory, environment = site_by_ssh(tmp_path)
    code = 'echo "$PWD|$PYTHONPATH|$OUR_SETTING|$HOME|$PATH"; exit 3'
    arguments = ["--launcher", "site", "--log", "logs/x.log", "--", "bash", "-c", code]
    result = launch(root, directory, *arguments, **environment)
    assert result.returncode == 3, result.stderr
    text = (directory / "logs/x.log").read_text()
    assert f"\n{directory}|/ours|two words|/|{environment['PATH']}\n" in text


def test_an_interrupt_reaches_what_runs_over_ssh(root: Path, tmp_path: Path) -> None:
    directory, environment = site_by_ssh(tmp_path)
    wait = "while [[ ! -e $SPEECHLLAMA_STOP_FILE ]]; do sleep 0.1; done; sleep 0.5; echo >saved; exit 75"
    for kind, code in (("train", f"echo $$ >train; {wait}"), ("cpu", "echo $$ >cpu; exec sleep 60")):
        command = [str(root / "utils/launch.sh"), "--launcher", "site", "--kind", kind, "--log", f"{kind}.log"]
        process = subprocess.Popen(
            [*command, "--", "bash", "-c", code], cwd=directory, start_new_session=True, env=os.environ | environment
        )
        wait_until((directory / kind).exists)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert not is_running(int((directory / kind).read_text()))
    assert (directory / "saved").exists()
    assert not list(directory.glob(".*.jobs"))


# A Slurm that runs a job at once, and loses its status; how it ended is in the file `states`, a line a submission.
SLURM = {
    "sbatch": """shift $(($# - 2)); echo x >>submissions; number=$(wc -l <submissions)
SLURM_ARRAY_TASK_ID=1 "$1" "$2" >&2; rm -f "$2/1.status"; echo "$number" """,
    "squeue": "true",
    "scontrol": """sed -n "$(wc -l <submissions)p" states""",
}


def launch_with_slurm(
    root: Path, tmp_path: Path, states: list[str], code: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """Run a training of one process on the Slurm above, which never shows its status file."""
    (tmp_path / "bin").mkdir()
    for name, body in SLURM.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "states").write_text("".join(f"JobId=7 JobState={state} NodeList=n1\n" for state in states))
    arguments = ["--launcher", "slurm", "--poll", "1", "--kind", "train", "--log", "x.log", *more]
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    return launch(root, tmp_path, *arguments, "--", "bash", "-c", code, PATH=path)


def test_a_status_that_is_late_is_taken_from_slurm(root: Path, tmp_path: Path) -> None:
    states = ["FAILED ExitCode=4:0", "COMPLETED ExitCode=0:0"]
    result = launch_with_slurm(root, tmp_path, states, "true", "--retries", "1")
    assert result.returncode == 0, result.stderr
    assert "failed and tried again (1 of 1 times): job 1" in result.stderr


def test_a_training_taken_away_by_slurm_goes_on_as_long_as_it_saves(root: Path, tmp_path: Path) -> None:
    states = [f"{state} ExitCode=0:15" for state in ("PREEMPTED", "TIMEOUT", "NODE_FAIL", "TIMEOUT")]
    code = "sleep 0.1; if (($(wc -l <submissions) < 3)); then touch interrupted.pth; fi"  # then it gets no further
    result = launch_with_slurm(root, tmp_path, states, code, "--retries", "1")
    assert result.returncode == 137, result.stderr
    assert result.stderr.count("the training has saved meanwhile and resumes") == 2
    assert "137 PREEMPTED by Slurm on n1; the training" in result.stderr
    assert "failed and tried again (1 of 1 times): job 1" in result.stderr
    assert len((tmp_path / "submissions").read_text().splitlines()) == 4


def test_local_jobs_share_out_the_gpus(root: Path, tmp_path: Path) -> None:
    command = ["--kind", "gpu", "--gpus", "2", "--nj", "3", "--log", "x.JOB.log", "--"]
    launch(root, tmp_path, *command, "bash", "-c", "echo gpu=$CUDA_VISIBLE_DEVICES")
    assert ["gpu=0\n" in (tmp_path / f"x.{job}.log").read_text() for job in (1, 2, 3)] == [True, False, True]
    launch(root, tmp_path, *command, "bash", "-c", "echo gpu=$CUDA_VISIBLE_DEVICES", CUDA_VISIBLE_DEVICES="5,7")
    assert "gpu=7\n" in (tmp_path / "x.2.log").read_text()


def test_an_interrupted_training_is_waited_for_until_it_has_saved(root: Path, tmp_path: Path) -> None:
    wait = "while [[ ! -e $SPEECHLLAMA_STOP_FILE ]]; do sleep 0.1; done; sleep 0.5"
    code = f'trap "" TERM; echo $$ >pid; {wait}; echo >saved; exit 75'
    command = [str(root / "utils" / "launch.sh"), "--kind", "train", "--log", "x.log", "--", "bash", "-c", code]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (tmp_path / "pid").exists())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "waiting for the training to save" in errors
    assert (tmp_path / "saved").exists()


def test_a_killed_job_is_a_failed_job(root: Path, tmp_path: Path) -> None:
    result = launch(root, tmp_path, "--log", "x.log", "--", "bash", "-c", "kill -KILL $$")
    assert result.returncode == 137
    assert "status 137" in result.stderr


def test_jobs_share_the_cores_unless_told(root: Path, tmp_path: Path) -> None:
    command = ["--log", "x.JOB.log", "--", "bash", "-c", "echo threads=$OMP_NUM_THREADS"]
    launch(root, tmp_path, "--nj", str(os.cpu_count()), *command)
    assert "threads=1\n" in (tmp_path / "x.1.log").read_text()
    launch(root, tmp_path, *command, OMP_NUM_THREADS="5")
    assert "threads=5\n" in (tmp_path / "x.1.log").read_text()


@pytest.mark.parametrize(("allowed", "machine", "expected"), [(3, 1000, 3), (3, 1, 1), (1, 1000, 1)])
def test_a_job_has_as_many_threads_as_cores_are_free(
    root: Path, tmp_path: Path, allowed: int, machine: int, expected: int
) -> None:
    for name, answer in (("nproc", allowed), ("getconf", machine)):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {answer}\n")
        (tmp_path / name).chmod(0o755)
    command = ["--log", "x.log", "--", "bash", "-c", "echo threads=$OMP_NUM_THREADS"]
    launch(root, tmp_path, *command, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert f", {expected} threads: bash" in (tmp_path / "x.log").read_text()
    assert f"threads={expected}\n" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize(("nj", "expected"), [(1, 4), (2, 2), (9, 1)])
def test_a_call_that_shares_the_cores_takes_at_most_its_share(
    root: Path, tmp_path: Path, nj: int, expected: int
) -> None:
    for name, answer in (("nproc", 9), ("getconf", 1000)):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {answer}\n")
        (tmp_path / name).chmod(0o755)
    command = ["--log", "x.JOB.log", "--", "bash", "-c", "echo threads=$OMP_NUM_THREADS"]
    launch(root, tmp_path, "--share", "2", "--nj", str(nj), *command, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert f"threads={expected}\n" in (tmp_path / "x.1.log").read_text()


def test_a_job_that_resumes_has_as_many_threads_as_before(root: Path, tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("# started 2026-01-01 10:00:00 on a, 7 threads: train\n# ended\n")
    launch(root, tmp_path, "--log", "x.log", "--", "bash", "-c", "echo threads=$OMP_NUM_THREADS")
    assert "threads=7\n" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "none 3000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE none"),
        ({"GOMP_SPINCOUNT": "7"}, "none 7"),
    ],
)
def test_threads_soon_sleep_while_they_wait_unless_the_user_says_otherwise(
    root: Path, tmp_path: Path, given: dict[str, str], expected: str
) -> None:
    command = 'echo "waiting=${OMP_WAIT_POLICY:-none} ${GOMP_SPINCOUNT:-none}"'
    launch(root, tmp_path, "--log", "x.log", "--", "bash", "-c", command, **given)
    assert f"waiting={expected}\n" in (tmp_path / "x.log").read_text()


def test_progress_is_shown_while_a_job_runs(root: Path, tmp_path: Path) -> None:
    code = "echo epoch 1; sleep 2.5"
    result = launch(root, tmp_path, "--every", "1", "--log", "x.log", "--", "bash", "-c", code)
    assert "epoch 1" in result.stderr


def test_progress_of_a_training_is_its_epoch_time_left_and_losses(root: Path, tmp_path: Path) -> None:
    lines = [
        "[host] 2026-01-01 10:00:00,000 (trainer:336) INFO: 1/3epoch started",
        "[host] 2026-01-01 10:00:09,000 (trainer:394) INFO: 1epoch results: [train] iter_time=0.1, loss=5.4, acc=0.1,"
        " total_count=4, [valid] loss=5.7, acc=0.1, total_count=2, [att_plot] time=0.1 seconds",
        "[host] 2026-01-01 10:00:09,500 (trainer:324) INFO: 2/3epoch started. Estimated time to finish: 18.0 seconds",
        "[host] 2026-01-01 10:00:10,000 (trainer:741) INFO: 2epoch:train:1-20batch: loss=5.1",
    ]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n")
    result = launch(root, tmp_path, "--every", "1", "--log", "x.log", "--", "bash", "-c", "cat lines; sleep 2.5")
    shown = "2/3epoch started. Estimated time to finish: 18.0 seconds; train loss=5.4; valid loss=5.7\n"
    assert f"   {shown}" in result.stderr


def test_an_interrupt_ends_all_jobs(root: Path, tmp_path: Path) -> None:
    command = [str(root / "utils" / "launch.sh"), "--nj", "2", "--log", "x.JOB.log", "--"]
    code = 'echo $$ >"pid.$1"; sleep 60 & echo $! >"child.$1"; wait'
    process = subprocess.Popen([*command, "bash", "-c", code, "name", "JOB"], cwd=tmp_path, start_new_session=True)
    files = [tmp_path / f"{name}.{job}" for name in ("pid", "child") for job in (1, 2)]
    wait_until(lambda: all(file.exists() and file.read_text().strip() for file in files))
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    wait_until(lambda: not any(is_running(int(file.read_text())) for file in files))


def test_wrong_usage_exits_2(root: Path, tmp_path: Path) -> None:
    for arguments, message in [
        (["--nj", "2", "--log", "x.log", "--", "true"], "2 jobs cannot share a log"),
        (["--nj", "2"], "no command"),
        (["--launcher", "cloud", "--", "true"], "unknown --launcher 'cloud'"),
        (["--launcher", "site", "--", "true"], "needs the variable site_command"),
        (["--kind", "big", "--", "true"], "unknown --kind 'big'"),
        (["--nodes", "2", "--", "true"], "--nodes 2 needs --launcher slurm"),
    ]:
        result = launch(root, tmp_path, *arguments)
        assert result.returncode == 2
        assert message in result.stderr


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes soon; give up after a time that only a fault can reach."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
