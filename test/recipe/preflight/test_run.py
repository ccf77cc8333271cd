"""A run's options are read as the trainer reads them, and refused as it would."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from speechllama.frontend.feature_format import FeatureFormat
from speechllama.model.meta_model import read_architecture
from speechllama.recipe.preflight import checks, schedule, systems
from speechllama.recipe.preflight.amounts import Amount, feature_bytes
from speechllama.recipe.preflight.run import CheckedRun, read_settings
from speechllama.recipe.preflight.schedule import estimate_times
from speechllama.recipe.system import ConfFolders, Config
from speechllama.train.options import known_options
from test.frontend.encoders import make_encoder
from test.frontend.test_ctc_head import NUM_UNITS, make_checkpoint
from test.recipe.conftest import EGS
from test.recipe.preflight.conftest import MakeRun
from test.text.test_checkpoint_units import save_letters


def small_config(name: str) -> Config:
    """A YAML of the small size."""
    return ConfFolders("small", own=EGS / "covost2" / "conf").read(name)


@pytest.mark.parametrize("kind", ["ctc", "system", "seq2seq"])
def test_the_options_that_hold_settings_are_those_whose_name_says_so(kind: str) -> None:
    from speechllama.train.ctc import CTCTask
    from speechllama.train.espnet import NestedDictAction
    from speechllama.train.seq2seq import Seq2SeqTask
    from speechllama.train.speech_llama import SpeechLlamaTask

    parser = {"ctc": CTCTask, "system": SpeechLlamaTask, "seq2seq": Seq2SeqTask}[kind].get_parser()
    nested = {action.dest for action in parser._actions if isinstance(action, NestedDictAction)}
    assert nested == {name for name in known_options(kind) if name.endswith("_conf")}


def test_options_override_a_yaml_as_the_trainer_reads_them() -> None:
    config = small_config("e6")
    plain = read_settings(config, "", "system")
    options = "--max_epoch 2 --batch_bins=77 --optim_conf lr=1.0e-3 --keep_nbest_models 2 7 "
    options += "--llm_conf gradient_checkpointing=true --llm_conf lora.rank=3 --audio_encoder_conf '{num_layers: 1}'"
    settings = read_settings(config, options, "system")
    assert (settings["max_epoch"], settings["batch_bins"], settings["keep_nbest_models"]) == (2, 77, [2, 7])
    assert settings["optim_conf"] == plain["optim_conf"] | {"lr": 0.001}
    lora = plain["llm_conf"].get("lora", {}) | {"rank": 3}
    assert settings["llm_conf"] == plain["llm_conf"] | {"gradient_checkpointing": True, "lora": lora}
    assert settings["audio_encoder_conf"] == plain["audio_encoder_conf"] | {"num_layers": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--max_epochs 2", "unrecognized arguments: --max_epochs 2"),
        ("--llm_conf true", "must be interpreted as dict: but got true"),
        ("--max_epoch two", "max_epoch: expected a whole number, found 'two'"),
        ("--llm_conf 'a={'", "options .*while parsing a flow"),
        ("--batch_bins '", "No closing quotation"),
        ("--max_epochs 2 --llm_conf true --bins 3", "(?s)--max_epochs 2; .*got true.*; unrec.*: --bins 3"),
        ("--max_epoch two --batch_bins 1.5", "batch_bins: .* found 1.5; max_epoch: .* number, found 'two'"),
        ("--max_epo 2", "unrecognized arguments: --max_epo 2"),
    ],
)
def test_options_that_the_trainer_would_refuse_are_faults(options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_settings(small_config("e5"), options, "system")


def test_nested_settings_that_are_none_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "e5.yaml").write_text("llm_conf: frozen\n")
    with pytest.raises(ValueError, match="e5.yaml: llm_conf: expected settings .*, found 'frozen'"):
        read_settings(ConfFolders(own=tmp_path).read("e5"), "", "system")


def test_a_key_of_a_yaml_that_is_no_option_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "ctc.yaml").write_text("max_epochs: 3\n")
    with pytest.raises(ValueError, match="ctc.yaml: unknown key 'max_epochs'; did you mean 'max_epoch'?"):
        read_settings(ConfFolders(own=tmp_path).read("ctc"), "", "ctc")


@pytest.mark.parametrize(
    ("words", "uses_llm", "device"),
    [
        (("--system", "e6"), True, "cpu"),
        (("--system", "e6", "--stop_stage", "6"), False, "cpu"),
        (("--system", "b1", "--ngpu", "1"), False, "cuda"),
        (("--system", "b2"), True, "cpu"),
    ],
)
def test_a_run_says_what_it_needs_of_the_machine(
    checked_run: MakeRun, words: tuple[str, ...], uses_llm: bool, device: str
) -> None:
    run = checked_run("mini_covost2", *words)
    assert (run.uses_llm, run.device) == (uses_llm, device)
    assert run.options is run.plan.options and run.layout is run.plan.layout
    assert run == CheckedRun(run.plan)


def a_recipe(folder: Path, **front_ends: str) -> Path:
    """covost2's settings, with front ends of its own."""
    shutil.copytree(EGS / "covost2/conf", folder / "conf")
    shutil.copytree(EGS / "covost2/local", folder / "local")
    (folder / "conf/frontend").mkdir()
    for name, text in front_ends.items():
        (folder / f"conf/frontend/{name}.yaml").write_text(text)
    return folder


def test_the_front_end_says_what_its_features_are(checked_run: MakeRun, tmp_path: Path) -> None:
    narrow = "frontend: fbank\nfrontend_conf: {num_mel_bins: 40, frame_shift_ms: 5}\n"
    lips = "frontend: given\nfrontend_conf: {dim: 7, frame_shift_ms: 20}\n"
    folder = a_recipe(tmp_path / "recipe", narrow=narrow, given=lips)
    words = ("--llm", "some/llm", "--frontend")
    default, other, given = (checked_run(folder, *words, name) for name in ("fbank", "narrow", "given"))
    assert (default.features.feature_dim, default.features.frame_shift) == (80, pytest.approx(0.01))
    assert (other.features.feature_dim, other.features.frame_shift) == (40, pytest.approx(0.005))
    hour = {"train": Amount(720, 3600.0)}
    assert feature_bytes(hour, default.features) == pytest.approx(3600 * 100 * 80 * 4)
    assert feature_bytes(hour, other.features) == pytest.approx(feature_bytes(hour, default.features))
    assert feature_bytes(hour, given.features) == 0  # they stay where they are
    first, second = (systems.ctc_training(run) for run in (default, other))
    # A batch is as much speech with every front end.
    assert (first.batch.num_frames, second.batch.num_frames) == (500, 1000)
    assert first.batch.num_utterances == second.batch.num_utterances
    assert first.batch.seconds == second.batch.seconds == pytest.approx(5 * first.batch.num_utterances)
    assert first.encoder is not None and second.encoder is not None
    assert second.encoder.build().mean.shape == (40,)
    # 10 bins less leave the convolutions, which the linear layer after them reads
    config = first.encoder.choice.settings
    assert first.num_trained - second.num_trained == 10 * config.conv_channels * config.transformer.dim


def test_a_front_end_that_trains_counts_with_the_networks_of_which_it_is_a_part(
    checked_run: MakeRun, tmp_path: Path, tiny_llm: Path, install_card: Callable[[float], None]
) -> None:
    encoder = make_encoder(tmp_path / "whisper", "whisper")
    conf = f"path: {encoder}, overlap: 1.0"
    trained = f"frontend: hf\nfrontend_conf: {{{conf}, train: lora, lora: {{rank: 3}}}}\n"
    wrong = f"frontend: hf\nfrontend_conf: {{{conf}, train: lora, lora: {{targets: [query]}}}}\n"
    frozen = f"frontend: hf\nfrontend_conf: {{{conf}}}\n"
    folder = a_recipe(tmp_path / "recipe", frozen=frozen, trained=trained, wrong=wrong)
    install_card(80e9)
    words = ("--llm", str(tiny_llm), "--ngpu", "1", "--system")

    def find(system: str, front_end: str) -> tuple[CheckedRun, list[systems.PlannedTraining]]:
        run, faults = checked_run(folder, *words, system, "--frontend", front_end), list[str]()
        found = systems.find_trainings(run, read_architecture(tiny_llm), faults)
        assert faults == []
        return run, found

    adapters = 2 * 2 * 3 * (16 + 16)  # layers, queries and values, rank, inputs and outputs
    for system, trains in (("e5", [True, False]), ("e0", [True]), ("b1", [True])):
        (_, plain), (run, tuned) = find(system, "frozen"), find(system, "trained")
        more = [after.num_trained - before.num_trained for before, after in zip(plain, tuned, strict=True)]
        assert more == [adapters if each else 0 for each in trains]
        for before, after, each in zip(plain, tuned, trains, strict=True):
            first, second = (training.memory(read_architecture(tiny_llm)) for training in (before, after))
            assert second.trained - first.trained == pytest.approx(16 * adapters if each else 0)
            assert second.weights > first.weights and (second.activations > first.activations) == each
        assert systems.decoding_needs(run, tuned, read_architecture(tiny_llm))
    hour = {"train": Amount(720, 3600.0)}
    assert feature_bytes(hour, run.features) == 3600 * 16000 * 2
    report = checks.Report()
    checks.check_front_end(checked_run(folder, *words, "e5", "--frontend", "wrong"), report)
    assert report.faults[0].startswith("--frontend wrong: LoRA targets ['query'] are no linear layers")


def test_a_run_with_a_front_end_that_trains_is_timed(checked_run: MakeRun, tmp_path: Path, tiny_llm: Path) -> None:
    encoder = make_encoder(tmp_path / "hubert", "hubert")
    trained = f"frontend: hf\nfrontend_conf: {{path: {encoder}, train: full}}\n"
    folder = a_recipe(tmp_path / "recipe", trained=trained)
    words = ("--size", "small", "--ctc_units", "40", "--llm", str(tiny_llm), "--frontend", "trained")
    for system, stages in (("e5", ["ctc", "compress", "train"]), ("e0", ["train"])):
        report = checks.run_preflight(checked_run(folder, *words, "--system", system))
        assert report.faults == []
        rows = [row.split(" | ")[0].removeprefix("| ") for row in report.tables[-1].splitlines()[2:]]
        assert rows == ["features", *stages, "decode"]


def test_jobs_that_compute_features_share_a_card(
    checked_run: MakeRun, tmp_path: Path, tiny_llm: Path, install_card: Callable[[float], None]
) -> None:
    encoder = make_encoder(tmp_path / "hubert", "hubert")
    folder = a_recipe(tmp_path / "recipe", frozen=f"frontend: hf\nfrontend_conf: {{path: {encoder}}}\n")
    words = ("--size", "small", "--llm", str(tiny_llm), "--frontend", "frozen", "--nj", "5")
    run = checked_run(folder, *words, "--ngpu", "1")
    model = transformers.AutoModel.from_pretrained(encoder)
    ((_, memory),) = systems.feature_needs(run)
    assert memory.weights == 5 * 4 * sum(weight.numel() for weight in model.parameters()) and memory.scratch == 4e9
    install_card(3e9)
    faults = list[str]()
    systems.check_gpu(run, [], None, faults)
    assert faults[0].startswith("stage features, 5 jobs on a GPU: about 4.0 GB of GPU memory, the card has 3.0")
    assert faults[0].endswith("for features a smaller --nj")
    assert systems.check_gpu(checked_run(folder, *words), [], None, []) == []
    assert systems.feature_needs(checked_run("mini_covost2", "--system", "b1", "--ngpu", "1")) == []
    assert systems.feature_needs(checked_run(folder, *words, "--ngpu", "1", finished=["features"])) == []


@pytest.mark.parametrize(
    ("ngpu", "launcher", "expected"), [(1, "local", 5), (2, "local", 3), (8, "local", 1), (1, "slurm", 1)]
)
def test_jobs_share_the_gpus_of_this_machine_and_have_their_own_on_a_cluster(
    checked_run: MakeRun, ngpu: int, launcher: str, expected: int
) -> None:
    run = checked_run(
        "covost2", "--system", "ctc", "--task", "asr", "--nj", "5", "--ngpu", str(ngpu), launcher=launcher
    )
    assert run.jobs_on_a_card == expected


def test_a_gpu_computes_the_features_of_all_jobs_one_after_the_other(
    checked_run: MakeRun, tmp_path: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder(tmp_path / "hubert", "hubert")
    folder = a_recipe(tmp_path / "recipe", frozen=f"frontend: hf\nfrontend_conf: {{path: {encoder}}}\n")
    asked = []

    def computing(front_end: object, device: str) -> float:
        asked.append(device)
        return 0.01

    monkeypatch.setattr(schedule, "feature_seconds", computing)
    monkeypatch.setattr(schedule, "reading_seconds", lambda datadir: 0.01)
    words = ("--size", "small", "--llm", str(tiny_llm), "--nj", "6")
    found = [
        estimate_times(checked_run(folder, *words, *more, "--ngpu", str(ngpu)), [], None, {})[0]
        for more in (("--frontend", "frozen"), ())
        for ngpu in (0, 1)
    ]
    assert asked == ["cpu", "cuda"] * 2
    minutes = [row[2] for row in found]  # an hour of speech: 36 s of reading, and 36 s of computing
    assert minutes == ["0.2 min", "0.7 min", "0.2 min", "0.2 min"]


def test_a_front_end_that_cannot_be_built_is_a_fault(checked_run: MakeRun, tmp_path: Path, tiny_llm: Path) -> None:
    folder = a_recipe(tmp_path / "recipe", mine=f"frontend: hf\nfrontend_conf: {{path: {tiny_llm}}}\n")
    run, report = checked_run(folder, "--llm", "some/llm", "--frontend", "mine"), checks.Report()
    checks.check_front_end(run, report)
    (fault,) = report.faults
    assert fault.startswith(f"--frontend mine: {tiny_llm}: no preprocessor_config.json of a speech encoder")
    assert run.features == FeatureFormat()


def test_a_front_end_with_its_own_CTC_head_needs_no_CTC_training(
    checked_run: MakeRun, tmp_path: Path, tiny_llm: Path
) -> None:
    checkpoint = save_letters(make_checkpoint(tmp_path / "checkpoint"))
    front_end = f"frontend: hf\nfrontend_conf: {{path: {checkpoint}, ctc_head: true}}\n"
    folder = a_recipe(tmp_path / "recipe", mine=front_end)
    words = ("--llm", str(tiny_llm), "--frontend", "mine", "--size", "small")
    for system, expected in (("e5", ["train"]), ("l_gate_frozen", ["train"]), ("u", ["train", "lora"]), ("ctc", [])):
        task = ("--task", "asr") if system == "ctc" else ()
        run, report = checked_run(folder, *words, "--system", system, *task), checks.Report()
        architecture = getattr(checks.check_llm(run, report), "architecture", None)
        trainings = systems.find_trainings(run, architecture, report.faults)
        checks.check_front_end(run, report)
        assert report.lines[-1] == f"CTC is the front end's own: 12 units of {checkpoint}, nothing trains at stage ctc"
        assert report.faults == [] and [training.stage for training in trainings] == expected
        amounts = {name: Amount(720, 3600.0) for name in ("train", "dev", "test")}
        needs = dict((what, size) for what, _, size in checks.disk_needs(run, trainings, amounts, None))
        assert needs["stage compress"] > 0 and "stage ctc" not in needs
        rows = estimate_times(run, trainings, architecture, amounts)
        stages = [row[0] for row in rows]
        assert stages[:2] == ["features", "compress"] and "ctc" not in stages
    for training in trainings:
        assert training.encoder is not None and training.encoder.num_units == NUM_UNITS


def test_an_encoder_that_does_not_train_is_a_fault(checked_run: MakeRun, tmp_path: Path) -> None:
    folder = a_recipe(tmp_path / "recipe")
    (folder / "conf/ctc.yaml").write_text("ctc_units: 40\nencoder: own_head\n")
    run, faults = checked_run(folder, "--system", "ctc", "--task", "asr"), list[str]()
    assert systems.find_trainings(run, None, faults) == []
    assert faults == ["conf/ctc.yaml: the encoder own_head has nothing to train; choose another encoder"]


def test_a_head_that_is_not_there_is_a_fault(checked_run: MakeRun, tmp_path: Path, tiny_llm: Path) -> None:
    encoder = make_encoder(tmp_path / "encoder", "wav2vec2", vocab_size=NUM_UNITS)
    front_end = f"frontend: hf\nfrontend_conf: {{path: {encoder}, ctc_head: true}}\n"
    folder = a_recipe(tmp_path / "recipe", mine=front_end)
    run = checked_run(folder, "--llm", str(tiny_llm), "--frontend", "mine", "--size", "small", "--system", "e5")
    faults = checks.run_preflight(run).faults
    assert [fault for fault in faults if "has no CTC head (lm_head.bias, lm_head.weight" in fault]
    # Units without a tokenizer would be found only when hours of features have been computed.
    make_checkpoint(encoder)
    (fault,) = checks.run_preflight(checked_run(folder, *run.plan.words)).faults
    assert "transformers finds no tokenizer of its CTC units" in fault
