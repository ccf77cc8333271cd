"""run.sh with a fake Python: the commands of every system, task and CTC target."""

from __future__ import annotations

import os
import re

import pytest

from test.egs.conftest import Checkout


def test_a_lora_system_trains_its_first_system_and_then_itself(checkout: Checkout) -> None:
    result = checkout.run()
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    trainings = [call for call in calls if call[0] == "llm_train"]
    assert [call[call.index("--config") + 1] for call in trainings] == ["conf/e5.yaml", "conf/e6.yaml"]
    assert "--init_from" not in trainings[0]
    assert trainings[1][trainings[1].index("--init_from") + 1] == "exp/st_e6/init"
    averages = [" ".join(call[1:]) for call in calls if call[0] == "average_checkpoints"]
    assert "--exp_dir exp/st_e5 --num_best 1 --output_dir exp/st_e6/init" in averages
    assert not (checkout.mini / "exp/st_e5/model.pth").exists()  # only the average stage of E5 writes that
    compressed = f"{checkout.ctc}/compressed_frame_average"
    assert f"{compressed}/train/compressed.scp,compressed,kaldi_ark" in trainings[1]
    assert [call[call.index("--control") + 1] for call in calls if call[0] == "merge_decoded"] == ["false", "true"]
    parts = sorted(call[call.index("--job") + 1] for call in calls if call[0] == "decode")
    assert parts == ["1", "1", "2", "2"]
    assert (checkout.mini / "exp/st_e6/decode_test_beam4/score.json").exists()
    assert checkout.run().returncode == 0
    assert checkout.calls() == []


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
    assert not {"ctc_train", "ctc_compress", "train_text_llm", "llm_train"} & set(names)
    assert (checkout.mini / "exp/st_b1/packed.zip").exists()
    for number in (5, 6, 7, 9):
        assert re.search(rf"## stage {number} \w+: not needed: ", result.stdout)
    tokenizer = next(call for call in calls if call[0] == "train_tokenizer")
    assert tokenizer[1:5] == ["--text", "data/train/text", "--vocab_size", "70"]
    assert tokenizer[5:7] == ["--character_coverage", "1.0"]  # what has no unit could not be written
    training = next(call for call in calls if call[0] == "seq2seq_train")
    assert {"dump/train/text,text,text", "data/seq2seq_translation_bpe70/bpe.model", "exp/st_b1"} <= set(training)
    decoding = next(call for call in calls if call[0] == "decode")
    assert decoding[decoding.index("--nbest") + 1] == "4"
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
    rescoring = ["tune_rescoring", "rescore", "rescore", "score", "write_results", "pack"]
    assert names == ["train_text_llm", *["decode"] * 2, *rescoring]  # two jobs; dev needs no control
    assert {call[call.index("--data_dir") + 1] for call in calls if call[0] == "decode"} == {"dump/dev"}
    tuning, first, control = calls[3:6]
    assert "exp/st_b1/decode_dev_beam4" in tuning and "exp/st_b2/rescoring_beam4.json" in tuning
    assert {"exp/st_b1/decode_test_beam4", "exp/st_b2/decode_test_beam4"} <= set(first)
    assert {"exp/st_b1/decode_test_beam4_control", "exp/st_b2/decode_test_beam4_control"} <= set(control)
    assert calls[6][1:5] == "--hyp_dir {0} --control_dir {0}_control".format("exp/st_b2/decode_test_beam4").split()
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
    assert made[1:5] == "--config conf/small/decoder.yaml --conf_path conf/small:conf:../TEMPLATE/conf".split()
    assert made[5:] == "--text data/train/text --output_dir exp/llm_decoder_small_st".split()
    assert "--llm_dir exp/llm_decoder_small_st --cmvn_file" in training and "--ctc_dir" not in training
    assert "dump/train/feats.scp,speech,kaldi_ark" in training
    assert "stage 5 ctc: not needed" in result.stdout and "stage 6 compress: not needed" in result.stdout
    checkout.run("--system", "d", "--task", "asr")
    (made,) = (call for call in checkout.calls() if call[0] == "make_scratch_llm")
    assert made[-3:] == "data/train/src_text --output_dir exp/llm_decoder_asr".split()
    (checkout.mini / "conf/decoder.yaml").unlink()
    result = checkout.run("--system", "d")
    assert result.returncode == 2
    assert "conf/d.yaml: scratch_llm names decoder.yaml, which is not in conf" in result.stderr


def test_units_are_learned_once_and_read_by_both_trainings(checkout: Checkout) -> None:
    result = checkout.run("--system", "u", "--stop_stage", "9")
    assert result.returncode == 0, result.stderr
    calls = checkout.calls()
    names = [call[0] for call in calls]
    cache = f"{checkout.ctc}/compressed_units500"
    assert names.count("learn_units") == 1 and names.index("learn_units") < names.index("ctc_compress")
    compressions = [" ".join(call) for call in calls if call[0] == "ctc_compress"]
    where = f'--compressor_conf {{"num_clusters": 500}} --centroids_file {cache}/centroids.npz'
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
    assert "conf/u_frozen.yaml: compressor_conf: num_clusters is 0: the compressor units needs at" in result.stderr


def test_recognition_changes_the_target_and_the_directory_only(checkout: Checkout) -> None:
    assert checkout.run("--task", "asr", "--system", "e5").returncode == 0
    (training,) = (call for call in checkout.calls() if call[0] == "llm_train")
    compressed = f"{checkout.ctc}/compressed_frame_average"
    assert f"{compressed}/train/src_text,text,text" in training
    assert training[training.index("--task_name") + 1] == "asr"
    assert training[training.index("--output_dir") + 1] == "exp/asr_e5"


def test_a_task_of_labels_reads_their_table_and_an_encoder_decoder_is_refused(checkout: Checkout) -> None:
    assert checkout.run("--task", "lid", "--system", "e5").returncode == 0
    calls = {call[0]: call for call in checkout.calls()}
    training, counted = calls["llm_train"], calls["collect_llm_stats"]
    compressed = f"{checkout.ctc}/compressed_frame_average"
    assert f"{compressed}/train/utt2lang,text,text" in training and f"{compressed}/train/utt2lang,lang,text" in training
    assert training[training.index("--task_name") + 1] == "lid" and "exp/lid_e5" in training
    assert counted[counted.index("--text_name") + 1] == "utt2lang"
    assert calls["score"][-2:] != [] and "lid" in calls["score"]
    result = checkout.run("--task", "lid", "--system", "b1")
    assert result.returncode == 2 and "--system b1: an encoder-decoder learns one text" in result.stderr


def test_ctc_on_translations_has_its_own_directories(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "5")
    checkout.calls()
    checkout.run("--stop_stage", "5", "--ctc_target", "translation")
    calls = {call[0]: call for call in checkout.calls()}
    assert "make_features" not in calls
    assert "dump/train/text,text,text" in calls["ctc_train"]
    assert checkout.ctc.replace("transcript", "translation") in calls["ctc_train"]


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


def test_ctc_as_a_system_scores_what_stage_compress_has_written(checkout: Checkout) -> None:
    result = checkout.run("--system", "ctc", "--task", "asr", recipe="librispeech")
    assert result.returncode == 0, result.stderr
    names = [call[0] for call in checkout.calls()]
    assert names[-4:] == ["ctc_text", "ctc_text", "score", "write_results"]
    assert not {"prepare_llm", "llm_train", "decode", "pack"} & {*names}
    assert "stage 7 llm: not needed" in result.stdout and "stage 13 pack: not needed" in result.stdout
    checkout.run("--system", "ctc", "--task", "asr", recipe="librispeech")
    assert checkout.calls() == []
