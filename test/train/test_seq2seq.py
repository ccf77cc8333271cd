"""B1 on a corpus of noise: trained, averaged, decoded as a set, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from speechllama.bin import decode, seq2seq_train
from speechllama.files import read_json, read_table
from speechllama.model.build import is_seq2seq
from speechllama.text.tokenizer import train_tokenizer
from speechllama.train.seq2seq import load_seq2seq
from test.seq2seq_recipe import train_b1


@pytest.fixture(scope="module")
def trained(recipe: Any, seq2seq_sizes: dict[str, Any]) -> Path:
    """An experiment of two epochs."""
    return train_b1(recipe, seq2seq_sizes)


def decode_test(recipe: Any, output: str, *more: str, beam: str = "3") -> dict[str, str]:
    decode.main(
        ["--exp_dir", str(recipe.root / "b1"), "--data_dir", str(recipe.root / "test/dump")]
        + ["--output_dir", str(recipe.root / output), "--beam_size", beam, "--nbest", beam, *more]
    )
    return read_table(recipe.root / output / "text")


def test_an_experiment_records_what_it_is_and_its_settings_in_full(trained: Path) -> None:
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    assert is_seq2seq(trained) and not is_seq2seq(trained.parent / "e5") and not is_seq2seq("no/such")
    assert settings["network_conf"]["label_smoothing"] == 0.1  # the default of today
    network, tokenizer = load_seq2seq(trained)
    assert network.eos == tokenizer.num_units == settings["num_units"]
    assert not network.training and float(network.std.min()) != 1.0  # the statistics are in the checkpoint


def test_a_set_is_decoded_like_any_other_systems(recipe: Any, trained: Path) -> None:
    whole = decode_test(recipe, "b1_set")
    assert sorted(whole) == sorted(read_table(recipe.root / "test/dump/text"))
    report = read_json(recipe.root / "b1_set/decode.json")
    assert report["num_utterances"] == 6 and report["rtf"] > 0
    assert report["num_parameters"] == report["num_trainable"] > 10_000
    header, *lines = (recipe.root / "b1_set/nbest.jsonl").read_text().splitlines()
    assert json.loads(header)["stamp"]["search"]["num_proposed"] == 24
    assert [len(json.loads(line)["nbest"]) for line in lines] == [3] * 6
    assert decode_test(recipe, "b1_small", "--batch_size", "2") == whole
    wrong = decode_test(recipe, "b1_control", "--control", "true")
    assert sorted(wrong.values()) == sorted(whole.values()) and wrong != whole


def test_what_was_decoded_is_not_decoded_again_unless_the_weight_of_ctc_changes(
    recipe: Any, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        decode_test(recipe, "b1_again")
        decode_test(recipe, "b1_again")
        decode_test(recipe, "b1_again", "--ctc_weight", "0.6")
    counts = [line.split(": ")[1] for line in caplog.messages if "are to be decoded" in line]
    assert counts == [f"{n} of 6 utterances are to be decoded" for n in (6, 0, 6)]


def test_what_does_not_belong_together_is_refused(recipe: Any, trained: Path, tmp_path: Path) -> None:
    root = recipe.root
    with pytest.raises(ValueError, match=r"compressed: compressed.scp there; the encoder-decoder takes feats.scp"):
        decode.main(
            ["--exp_dir", str(trained), "--data_dir", str(root / "test/compressed"), "--output_dir", str(tmp_path)]
        )
    with pytest.raises(ValueError, match=r"--ctc_weight 0.5 is for encoder-decoders, and .*e5 is none"):
        decode.main(
            ["--exp_dir", str(root / "e5"), "--data_dir", str(root / "test/dump"), "--output_dir", str(tmp_path)]
            + ["--ctc_weight", "0.5"]
        )
    other = tmp_path / "b1"
    shutil.copytree(trained, other)
    settings = yaml.safe_load((other / "config.yaml").read_text())
    tokenizer = train_tokenizer(["der hund", "la femme"], tmp_path / "bpe", 20)
    (other / "config.yaml").write_text(yaml.safe_dump({**settings, "tokenizer": str(tokenizer)}))
    with pytest.raises(ValueError, match=rf"\d+ units, but {other} was trained with {settings['num_units']}; train it"):
        load_seq2seq(other)
    settings["network_conf"]["num_decoder_layers"] = 1
    (other / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ValueError, match=r"model.pth: the weights do not fit config.yaml"):
        load_seq2seq(other)
    (other / "model.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"model.pth: no trained experiment there; run it to stage `average`"):
        load_seq2seq(other)


def test_a_misspelt_size_is_refused(recipe: Any, tmp_path: Path) -> None:
    config = recipe.config("b1_bad", network_conf={"num_layers": 3})
    with pytest.raises(ValueError, match="unknown key 'num_layers'; did you mean 'num_.*_layers'"):
        seq2seq_train.main(
            ["--config", config, "--output_dir", str(tmp_path / "b1"), "--ngpu", "0"]
            + ["--tokenizer", str(recipe.root / "bpe/bpe.model"), "--cmvn_file", str(recipe.root / "stats/cmvn.npz")]
            + recipe.options([[], []], [[], []])
        )
