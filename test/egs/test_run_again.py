"""run.sh with a fake Python: what is shared, done again when something changes, and kept."""

from __future__ import annotations

import os
from pathlib import Path

from test.egs.conftest import DECODING, Checkout


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
    (shared / "more.yaml").write_text("include: base.yaml\n")
    result = checkout.run("--system", "e1", "--list")
    assert result.returncode == 2
    assert "includes itself through conf/e1.yaml -> conf/shared/base.yaml -> conf/shared/more.yaml" in result.stderr


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
    assert names.count("ctc_compress") == 2 and names[-1] == "llm_train"


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
    # The packed model keeps the settings of the search that it was last decoded with.
    assert [call[0] for call in checkout.calls()] == [*DECODING, "score", "write_results", "pack"]
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
        assert {call[0] for call in checkout.calls()} <= {"pack"}  # of the search of the first set
    checkout.run("--system", "e5", "--sets", "test dev", "--decode_options", "--length_penalty 0.5")
    assert [call[0] for call in checkout.calls()].count("merge_decoded") == 4


def test_a_further_data_directory_adds_only_its_own_parts_to_a_finished_run(checkout: Checkout) -> None:
    real = checkout.mini / "downloads/real"
    real.mkdir(parents=True)
    for name in ("wav.scp", "text", "src_text", "utt2lang"):
        (real / name).write_text("u x\n")
    assert checkout.run().returncode == 0
    checkout.calls()
    arguments = ("--sets", "test downloads/real")  # from the recipe's directory: the checkout's path has a space in it
    result = checkout.run(*arguments)
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    names = [call[0] for call in calls]
    assert names[:3] == ["validate_data_dir", "make_features", "make_features"]
    assert names[3:8] == ["merge_parts", "ctc_compress", "ctc_compress", "merge_parts", "ctc_report"]
    assert names[8:] == [*DECODING, "score", "write_results"]
    assert all("dump/real" in call or "/real" in " ".join(call) for call in calls if call[0] != "write_results")
    checkout.run(*arguments)
    assert checkout.calls() == []
    later = (checkout.mini / "dump/.features_real.done").stat().st_mtime + 2
    os.utime(real / "text", (later, later))
    (real / "text").write_text("u another text\n")
    os.utime(real / "text", (later, later))
    checkout.run(*arguments)
    again = [call[0] for call in checkout.calls()]
    assert "make_features" in again and not {"ctc_train", "llm_train", "collect_stats"} & {*again}


def test_a_data_directory_is_named_from_where_the_user_is(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/real").mkdir(parents=True)
    result = checkout.run("--sets", "elsewhere/real", "--dry_run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"--data_dir {tmp_path}/elsewhere/real" in result.stdout


def test_the_same_folder_by_its_full_path_is_the_same_run(checkout: Checkout) -> None:
    assert checkout.run().returncode == 0
    checkout.calls()
    folders = [word for name in ("datadir", "dumpdir", "expdir") for word in (f"--{name}", name.removesuffix("dir"))]
    places = [word if word.startswith("--") else str(checkout.mini / word) for word in folders]
    listed = checkout.run("--list", *places).stdout
    assert "stale" not in listed and "unfinished" not in listed, listed


def test_prompts_of_the_corpus_are_trained_with_in_the_run_that_prepares_it(checkout: Checkout) -> None:
    fake = checkout.bin / "python3"
    made = 'write "$(value_of --datadir)"/'
    fake.write_text(fake.read_text().replace(made, f"{made}train/prompt\n    {made}", 1))
    assert checkout.run("--system", "e5").returncode == 0
    (training,) = [" ".join(call) for call in checkout.calls() if call[0] == "llm_train"]
    assert "train/prompt,prompt,text" in training and "dev/prompt" not in training
    listed = checkout.run("--system", "e5", "--list").stdout
    assert "stale" not in listed and "unfinished" not in listed, listed


def test_a_limit_of_bad_clips_is_no_setting_of_the_features(checkout: Checkout) -> None:
    limits = ("--feature_options", "--max_bad_share 0.2")
    assert checkout.run("--stop_stage", "2", *limits).returncode == 0
    checkout.calls()
    checkout.run("--stop_stage", "2")
    assert checkout.calls() == []
    listed = checkout.run("--list", "--feature_options", "--max_bad_share=0.2").stdout.splitlines()
    assert listed[2].split()[:3] == ["2", "features", "finished"]
