"""The recipes' shell with a fake Python: every stage's commands, and what is done again when something changes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CONFS = {
    "ctc.yaml": "ctc_units: 70  # of this size\nmax_epoch: 1\n",
    "llm.yaml": "width: 8\n",
    "train.yaml": "max_epoch: 1\n",
    "e0.yaml": "include: train.yaml\ncompressor: convolution  # trained jointly\n",
    "e1.yaml": "include: train.yaml\ncompressor: blank_removal\n",
    "e5.yaml": "include: train.yaml\ncompressor: frame_average\n",
    "e6.yaml": "include: e5.yaml\ninit_system: e5\n",
    "b1.yaml": "model: seq2seq\ntarget_units: 50\n",
    "b2.yaml": "rescore_system: b1\n",
    "b5.yaml": "rescore_system: e5\n",
    "d.yaml": "include: train.yaml\ncompressor: none\nscratch_llm: decoder\n",
    "decoder.yaml": "width: 8\n",
    "u_frozen.yaml": "include: train.yaml\ncompressor: units\nnum_clusters: 500\n",
    "u.yaml": "include: u_frozen.yaml\ninit_system: u_frozen\n",
}
STAGES = "preflight data features tokenizer statistics ctc compress llm train lora average decode score pack".split()
DECODING = ["decode", "decode", "merge_decoded"] * 2  # in two jobs; then the control


class Checkout:
    """The shell of the project, its recipes with tiny configurations, and a fake python3."""

    def __init__(self, directory: Path, root: Path) -> None:
        self.directory = directory / "a checkout"
        self.calls_path = directory / "calls"
        self.bin = directory / "bin"
        for name in ("egs", "tools", "utils"):
            ignore = shutil.ignore_patterns("venv*", "__pycache__", "conf", "data", "dump", "exp", "downloads", "*.md")
            shutil.copytree(root / name, self.directory / name, ignore=ignore)
        for conf in ("mini_covost2/conf", "covost2/conf", "covost2/conf/small", "tatoeba/conf"):
            (self.directory / "egs" / conf).mkdir(parents=True)
            for name, text in CONFS.items():
                (self.directory / "egs" / conf / name).write_text(text)
        for conf in ("covost2/conf", "covost2/conf/small"):  # which has none of its own
            (self.directory / "egs" / conf / "llm.yaml").unlink()
        self.bin.mkdir()
        shutil.copy(root / "test" / "fakes" / "python3", self.bin / "python3")
        self.mini = self.directory / "egs" / "mini_covost2"
        self.ctc = "exp/ctc_transcript_bpe70"

    def run(
        self, *arguments: str, recipe: str = "mini_covost2", cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a recipe."""
        command = [str(self.directory / "egs" / recipe / "run.sh"), *arguments]
        path = f"{self.bin}:{os.environ['PATH']}"
        env = os.environ | {"PATH": path, "FAKE_CALLS": str(self.calls_path)} | environment
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=env)

    def calls(self) -> list[list[str]]:
        """The entry points that ran since the last call of this method, with their arguments; see `preflights`."""
        return [call for call in self.all_calls() if call[0] != "preflight"]

    def preflights(self) -> list[list[str]]:
        """The preflights among them: what a run checks before it does anything."""
        return [call for call in self.all_calls() if call[0] == "preflight"]

    def all_calls(self) -> list[list[str]]:
        lines = self.calls_path.read_text().splitlines() if self.calls_path.exists() else []
        self.calls_path.unlink(missing_ok=True)
        return [line.split() for line in lines]


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Checkout:
    """A fresh checkout whose path has a blank in it."""
    return Checkout(tmp_path, root)


@pytest.mark.parametrize("recipe", ["mini_covost2", "covost2", "tatoeba"])
def test_help_and_list_start_no_python(checkout: Checkout, recipe: str, tmp_path: Path) -> None:
    result = checkout.run("--help", recipe=recipe, cwd=tmp_path)
    assert result.returncode == 0
    papers = "[de zh-CN ar es fr it nl ja ru pt et sv-SE sl]"
    langs = {"mini_covost2": "[de fr es]", "covost2": papers, "tatoeba": "[de fr es nl]"}
    assert "--stop_stage" in result.stdout and langs[recipe] in result.stdout
    result = checkout.run("--list", recipe=recipe, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [line.split()[1] for line in result.stdout.splitlines()] == STAGES
    assert checkout.calls() == []


def test_every_option_of_the_block_is_in_the_help(checkout: Checkout) -> None:
    text = (checkout.directory / "egs/TEMPLATE/speech_llama.sh").read_text()
    block = text.split("# --- options\n")[1].split("# --- end of options")[0]
    names = [line.split("=")[0] for line in block.splitlines() if not line.startswith("#")]
    assert len(names) > 30
    shown = checkout.run("--help").stdout.split()
    assert [name for name in names if f"--{name}" not in shown] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beem_size", "2"], "unknown option --beem_size; the nearest is --beam_size"),
        (["--task", "mt"], "--task is one of st asr, not 'mt'"),
        (["--system", "e9"], "no system 'e9'"),
        (["--sets", "tset"], "--sets holds train, dev or test, not 'tset'"),
        (["--nj", "0"], "at least 1"),
        (["--num_nodes", "2"], "--num_nodes 2 needs launcher=slurm"),
        (["--cmd", "no_cmd.sh"], "--cmd 'no_cmd.sh' is no file"),
        (["--size", "smal"], "no size 'smal': there is no"),
        (["--num_best", "0"], "--num_best and --ctc_num_best are at least 1"),
        (["--llm", "org/name"], "--pack_llm true needs --llm DIRECTORY"),
        (["extra"], "unexpected argument 'extra'"),
        (["--seed", "x"], "--seed is a whole number, not 'x'"),
        (["--ctc_options", "--max_epoch 2 --ctc_units 9"], "--ctc_options holds --ctc_units, which the stages"),
        (["--ctc_options", "--seed=3"], "--ctc_options holds --seed, which the stages must know: give it to"),
        (["--train_options", "--init_system e1"], "--init_system, which the stages must know: write it into a"),
        (["--decode_options", "--beam_size 1"], "--decode_options holds --beam_size"),
        (["--train_options", "--seed 2 --compressor none"], "itself; --train_options holds --compressor, which the"),
        (["--llm", "/no/such/llama"], "--llm '/no/such/llama' is no directory with config.json, nor a hub id"),
        (["--llm", "llama"], "--llm 'llama' is no directory with config.json"),
        (["--llm", "conf"], "is no directory with config.json"),
    ],
)
def test_wrong_usage_exits_2_before_anything_runs(
    checkout: Checkout, arguments: list[str], message: str
) -> None:
    result = checkout.run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert checkout.calls() == []
    assert not (checkout.mini / "exp").exists()


def test_dry_run_prints_every_command_and_changes_nothing(checkout: Checkout) -> None:
    result = checkout.run("--dry_run")
    assert result.returncode == 0, result.stderr
    for number, name in enumerate(STAGES):
        assert f"## stage {number} {name}:" in result.stdout
    assert "-m speechllama.bin.llm_train" in result.stdout and "--init_from exp/st_e6/init" in result.stdout
    assert checkout.calls() == []
    assert sorted(path.name for path in checkout.mini.iterdir()) == ["conf", "local", "run.sh", "run_table.sh"]


def test_a_lora_system_trains_its_first_system_and_then_itself(checkout: Checkout) -> None:
    result = checkout.run()
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    trainings = [call for call in calls if call[0] == "llm_train"]
    assert [call[call.index("--config") + 1] for call in trainings] == ["conf/e5.yaml", "conf/e6.yaml"]
    assert "--init_from" not in trainings[0]
    assert trainings[1][trainings[1].index("--init_from") + 1] == "exp/st_e6/init"
    averages = [" ".join(call[1:]) for call in calls if call[0] == "average_checkpoints"]
    assert "--exp_dir exp/st_e5 --num_best 3 --output_dir exp/st_e6/init" in averages
    assert not (checkout.mini / "exp/st_e5/model.pth").exists()  # stage 10 of E5 alone writes that
    compressed = f"{checkout.ctc}/compressed_frame_average"
    assert f"{compressed}/train/compressed.scp,compressed,kaldi_ark" in trainings[1]
    assert [call[call.index("--control") + 1] for call in calls if call[0] == "merge_decoded"] == ["false", "true"]
    parts = sorted(call[call.index("--job") + 1] for call in calls if call[0] == "decode")
    assert parts == ["1", "1", "2", "2"]
    assert (checkout.mini / "exp/st_e6/decode_test_beam4/score.json").exists()
    assert checkout.run().returncode == 0
    assert checkout.calls() == []


def test_a_change_in_an_included_yaml_is_seen(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "9")
    later = (checkout.mini / "exp/st_e6/.lora.done").stat().st_mtime + 2
    os.utime(checkout.mini / "conf/train.yaml", (later, later))  # e6 includes e5, which includes train
    listed = checkout.run("--list").stdout.splitlines()
    assert [line.split()[1] for line in listed if "train.yaml is newer" in line] == ["train", "lora"]


def test_a_system_and_the_one_made_from_it_leave_each_other_finished(checkout: Checkout) -> None:
    checkout.run("--system", "e5")
    checkout.run("--system", "e6", "--num_best", "2")
    checkout.calls()
    assert checkout.run("--system", "e5").returncode == 0
    assert checkout.calls() == []


def test_the_other_number_of_ctc_units_is_another_system_even_when_it_is_the_older(checkout: Checkout) -> None:
    checkout.run("--system", "e5", "--stop_stage", "6", "--ctc_units", "50")
    checkout.run("--system", "e5")
    checkout.calls()
    result = checkout.run("--system", "e5", "--ctc_units", "50")
    assert "stale: it was made without exp/ctc_transcript_bpe50/model.pth" in result.stdout
    assert "llm_train" in [call[0] for call in checkout.calls()]


def test_an_include_of_another_folder_is_followed(checkout: Checkout) -> None:
    shared = checkout.mini / "conf/shared"
    shared.mkdir()
    (shared / "base.yaml").write_text("include: more.yaml\n")
    (shared / "more.yaml").write_text("compressor: 'blank_removal'\n")
    (checkout.mini / "conf/e1.yaml").write_text('include: "shared/base.yaml"\n')
    assert checkout.run("--system", "e1", "--stop_stage", "8").returncode == 0
    assert (checkout.mini / checkout.ctc / "compressed_blank_removal").is_dir()
    later = (checkout.mini / "exp/st_e1/.train.done").stat().st_mtime + 2
    os.utime(shared / "more.yaml", (later, later))
    listed = checkout.run("--system", "e1", "--list").stdout.splitlines()
    assert [line.split()[1] for line in listed if "more.yaml is newer" in line] == ["train"]
    (shared / "more.yaml").write_text("include: base.yaml\n")  # in a circle: an error of the training, no endless loop
    assert checkout.run("--system", "e1", "--list").returncode == 0


def test_options_of_features_reach_them(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "2", "--feature_options", "--max_bad_share 0.2")
    calls = [call for call in checkout.calls() if call[0] in ("make_features", "merge_parts")]
    assert len(calls) == 9 and all(call[-2:] == ["--max_bad_share", "0.2"] for call in calls)


def test_another_system_shares_what_it_can(checkout: Checkout) -> None:
    checkout.run()
    checkout.calls()
    assert checkout.run("--system", "e5").returncode == 0
    assert [call[0] for call in checkout.calls()] == [
        "average_checkpoints",
        *DECODING,
        "score",
        "write_results",
        "pack",
    ]
    checkout.run("--system", "e1", "--stop_stage", "8")
    names = [call[0] for call in checkout.calls()]
    assert "ctc_train" not in names and "train_text_llm" not in names
    assert names.count("ctc_compress") == 6 and names[-1] == "llm_train"


def test_the_convolution_system_needs_no_ctc(checkout: Checkout) -> None:
    result = checkout.run("--system", "e0")
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    assert not {"ctc_train", "ctc_compress"} & {call[0] for call in calls}
    (training,) = (call for call in calls if call[0] == "llm_train")
    assert "dump/train/feats.scp,speech,kaldi_ark" in training
    assert "--cmvn_file" in training and "--ctc_dir" not in training
    assert "stage 9 lora: not needed" in result.stdout


def test_the_encoder_decoder_needs_neither_ctc_nor_llm(checkout: Checkout) -> None:
    result = checkout.run("--system", "b1", "--target_units", "70")
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    names = [call[0] for call in calls]
    assert not {"ctc_train", "ctc_compress", "train_text_llm", "llm_train", "pack"} & set(names)
    for number in (5, 6, 7, 9, 13):
        assert re.search(rf"## stage {number} \w+: not needed: ", result.stdout)
    tokenizer = next(call for call in calls if call[0] == "train_tokenizer")
    assert tokenizer[1:5] == ["--text", "data/train/text", "--vocab_size", "70"]
    assert tokenizer[5:7] == ["--character_coverage", "1.0"]  # what has no unit could not be written
    training = next(call for call in calls if call[0] == "seq2seq_train")
    assert {"dump/train/text,text,text", "data/seq2seq_translation_bpe70/bpe.model", "exp/st_b1"} <= set(training)
    decoding = next(call for call in calls if call[0] == "decode")
    assert decoding[decoding.index("--num_best") + 1] == "4"
    assert (checkout.mini / "exp/st_b1/decode_test_beam4/score.json").exists()
    assert checkout.run("--system", "b1", "--target_units", "70").returncode == 0
    assert checkout.calls() == []
    checkout.run("--system", "b1", "--task", "asr", "--stop_stage", "8")
    (training,) = (call for call in checkout.calls() if call[0] == "seq2seq_train")
    assert "dump/train/src_text,text,text" in training and "exp/asr_b1" in training


def test_the_encoder_decoder_is_the_same_beside_any_llm(checkout: Checkout) -> None:
    small = ["--system", "b1", "--size", "small"]
    assert checkout.run(*small, recipe="covost2").returncode == 0  # which has no LLM of its own
    checkout.calls()
    assert checkout.run(*small, "--llm", "a/b", "--ctc_target", "translation", recipe="covost2").returncode == 0
    assert checkout.calls() == []


def test_a_rescoring_system_trains_decodes_and_tunes_on_dev_what_it_stands_on(checkout: Checkout) -> None:
    assert checkout.run("--system", "b1").returncode == 0
    checkout.calls()
    result = checkout.run("--system", "b2")
    assert result.returncode == 0, result.stderr
    calls = [call for call in checkout.calls() if call[0] not in ("preflight", "merge_decoded")]
    names = [call[0] for call in calls]
    rescoring = ["tune_rescoring", "rescore", "rescore", "score", "write_results"]
    assert names == ["train_text_llm", *["decode"] * 4, *rescoring]
    assert {call[call.index("--data_dir") + 1] for call in calls if call[0] == "decode"} == {"dump/dev"}
    tuning, first, control = calls[5:8]
    assert "exp/st_b1/decode_dev_beam4" in tuning and "exp/st_b2/rescoring_beam4.json" in tuning
    assert {"exp/st_b1/decode_test_beam4", "exp/st_b2/decode_test_beam4"} <= set(first)
    assert {"exp/st_b1/decode_test_beam4_control", "exp/st_b2/decode_test_beam4_control"} <= set(control)
    assert calls[8][1:5] == "--hyp_dir {0} --control_dir {0}_control".format("exp/st_b2/decode_test_beam4").split()
    for system in ("b1", "b2"):
        assert checkout.run("--system", system).returncode == 0
        assert checkout.calls() == []
    (checkout.mini / "exp/st_b1/decode_test_beam4/nbest.jsonl").unlink()  # as the message of a damaged one says
    checkout.run("--system", "b2")
    again = [name for name in (call[0] for call in checkout.calls()) if name != "merge_decoded"]
    assert again == [*["decode"] * 4, *rescoring[1:]]
    later = (checkout.mini / "exp/st_b2/.tune_beam4.done").stat().st_mtime + 2
    os.utime(checkout.mini / "conf/b2.yaml", (later, later))
    checkout.run("--system", "b2")
    assert [call[0] for call in checkout.calls()] == rescoring


def test_any_system_can_be_rescored(checkout: Checkout) -> None:
    result = checkout.run("--system", "b5", "--sets", "dev test")
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    names = [call[0] for call in calls]
    assert names.count("llm_train") == 1 and names.count("rescore") == 4 and names.count("score") == 2
    assert "exp/st_e5/decode_dev_beam4" in next(call for call in calls if call[0] == "tune_rescoring")
    checkout.run("--system", "e5", "--stop_stage", "11")
    assert checkout.calls() == []
    (checkout.mini / "conf/bd.yaml").write_text("rescore_system: d\n")
    result = checkout.run("--system", "bd")
    assert result.returncode == 2
    assert "conf/bd.yaml: rescore_system d has no LLM but its own decoder" in result.stderr
    (checkout.mini / "conf/b3.yaml").write_text("rescore_system: b2\n")
    result = checkout.run("--system", "b3")
    assert result.returncode == 2
    assert "conf/b3.yaml: rescore_system b2 rescores b1 itself; name a system that is trained" in result.stderr


def test_the_decoder_from_scratch_needs_neither_ctc_nor_an_llm(checkout: Checkout) -> None:
    result = checkout.run("--system", "d", "--size", "small", recipe="covost2")  # where others need --llm
    assert result.returncode == 0, result.stderr
    calls = {call[0]: call for call in checkout.calls()}
    assert not {"ctc_train", "ctc_compress", "prepare_llm", "train_text_llm"} & set(calls)
    made, training = calls["make_scratch_llm"], " ".join(calls["llm_train"])
    assert made[1:5] == "--config conf/small/decoder.yaml --text data/train/text".split()
    assert made[5:] == ["--output_dir", "exp/llm_decoder_small_st"]
    assert "--llm_dir exp/llm_decoder_small_st --cmvn_file" in training and "--ctc_dir" not in training
    assert "dump/train/feats.scp,speech,kaldi_ark" in training
    assert "stage 5 ctc: not needed" in result.stdout and "stage 6 compress: not needed" in result.stdout
    checkout.run("--system", "d", "--task", "asr")
    (made,) = (call for call in checkout.calls() if call[0] == "make_scratch_llm")
    assert made[4:] == "data/train/src_text --output_dir exp/llm_decoder_asr".split()
    (checkout.mini / "conf/decoder.yaml").unlink()
    result = checkout.run("--system", "d")
    assert result.returncode == 2
    assert "conf/d.yaml: scratch_llm names conf/decoder.yaml, which is not there" in result.stderr


def test_units_are_learned_once_and_read_by_both_trainings(checkout: Checkout) -> None:
    result = checkout.run("--system", "u", "--stop_stage", "9")
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    names = [call[0] for call in calls]
    cache = f"{checkout.ctc}/compressed_units500"
    assert names.count("learn_units") == 1 and names.index("learn_units") < names.index("ctc_compress")
    compressions = [" ".join(call) for call in calls if call[0] == "ctc_compress"]
    where = f"--num_clusters 500 --centroids_file {cache}/centroids.npz"
    assert all(f"--compressor units {where}" in call for call in compressions)
    trainings = [" ".join(call) for call in calls if call[0] == "llm_train"]
    assert len(trainings) == 2
    for training in trainings:
        assert f"--centroids_file {cache}/centroids.npz" in training
        assert f"{cache}/train/compressed.scp,compressed,kaldi_ark" in training
    assert checkout.run("--system", "u", "--stop_stage", "9").returncode == 0
    assert checkout.calls() == []
    (checkout.mini / "conf/u_frozen.yaml").write_text("include: train.yaml\ncompressor: units\n")
    result = checkout.run("--system", "u_frozen")
    assert result.returncode == 2
    assert "conf/u_frozen.yaml: the compressor units needs num_clusters" in result.stderr


def test_recognition_changes_the_target_and_the_directory_only(checkout: Checkout) -> None:
    assert checkout.run("--task", "asr", "--system", "e5").returncode == 0
    (training,) = (call for call in checkout.calls() if call[0] == "llm_train")
    compressed = f"{checkout.ctc}/compressed_frame_average"
    assert f"{compressed}/train/src_text,text,text" in training
    assert training[training.index("--task_name") + 1] == "asr"
    assert training[training.index("--output_dir") + 1] == "exp/asr_e5"


def test_ctc_on_translations_has_its_own_directories(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "5")
    checkout.calls()
    checkout.run("--stop_stage", "5", "--ctc_target", "translation")
    calls = {call[0]: call for call in checkout.calls()}
    assert "make_features" not in calls
    assert "dump/train/text,text,text" in calls["ctc_train"]
    assert checkout.ctc.replace("transcript", "translation") in calls["ctc_train"]


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


def test_training_with_other_settings_keeps_the_old_experiment(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "6")
    kept = checkout.ctc.replace("exp/", "exp/old/") + ".1"
    old = (checkout.mini / checkout.ctc / "config.yaml").read_text()
    result = checkout.run("--stop_stage", "6", "--ctc_options", "--max_epoch 2")
    assert f"is kept as {kept}" in result.stderr
    assert (checkout.mini / kept / "config.yaml").read_text() == old
    assert "--max_epoch 2" in (checkout.mini / checkout.ctc / "config.yaml").read_text()


def test_decoding_with_other_options_keeps_the_old_hypotheses_and_scores(checkout: Checkout) -> None:
    checkout.run("--system", "e5")
    decoded = checkout.mini / "exp/st_e5"
    scores = (decoded / "decode_test_beam4/score.json").read_text()
    result = checkout.run("--system", "e5", "--decode_options", "--length_penalty 0.5")
    assert result.returncode == 0, result.stderr
    for name in ("decode_test_beam4", "decode_test_beam4_control"):
        assert (decoded / f"old/{name}.1/text").is_file() and (decoded / name / "text").is_file()
    assert (decoded / "old/decode_test_beam4.1/score.json").read_text() == scores


def test_a_second_beam_size_decodes_beside_the_first(checkout: Checkout) -> None:
    checkout.run("--system", "e5")
    checkout.calls()
    checkout.run("--system", "e5", "--beam_size", "1")
    assert [call[0] for call in checkout.calls()] == [*DECODING, "score", "write_results"]
    names = {path.name for path in (checkout.mini / "exp/st_e5").glob("decode_*")}
    assert names == {f"decode_test_beam{k}{end}" for k in (1, 4) for end in ("", "_control")}


def test_a_set_that_another_list_of_sets_has_decoded_is_not_decoded_again(checkout: Checkout) -> None:
    checkout.run("--system", "e5")
    checkout.calls()
    assert checkout.run("--system", "e5", "--sets", "dev test").returncode == 0
    decoded = [call for call in checkout.calls() if call[0] in ("decode", "score")]
    assert {call[call.index("--data_dir") + 1].rsplit("/")[-1] for call in decoded} == {"dev"}
    for sets in ("test", "dev", "test dev"):
        checkout.run("--system", "e5", "--sets", sets, "--batch_size", "3")
        assert checkout.calls() == []
    checkout.run("--system", "e5", "--sets", "test dev", "--decode_options", "--length_penalty 0.5")
    assert [call[0] for call in checkout.calls()].count("merge_decoded") == 4


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
    lock = checkout.mini / "exp/st_e5/.run.lock"
    lock.parent.mkdir(parents=True)
    command = ["flock", "--no-fork", str(lock), "sh", "-c", "echo held; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        lock.write_text("host n7, process 12, since today\n")
        result = checkout.run("--system", "e5")
        assert result.returncode == 1
        assert "exp/st_e5: another run is at work there (host n7, process 12, since today)" in result.stderr
        assert "--tag" in result.stderr
        assert checkout.calls() == []
        assert checkout.run("--system", "e5", "--list").returncode == 0
        assert checkout.run("--system", "e1", "--stop_stage", "8").returncode == 0  # another system is no such run
        holder.terminate()
    assert checkout.run("--system", "e5").returncode == 0


@pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")
def test_a_run_moves_nothing_away_that_another_run_uses(checkout: Checkout) -> None:
    assert checkout.run("--system", "e6").returncode == 0
    checkout.calls()
    for shared in ("exp/st_e5", checkout.ctc, "exp/llm"):
        lock = checkout.mini / shared / ".run.lock"
        command = ["flock", "--shared", "--no-fork", str(lock), "sh", "-c", "echo held; exec sleep 60"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            assert checkout.run("--system", "e6").returncode == 0  # which finds all finished
            own = {"exp/st_e5": "--train_options", checkout.ctc: "--ctc_options", "exp/llm": "--llm_options"}[shared]
            result = checkout.run("--system", "e6", own, "--num_steps 3")
            assert result.returncode == 1
            assert f"{shared}: another run is at work there" in result.stderr
            assert checkout.calls() == []
            holder.terminate()
    assert checkout.run("--system", "e6", "--train_options", "--max_epoch 2").returncode == 0
    assert (checkout.mini / "exp/old/st_e5.1").is_dir()


@pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")
def test_a_run_of_the_system_it_starts_from_is_another_run_too(checkout: Checkout) -> None:
    lock = checkout.mini / "exp/st_e5/.run.lock"
    lock.parent.mkdir(parents=True)
    command = ["flock", "--no-fork", str(lock), "sh", "-c", "echo held; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        result = checkout.run("--system", "e6")
        assert result.returncode == 1 and "exp/st_e5: another run is at work there" in result.stderr
        holder.terminate()


@pytest.mark.parametrize(
    ("arguments", "seeds"),
    [
        ([], {"ctc_train": "1", "llm_train": "5", "train_text_llm": ""}),
        (["--seed", "7"], {"ctc_train": "7", "llm_train": "7", "train_text_llm": "7"}),
    ],
)
def test_the_seed_is_the_options_or_that_of_the_yaml(
    checkout: Checkout, arguments: list[str], seeds: dict[str, str]
) -> None:
    (checkout.mini / "conf/train.yaml").write_text("max_epoch: 1\nseed: 5\n")
    result = checkout.run(*arguments)
    assert result.returncode == 0, result.stderr
    found = {call[0]: call[call.index("--seed") + 1] if "--seed" in call else "" for call in checkout.calls()}
    assert {name: found[name] for name in seeds} == seeds
    names = {path.name for path in (checkout.mini / "exp").iterdir()}
    suffix = "_seed7" if arguments else ""
    assert {f"ctc_transcript_bpe70{suffix}", f"st_e6{suffix}", f"llm{suffix}"} <= names
    assert checkout.run("--system", "u_frozen", "--stop_stage", "6", *arguments).returncode == 0
    (learning,) = (call for call in checkout.calls() if call[0] == "learn_units")
    assert learning[learning.index("--seed") + 1] == ("7" if arguments else "5")


def test_without_the_cache_training_and_decoding_read_features(checkout: Checkout) -> None:
    result = checkout.run("--system", "e6", "--from_features")
    assert result.returncode == 0, result.stderr
    calls = [" ".join(call) for call in checkout.calls()]
    trainings = [call for call in calls if call.startswith("llm_train ")]
    assert len(trainings) == 2
    assert all("dump/train/feats.scp,speech,kaldi_ark" in call and "--ctc_dir" in call for call in trainings)
    assert any(call.startswith("decode ") and "--data_dir dump/test" in call for call in calls)
    assert (checkout.mini / "exp/st_e6_from_features/packed.zip").exists()


def test_paths_of_the_user_are_relative_to_the_user(checkout: Checkout, tmp_path: Path) -> None:
    for lang in ("de", "fr"):
        clips = tmp_path / "my corpora" / "cv" / lang
        clips.mkdir(parents=True)
        (clips / "validated.tsv").touch()
        (tmp_path / "my corpora" / f"covost_v2.{lang}_en.tsv").touch()
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").touch()
    corpora = ["--common_voice", "my corpora/cv", "--covost2", "my corpora", "--langs", "de fr"]
    result = checkout.run(*corpora, "--llm", "llama", "--size", "small", recipe="covost2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    calls = {call[0]: " ".join(call) for call in checkout.calls()}
    assert f"--common_voice {tmp_path}/my corpora/cv --covost2 {tmp_path}/my corpora" in calls["prepare_covost2"]
    assert f"--llm {tmp_path}/llama --output_dir exp/llm_llama" in calls["prepare_llm"]
    assert (checkout.directory / "egs/covost2/exp/st_e6_small_llama/packed.zip").exists()


def test_another_corpus_is_prepared_anew_however_old_it_is(checkout: Checkout, tmp_path: Path) -> None:
    for corpus in ("old", "new"):
        (tmp_path / corpus / "cv-corpus-6.1" / "de").mkdir(parents=True)
        for name in ("cv-corpus-6.1/de/validated.tsv", "covost_v2.de_en.tsv"):
            (tmp_path / corpus / name).touch()
            os.utime(tmp_path / corpus / name, (1, 1))
    arguments = ["--langs", "de", "--stop_stage", "1"]
    for corpus, expected in [("new", 1), ("new", 0), ("old", 1)]:
        places = ["--common_voice", str(tmp_path / corpus), "--covost2", str(tmp_path / corpus)]
        assert checkout.run(*arguments, *places, recipe="covost2").returncode == 0
        assert [call[0] for call in checkout.calls()].count("prepare_covost2") == expected


def test_archives_and_pseudo_labels_that_change_are_prepared_anew(checkout: Checkout, tmp_path: Path) -> None:
    for corpus in ("old", "new"):
        (tmp_path / corpus / "cv-corpus-6.1" / "zh-CN").mkdir(parents=True)
        for name in ("sv-SE.tar.gz", "cv-corpus-6.1-ar.tar.gz", "my-cv.tgz"):
            (tmp_path / corpus / name).touch()
    pseudo, archive = tmp_path / "pseudo.tsv", tmp_path / "new/sv-SE.tar.gz"
    pseudo.write_text("lang")
    arguments = ["--langs", "sv zh", "--stop_stage", "1", "--covost2", "https://example.org"]
    arguments += ["--data_options", f"--pseudo_labels {pseudo} --drop_overlap true"]

    def prepared(corpus: str) -> int:
        result = checkout.run(*arguments, "--common_voice", f"{tmp_path}/{corpus}", recipe="covost2")
        assert result.returncode == 0, result.stderr
        return [call[0] for call in checkout.calls()].count("prepare_covost2")

    assert [prepared(corpus) for corpus in ("old", "old/", "new", "new")] == [1, 0, 1, 0]
    for path, text, expected in (
        (archive, "another", 1),
        (pseudo, "lang\n", 1),
        (tmp_path / "new/my-cv.tgz", "whose language only its content tells", 1),
        (tmp_path / "new/cv-corpus-6.1-ar.tar.gz", "of a language that is not trained", 0),
        (tmp_path / "new/cv-corpus-6.1/zh-CN/validated.tsv", "--langs zh finds it", 1),
        (archive, "an older one", 1),
    ):
        path.write_text(text)
        if text == "an older one":
            os.utime(path, (1, 1))
        assert [prepared("new"), prepared("new")] == [expected, 0], path
    arguments[4:6] = ["--covost2", "https://example.net"]
    assert prepared("new") == 1


def test_default_corpora_are_those_of_downloads_whoever_stands_where(checkout: Checkout, tmp_path: Path) -> None:
    for name in ("common_voice", "covost2"):
        (checkout.mini / "downloads" / name).mkdir(parents=True)
    arguments = ["--stop_stage", "1", "--langs", "de"]
    for downloads, more in (("downloads", []), (str(tmp_path), ["--downloads", str(tmp_path)])):
        result = checkout.run(*arguments, *more, recipe="covost2", cwd=checkout.mini)
        assert result.returncode == 0, result.stderr
        calls = checkout.all_calls()
        for call in (calls[0], next(call for call in calls if call[0] == "prepare_covost2")):
            options = " ".join(call)
            assert f"--common_voice {downloads}/common_voice --covost2 {downloads}/covost2 " in options
    checkout.run("--stop_stage", "1")  # the miniature recipe takes none
    (call,) = checkout.preflights()
    assert "downloads/covost2" not in " ".join(call)


def test_the_preflight_sees_the_whole_run_and_runs_again_when_it_is_another(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "2", "--token_file", "token")
    (call,) = checkout.preflights()
    options = " ".join(call)
    assert "--system_config conf/e6.yaml --init_config conf/e5.yaml --ctc_config conf/ctc.yaml" in options
    assert "--stop_stage 2" in options and "--launcher local" in options and "--llm_config conf/llm.yaml" in options
    assert call[-2:] == ["--output_dir", "exp/preflight/st_e6"] and "--token_file token" in options
    checkout.run("--stop_stage", "2", "--token_file", "token")
    assert checkout.preflights() == []
    # With work ahead it checks again, however often it found nothing.
    for dry in (["--dry_run"], list[str]()):
        checkout.run("--stop_stage", "3", *dry, "--ngpu", "4", "--num_nodes", "2", launcher="slurm")
        (call,) = checkout.preflights()
        assert "--ngpu 4 --num_nodes 2" in " ".join(call)


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
