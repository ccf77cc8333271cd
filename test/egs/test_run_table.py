"""run_table.sh with a fake Python: every row through run.sh, what is shared, what failed, what is done twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from test.egs.conftest import Checkout

pytestmark = pytest.mark.recipe


def environment(checkout: Checkout) -> dict[str, str]:
    """With the fake Python first."""
    fakes = {"PATH": f"{checkout.bin}:{os.environ['PATH']}", "FAKE_CALLS": str(checkout.calls_path)}
    return os.environ | fakes | {"FAKE_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}


def run_table(checkout: Checkout, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the mini recipe's table, from another directory."""
    command = [str(checkout.mini / "run_table.sh"), *arguments]
    env = environment(checkout) | more
    return subprocess.run(command, cwd=checkout.directory, capture_output=True, text=True, check=False, env=env)


def stop_inside(checkout: Checkout, program: str, *arguments: str) -> None:
    """Run the table, and end it as a user does (SIGTERM) once this program is at work."""
    waits = checkout.calls_path.with_name("calls.waits")
    env = environment(checkout) | {"FAKE_WAIT": program}
    command = [str(checkout.mini / "run_table.sh"), *arguments]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not waits.exists() and process.poll() is None:
            time.sleep(0.05)
        process.terminate()
        assert process.wait() == 143


def trained(calls: list[list[str]], name: str) -> list[str]:
    """Where the trainings of a kind wrote."""
    return [call[call.index("--output_dir") + 1] for call in calls if call[0] == name]


def test_rows_share_what_they_can_and_a_second_run_does_nothing(checkout: Checkout) -> None:
    arguments = ("--systems", "E5 E6 e1", "--reference", "E6", "--decode_nj", "1")
    result = run_table(checkout, *arguments)
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    assert trained(calls, "ctc_train") == [checkout.ctc]
    assert trained(calls, "llm_train") == ["exp/st_e5", "exp/st_e6", "exp/st_e1"]
    (table,) = [call for call in calls if call[0] == "write_table"]
    assert " ".join(table).startswith("write_table --systems e5 e6 e1 --langs de fr es --corpus_kind mini_covost2")
    assert not [call for call in calls if call[0] == "pack"]
    assert "## row 2 of 3: e6, seed 1 (exp/st_e6)" in result.stdout
    second = run_table(checkout, *arguments)
    assert second.returncode == 0, second.stderr
    assert checkout.calls() == []
    assert "stage 1 table: finished before" in second.stdout
    run_table(checkout, *arguments[:3], "e5", *arguments[4:])
    assert [call[0] for call in checkout.calls()] == ["write_table"], "another reference needs only the table"


def test_seeds_and_variants_are_runs_of_their_own(checkout: Checkout) -> None:
    result = run_table(checkout, "--systems", "e5 e5:ctc_translation e5:asr", "--seeds", "1 2", "--reference", "e5")
    assert result.returncode == 0, result.stderr
    systems = trained(checkout.calls(), "llm_train")
    expected = ["st_e5", "st_e5_ctc_translation", "asr_e5"]
    seconds = ["st_e5_seed2", "st_e5_seed2_ctc_translation", "asr_e5_seed2"]
    assert systems == [f"exp/{name}" for name in expected + seconds]
    assert (checkout.mini / "exp/asr_e5_seed2/decode_test_beam4/score.json").exists()
    assert (checkout.mini / "exp/llm_seed2/llm.json").exists()


def test_a_failed_row_is_named_with_its_stage_and_the_others_still_run(checkout: Checkout) -> None:
    arguments = ("--systems", "d e5", "--reference", "e5")
    result = run_table(checkout, *arguments, FAKE_FAIL="ctc_train")
    assert result.returncode == 1
    assert "1 of 2 rows failed:\n   e5, seed 1: stage 5 ctc, status" in result.stderr
    assert "ValueError: ctc_train was told to fail" in result.stderr
    calls = checkout.calls()
    assert trained(calls, "llm_train") == ["exp/st_d"]
    assert [call[0] for call in calls][-1] == "write_table", "the table says what is missing"
    assert (checkout.mini / "exp/table/e5.seed1.failed").read_text().startswith("stage 5 ctc, status")
    result = run_table(checkout, *arguments)
    assert result.returncode == 0, result.stderr
    assert not (checkout.mini / "exp/table/e5.seed1.failed").exists()
    calls = checkout.calls()
    assert trained(calls, "llm_train") == ["exp/st_e5"]
    assert [call[0] for call in calls][-1] == "write_table"


def test_stopped_inside_a_row_it_goes_on_there(checkout: Checkout) -> None:
    arguments = ("--systems", "e1 e5", "--reference", "e5")
    stop_inside(checkout, "llm_train", *arguments)
    calls = checkout.calls()
    assert trained(calls, "llm_train") == ["exp/st_e1"], "the other row is not begun"
    assert calls[-1][0] == "llm_train"
    assert not (checkout.mini / "exp/table/e1.seed1.failed").exists()
    result = run_table(checkout, *arguments)
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    assert trained(calls, "ctc_train") == []
    assert trained(calls, "llm_train") == ["exp/st_e1", "exp/st_e5"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")
def test_stopped_while_an_llm_trains_next_to_ctc_nothing_runs_on(checkout: Checkout) -> None:
    checkout.set_cores(2)
    arguments = ("--systems", "e5 e6", "--reference", "e5")
    stop_inside(checkout, "train_text_llm", *arguments)
    assert "## stage 7 llm: started early" in (checkout.mini / "exp/table/e5.seed1.log").read_text()
    assert not (checkout.mini / "exp/llm/.llm.done").exists()
    assert subprocess.call(["flock", "--nonblock", str(checkout.mini / "exp/llm/.llm.done.lock"), "true"]) == 0
    checkout.calls()
    result = run_table(checkout, *arguments)
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    assert trained(calls, "train_text_llm") == ["exp/llm"] and trained(calls, "llm_train") == ["exp/st_e5", "exp/st_e6"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")
def test_a_row_whose_llm_failed_next_to_ctc_is_named_with_the_stage_of_the_llm(checkout: Checkout) -> None:
    checkout.set_cores(2)
    meet = {"FAKE_MEET": "ctc_train train_text_llm"}
    result = run_table(checkout, "--systems", "e5", "--reference", "e5", FAKE_FAIL="train_text_llm", **meet)
    assert result.returncode == 1
    assert "1 of 1 rows failed:\n   e5, seed 1: stage 7 llm, status 7" in result.stderr


def test_baselines_and_systems_of_their_own_are_not_run_twice_either(checkout: Checkout) -> None:
    arguments = ("--systems", "B1 B2 D U", "--reference", "B1", "--seeds", "1 2")
    first = run_table(checkout, *arguments)
    assert first.returncode == 0, first.stderr
    calls = checkout.calls()
    assert trained(calls, "seq2seq_train") == ["exp/st_b1", "exp/st_b1_seed2"], "B2 is built on B1's training"
    assert len([call for call in calls if call[0] == "rescore"]) == 2 * 2, "the set and its control, for both seeds"
    second = run_table(checkout, *arguments)
    assert second.returncode == 0, second.stderr
    assert checkout.all_calls() == []


def test_stopped_while_the_table_is_written_only_that_is_done_again(checkout: Checkout) -> None:
    arguments = ("--systems", "e5", "--reference", "e5")
    stop_inside(checkout, "write_table", *arguments)
    assert not (checkout.mini / "exp/table/table.json").exists()
    checkout.calls()
    result = run_table(checkout, *arguments)
    assert result.returncode == 0, result.stderr
    assert [call[0] for call in checkout.all_calls()] == ["write_table"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--systems", "e9"], "no system 'e9'"),
        (["--systems", "e5:mt", "--reference", "e5:mt"], "--systems: 'e5:mt': unknown variant 'mt', expected one of"),
        (["--systems", "e5", "--reference", "e6"], "--reference: unknown row 'e6', expected one of e5"),
        (["--systems", "e6", "--seeds", "one"], "--seeds: expected whole numbers, found 'one'"),
        (["--systems", "e6", "--system", "e5"], "rows are named by --systems and --seeds"),
        (["--systems", "e6", "--seed=3"], "rows are named by --systems and --seeds"),
        (["--systems", "e6", "--beem_size", "2"], "unknown option --beem_size"),
        (["--systems", " "], "--systems: expected a value, found none"),
    ],
)
def test_wrong_usage_exits_2_before_anything_runs(checkout: Checkout, arguments: list[str], message: str) -> None:
    if arguments == ["--systems", "e9"]:
        arguments = [*arguments, "--reference", "e9"]
    result = run_table(checkout, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert checkout.calls() == [] and not (checkout.mini / "exp").exists()


def test_rows_end_where_the_user_says(checkout: Checkout) -> None:
    result = run_table(checkout, "--systems", "e5", "--reference", "e5", "--stop_stage", "5")
    assert result.returncode == 0, result.stderr
    names = [call[0] for call in checkout.calls()]
    assert "ctc_train" in names and "train_text_llm" not in names


@pytest.mark.parametrize("arguments", [("--cmd", "no_cmd.sh"), ("--num_nodes", "2")])
def test_where_jobs_cannot_run_no_row_is_tried(checkout: Checkout, arguments: tuple[str, str]) -> None:
    result = run_table(checkout, "--systems", "e5", "--reference", "e5", *arguments)
    assert result.returncode == 2
    assert f"{arguments[0]} " in result.stderr and checkout.all_calls() == []


def test_list_and_dry_run_go_through_all_rows_and_change_nothing(checkout: Checkout) -> None:
    listed = run_table(checkout, "--systems", "e5 e6", "--list")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("unfinished") > 10 and "# e6, seed 1\n" in listed.stdout
    dry = run_table(checkout, "--systems", "e5 e6", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "-m speechllama.bin.llm_train" in dry.stdout
    assert checkout.calls() == [] and not (checkout.mini / "exp").exists()


def test_paths_among_the_options_count_from_where_the_user_is(checkout: Checkout) -> None:
    (checkout.directory / "my llm").mkdir()
    (checkout.directory / "my llm/config.json").write_text("{}")
    result = run_table(checkout, "--systems", "e5", "--reference", "e5", "--llm", "my llm")
    assert result.returncode == 0, result.stderr
    prepared = [call for call in checkout.calls() if call[0] == "prepare_llm"]
    assert f"{checkout.directory}/my llm" in " ".join(prepared[0])
