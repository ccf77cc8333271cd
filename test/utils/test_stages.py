"""utils/stages.sh: what is finished is skipped, what is stale is redone, what fails says how to resume."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from test.utils.conftest import ShellRecipe

# Two stages; `a` copies input to a/out, `b` copies a/out to b/out. Every stage that runs adds a line to `ran`.
SCRIPT = """stop_stage=2   # last
word=x         # a setting of stage a
source=input   # what stage a reads
# --- end of options
resume_command=("$0" "$@")
parse_options "${{BASH_SOURCE[0]}}" "$@"
stage_a() {{
  echo "a $word" >>ran
  run cp "$source" a/out
  {inside_a}
}}
stage_look() {{ echo look >>ran; }}
clear_stage() {{ if [[ $1 == 1 ]]; then echo clear >>ran && rm -f a/out; fi; }}
do_stage() {{ "stage_${{stage_names[$1]}}"; }}
stage_b() {{ echo b >>ran; run cp a/out "b c/out"; }}
check_stage 0 look "a check" "$source"
add_stage 1 a a/.a.done "first" "word=$word" "$source" -- a/out
add_stage 2 b "b c/.b.done" "second" "" a/out -- "b c/out"
run_stages
"""


class Recipe(ShellRecipe):
    """A recipe of two stages."""

    script = SCRIPT

    def write(self, inside_a: str = ":") -> None:
        """(Re)write the script, with a command inside stage a."""
        self.fill_in(inside_a=inside_a)

    def make_newer(self, name: str) -> None:
        """Give a file a time after everything else's."""
        later = time.time() + 2
        os.utime(self.directory / name, (later, later))


@pytest.fixture
def recipe(tmp_path: Path, root: Path) -> Recipe:
    """A fresh recipe."""
    made = Recipe(tmp_path / "my recipe", root)
    made.write()
    return made


def test_stages_run_in_order_and_a_finished_one_is_skipped(recipe: Recipe) -> None:
    assert recipe().returncode == 0
    assert recipe.ran() == ["a x", "b"]
    result = recipe()
    assert result.returncode == 0
    assert recipe.ran() == []
    assert "stage 1 a: finished before (a/.a.done)" in result.stdout


def test_stage_and_stop_stage_choose(recipe: Recipe) -> None:
    recipe("--stop_stage", "1")
    assert recipe.ran() == ["a x"]
    recipe("--stage", "2")
    assert recipe.ran() == ["b"]


def test_a_newer_input_makes_its_stage_and_the_ones_after_it_stale(recipe: Recipe) -> None:
    recipe()
    recipe.ran()
    (recipe.directory / "input").write_text("2\n")
    recipe.make_newer("input")
    listed = recipe("--list").stdout.splitlines()[1:]
    assert "stale" in listed[0] and "input is newer" in listed[0]
    assert "stale" in listed[1] and "after stage 1" in listed[1]
    recipe()
    assert recipe.ran() == ["clear", "a x", "b"]
    assert (recipe.directory / "b c" / "out").read_text() == "2\n"


def test_an_input_with_a_new_time_and_the_same_content_keeps_what_was_made(recipe: Recipe) -> None:
    recipe()
    recipe.ran()
    recipe.make_newer("input")
    recipe("--stop_stage", "1")
    assert recipe.ran() == ["a x"]  # run again, but without clear: it may resume from what is there


def test_other_settings_make_a_stage_stale_and_clear_it_first(recipe: Recipe) -> None:
    recipe()
    recipe.ran()
    result = recipe("--word", "y")
    assert "its settings were word=x" in result.stdout
    assert recipe.ran() == ["clear", "a y", "b"]
    recipe("--word", "y")
    assert recipe.ran() == []


def test_another_input_makes_a_stage_stale_however_old_it_is(recipe: Recipe) -> None:
    (recipe.directory / "other input").write_text("other\n")
    os.utime(recipe.directory / "other input", (1, 1))
    recipe()
    recipe.ran()
    listed = recipe("--source", "other input", "--list").stdout.splitlines()[1:]
    assert "stale" in listed[0] and "it was made without other input" in listed[0]
    recipe("--source", "other input")
    assert recipe.ran() == ["clear", "a x", "b"]
    assert (recipe.directory / "b c" / "out").read_text() == "other\n"


def test_an_input_given_by_its_absolute_path_is_the_same_input(recipe: Recipe) -> None:
    recipe()
    recipe.ran()
    recipe("--source", str(recipe.directory / "input"))
    assert recipe.ran() == []


def test_the_locks_stay_when_an_experiment_is_kept_aside(recipe: Recipe, root: Path) -> None:
    made = recipe.directory / "exp"
    made.mkdir()
    for name in ("model", ".a.lock"):
        (made / name).touch()
    inode = (made / ".a.lock").stat().st_ino
    command = ["bash", "-euc", f'. "{root}/utils/stages.sh"; move_aside exp']
    subprocess.run(command, cwd=recipe.directory, check=True, capture_output=True)
    assert [path.name for path in made.iterdir()] == [".a.lock"]
    assert (made / ".a.lock").stat().st_ino == inode  # the very file that this run holds
    assert [path.name for path in (recipe.directory / "old/exp.1").iterdir()] == ["model"]


def test_a_missing_output_makes_a_stage_stale(recipe: Recipe) -> None:
    recipe()
    recipe.ran()
    (recipe.directory / "a" / "out").unlink()
    recipe()
    assert recipe.ran() == ["a x", "b"]


def test_a_failure_names_the_log_of_the_job_that_failed(recipe: Recipe) -> None:
    logs = {"1": "# ended 2026-01-01 with status 0", "2": "# ended 2026-01-01 with status 7", "3": "killed"}
    (recipe.directory / "a").mkdir()
    for job, last in logs.items():
        (recipe.directory / f"a/decode.{job}.log").write_text(f"# started\n{last}\n")
    recipe.write("stage_log=a/decode.JOB.log; (exit 9)")
    assert "log: a/decode.2.log a/decode.3.log\n" in recipe().stderr
    for job in ("2", "3"):
        (recipe.directory / f"a/decode.{job}.log").unlink()
    recipe.write("stage_log=a/decode.JOB.log; (exit 9)")
    assert "log: a/decode.1.log\n" in recipe().stderr


def test_a_failed_stage_leaves_no_marker_and_says_how_to_go_on(recipe: Recipe) -> None:
    recipe.write("stage_log=a/log; (exit 9)")
    result = recipe("--word", "two words")
    assert result.returncode == 9
    assert recipe.ran() == ["a two words"]
    assert "stage 1 a failed with status 9" in result.stderr
    assert "log: a/log" in result.stderr
    assert "run.sh --word two\\ words --stage 1" in result.stderr
    assert not (recipe.directory / "a" / ".a.done").exists()
    assert (recipe.directory / "a" / ".a.done.begun").exists()
    recipe.write()
    assert recipe("--word", "two words").returncode == 0
    assert recipe.ran() == ["a two words", "b"]


def test_set_e_works_inside_a_stage(recipe: Recipe) -> None:
    recipe.write("false; echo went on >>ran")
    assert recipe().returncode == 1
    assert recipe.ran() == ["a x"]


def test_a_stage_that_does_not_write_its_output_fails(recipe: Recipe) -> None:
    recipe.write("rm a/out")
    result = recipe()
    assert result.returncode == 1
    assert "ended without an error but did not write a/out" in result.stderr
    assert not (recipe.directory / "a" / ".a.done").exists()


def test_an_interrupted_stage_is_not_finished(recipe: Recipe) -> None:
    recipe.write("kill -KILL $$")
    assert recipe().returncode != 0
    assert recipe.ran() == ["a x"]
    assert "unfinished" in recipe("--list").stdout.splitlines()[0]
    recipe.write()
    assert recipe().returncode == 0
    assert recipe.ran() == ["a x", "b"]


def test_a_signal_to_the_recipe_alone_ends_it_and_its_command_at_once(recipe: Recipe) -> None:
    recipe.write("attend sh -c 'echo $$ >pid; exec sleep 60'")
    process = subprocess.Popen(["bash", "run.sh"], cwd=recipe.directory, stderr=subprocess.PIPE, text=True)
    pid = recipe.directory / "pid"
    while not (pid.exists() and pid.read_text().endswith("\n")):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "stage 1 a failed with status 143" in errors
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_the_status_of_an_attended_command_is_the_stages_own(recipe: Recipe) -> None:
    recipe.write("attend sh -c 'exit 5'; echo went on >>ran")
    assert recipe().returncode == 5
    assert recipe.ran() == ["a x"]


def test_a_missing_input_names_the_stage_that_writes_it(recipe: Recipe) -> None:
    result = recipe("--stage", "2")
    assert result.returncode == 1
    assert "stage 2 (b) needs a/out, which is not there; stage 1 (a) writes it" in result.stderr
    (recipe.directory / "input").unlink()
    assert "needs input, which is not there; no stage writes it" in recipe().stderr
    assert recipe.ran() == []


def test_a_check_is_done_before_whatever_is_not_finished_and_leaves_nothing(recipe: Recipe) -> None:
    assert recipe("--stage", "0").returncode == 0
    assert recipe.ran() == ["look", "a x", "b"]
    result = recipe("--stage", "0")
    assert recipe.ran() == [] and "stage 0 look: finished before (so is every later stage)" in result.stdout
    recipe("--stage", "0", "--stop_stage", "0")  # only it is asked for
    assert recipe.ran() == ["look"]
    (recipe.directory / "b c" / "out").unlink()
    recipe("--stage", "0", "--stop_stage", "1")  # what is missing is not of this run
    assert recipe.ran() == []
    assert "  0  look         unfinished  a check" in recipe("--list", "--stage", "0").stdout
    recipe("--stage", "0", "--dry_run")
    assert recipe.ran()[0] == "look"
    recipe("--stage", "0")
    assert recipe.ran() == ["look", "b"]


def test_list_and_dry_run_change_nothing(recipe: Recipe) -> None:
    before = sorted(recipe.directory.rglob("*"))
    assert recipe("--list").returncode == 0
    assert sorted(recipe.directory.rglob("*")) == before
    result = recipe("--dry_run")
    assert result.returncode == 0
    assert "cp a/out b\\ c/out" in result.stdout
    recipe.ran()
    assert sorted(recipe.directory.rglob("*")) == before


@pytest.mark.skipif(os.system("command -v flock >/dev/null") != 0, reason="this machine has no flock")
def test_two_runs_never_do_the_same_stage_at_once(recipe: Recipe) -> None:
    recipe.write("sleep 0.5")
    first = subprocess.Popen(["bash", "run.sh"], cwd=recipe.directory, stdout=subprocess.DEVNULL)
    assert recipe().returncode == 0
    assert first.wait() == 0
    assert recipe.ran() == ["a x", "b"]
