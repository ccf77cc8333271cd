"""Both trainings on a corpus of noise: what is saved, what they start from, averages, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from speechllama.bin import average_checkpoints, collect_llm_stats, pack
from speechllama.data.ark import read_matrix
from speechllama.decode.experiment import load_experiment
from speechllama.decode.speech2text import Speech2Text, Utterance
from speechllama.files import read_table
from speechllama.model.audio import Features
from speechllama.model.build import build_speech_llama, read_settings
from speechllama.train.average import rank_epochs
from speechllama.train.espnet import SpeechTask
from speechllama.train.start import start_from


def test_checkpoints_hold_only_what_trains(recipe: Any) -> None:
    frozen = recipe.load(recipe.root / "e5/2epoch.pth")
    assert {name.split(".")[1] for name in frozen} == {"audio_encoder", "base_fingerprint"}
    adapted = recipe.load(recipe.root / "e6/2epoch.pth")
    assert {name for name in adapted if name.startswith("network.llm.")}
    assert all("lora_" in name for name in adapted if name.startswith("network.llm."))


def test_one_program_counts_the_positions_of_several_sets(recipe: Any, tmp_path: Path) -> None:
    sets = ("train", "dev")
    together = [str(tmp_path / name) for name in sets]
    words = ["--config", str(recipe.root / "e5.yaml"), "--llm_dir", str(recipe.root / "llm")]
    words += ["--ctc_dir", str(recipe.root / "ctc")]
    data = [str(recipe.root / name / "compressed") for name in sets]
    collect_llm_stats.main([*words, "--data_dir", *data, "--output_file", *together])
    for name, path in zip(sets, together, strict=True):
        assert Path(path).read_text() == (recipe.root / name / "compressed_llm_shape").read_text()


def test_the_lora_stage_starts_from_the_trained_audio_encoder(recipe: Any) -> None:
    log = (recipe.root / "e6/config.yaml").read_text()
    assert f"init_from: {recipe.root / 'e5'}" in log
    before, after = recipe.load(recipe.root / "e5/model.pth"), recipe.load(recipe.root / "e6/2epoch.pth")
    moved = [(before[name] - after[name]).abs().max().item() for name in before if "audio_encoder" in name]
    assert 0 < max(moved) < 0.5  # it resumed there, and continued training


def test_an_audio_encoder_frozen_in_the_lora_stage_is_the_one_that_was_trained(recipe: Any) -> None:
    start = ["--init_from", str(recipe.root / "e5"), "--train_audio_encoder", "false", "--max_epoch", "1"]
    recipe.train_llm("e6_frozen", *start, prefix_mask="non_causal", llm_conf=recipe.lora)
    recipe.average("e6_frozen")
    before, after = (load_experiment(recipe.root / name).network for name in ("e5", "e6_frozen"))
    for name, tensor in before.audio_encoder.state_dict().items():
        torch.testing.assert_close(after.audio_encoder.state_dict()[name], tensor)


def test_adapters_that_split_the_llms_weights_are_loaded_and_started_from_as_they_were_trained(recipe: Any) -> None:
    lora = {"train": "lora", "lora": {"rank": 2, "init_lora_weights": "pissa_niter_2", "use_rslora": True}}
    start = ["--init_from", str(recipe.root / "e5"), "--max_epoch", "2"]
    path = recipe.train_llm("e6_pissa", *start, prefix_mask="non_causal", llm_conf=lora)
    recipe.average("e6_pissa")
    networks = []
    for seed in (1, 2):  # each process finds other vectors
        torch.manual_seed(seed)
        networks.append(load_experiment(path).network)
    torch.manual_seed(3)
    again = build_speech_llama(read_settings(path), "e6_pissa").eval()
    start_from(again, path)
    weights = [net.llm.model.model.layers[0].self_attn.q_proj for net in (*networks, again)]
    merged = [weight.get_base_layer().weight + weight.get_delta_weight("default") for weight in weights]
    for other in merged[1:]:
        torch.testing.assert_close(other, merged[0], atol=1e-5, rtol=1e-5)
    assert recipe.load(path / "model.pth").keys() > recipe.load(recipe.root / "e5/model.pth").keys()


def test_an_experiment_records_its_settings_in_full(recipe: Any) -> None:
    settings = yaml.safe_load((recipe.root / "e6/config.yaml").read_text())
    assert settings["audio_encoder_conf"] == recipe.sizes
    assert settings["llm_conf"]["lora"]["alpha"] == 4.0  # the default of today
    assert settings["prompt_conf"]["template"].startswith("Translate")


def test_an_average_is_the_mean_of_its_epochs(recipe: Any) -> None:
    mean = recipe.load(recipe.root / "e5/model.pth")
    epochs = [recipe.load(recipe.root / f"e5/{n}epoch.pth") for n in (1, 2)]
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (epochs[0][name] + epochs[1][name]) / 2)


def test_an_average_for_another_system_leaves_the_experiments_own_alone(recipe: Any) -> None:
    own, other = recipe.root / "e5/model.pth", recipe.root / "init/model.pth"
    before = (own.stat().st_mtime_ns, recipe.load(own))
    average_checkpoints.main(["--exp_dir", str(own.parent), "--num_best", "1", "--output_dir", str(other.parent)])
    assert own.stat().st_mtime_ns == before[0]
    assert any(not torch.equal(tensor, before[1][name]) for name, tensor in recipe.load(other).items())


def test_e0_trains_encoder_and_convolutions_on_features(recipe: Any) -> None:
    encoder = {"conv_channels": 2, "transformer": recipe.sizes, "spec_augment": recipe.masks}
    settings = {"compressor": "convolution", "freeze_encoder": False, "prefix_mask": "causal"}
    recipe.train_llm("e0", source="dump", encoder_conf=encoder, **settings)
    parts = {name.split(".")[1] for name in recipe.load(recipe.root / "e0/2epoch.pth")}
    assert parts == {"audio_encoder", "base_fingerprint", "compressor", "encoder"}
    average_checkpoints.main(["--exp_dir", str(recipe.root / "e0")])
    recipe.decode("e0", "dump", "e0/decoded")
    packed = recipe.root / "e0.zip"
    pack.main(
        ["--exp_dir", str(recipe.root / "e0"), "--output", str(packed), "--include_llm", "true"]
        + ["--decode_dir", str(recipe.root / "e0/decoded")]
    )
    translate = Speech2Text.from_pretrained(packed)
    assert translate.network.encoder.get_buffer("std").tolist() != [1.0] * 80  # the statistics travel along
    durations, texts = (read_table(recipe.root / name) for name in ("test/dump/utt2dur", "e0/decoded/text"))
    for utt, place in read_table(recipe.root / "test/dump/feats.scp").items():
        nbest = translate.translate(Features.pad([read_matrix(place)]), [Utterance(float(durations[utt]), "de")])[0]
        assert nbest[0].text == texts[utt]
    assert any(texts.values())
    (segment,) = translate.long(np.random.default_rng(1).normal(0, 0.1, 16000).astype(np.float32))
    assert segment.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(recipe: Any) -> None:
    with pytest.raises(ValueError, match="torch finds no GPU here"):
        recipe.decode("e5", "compressed", "f4", "--ngpu", "1")
    with pytest.raises(ValueError, match="torch finds no GPU here"):
        recipe.train_llm("gpu", "--ngpu", "1")


def test_a_process_has_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechllama.train.espnet.check_device", lambda device: None)  # as on a machine with two GPUs
    with pytest.raises(ValueError, match="--ngpu 2: a process has one GPU; use torchrun --nproc_per_node 2"):
        SpeechTask.check_options(Namespace(ngpu=2), torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compresor", "none"], "unrecognized arguments: --compresor"),
        (["--max_epo", "3"], "unrecognized arguments: --max_epo"),
    ],
)
def test_misspelt_options_are_refused(
    recipe: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        recipe.train_llm("misspelt", *arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_misspelt_keys_and_parameters_are_refused(recipe: Any) -> None:
    with pytest.raises(ValueError, match="misspelt.yaml: unknown key 'prefix_maks'; did you mean 'prefix_mask'"):
        recipe.train_llm("misspelt", prefix_maks="causal")
    with pytest.raises(ValueError, match="audio_encoder.*unknown key 'num_layer'; did you mean 'num_layers'"):
        recipe.train_llm("misspelt", "--audio_encoder_conf", "num_layer=3")
    with pytest.raises(ValueError, match="--freeze_param audio_encodr: the model has no such parameter"):
        recipe.train_llm("misspelt", "--freeze_param", "audio_encodr")
    with pytest.raises(ValueError, match="--init_param skips names that do not match"):
        recipe.train_llm("misspelt", "--init_param", str(recipe.root / "e5/model.pth"))
    with pytest.raises(FileNotFoundError, match="--init_from needs a finished experiment"):
        recipe.train_llm("misspelt", "--init_from", str(recipe.root / "nothing"))
    with pytest.raises(ValueError, match="optim_conf .*unexpected keyword argument 'learning_rate'"):
        recipe.train_llm("misspelt", optim_conf={"learning_rate": 0.1})
    with pytest.raises(ValueError, match=r"scheduler_conf: warmuplr has no \['warmup'\], known are \['warmup_steps'"):
        recipe.train_llm("misspelt", scheduler="warmuplr", scheduler_conf={"warmup": 10})
    nothing = r"misspelt: nothing is left to train \(freeze_param: .*, train_audio_encoder: False, .*'train': 'frozen'"
    with pytest.raises(ValueError, match=nothing):
        recipe.train_llm("misspelt", train_audio_encoder=False)
    with pytest.raises(ValueError, match=r"nothing is left to train \(freeze_param: \['network.audio_encoder'\]"):
        recipe.train_llm("misspelt", "--freeze_param", "network.audio_encoder")
    with pytest.raises(ValueError, match="task_name: unknown task 'translation', expected one of st, asr"):
        recipe.train_llm("misspelt", task_name="translation")


def test_training_from_features_is_training_from_the_cache(recipe: Any) -> None:
    one_update = {"max_epoch": 1, "batch_bins": 100_000, "optim": "sgd", "optim_conf": {"lr": 0.1}}
    from_cache = recipe.train_llm("from_cache", **one_update)
    more = ("--ctc_dir", str(recipe.root / "ctc"))
    from_features = recipe.train_llm("from_features", *more, source="dump", **one_update)
    expected, found = (recipe.load(path / "1epoch.pth") for path in (from_cache, from_features))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4, msg=name)


def test_experiments_of_another_kind_are_refused(recipe: Any) -> None:
    with pytest.raises(ValueError, match="model.pth: trained on another LLM or CTC encoder"):
        recipe.train_llm("misspelt", "--init_from", str(recipe.root / "ctc"))
    with pytest.raises(ValueError, match="config.yaml: no CTC experiment"):
        recipe.train_llm("misspelt", "--ctc_dir", str(recipe.root / "e5"))


def test_an_epoch_that_diverged_is_never_averaged() -> None:
    losses = {1: 2.0, 2: float("nan"), 3: 1.0, 4: float("inf"), 5: 3.0}
    stats = {epoch: {"valid": {"loss": loss}} for epoch, loss in losses.items()}
    assert rank_epochs(stats, "valid.loss.min") == [3, 1, 5]
    assert rank_epochs(stats, "valid.loss.max") == [5, 1, 3]


def test_an_unfinished_experiment_is_refused(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config.yaml: no trained experiment there; run it to stage `average`"):
        load_experiment(tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint.pth: no trained experiment there"):
        average_checkpoints.main(["--exp_dir", str(tmp_path)])
    with pytest.raises(ValueError, match="num_best 0 must be at least 1"):
        average_checkpoints.main(["--exp_dir", str(recipe.root / "e5"), "--num_best", "0"])
    with pytest.raises(ValueError, match="criterion 'valid.bleu.max'.*valid.loss"):
        average_checkpoints.main(["--exp_dir", str(recipe.root / "e5"), "--criterion", "valid.bleu.max"])
