"""utils/early.sh: a stage starts before its turn, next to others; how it fails, ends and resumes."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from test.utils.conftest import ShellRecipe

pytestmark = pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")

# Four stages; ctc and llm read what data makes, train reads both. llm may start early. `ran` names each that runs.
SCRIPT = """stop_stage=4   # last
word=x         # a setting of stage llm
# --- end of options
resume_command=("$0" "$@")
parse_options "${{BASH_SOURCE[0]}}" "$@"
until_there() {{ attend sh -c 'until [ -e "$1" ]; do sleep 0.05; done' sh "$1"; }}
do_stage() {{
  local name=${{stage_names[$1]}}
  stage_log=$name/log
  echo "$name" >>ran
  "inside_$name"
  run touch "$name/out"
}}
clear_stage() {{ echo "clear ${{stage_names[$1]}}" >>ran; }}
inside_data() {{ :; }}
inside_ctc() {{ {ctc}; }}
inside_llm() {{ {llm}; }}
inside_train() {{ :; }}
early_stages[3]=true
{more}
add_stage 1 data data/.data.done "corpus" "" input -- data/out
add_stage 2 ctc ctc/.ctc.done "CTC" "" data/out -- ctc/out
add_stage 3 llm llm/.llm.done "LLM" "word=$word" data/out -- llm/out
add_stage 4 train train/.train.done "system" "" ctc/out llm/out -- train/out
run_stages
"""
# Each ends only when the other has started.
MEET = {"ctc": "touch ctc/began; until_there llm/began", "llm": "touch llm/began; until_there ctc/began"}
STARTED = "## stage 3 llm: started early, next to the others; log: llm/.llm.done.log"


class Recipe(ShellRecipe):
    """A recipe of four stages, which can also run in the background of a test."""

    script = SCRIPT

    def write(self, ctc: str = ":", llm: str = ":", more: str = "") -> None:
        """(Re)write the script, with commands inside the two stages."""
        self.fill_in(ctc=ctc, llm=llm, more=more)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start it."""
        command, env, pipe = ["bash", "run.sh", *arguments], os.environ | environment, subprocess.PIPE
        return subprocess.Popen(command, cwd=self.directory, stdout=pipe, stderr=pipe, text=True, env=env)

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it."""
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def await_file(self, name: str) -> str:
        """Wait until a stage has written a file -> its first line."""
        path = self.directory / name
        for _ in range(600):
            if path.exists() and path.read_text().endswith("\n"):
                return path.read_text().strip()
            time.sleep(0.05)
        raise AssertionError(f"there is no {name}")

    def has_free_locks(self) -> bool:
        """Whether no process holds a lock of a stage."""
        locks = list(self.directory.glob("*/.*.lock"))
        return bool(locks) and all(subprocess.call(["flock", "--nonblock", lock, "true"]) == 0 for lock in locks)


@pytest.fixture
def recipe(tmp_path: Path, root: Path) -> Recipe:
    """A fresh recipe."""
    made = Recipe(tmp_path / "my recipe", root)
    made.write()
    return made


# A process that a stage starts, and that a test can look for.
SLEEPS = "attend sh -c 'echo $$ >{0}/pid; exec sleep 60'"


def is_alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_it_starts_once_its_inputs_are_there_and_runs_next_to_the_stages_before_it(recipe: Recipe) -> None:
    recipe.write(**MEET)
    result = recipe()
    assert result.returncode == 0, result.stderr
    ran = recipe.ran()
    assert ran[0] == "data" and set(ran[1:3]) == {"ctc", "llm"} and ran[3:] == ["train"]
    lines = [line for line in result.stdout.splitlines() if line.startswith("## ")]
    assert [line.partition(" in ")[0] for line in lines] == [
        "## stage 1 data: corpus",
        "## stage 1 data: done",
        "## stage 2 ctc: CTC",
        STARTED,
        "## stage 2 ctc: done",
        "## stage 3 llm: LLM (started early)",
        "## stage 3 llm: done",
        "## stage 4 train: system",
        "## stage 4 train: done",
    ]
    assert "## stage 3 llm: done" in (recipe.directory / "llm/.llm.done.log").read_text()
    assert recipe.has_free_locks()
    assert "finished before (llm/.llm.done)" in recipe().stdout
    assert recipe.ran() == []


def test_its_output_is_shown_when_its_turn_comes_and_followed_until_it_ends(recipe: Recipe) -> None:
    llm = "echo first; until_there ctc/out; echo second >&2"
    recipe.write(ctc="until_there llm/.llm.done.log", llm=llm)
    result = recipe()
    assert result.returncode == 0, result.stderr
    shown = result.stdout.split("(started early)\n")[1]
    assert shown.startswith("first\nsecond\n## stage 3 llm: done in ")
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [("--stop_stage", "2"), ("--stage", "3"), ("--dry_run",), ("--list",)])
def test_it_starts_early_only_before_another_stage_of_the_run(recipe: Recipe, arguments: tuple[str, ...]) -> None:
    recipe("--stop_stage", "1")
    result = recipe(*arguments)
    assert "started early" not in result.stdout
    assert not (recipe.directory / "llm/.llm.done.log").exists()


def test_a_finished_one_is_not_started_again(recipe: Recipe) -> None:
    recipe("--stop_stage", "1")
    recipe("--stage", "3", "--stop_stage", "3")
    recipe.ran()
    result = recipe()
    assert "started early" not in result.stdout and "stage 3 llm: finished before" in result.stdout
    assert recipe.ran() == ["ctc", "train"]


def test_a_stale_one_is_cleared_first(recipe: Recipe) -> None:
    recipe()
    recipe.ran()
    (recipe.directory / "ctc/out").unlink()
    result = recipe("--word", "y")
    assert STARTED in result.stdout
    ran = recipe.ran()
    assert ran.index("clear llm") < ran.index("llm") and {"ctc", "train"} < {*ran}
    assert (recipe.directory / "llm/.llm.done").read_text().startswith("settings: word=y\n")


def test_it_waits_for_whatever_makes_its_inputs_again(recipe: Recipe) -> None:
    # llm reads what ctc makes of what data makes, so neither may be unfinished.
    chain = 'add_stage() { if [[ $2 == llm ]]; then set -- "${@/data\\/out/ctc/out}"; fi; original_add_stage "$@"; }'
    recipe.write(more=f'original_add_stage() {{ :; }}; eval "original_$(declare -f add_stage)"; {chain}')
    assert recipe().returncode == 0
    (recipe.directory / "input").write_text("2\n")
    later = time.time() + 2
    os.utime(recipe.directory / "input", (later, later))
    recipe.ran()
    result = recipe()
    assert result.returncode == 0 and "started early" not in result.stdout
    ran = [line for line in recipe.ran() if not line.startswith("clear")]
    assert ran == ["data", "ctc", "llm", "train"]


def test_where_it_may_not_run_next_to_a_stage_it_waits_for_its_turn(recipe: Recipe) -> None:
    recipe.write(more="may_start_early() { [[ ${stage_names[$1]} == data ]]; }")
    assert "started early" not in recipe().stdout
    assert recipe.ran() == ["data", "ctc", "llm", "train"]


def test_without_flock_it_waits_for_its_turn(recipe: Recipe, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "env", "mkdir", "mv", "rm", "sed", "sh", "sleep", "touch"):
        (tools / name).symlink_to(shutil.which(name) or name)
    result = recipe(PATH=str(tools))
    assert result.returncode == 0, result.stderr
    assert "started early" not in result.stdout
    assert recipe.ran() == ["data", "ctc", "llm", "train"]


def test_a_failure_is_said_at_once_and_the_run_ends_with_it_when_its_turn_comes(recipe: Recipe) -> None:
    recipe.write(ctc="until_there go", llm="echo 'ValueError: no text'; attend sh -c 'exit 9'")
    process = recipe.start("--word", "two words")
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(2)]  # while ctc waits
    assert said[0] == "ValueError: no text\n"
    assert said[1].startswith("## stage 3 llm, which was started early, failed with status 9; the run ends with it")
    assert not (recipe.directory / "ctc/out").exists()
    (recipe.directory / "go").touch()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 9
    assert "## stage 2 ctc: done" in output and "ValueError: no text" in output
    assert "## stage 3 llm failed with status 9\n   log: llm/.llm.done.log\n" in errors
    assert "run.sh --word two\\ words --stage 3" in errors
    assert not (recipe.directory / "llm/.llm.done").exists() and (recipe.directory / "llm/.llm.done.begun").exists()
    assert sorted(recipe.ran()) == ["ctc", "data", "llm"]
    recipe.write()
    assert recipe("--word", "two words").returncode == 0
    assert recipe.ran() == ["llm", "train"]


def test_one_that_does_not_write_its_output_fails(recipe: Recipe) -> None:
    recipe.write(ctc="until_there llm/.llm.done.log", llm="run() { :; }")
    result = recipe()
    assert result.returncode == 1
    assert "ended without an error but did not write llm/out" in result.stderr
    assert "## stage 3 llm failed with status 1" in result.stderr


def test_when_a_stage_next_to_it_fails_that_is_said_at_once_and_it_still_ends_well(recipe: Recipe) -> None:
    recipe.write(ctc="until_there llm/began; attend sh -c 'exit 7'", llm="touch llm/began; until_there go")
    process = recipe.start()
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(4)]
    assert said[0] == "## stage 2 ctc failed with status 7\n"
    assert said[3].startswith("   waiting for stage 3 llm, which was started early (log: llm/.llm.done.log)")
    assert process.poll() is None
    (recipe.directory / "go").touch()
    process.communicate(timeout=60)
    assert process.returncode == 7
    assert recipe.has_free_locks()
    recipe.ran()
    recipe.write()
    assert recipe().returncode == 0
    assert recipe.ran() == ["ctc", "train"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_the_stage_next_to_it(recipe: Recipe, sent: signal.Signals) -> None:
    recipe.write(ctc=SLEEPS.format("ctc"), llm=SLEEPS.format("llm"))
    process = recipe.start()
    pids = [recipe.await_file(f"{name}/pid") for name in ("ctc", "llm")]
    process.send_signal(sent)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == (130 if sent == signal.SIGINT else 143)
    assert f"## stage 2 ctc failed with status {process.returncode}" in errors
    assert "stage 3 llm" not in errors
    assert not any(map(is_alive, pids)) and recipe.has_free_locks()
    recipe.ran()
    recipe.write(**MEET)
    assert recipe().returncode == 0
    assert sorted(recipe.ran()) == ["ctc", "llm", "train"]


# A training, which saves and ends when it is asked to.
TRAINS = """attend "{root}/utils/launch.sh" --kind train --log {name}/log -- bash -c '
  trap "" TERM
  echo $$ >{name}/pid
  until [[ -e $SPEECHLLAMA_STOP_FILE ]]; do sleep 0.1; done
  sleep 0.5
  touch {name}/saved
  exit 1'"""


@pytest.mark.parametrize("way", ["Ctrl-C", "lost terminal"])
def test_what_ends_a_run_in_a_terminal_lets_both_trainings_save(recipe: Recipe, way: str) -> None:
    recipe.write(*(TRAINS.format(root=recipe.root, name=name) for name in ("ctc", "llm")))
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(recipe.directory)
        os.execvp("bash", ["bash", "run.sh"])
    pids = [recipe.await_file(f"{name}/pid") for name in ("ctc", "llm")]
    if way == "Ctrl-C":
        os.write(terminal, b"\x03")
    else:
        os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == (130 if way == "Ctrl-C" else 143)
    assert all((recipe.directory / name / "saved").exists() for name in ("ctc", "llm"))
    assert not any(map(is_alive, pids)) and recipe.has_free_locks()


@pytest.mark.parametrize("ctc", ["until_there llm/pid", "until_there llm/pid; attend sh -c 'exit 7'"])
def test_a_signal_ends_it_when_the_run_only_waits_for_it(recipe: Recipe, ctc: str) -> None:
    recipe.write(ctc=ctc, llm=SLEEPS.format("llm"))
    process = recipe.start()
    pid = recipe.await_file("llm/pid")
    if "exit" in ctc:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("   waiting for stage 3 llm"):
            assert process.poll() is None
    else:
        recipe.await_file("ctc/.ctc.done")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == (7 if "exit" in ctc else 143)
    assert not is_alive(pid) and recipe.has_free_locks()


def test_a_signal_long_after_it_has_ended_reaches_nothing_else(recipe: Recipe) -> None:
    recipe.write(ctc="until_there llm/.llm.done; " + SLEEPS.format("ctc"))
    process = recipe.start()
    recipe.await_file("ctc/pid")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    recipe.ran()
    recipe.write()
    assert recipe().returncode == 0
    assert recipe.ran() == ["ctc", "train"]


def test_while_another_run_is_at_it_this_one_waits_for_its_turn(recipe: Recipe) -> None:
    recipe.write(ctc="until_there go", llm="touch llm/began; until_there go")
    assert recipe("--stop_stage", "1").returncode == 0
    other = recipe.start("--stage", "3", "--stop_stage", "3")
    while not (recipe.directory / "llm/began").exists():
        time.sleep(0.05)
    process = recipe.start()
    while not (recipe.directory / "ctc/.ctc.done.begun").exists():
        time.sleep(0.05)
    (recipe.directory / "go").touch()
    output, errors = process.communicate(timeout=60)
    other.communicate(timeout=60)
    assert process.returncode == 0 and other.returncode == 0, errors
    assert "started early" not in output
    assert recipe.ran() == ["data", "llm", "ctc", "train"]
