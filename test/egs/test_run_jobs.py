"""run.sh with a fake Python: several GPUs and nodes, a site's own commands, two runs at once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from test.egs.conftest import Checkout


@contextmanager
def held(lock: Path, *options: str) -> Iterator[Path]:
    """Another process holds this lock inside the block, with these options of flock."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    command = ["flock", *options, "--no-fork", str(lock), "sh", "-c", "echo held; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield lock
        finally:
            holder.terminate()


def test_trainings_on_several_gpus_and_nodes_go_through_torchrun(checkout: Checkout) -> None:
    result = checkout.run("--dry_run", "--ngpu", "4", "--num_nodes", "2", launcher="slurm")
    (line,) = (line for line in result.stdout.splitlines() if "speechllama.bin.ctc_train" in line)
    assert "torch.distributed.run --nproc_per_node 4 --nnodes 2 -m speechllama.bin.ctc_train" in line
    assert "--multiprocessing_distributed false --ngpu 1 " in line
    assert "--dist_backend" not in line
    result = checkout.run("--dry_run", "--num_nodes", "2", launcher="slurm")
    assert "--nproc_per_node 1 --nnodes 2" in result.stdout and "--ngpu 0 --dist_backend gloo" in result.stdout
    result = checkout.run("--dry_run", "--ngpu", "4")
    assert "torch.distributed.run --nproc_per_node 4 --standalone" in result.stdout
    assert "--num_jobs 4 --job JOB" in result.stdout  # decoding: a job a GPU


def test_a_site_says_in_one_file_how_jobs_start(checkout: Checkout, tmp_path: Path) -> None:
    note = tmp_path / "submit"
    note.write_text('#!/usr/bin/env bash\necho "$JOB_KIND" >>"$FAKE_CALLS.kinds"\nexec "$@"\n')
    note.chmod(0o755)
    text = (checkout.directory / "egs/TEMPLATE/cmd.sh").read_text()
    (checkout.mini / "cmd.sh").write_text(text.replace('site_command=""', f'site_command="{note}"'))
    result = checkout.run("--system", "e5", "--stop_stage", "11", launcher="site")
    assert result.returncode == 0, result.stderr
    kinds = Path(f"{checkout.calls_path}.kinds").read_text().split()
    assert kinds.count("train") == 2 and set(kinds) == {"cpu", "train"}
    assert not list(checkout.mini.rglob(".*.jobs"))


@pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")
def test_a_second_run_on_the_same_experiment_is_refused(checkout: Checkout) -> None:
    with held(checkout.mini / "exp/st_e5/.run.lock") as lock:
        lock.write_text("host n7, process 12, since today\n")
        result = checkout.run("--system", "e5")
        assert result.returncode == 1
        assert "exp/st_e5: another run is at work there (host n7, process 12, since today)" in result.stderr
        assert "--tag" in result.stderr
        assert checkout.calls() == []
        assert checkout.run("--system", "e5", "--list").returncode == 0
        assert checkout.run("--system", "e1", "--stop_stage", "8").returncode == 0  # another system is no such run
    assert checkout.run("--system", "e5").returncode == 0


@pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")
def test_a_run_moves_nothing_away_that_another_run_uses(checkout: Checkout) -> None:
    assert checkout.run("--system", "e6").returncode == 0
    checkout.calls()
    for shared in ("exp/st_e5", checkout.ctc, "exp/llm"):
        with held(checkout.mini / shared / ".run.lock", "--shared"):
            assert checkout.run("--system", "e6").returncode == 0  # which finds all finished
            own = {"exp/st_e5": "--train_options", checkout.ctc: "--ctc_options", "exp/llm": "--llm_options"}[shared]
            result = checkout.run("--system", "e6", own, "--num_steps 3")
            assert result.returncode == 1
            assert f"{shared}: another run is at work there" in result.stderr
            assert checkout.calls() == []
    assert checkout.run("--system", "e6", "--train_options", "--max_epoch 2").returncode == 0
    assert (checkout.mini / "exp/old/st_e5.1").is_dir()


@pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")
def test_a_run_of_the_system_it_starts_from_is_another_run_too(checkout: Checkout) -> None:
    with held(checkout.mini / "exp/st_e5/.run.lock"):
        result = checkout.run("--system", "e6")
        assert result.returncode == 1 and "exp/st_e5: another run is at work there" in result.stderr
