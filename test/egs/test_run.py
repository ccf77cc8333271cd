"""run.sh with a fake Python: its usage, the preflight, and failures."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from speechllama.recipe.options import Options
from test.egs.conftest import STAGES, Checkout


@pytest.mark.parametrize("recipe", ["mini_covost2", "covost2", "tatoeba", "librispeech"])
def test_help_and_list_start_no_python(checkout: Checkout, recipe: str, tmp_path: Path) -> None:
    result = checkout.run("--help", recipe=recipe, cwd=tmp_path)
    assert result.returncode == 0
    papers = "[de zh-CN ar es fr it nl ja ru pt et sv-SE sl]"
    langs = {"mini_covost2": "[de fr es]", "covost2": papers, "tatoeba": "[de fr es nl]", "librispeech": "[en]"}
    assert "--stop_stage" in result.stdout and langs[recipe] in result.stdout
    result = checkout.run("--list", recipe=recipe, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [line.split()[1] for line in result.stdout.splitlines()] == STAGES
    assert checkout.calls() == []


@pytest.mark.parametrize("script", ["run.sh", "run_table.sh"])
def test_the_help_begins_with_what_the_recipe_is_from_wherever_it_is_asked(checkout: Checkout, script: str) -> None:
    for cwd, command in ((checkout.directory, f"egs/mini_covost2/{script}"), (checkout.mini, script)):
        result = subprocess.run(["bash", command, "--help"], cwd=cwd, capture_output=True, text=True, check=False)
        assert result.returncode == 0 and result.stderr == ""
        assert result.stdout.splitlines()[0] in (checkout.mini / script).read_text()
        assert "Results: exp/RESULTS.md" in result.stdout


def test_an_old_python_of_the_system_is_not_asked_to_plan(checkout: Checkout, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "python3").write_text("#!/bin/sh\nexit 1\n")  # of any program: it is older than 3.10
    (old / "python3.11").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for path in old.iterdir():
        path.chmod(0o755)
    assert checkout.run("--help", PATH=f"{old}:/usr/bin:/bin").returncode == 0
    for name in ("python3.10", "python3.11", "python3.12", "python3.13"):
        (old / name).write_text("#!/bin/sh\nexit 1\n")
        (old / name).chmod(0o755)
    result = checkout.run("--help", PATH=f"{old}:/usr/bin:/bin")
    assert result.returncode == 1
    assert "no Python 3.10 to 3.13 on the PATH" in result.stderr


def test_every_option_is_in_the_help(checkout: Checkout) -> None:
    names = [field.name for field in dataclasses.fields(Options)]
    assert len(names) > 30
    shown = {recipe: checkout.run("--help", recipe=recipe).stdout.split() for recipe in ("mini_covost2", "covost2")}
    missing = [[name for name in names if f"--{name}" not in words] for words in shown.values()]
    others = ["corpus", "common_voice", "covost2", "librispeech"]  # where the corpora of other recipes are
    assert missing == [others, ["corpus", "librispeech"]]


def bare_python(folder: Path) -> str:
    """A PATH whose python3 has the standard library only."""
    folder.mkdir()
    (folder / "python3").write_text(
        f'#!/bin/sh\ncase $1 in *check_install.py) exit 1;; esac\nexec {sys.executable} -S "$@"\n'
    )
    (folder / "python3").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_help_and_wrong_options_need_nothing_but_a_bare_python(checkout: Checkout, tmp_path: Path) -> None:
    path = bare_python(tmp_path / "bare")
    for arguments, status, text in (
        (["--help"], 0, "--stop_stage"),
        (["--beem_size", "2"], 2, "unknown option --beem_size; the nearest is --beam_size"),
        (["--list"], 1, "the environment is not installed yet: run tools/install.sh"),
    ):
        result = checkout.run(*arguments, PATH=path)
        assert result.returncode == status, result.stderr
        assert text in result.stdout + result.stderr


def test_a_python_with_some_packages_plans_what_it_can_and_asks_for_the_environment_else(
    checkout: Checkout, tmp_path: Path
) -> None:
    path, packages = bare_python(tmp_path / "bare"), tmp_path / "packages"
    packages.mkdir()
    (packages / "yaml").symlink_to(Path(yaml.__file__).parent)  # as Debian's python3 often has
    result = checkout.run("--list", PATH=path, PYTHONPATH=str(packages))
    assert result.returncode == 0 and "features" in result.stdout, result.stderr
    result = checkout.run("--list", recipe="tatoeba", PATH=path, PYTHONPATH=str(packages))  # its sources need more
    assert result.returncode == 1, result.stderr
    assert "the environment is not installed yet" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beem_size", "2"], "unknown option --beem_size; the nearest is --beam_size"),
        (["--task", "mt"], "--task: unknown value 'mt', expected one of st, asr"),
        (["--system", "e9"], "no system 'e9'"),
        (["--sets", "test x/dev"], "--sets: data directory 'x/dev' needs a name of its own"),
        (["--nj", "0"], "at least 1"),
        (["--num_nodes", "2"], "--num_nodes 2 needs launcher=slurm"),
        (["--cmd", "no_cmd.sh"], "--cmd 'no_cmd.sh' is no file"),
        (["--common_voice", "/data"], "--common_voice: the corpus mini_covost2 has no such option"),
        (["--size", "smal"], "no size 'smal': there is no"),
        (["--num_best", "0"], "--num_best: expected at least 1, found 0"),
        (["--llm", "org/name"], "--pack_llm true needs --llm DIRECTORY"),
        (["extra"], "unexpected argument 'extra'"),
        (["--seed", "x"], "--seed: expected a whole number, found 'x'"),
        (["--ctc_options", "--max_epoch 2 --ctc_units 9"], "--ctc_options holds --ctc_units, which the stages"),
        (["--ctc_options", "--seed=3"], "--ctc_options holds --seed, which the stages must know: give it to"),
        (["--train_options", "--init_system e1"], "--init_system, which the stages must know: write it into a"),
        (["--decode_options", "--beam_size 1"], "--decode_options holds --beam_size"),
        (["--train_options", "--seed 2 --compressor none"], "itself; --train_options holds --compressor, which the"),
        (["--llm", "/no/such/llama"], "--llm: '/no/such/llama' is no directory with config.json, nor a hub id"),
        (["--llm", "llama"], "--llm: 'llama' is no directory with config.json"),
        (["--llm", "conf"], "is no directory with config.json"),
    ],
)
def test_wrong_usage_exits_2_before_anything_runs(checkout: Checkout, arguments: list[str], message: str) -> None:
    result = checkout.run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert checkout.calls() == []
    assert not (checkout.mini / "exp").exists()


def test_an_unknown_launcher_is_refused_and_the_check_is_told_a_known_one(checkout: Checkout) -> None:
    cmd = checkout.mini / "cmd.sh"
    cmd.write_text("launcher=slrum\n")
    result = checkout.run()
    assert result.returncode == 2
    assert "cmd.sh: unknown launcher 'slrum', expected one of local, slurm, site" in result.stderr
    cmd.write_text("launcher=${launcher:-slurm}\n")  # not exported, and a default as in the template
    told = checkout.directory / "told"
    fake = checkout.bin / "python3"
    fake.write_text(fake.read_text().replace("out=$", f'echo "$module $launcher" >>"{told}"\nout=$', 1))
    assert checkout.run("--dry_run").returncode == 0
    assert told.read_text() == "preflight slurm\n"


def test_dry_run_prints_every_command_and_changes_nothing(checkout: Checkout) -> None:
    result = checkout.run("--dry_run")
    assert result.returncode == 0, result.stderr
    for number, name in enumerate(STAGES):
        assert f"## stage {number} {name}:" in result.stdout
    assert "-m speechllama.bin.llm_train" in result.stdout and "--init_from exp/st_e6/init" in result.stdout
    assert checkout.calls() == []
    assert sorted(path.name for path in checkout.mini.iterdir()) == ["conf", "local", "run.sh", "run_table.sh"]


def test_a_failed_training_shows_its_error_and_goes_on_with_the_same_command(checkout: Checkout) -> None:
    result = checkout.run("--beam_size", "2", FAKE_FAIL="ctc_train")
    assert result.returncode == 7
    assert "ValueError: ctc_train was told to fail" in result.stderr
    assert "stage 5 ctc failed with status 7" in result.stderr
    assert f"log: {checkout.ctc}/train.log" in result.stderr
    assert "run.sh --beam_size 2 --stage 5" in result.stderr
    checkout.calls()
    assert checkout.run("--beam_size", "2").returncode == 0
    assert checkout.calls()[0][0] == "ctc_train"


def test_the_preflight_sees_the_whole_run_and_runs_again_when_it_is_another(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "2", "--token_file", "token")
    (call,) = checkout.preflights()
    options = " ".join(call)
    assert "--stop_stage 2" in options and "--langs de fr es" in options and "--token_file token" in options
    assert call[-3:] == ["--finished", "--output_dir", "exp/preflight/st_e6"]
    checkout.run("--stop_stage", "2", "--token_file", "token")
    assert checkout.preflights() == []
    # With work ahead it checks again, however often it found nothing, and knows what is finished.
    for dry in (["--dry_run"], list[str]()):
        checkout.run("--stop_stage", "3", *dry, "--ngpu", "4", "--num_nodes", "2", launcher="slurm")
        (call,) = checkout.preflights()
        assert "--ngpu 4 --num_nodes 2" in " ".join(call) and "--finished data features" in " ".join(call)


def test_a_fault_of_the_preflight_stops_the_run_before_anything_else(checkout: Checkout) -> None:
    result = checkout.run(FAKE_FAIL="preflight")
    assert result.returncode == 7
    assert "stage 0 preflight failed" in result.stderr
    assert [call[0] for call in checkout.all_calls()] == ["preflight"]


def test_a_dry_run_checks_for_real_prints_all_and_ends_with_the_status_of_the_check(checkout: Checkout) -> None:
    result = checkout.run("--dry_run", FAKE_FAIL="preflight")
    assert result.returncode == 1
    assert "ValueError: preflight was told to fail" in result.stderr
    assert "## stage 13 pack:" in result.stdout
    (call,) = checkout.preflights()
    assert "--output_dir" not in call


def test_a_missing_llm_is_said_before_anything_runs(checkout: Checkout) -> None:
    result = checkout.run(recipe="covost2")
    assert result.returncode == 2
    assert "--llm is needed" in result.stderr
    assert checkout.calls() == []
