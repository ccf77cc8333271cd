"""run.sh with a fake Python: the recipe's own LLM is trained next to CTC, where there is room for both."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from test.egs.conftest import Checkout

pytestmark = pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")

STARTED = "## stage 7 llm: started early, next to the others; log: exp/llm/.llm.done.log\n"
MEET = "ctc_train train_text_llm"  # each ends only when the other has started


@pytest.fixture
def checkout(checkout: Checkout) -> Checkout:
    """The checkout, on two cores."""
    checkout.set_cores(2)
    return checkout


def test_the_llm_trains_next_to_ctc_with_half_of_the_cores_each(checkout: Checkout) -> None:
    result = checkout.run("--stop_stage", "8", FAKE_MEET=MEET, OMP_NUM_THREADS="")
    assert result.returncode == 0, result.stderr
    numbers = [int(line.split()[2]) for line in result.stdout.splitlines() if line.endswith(" s")]
    assert numbers == list(range(9)), "done in order, as far as the screen is concerned"
    assert STARTED in result.stdout.split("## stage 5 ctc")[1]
    for log in (f"{checkout.ctc}/train.log", "exp/llm/llm.log"):
        assert ", 1 threads: " in (checkout.mini / log).read_text()
    assert checkout.run("--stop_stage", "8").returncode == 0
    assert [call[0] for call in checkout.calls()].count("train_text_llm") == 1


@pytest.mark.parametrize(
    ("cores", "threads", "launcher", "arguments"),
    [
        (1, "", "local", ()),
        (2, "2", "local", ()),  # both would want all cores
        (2, "", "local", ("--ngpu", "1")),
        (2, "", "site", ()),
        (2, "", "local", ("--system", "e0")),  # no other training comes before it
        (2, "", "local", ("--stop_stage", "6")),
    ],
)
def test_where_there_is_no_room_for_both_all_stages_run_in_order(
    checkout: Checkout, cores: int, threads: str, launcher: str, arguments: tuple[str, ...]
) -> None:
    checkout.set_cores(cores)
    text = (checkout.directory / "egs/TEMPLATE/cmd.sh").read_text()
    (checkout.mini / "cmd.sh").write_text(text.replace('site_command=""', 'site_command="env"'))
    result = checkout.run("--stop_stage", "7", *arguments, OMP_NUM_THREADS=threads, launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert "early" not in result.stdout
    order = ["ctc_train", "ctc_report", "train_text_llm"]
    names = [call[0] for call in checkout.calls() if call[0] in order]
    assert names == [name for name in order if name in names]


@pytest.mark.parametrize(("launcher", "cores", "ngpu", "may"), [("slurm", 1, 4, True), ("local", 2, 0, False)])
def test_on_slurm_it_starts_next_to_any_stage(
    checkout: Checkout, launcher: str, cores: int, ngpu: int, may: bool
) -> None:
    checkout.set_cores(cores)
    script = f". utils/plan.sh; launcher={launcher} ngpu={ngpu}; may_start_early 2"  # of a row that trains nothing
    env = {"PATH": f"{checkout.bin}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-uc", script], cwd=checkout.directory, env=env, check=False)
    assert done.returncode == (0 if may else 1)


def test_a_given_llm_is_admitted_in_its_turn(checkout: Checkout) -> None:
    (checkout.directory / "llm").mkdir()
    (checkout.directory / "llm/config.json").write_text("{}")
    result = checkout.run("--llm", "llm", "--stop_stage", "7", cwd=checkout.directory, OMP_NUM_THREADS="")
    assert result.returncode == 0, result.stderr
    assert "early" not in result.stdout


def test_stale_data_is_made_before_the_llm_starts(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "8")
    checkout.calls()
    result = checkout.run("--stop_stage", "8", "--data_options", "--num_train 9", FAKE_MEET=MEET)
    assert result.returncode == 0, result.stderr
    assert STARTED in result.stdout
    assert "exp/llm was made with other settings or inputs; it is kept as exp/old/llm.1" in result.stderr
    names = [call[0] for call in checkout.calls()]
    assert names.index("prepare_data") < names.index("train_text_llm") < names.index("llm_train")


def test_a_failed_llm_stops_the_run_at_its_stage_and_ctc_is_kept(checkout: Checkout) -> None:
    result = checkout.run("--beam_size", "2", FAKE_FAIL="train_text_llm", FAKE_MEET=MEET)
    assert result.returncode == 7
    assert "ValueError: train_text_llm was told to fail" in result.stderr
    assert "## stage 7 llm, which was started early, failed with status 7" in result.stderr
    assert "## stage 7 llm failed with status 7" in result.stderr
    assert "run.sh --beam_size 2 --stage 7" in result.stderr
    checkout.calls()
    assert checkout.run("--beam_size", "2", "--stop_stage", "8").returncode == 0
    names = [call[0] for call in checkout.calls()]
    assert "ctc_train" not in names and names[0] == "train_text_llm"


def test_a_failed_ctc_training_leaves_the_llm_finished(checkout: Checkout) -> None:
    result = checkout.run(FAKE_FAIL="ctc_train", FAKE_MEET=MEET)
    assert result.returncode == 7
    assert "## stage 5 ctc failed with status 7" in result.stderr
    assert (checkout.mini / "exp/llm/.llm.done").exists()
    checkout.calls()
    assert checkout.run("--stop_stage", "8").returncode == 0
    assert "train_text_llm" not in [call[0] for call in checkout.calls()]


def test_two_runs_train_one_llm(checkout: Checkout) -> None:
    assert checkout.run("--stop_stage", "4").returncode == 0
    first = checkout.start("--system", "e1", "--stop_stage", "8", FAKE_MEET=MEET)
    while not (checkout.mini / "exp/llm/.llm.done.begun").exists():
        assert first.poll() is None
        time.sleep(0.05)
    second = checkout.run("--system", "e5", "--stop_stage", "8")
    output, errors = first.communicate(timeout=60)
    assert first.returncode == 0 and second.returncode == 0, errors + second.stderr
    assert STARTED in output and "started early" not in second.stdout
    assert [call[0] for call in checkout.calls()].count("train_text_llm") == 1
