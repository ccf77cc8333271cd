"""The host: both trainings, resume, checkpoints, cache, decoding, control, packing, on a corpus of noise."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from speechllama.bin import average_checkpoints, collect_llm_stats, ctc_compress, decode, llm_train, pack, translate
from speechllama.data.ark import ark_writer, merge_parts
from speechllama.data.audio import SAMPLE_RATE
from speechllama.data.data_dir import DataDir, read_data_dir, write_data_dir
from speechllama.data.stats import collect_stats
from speechllama.data.tokenizer import train_tokenizer
from speechllama.decode.control import derange
from speechllama.decode.experiment import load_experiment
from speechllama.decode.speech2text import Speech2Text
from speechllama.files import read_json, read_table, write_table
from speechllama.model.llm_record import prepare_llm, read_llm_record
from speechllama.tasks.average import rank_epochs

WORDS = ["der", "hund", "la", "femme", "el", "pan", "rot"]
SIZES = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.0}
LORA = {"train": "lora", "lora": {"rank": 2}}
MASKS = {"num_freq_masks": 0, "freq_width": 0, "num_time_masks": 0, "time_ratio": 0.0}
TRAINER = {
    "batch_type": "numel",
    "num_workers": 0,
    "optim": "adamw",
    "optim_conf": {"lr": 0.01},
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 2,
    "num_att_plot": 0,
    "max_epoch": 2,
}


def make_set(path: Path, num_utterances: int, seed: int) -> None:
    """A data directory with features of noise, 0.6 to 1.2 s each."""
    random = np.random.default_rng(seed)
    names = [f"de_{seed}-{index:03d}" for index in range(num_utterances)]
    texts = {name: " ".join(random.choice(WORDS, 3)) + f" {index}" for index, name in enumerate(names)}
    path.mkdir(parents=True)
    tables = {
        "text": {utt: text.title() for utt, text in texts.items()},
        "src_text": texts,
        "utt2spk": {utt: f"de_{seed}" for utt in texts},
        "utt2lang": dict.fromkeys(texts, "de"),
    }
    frames = {utt: int(random.integers(60, 120)) for utt in texts}
    tables["utt2dur"] = {utt: f"{count / 100:.2f}" for utt, count in frames.items()}
    tables["wav.scp"] = {utt: f"{utt}.wav" for utt in texts}
    write_data_dir(DataDir(path / "data", tables), path / "data")
    with ark_writer(path / "dump", "feats", 1) as write:
        for utt, count in frames.items():
            write(utt, random.normal(size=(count, 80)).astype(np.float32))
    write_table(path / "dump" / "utt2num_frames.1", {utt: str(count) for utt, count in frames.items()})
    merge_parts(path / "data", path / "dump", 1, "feats")


class Recipe:
    """A recipe's folder; every method is one stage."""

    def __init__(self, root: Path, llm: Path) -> None:
        self.root = root
        for name, count in (("train", 12), ("dev", 4), ("test", 6)):
            make_set(root / name, count, len(name))
        train_tokenizer(list(read_table(root / "train/dump/src_text").values()), root / "bpe", 40)
        collect_stats(root / "train/dump", root / "dev/dump", root / "bpe/bpe.model", root / "stats")
        prepare_llm(str(llm), None, root / "llm")

    def config(self, name: str, **settings: object) -> str:
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**TRAINER, **settings}), encoding="utf-8")
        return str(path)

    def train_ctc(self, name: str, **settings: object) -> Path:
        from speechllama.bin import ctc_train

        encoder = {"conv_channels": 2, "transformer": SIZES, "spec_augment": MASKS}
        config = self.config(name, encoder_conf=encoder, batch_bins=40000, **settings)
        parts, kinds = ("train", "dev"), ("speech_shape", "text_shape")
        data = [self.data(f"{part}/dump", "feats.scp,speech,kaldi_ark", "src_text,text,text") for part in parts]
        shapes = [str(self.root / "stats" / part / kind) for part in parts for kind in kinds]
        ctc_train.main(
            ["--config", config, "--output_dir", str(self.root / name), "--resume", "true", "--ngpu", "0"]
            + ["--tokenizer", str(self.root / "bpe/bpe.model"), "--cmvn_file", str(self.root / "stats/cmvn.npz")]
            + self.options(data, [shapes[:2], shapes[2:]])
        )
        average_checkpoints.main(["--exp_dir", str(self.root / name), "--num_best", "2"])
        return self.root / name

    def compress(self, part: str) -> Path:
        output = self.root / part / "compressed"
        ctc_compress.main(
            ["--ctc_dir", str(self.root / "ctc"), "--data_dir", str(self.root / part / "dump")]
            + ["--output_dir", str(output), "--tokenizer", str(self.root / "bpe/bpe.model"), "--batch_frames", "300"]
        )
        merge_parts(self.root / part / "dump", output, 1, "compressed")
        return output

    def train_llm(self, name: str, *more: str, source: str = "compressed", **settings: object) -> Path:
        config = self.config(name, audio_encoder_conf=SIZES, **{"batch_bins": 300, **settings})
        table = {"compressed": "compressed.scp,compressed,kaldi_ark", "dump": "feats.scp,speech,kaldi_ark"}[source]
        tables = (table, "text,text,text", "utt2lang,lang,text")
        data = [self.data(f"{part}/{source}", *tables) for part in ("train", "dev")]
        shapes = []
        for part in ("train", "dev"):
            shape = self.root / part / f"{source}_llm_shape"
            collect_llm_stats.main(
                ["--config", config, "--data_dir", str(self.root / part / source)]
                + ["--llm_dir", str(self.root / "llm")]
                + ["--output_file", str(shape)]
            )
            shapes.append([str(shape)])
        base = ["--ctc_dir", str(self.root / "ctc")] if source == "compressed" else []
        base += [] if base else ["--cmvn_file", str(self.root / "stats/cmvn.npz")]
        llm_train.main(
            ["--config", config, "--output_dir", str(self.root / name), "--resume", "true", "--ngpu", "0"]
            + ["--llm_dir", str(self.root / "llm"), *base, *self.options(data, shapes), *more]
        )
        return self.root / name

    def average(self, name: str) -> None:
        average_checkpoints.main(["--exp_dir", str(self.root / name), "--num_best", "2"])

    def data(self, folder: str, *tables: str) -> list[str]:
        return [str(self.root / folder / table) for table in tables]

    @staticmethod
    def options(data: list[list[str]], shapes: list[list[str]]) -> list[str]:
        words = []
        for phase, tables, files in zip(("train", "valid"), data, shapes, strict=True):
            words += [word for table in tables for word in (f"--{phase}_data_path_and_name_and_type", table)]
            words += [word for file in files for word in (f"--{phase}_shape_file", file)]
        return words


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Recipe:
    """A trained CTC encoder, its cache, E5 and E6 on it."""
    made = Recipe(tmp_path_factory.mktemp("recipe"), tiny_llm)
    made.train_ctc("ctc")
    for part in ("train", "dev", "test"):
        made.compress(part)
    made.train_llm("e5", prefix_mask="non_causal")
    made.average("e5")
    made.train_llm("e6", "--init_from", str(made.root / "e5"), prefix_mask="non_causal", llm_conf=LORA)
    made.average("e6")
    return made


def load(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


def test_checkpoints_hold_only_what_trains(recipe: Recipe) -> None:
    frozen = load(recipe.root / "e5/2epoch.pth")
    assert {name.split(".")[1] for name in frozen} == {"audio_encoder", "base_fingerprint"}
    adapted = load(recipe.root / "e6/2epoch.pth")
    assert {name for name in adapted if name.startswith("network.llm.")}
    assert all("lora_" in name for name in adapted if name.startswith("network.llm."))


def test_the_lora_stage_starts_from_the_trained_audio_encoder(recipe: Recipe) -> None:
    log = (recipe.root / "e6/config.yaml").read_text()
    assert f"init_from: {recipe.root / 'e5'}" in log
    before, after = load(recipe.root / "e5/model.pth"), load(recipe.root / "e6/2epoch.pth")
    moved = [(before[name] - after[name]).abs().max().item() for name in before if "audio_encoder" in name]
    assert 0 < max(moved) < 0.5  # it went on from there, and went on training


def test_an_audio_encoder_frozen_in_the_lora_stage_is_the_one_that_was_trained(recipe: Recipe) -> None:
    start = ["--init_from", str(recipe.root / "e5"), "--train_audio_encoder", "false", "--max_epoch", "1"]
    recipe.train_llm("e6_frozen", *start, prefix_mask="non_causal", llm_conf=LORA)
    recipe.average("e6_frozen")
    before, after = (load_experiment(recipe.root / name).network for name in ("e5", "e6_frozen"))
    for name, tensor in before.audio_encoder.state_dict().items():
        torch.testing.assert_close(after.audio_encoder.state_dict()[name], tensor)


def test_an_experiment_records_its_settings_in_full(recipe: Recipe) -> None:
    settings = yaml.safe_load((recipe.root / "e6/config.yaml").read_text())
    assert settings["audio_encoder_conf"] == SIZES
    assert settings["llm_conf"]["lora"]["alpha"] == 4.0  # the default of today
    assert settings["prompt_conf"]["template"].startswith("Translate")


def test_an_average_is_the_mean_of_its_epochs(recipe: Recipe) -> None:
    mean, epochs = load(recipe.root / "e5/model.pth"), [load(recipe.root / f"e5/{n}epoch.pth") for n in (1, 2)]
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (epochs[0][name] + epochs[1][name]) / 2)


def test_an_average_for_another_system_leaves_the_experiments_own_alone(recipe: Recipe) -> None:
    own, other = recipe.root / "e5/model.pth", recipe.root / "init/model.pth"
    before = (own.stat().st_mtime_ns, load(own))
    average_checkpoints.main(["--exp_dir", str(own.parent), "--num_best", "1", "--output_dir", str(other.parent)])
    assert own.stat().st_mtime_ns == before[0]
    assert any(not torch.equal(tensor, before[1][name]) for name, tensor in load(other).items())


def test_the_cache_holds_what_the_network_computes(recipe: Recipe) -> None:
    network = load_experiment(recipe.root / "e5").network
    dump, cache = (read_data_dir(recipe.root / "test" / kind) for kind in ("dump", "compressed"))
    from speechllama.data.ark import read_matrix

    for utterance, place in dump.table("feats.scp").items():
        features = torch.from_numpy(read_matrix(place).copy())[None]
        with torch.no_grad():
            expected = network.compress(features, torch.tensor([features.shape[1]])).vectors[0]
        cached = torch.from_numpy(read_matrix(cache.table("compressed.scp")[utterance]).copy())
        torch.testing.assert_close(cached, expected, atol=1e-4, rtol=1e-4)


def test_training_resumed_equals_training_unbroken(recipe: Recipe) -> None:
    recipe.train_llm("whole", max_epoch=3)
    recipe.train_llm("broken", max_epoch=1)
    recipe.train_llm("broken", max_epoch=3)
    whole, broken = load(recipe.root / "whole/3epoch.pth"), load(recipe.root / "broken/3epoch.pth")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_sampling_over_languages_resumes_as_if_unbroken(recipe: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    table = recipe.root / "train/compressed/utt2lang"
    original = read_table(table)
    write_table(table, {utt: "fr" if index < 2 else "de" for index, utt in enumerate(sorted(original))})
    settings: dict[str, Any] = {"language_temperature": 100.0, "batch_bins": 150}
    with caplog.at_level("INFO"):
        recipe.train_llm("whole_sampled", max_epoch=3, **settings)
    assert "language_temperature 100: an epoch draws de 6, fr 6" in caplog.text  # of 10 and 2
    recipe.train_llm("broken_sampled", max_epoch=1, **settings)
    recipe.train_llm("broken_sampled", max_epoch=3, **settings)
    recipe.train_llm("unsampled", max_epoch=3, batch_bins=150)
    write_table(table, original)
    whole, broken, other = (
        load(recipe.root / f"{name}/3epoch.pth") for name in ("whole_sampled", "broken_sampled", "unsampled")
    )
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not all(torch.equal(whole[name], other[name]) for name in whole)


def test_a_checkpoint_of_the_other_espnet_is_resumed(recipe: Recipe) -> None:
    recipe.train_llm("other", max_epoch=1)
    state = torch.load(recipe.root / "other/checkpoint.pth", weights_only=False)
    # 202511 writes numpy's numbers and a timedelta, 202611 reads neither
    stats = state["reporter"]["stats"][1]["train"]
    stats.update(time=datetime.timedelta(seconds=3), iter_time=np.float64(0.5))
    torch.save(state, recipe.root / "other/checkpoint.pth")
    recipe.train_llm("other", max_epoch=2)
    assert (recipe.root / "other/2epoch.pth").is_file()


@pytest.mark.parametrize("torn", ["checkpoint.pth", "2epoch.pth", "both"])
def test_a_kill_while_saving_loses_at_most_the_epoch_in_flight(recipe: Recipe, torn: str) -> None:
    folder = recipe.root / f"torn_{torn}"
    shutil.copytree(recipe.root / "e5", folder)
    for name in ["checkpoint.pth", "2epoch.pth"] if torn == "both" else [torn]:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    recipe.train_llm(folder.name, prefix_mask="non_causal")
    repaired, whole = load(folder / "2epoch.pth"), load(recipe.root / "e5/2epoch.pth")
    assert all(torch.equal(repaired[name], whole[name]) for name in whole)


def test_e0_trains_encoder_and_convolutions_on_features(recipe: Recipe) -> None:
    encoder = {"conv_channels": 2, "transformer": SIZES, "spec_augment": MASKS}
    recipe.train_llm("e0", source="dump", compressor="convolution", prefix_mask="causal", encoder_conf=encoder)
    parts = {name.split(".")[1] for name in load(recipe.root / "e0/2epoch.pth")}
    assert parts == {"audio_encoder", "base_fingerprint", "compressor", "encoder"}
    average_checkpoints.main(["--exp_dir", str(recipe.root / "e0")])
    decode_to(recipe, "e0", "dump", "e0/decoded")
    packed = recipe.root / "e0.zip"
    pack.main(["--exp_dir", str(recipe.root / "e0"), "--output", str(packed), "--include_llm", "true"])
    network = load_experiment(packed).network
    assert network.encoder.std.tolist() != [1.0] * 80  # the statistics travel along


def decode_to(recipe: Recipe, system: str, source: str, output: str, *more: str) -> dict[str, str]:
    decode.main(
        ["--exp_dir", str(recipe.root / system), "--data_dir", str(recipe.root / "test" / source)]
        + ["--output_dir", str(recipe.root / output), "--beam_size", "3", "--num_best", "2", *more]
    )
    return read_table(recipe.root / output / "text")


def test_cache_features_and_batch_size_give_the_same_text(recipe: Recipe) -> None:
    cached = decode_to(recipe, "e6", "compressed", "a")
    assert len(cached) == 6
    assert decode_to(recipe, "e6", "dump", "b") == cached
    assert decode_to(recipe, "e6", "compressed", "c", "--batch_size", "1") == cached
    report = read_json(recipe.root / "a/decode.json")
    assert report["num_utterances"] == 6
    assert report["num_trainable"] < report["num_parameters"]
    nbest = [json.loads(line) for line in (recipe.root / "a/nbest.jsonl").read_text().splitlines()[1:]]
    assert all(len(record["nbest"]) == 2 for record in nbest)


def test_decoding_goes_on_behind_the_utterances_it_has(recipe: Recipe) -> None:
    whole = decode_to(recipe, "e5", "compressed", "d", "--batch_size", "2")
    lines = (recipe.root / "d/nbest.jsonl").read_text().splitlines(keepends=True)
    marked = lines[1].replace('"text": "', '"text": "KEPT ')
    (recipe.root / "d/nbest.jsonl.part").write_text(lines[0] + marked + lines[2][:20])
    resumed = decode_to(recipe, "e5", "compressed", "d", "--batch_size", "2")
    kept = json.loads(lines[1])["utt"]
    assert resumed == {**whole, kept: f"KEPT {whole[kept]}".strip()}
    # a finished set is not decoded again
    (recipe.root / "d/nbest.jsonl").write_text((recipe.root / "d/nbest.jsonl").read_text().replace("KEPT", "STILL"))
    again = decode_to(recipe, "e5", "compressed", "d", "--batch_size", "2")
    assert again == {**whole, kept: f"STILL {whole[kept]}".strip()}
    # other settings start anew
    (recipe.root / "d/nbest.jsonl.part").write_text(lines[0] + marked)
    assert "KEPT" not in "".join(decode_to(recipe, "e5", "compressed", "d", "--batch_size", "3").values())


def test_memory_that_ends_halves_the_batch(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = decode_to(recipe, "e5", "compressed", "e")
    original, sizes = Speech2Text.translate, []

    def small_memory(self: Speech2Text, audio: list[np.ndarray], *rest: object, **more: object) -> object:
        sizes.append(len(audio))
        if len(audio) > 2:
            raise torch.OutOfMemoryError("no memory")
        return original(self, audio, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Speech2Text, "translate", small_memory)
    assert decode_to(recipe, "e5", "compressed", "f") == whole
    assert sizes == [6, 3, 1, 2, 3, 1, 2]


def test_a_cpu_without_memory_halves_the_batch_too(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        torch.empty(10**15)

    monkeypatch.setattr(Speech2Text, "translate", no_memory)
    with pytest.raises(ValueError, match=r"utterance de_4-\d+ .* alone does not fit into memory"):
        decode_to(recipe, "e5", "compressed", "f2")


def test_a_cache_of_another_compressor_is_refused(recipe: Recipe) -> None:
    shutil.copytree(recipe.root / "test/compressed", recipe.root / "test/other")
    done = recipe.root / "test/other/compressed.1.done"
    done.write_text(done.read_text().replace("frame_average", "blank_removal"))
    with pytest.raises(ValueError, match="other: compressed by .*blank_removal.*, the model expects .*frame_average"):
        decode_to(recipe, "e5", "other", "f3")


def test_units_of_another_tokenizer_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    train_tokenizer(["der hund", "la femme"], tmp_path, 20)
    with pytest.raises(ValueError, match=r"bpe.model: \d+ CTC units, but .*ctc was trained with another number"):
        ctc_compress.main(
            ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(recipe.root / "test/dump")]
            + ["--output_dir", str(tmp_path), "--tokenizer", str(tmp_path / "bpe.model")]
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="torch finds no GPU here"):
        decode_to(recipe, "e5", "compressed", "f4", "--ngpu", "1")
    with pytest.raises(ValueError, match="torch finds no GPU here"):
        recipe.train_llm("gpu", "--ngpu", "1")


def test_the_control_gives_everyone_anothers_audio_of_another_text(recipe: Recipe) -> None:
    texts = {"a": "x", "b": "x", "c": "y", "d": "y"}
    other = derange(list(texts), texts)
    assert sorted(other.values()) == sorted(texts)
    assert all(texts[utt] != texts[partner] for utt, partner in other.items())
    with pytest.raises(ValueError, match="no control is possible: 1 utterances"):
        derange(["a"], texts)
    right = decode_to(recipe, "e5", "dump", "g")
    wrong = decode_to(recipe, "e5", "dump", "h", "--control", "true")
    mapping = derange(list(right), read_table(recipe.root / "test/dump/text"))
    assert all(wrong[utt] == right[mapping[utt]] for utt in right)


def test_a_packed_model_translates_files_anywhere(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=SAMPLE_RATE) * 0.1, SAMPLE_RATE)
    (tmp_path / "bad.mp3").write_bytes(b"nothing")
    pack.main(["--exp_dir", str(recipe.root / "e6"), "--output", str(tmp_path / "e6.zip"), "--include_llm", "true"])
    monkeypatch.chdir(tmp_path)
    status = translate.main(["--model", "e6.zip", "a.wav", "bad.mp3"])
    captured = capsys.readouterr()
    assert status == 1
    assert "bad.mp3" in captured.err
    path, text = captured.out.rstrip("\n").split("\t")
    assert path == "a.wav"
    assert Speech2Text.from_pretrained(recipe.root / "e6")(tmp_path / "a.wav")[0].text == text


def test_a_packed_llm_is_read_from_the_zip(recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(recipe.root / "e5", tmp_path / "e5")
    record = read_json(recipe.root / "llm/llm.json")
    shutil.copytree(record["path"], tmp_path / "llm/model")
    prepare_llm(str(tmp_path / "llm/model"), None, tmp_path / "llm")  # as in the mini recipe, the path is relative
    settings = yaml.safe_load((tmp_path / "e5/config.yaml").read_text())
    (tmp_path / "e5/config.yaml").write_text(yaml.safe_dump({**settings, "llm_dir": str(tmp_path / "llm")}))
    for system, inside, expected in (
        (recipe.root / "e5", "true", "inside.unpacked/llm/tiny"),
        (tmp_path / "e5", "false", "llm/model"),
    ):
        name = "inside" if inside == "true" else "outside"
        pack.main(["--exp_dir", str(system), "--output", str(tmp_path / f"{name}.zip"), "--include_llm", inside])
        load_experiment(tmp_path / f"{name}.zip")
        assert read_llm_record(str(tmp_path / f"{name}.unpacked/llm"))[0] == str(tmp_path / expected)


def test_an_llm_known_by_its_hub_id_alone_is_not_packed(recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(recipe.root / "e5", tmp_path / "e5")
    (tmp_path / "llm").mkdir()
    record = read_json(recipe.root / "llm/llm.json")
    (tmp_path / "llm/llm.json").write_text(json.dumps({**record, "path": "organisation/llama"}))
    settings = yaml.safe_load((tmp_path / "e5/config.yaml").read_text())
    (tmp_path / "e5/config.yaml").write_text(yaml.safe_dump({**settings, "llm_dir": str(tmp_path / "llm")}))
    with pytest.raises(ValueError, match="organisation/llama: a hub id; only an LLM in a local directory"):
        pack.main(["--exp_dir", str(tmp_path / "e5"), "--output", str(tmp_path / "e5.zip"), "--include_llm", "true"])


def test_weights_on_another_llm_are_refused(recipe: Recipe, tmp_path: Path, tiny_llm: Path) -> None:
    other = tmp_path / "llm"
    shutil.copytree(tiny_llm, other / "model")
    weights = bytearray((other / "model/model.safetensors").read_bytes())
    weights[-2000] ^= 1
    (other / "model/model.safetensors").write_bytes(weights)
    prepare_llm(str(other / "model"), None, other)
    shutil.copytree(recipe.root / "e5", tmp_path / "e5")
    settings = yaml.safe_load((tmp_path / "e5/config.yaml").read_text())
    (tmp_path / "e5/config.yaml").write_text(yaml.safe_dump({**settings, "llm_dir": str(other)}))
    with pytest.raises(ValueError, match="model.pth: this checkpoint was trained on another base model"):
        load_experiment(tmp_path / "e5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compresor", "none"], "unrecognized arguments: --compresor"),
        (["--max_epo", "3"], "unrecognized arguments: --max_epo"),
    ],
)
def test_misspelt_options_are_refused(
    recipe: Recipe, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        recipe.train_llm("misspelt", *arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_misspelt_keys_and_parameters_are_refused(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="misspelt.yaml: unknown key 'prefix_maks'; did you mean 'prefix_mask'"):
        recipe.train_llm("misspelt", prefix_maks="causal")
    with pytest.raises(ValueError, match="audio_encoder.*unknown key 'num_layer'; did you mean 'num_layers'"):
        recipe.train_llm("misspelt", "--audio_encoder_conf", "num_layer=3")
    with pytest.raises(ValueError, match="--freeze_param audio_encodr: the model has no such parameter"):
        recipe.train_llm("misspelt", "--freeze_param", "audio_encodr")
    with pytest.raises(ValueError, match="--init_param passes over names that do not match"):
        recipe.train_llm("misspelt", "--init_param", str(recipe.root / "e5/model.pth"))
    with pytest.raises(FileNotFoundError, match="--init_from needs a finished experiment"):
        recipe.train_llm("misspelt", "--init_from", str(recipe.root / "nothing"))
    with pytest.raises(ValueError, match="optim_conf .*unexpected keyword argument 'learning_rate'"):
        recipe.train_llm("misspelt", optim_conf={"learning_rate": 0.1})
    with pytest.raises(ValueError, match=r"scheduler_conf: warmuplr has no \['warmup'\], known are \['warmup_steps'"):
        recipe.train_llm("misspelt", scheduler="warmuplr", scheduler_conf={"warmup": 10})
    with pytest.raises(ValueError, match="task_name 'translation' is none of st, asr"):
        recipe.train_llm("misspelt", task_name="translation")


def test_experiments_of_another_kind_are_refused(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="model.pth: trained on another LLM or CTC encoder"):
        recipe.train_llm("misspelt", "--init_from", str(recipe.root / "ctc"))
    with pytest.raises(ValueError, match="config.yaml: no CTC experiment"):
        recipe.train_llm("misspelt", "--ctc_dir", str(recipe.root / "e5"))


def test_an_epoch_that_diverged_is_never_averaged() -> None:
    losses = {1: 2.0, 2: float("nan"), 3: 1.0, 4: float("inf"), 5: 3.0}
    stats = {epoch: {"valid": {"loss": loss}} for epoch, loss in losses.items()}
    assert rank_epochs(stats, "valid.loss.min") == [3, 1, 5]
    assert rank_epochs(stats, "valid.loss.max") == [5, 1, 3]


def test_an_unfinished_experiment_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config.yaml: no trained experiment there; run it to stage 10"):
        load_experiment(tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint.pth: no trained experiment there"):
        average_checkpoints.main(["--exp_dir", str(tmp_path)])
    with pytest.raises(ValueError, match="num_best 0 must be at least 1"):
        average_checkpoints.main(["--exp_dir", str(recipe.root / "e5"), "--num_best", "0"])
    with pytest.raises(ValueError, match="criterion 'valid.bleu.max'.*valid.loss"):
        average_checkpoints.main(["--exp_dir", str(recipe.root / "e5"), "--criterion", "valid.bleu.max"])
