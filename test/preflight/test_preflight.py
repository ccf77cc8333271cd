"""The preflight: what it counts is what autograd keeps, and every fault is in one list with what to do."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from speechllama.bin import estimate_memory
from speechllama.bin.preflight import main
from speechllama.data.covost2_files import Sources, look_up_languages
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.ctc_encoder import CTCEncoder
from speechllama.model.llm import LLM, LLMConfig
from speechllama.model.outline import outline_speech_llama, read_architecture
from speechllama.preflight import checks, llm_check, memory, systems
from speechllama.preflight.amounts import Amount, check_disk, read_amounts
from speechllama.preflight.memory import BatchShape, Memory, kept_bytes, llm_activations, training_memory, weight_bytes
from speechllama.preflight.plan import Plan, known_options, read_settings
from speechllama.preflight.speed import fill
from speechllama.tasks.config_file import read_config

EGS = Path(__file__).resolve().parents[2] / "egs"
PAPER = EGS / "covost2" / "conf"
SMALL = PAPER / "small"
BATCH = BatchShape(num_utterances=3, num_prompt=4, num_audio=6, num_text=5, num_frames=40)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("train", ["frozen", "lora"])
def test_the_count_without_memory_is_what_a_real_pass_keeps(tiny_llm: Path, train: str, again: bool) -> None:
    config = LLMConfig(str(tiny_llm), train=train, dtype="bfloat16", gradient_checkpointing=again)  # type: ignore[arg-type]
    llm = LLM(config).train()

    def forward() -> torch.Tensor:
        size, columns = BATCH.num_utterances, BATCH.num_positions
        embeddings = torch.zeros(size, columns, llm.dim, dtype=llm.base_dtype, requires_grad=True)
        mask = torch.zeros(size, 1, columns, columns, dtype=llm.base_dtype)
        logits = llm(embeddings, mask, torch.zeros(size, columns, dtype=torch.long), num_logits=BATCH.num_text + 1)
        labels = torch.zeros(size * (BATCH.num_text + 1), dtype=torch.long)
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels)

    counted, _ = llm_activations(config, read_architecture(tiny_llm), BATCH)
    assert counted == kept_bytes(forward, llm)


def test_the_encoders_counts_are_what_real_passes_keep(tiny_llm: Path) -> None:
    settings = read_config(SMALL / "e5.yaml")
    ctc = systems.ctc_training(Plan("", str(SMALL / "ctc.yaml"), ctc_units=20)).encoder
    assert ctc is not None
    network = outline_speech_llama(settings, "e5", read_architecture(tiny_llm), ctc)
    real = AudioEncoder(network.config.audio_encoder, network.encoder.dim, network.llm.dim, 1.0)
    vectors, lengths = torch.zeros(3, 6, network.encoder.dim), torch.full((3,), 6)
    assert memory.audio_encoder_activations(network, BATCH, False) == kept_bytes(lambda: real(vectors, lengths), real)
    encoder = CTCEncoder(*ctc)
    encoder.spec_augment.eval()
    speech, frames = torch.zeros(3, 40, 80), torch.full((3,), 40)
    kept = kept_bytes(lambda: encoder(speech, frames).logits.float().log_softmax(-1), encoder)
    assert memory.encoder_activations(*ctc, BATCH, False) == kept


def outline(system: str, llm: str = "llama_7b") -> tuple[systems.SpeechLlama, object]:
    architecture = read_architecture(PAPER / "llm" / f"{llm}.json")
    ctc = systems.ctc_training(Plan("", str(PAPER / "ctc.yaml"))).encoder
    return outline_speech_llama(read_config(PAPER / f"{system}.yaml"), system, architecture, ctc), architecture


def test_the_weights_of_llama_7b_take_what_arithmetic_says() -> None:
    plain, four, eight = (weight_bytes(outline(system)[0].llm) for system in ("e5", "e5_4bit", "e5_8bit"))
    embeddings = 2 * 32000 * 4096 + 65 * 4096  # and the norms: these stay in bfloat16
    layers = 6_738_415_616 - embeddings
    assert plain == 2 * 6_738_415_616
    assert eight == 2 * embeddings + layers
    assert four == pytest.approx(2 * embeddings + 0.516 * layers)


def test_more_positions_need_more_memory_and_checkpointing_less() -> None:
    network, architecture = outline("e6")
    small, large = (
        training_memory(network, architecture, BatchShape().of_positions(total), True) for total in (2048, 4096)
    )
    assert large.activations == pytest.approx(2 * small.activations, rel=0.02)
    assert large.trained == 16 * (14_721_032 + 2_097_152)
    network, architecture = outline("e6_8bit")
    again = training_memory(network, architecture, BatchShape().of_positions(4096), True)
    assert again.activations < large.activations / 5


@pytest.mark.parametrize("kind", ["ctc", "system"])
def test_the_options_read_from_the_source_are_those_of_the_trainer(kind: str) -> None:
    from speechllama.tasks.ctc import CTCTask
    from speechllama.tasks.host import NestedDictAction
    from speechllama.tasks.speech_llama import SpeechLlamaTask

    parser = (CTCTask if kind == "ctc" else SpeechLlamaTask).get_parser()
    assert known_options(kind) == {action.dest for action in parser._actions} - {"help"}
    nested = {action.dest for action in parser._actions if isinstance(action, NestedDictAction)}
    assert nested == {name for name in known_options(kind) if name.endswith("_conf")}


def test_options_override_a_yaml_as_the_trainer_reads_them() -> None:
    path = str(SMALL / "e6.yaml")
    plain = read_settings(path, "", "system")
    options = "--max_epoch 2 --batch_bins=77 --optim_conf lr=1.0e-3 --keep_nbest_models 2 7 "
    options += "--llm_conf gradient_checkpointing=true --llm_conf lora.rank=3 --audio_encoder_conf '{num_layers: 1}'"
    settings = read_settings(path, options, "system")
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
        read_settings(str(SMALL / "e5.yaml"), options, "system")


def test_nested_settings_that_are_none_are_a_fault(tmp_path: Path) -> None:
    (tmp_path / "e5.yaml").write_text("llm_conf: frozen\n")
    with pytest.raises(ValueError, match="llm_conf: expected settings"):
        read_settings(str(tmp_path / "e5.yaml"), "", "system")


def test_a_batch_is_shared_by_the_gpus_of_all_nodes() -> None:
    one, all_nodes = (
        systems.ctc_training(Plan("", str(PAPER / "ctc.yaml"), ngpu=4, num_nodes=nodes)).batch for nodes in (1, 2)
    )
    assert one.num_utterances // 2 == all_nodes.num_utterances > 0


def small_plan(tmp_path: Path, llm: Path, **changes: object) -> Plan:
    """A plan of the small size whose corpus is not there yet."""
    folders = {name: str(tmp_path / name) for name in ("datadir", "dumpdir", "expdir")}
    settings = {"init_config": str(SMALL / "e5.yaml"), "llm": str(llm), "langs": "de fr", "ctc_units": 40, **folders}
    return Plan(str(SMALL / "e6.yaml"), str(SMALL / "ctc.yaml"), **(settings | changes))  # type: ignore[arg-type]


def test_a_good_run_is_described_and_timed(tmp_path: Path, tiny_llm: Path) -> None:
    report = checks.run_preflight(small_plan(tmp_path, tiny_llm))
    assert report.faults == []
    page = report.text()
    assert "No fault found." in page and "times are for an hour of speech" in page
    assert "an update sees 1,200 LLM positions x 1 (accum_grad), shared by 1 processes" in page
    assert [row.split(" | ")[0] for row in report.tables[-1].splitlines()[2:]] == [
        "| 2 features",
        "| 5 ctc",
        "| 6 compress",
        "| 8 training",
        "| 9 training",
        "| 11 decode",
    ]
    assert checks.write_report(report, tmp_path / "out").read_text() == page


def test_a_decoder_from_scratch_needs_neither_an_llm_nor_ctc(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, Path(), init_config="")
    plan = dataclasses.replace(plan, llm="", system_config=str(PAPER / "d.yaml"), ctc_config=str(PAPER / "ctc.yaml"))
    report = checks.Report()
    found = checks.check_llm(plan, report)
    assert found is not None
    (training,) = systems.find_trainings(plan, found.architecture, report.faults)
    assert report.faults == []
    assert training.num_trained == pytest.approx(143e6, rel=0.01)
    assert training.batch.num_positions == 1 + 125 + 22  # 5 s in frames of 40 ms


def test_units_stand_on_ctc_and_an_llm(tmp_path: Path, tiny_llm: Path) -> None:
    plan = small_plan(tmp_path, tiny_llm, init_config=str(SMALL / "u_frozen.yaml"))
    plan = dataclasses.replace(plan, system_config=str(SMALL / "u.yaml"))
    report = checks.run_preflight(plan)
    assert report.faults == []
    architecture = read_architecture(tiny_llm)
    (_, first, second) = systems.find_trainings(plan, architecture, report.faults)
    assert first.num_trained == 500 * 32  # a row of the LLM's width for each unit
    assert second.num_trained == 500 * 32 + 2 * 4 * 2 * 2 * 32  # and LoRA: layers, projections, A and B of rank 2
    assert training_memory(second.network, architecture, second.batch, False).total > 0  # type: ignore[arg-type]


def test_all_faults_come_at_once(
    tmp_path: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "conf"
    shutil.copytree(SMALL, broken)
    (broken / "ctc.yaml").write_text("max_epochs: 3\n")
    (broken / "lora.yaml").write_text("include: train.yaml\nllm_conf: {train: lora, lora: {targets: [query]}}\n")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 1, 1000))
    arguments = ["--system_config", str(broken / "e6.yaml"), "--init_config", str(broken / "e5.yaml")]
    arguments += ["--ctc_config", str(broken / "ctc.yaml"), "--llm", str(tiny_llm), "--langs", "de de"]
    arguments += ["--covost2", str(tmp_path / "nowhere"), "--common_voice", str(tmp_path / "nowhere"), "--ngpu", "3"]
    for name in ("datadir", "dumpdir", "expdir"):
        arguments += [f"--{name}", str(tmp_path / name)]
    assert main(arguments) == 1
    page = capsys.readouterr().out
    for fault in (
        "--langs names de more than once",
        f"{tmp_path}/nowhere: no such folder",
        "unknown key 'max_epochs'; did you mean 'max_epoch'?",
        "LoRA targets ['query'] are no linear layers of this LLM",
        "--ngpu 3: torch finds no GPU here",
        "0.0 GB free: make room, or give other folders",
    ):
        assert fault in page


def test_an_llm_that_is_not_whole_or_not_there_is_a_fault(tmp_path: Path, tiny_llm: Path) -> None:
    assert "no such" in checks.run_preflight(small_plan(tmp_path, tmp_path / "no such")).faults[0]
    copy = tmp_path / "llm"
    shutil.copytree(tiny_llm, copy)
    (copy / "model.safetensors").unlink()
    faults = checks.run_preflight(small_plan(tmp_path, copy)).faults
    assert len(faults) == 1 and "its weights are not all there: no model*.safetensors" in faults[0]
    # Without a stage that needs it, it is not missed.
    assert checks.run_preflight(small_plan(tmp_path, tmp_path / "no such", stop_stage=6)).faults == []


def test_a_batch_that_the_card_cannot_hold_is_a_fault(
    tmp_path: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(tmp_path, tiny_llm, ngpu=1)
    trainings = systems.find_trainings(plan, read_architecture(tiny_llm), [])
    card = namedtuple("card", "total_memory")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for total, expected in ((80e9, 0), (0.7e9, 4)):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index, total=total: card(total))
        faults: list[str] = []
        assert len(systems.check_gpu(plan, trainings, read_architecture(tiny_llm), faults)) == 4
        assert len(faults) == expected
        assert all("GB of GPU memory, the card has 0.7: smaller batch_bins" in fault for fault in faults)
    # A cluster's cards are not the one of the machine where the recipe is started.
    faults = []
    plan = small_plan(tmp_path, tiny_llm, ngpu=4, launcher="slurm")
    systems.check_gpu(plan, trainings, read_architecture(tiny_llm), faults)
    assert faults == []


def test_a_run_on_a_cluster_needs_no_gpu_where_it_starts(tmp_path: Path, tiny_llm: Path) -> None:
    report = checks.run_preflight(small_plan(tmp_path, tiny_llm, ngpu=2, num_nodes=3, launcher="slurm"))
    assert report.faults == []
    assert "times: not measured, since this machine has no GPU" in report.text()
    assert "shared by 6 processes" in report.text()


def test_speech_is_counted_from_data_directories_or_from_tables(tmp_path: Path) -> None:
    rows = {"train": 2, "dev": 1, "test": 1}
    amounts = read_amounts(str(tmp_path), rows)
    assert amounts == {"train": Amount(2, 10.0), "dev": Amount(1, 5.0), "test": Amount(1, 5.0)}
    for split in ("train", "dev", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "utt2dur").write_text("a 1.5\nb 2.5\n")
    assert read_amounts(str(tmp_path), {})["train"] == Amount(2, 4.0)
    assert read_amounts(str(tmp_path), rows) == amounts  # of another corpus than the directories'


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_corpus_in_archives_is_counted_and_its_clips_need_disk(tmp_path: Path, is_packed: bool) -> None:
    table = tmp_path / "covost_v2.de_en.tsv"
    table.write_text('path\ttranslation\tsplit\na\tx "\ttrain\nb\ty\ttrain_covost\nc\tz\tdev\nd\tz\ttest\n')
    if is_packed:
        with tarfile.open(f"{table}.tar.gz", "w:gz") as tar:
            tar.add(table, table.name)
        table.unlink()
    (tmp_path / "de.tar.gz").write_bytes(bytes(1_000_000))
    faults: list[str] = []
    (language,) = look_up_languages(Sources(tmp_path, str(tmp_path), tmp_path / "downloads"), ["de"], faults)
    assert faults == [] and language.rows == {"train": 2, "dev": 1, "test": 1}
    assert language.bytes_to_unpack == 4 * 50_000  # 50 kB a clip; not the whole archive
    assert not (tmp_path / "downloads").exists()


def test_the_corpora_of_another_run_are_checked_and_those_of_finished_data_are_not(
    tmp_path: Path, tiny_llm: Path
) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / "datadir" / split).mkdir(parents=True)
        (tmp_path / "datadir" / split / "utt2dur").write_text("a 1.5\n")
    for is_prepared in (False, True):
        report = checks.Report()
        plan = small_plan(tmp_path, tiny_llm, covost2=str(tmp_path / "none"), is_prepared=is_prepared)
        checks.check_corpus(plan, report)
        assert bool(report.faults) is not is_prepared


def test_a_hub_whose_connection_breaks_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class ConnectError(Exception):
        """As of an HTTP client that does not derive it from OSError."""

    def fail(*_: object, **__: object) -> None:
        raise ConnectError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    monkeypatch.setattr(llm_check, "resolve_folder", lambda *_: Path("nowhere"))
    monkeypatch.setattr(llm_check, "missing_weights", lambda _: ["model*.safetensors"])
    faults: list[str] = []
    assert llm_check.bytes_on_hub("org/name", None, faults) == 0.0
    assert faults == ["org/name: the hub did not answer (ConnectError: no route); try again"]


def test_folders_of_one_disk_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 1, 10e9))
    faults: list[str] = []
    needs = [("features", str(tmp_path / "not yet" / "dump"), 5e9), ("models", str(tmp_path), 5e9)]
    (line,) = check_disk(needs, faults)
    assert "about 11.0 GB needed (features 5.0, models 5.0; a tenth more), 10.0 GB free" in line
    assert len(faults) == 1  # each alone would fit


def test_weights_drawn_without_initialisation_make_a_model_that_computes(tiny_llm: Path) -> None:
    architecture = read_architecture(tiny_llm)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture)
    reference = AutoModelForCausalLM.from_config(architecture)
    fill(model, "cpu")
    assert torch.equal(model.model.rotary_emb.inv_freq, reference.model.rotary_emb.inv_freq)
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.isfinite().all()
    assert Memory(1.0, 2.0, 3.0, 4.0).total == 10.0


def test_the_table_of_memory_has_a_row_for_each_llm_and_system(capsys: pytest.CaptureFixture[str]) -> None:
    llms = [str(PAPER / "llm" / f"{name}.json") for name in ("llama_7b", "tinyllama_1.1b")]
    estimate_memory.main(["--conf", str(PAPER), "--systems", "e5 e6_4bit", "--positions", "2048", "--llms", *llms])
    page = capsys.readouterr().out
    rows = [row.split(" | ") for row in page.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        [f"| {llm}", system] for llm in ("llama_7b", "tinyllama_1.1b") for system in ("e5", "e6_4bit")
    ]
    # 13.5 GB of weights do not fit where 4 bits do; the README's table is this command's
    assert float(rows[0][2]) > 14 > float(rows[1][2])
    readme = (EGS / "covost2" / "README.md").read_text()
    assert all(" | ".join(row[:3]) in readme for row in rows)


def test_an_encoder_decoder_and_its_rescoring_are_checked_too(tmp_path: Path) -> None:
    mini = EGS / "mini_covost2/conf"
    plan = Plan(str(mini / "b1.yaml"), str(mini / "ctc.yaml"), ctc_units=120)
    faults: list[str] = []
    (training,) = systems.find_trainings(plan, None, faults)
    assert not faults and not plan.needs_llm
    assert "about 3 utterances of 5 s; 2,5" in training.describe(1)
    wrong = dataclasses.replace(plan, train_options="--network_conf {dimm:1}")
    systems.find_trainings(wrong, None, faults)
    rescoring = tmp_path / "b2.yaml"
    rescoring.write_text("rescore_system: b1\nweights: [1.0]\n")
    report = checks.Report(faults=faults)
    checks.check_rescoring(dataclasses.replace(plan, rescore_config=str(rescoring)), report)
    assert "b1.yaml: network_conf: " in faults[0]
    assert "b2.yaml: unknown key 'weights'" in faults[1]
    assert dataclasses.replace(plan, rescore_config=str(rescoring)).needs_llm
