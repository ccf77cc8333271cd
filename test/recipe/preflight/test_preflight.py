"""The preflight: a good run is described and timed, and every fault is in one list with what to do."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllama.bin.preflight import main
from speechllama.llm.files import load_tokenizer
from speechllama.model.meta_model import read_architecture
from speechllama.options import UsageError
from speechllama.recipe.preflight import checks, llm_check, systems
from speechllama.recipe.preflight.amounts import VECTORS_PER_SECOND, Amount, checkpoint_bytes
from speechllama.recipe.preflight.memory import training_memory
from test.llm.families import find, multimodal
from test.recipe.preflight.conftest import MakeRun


def small(llm: Path, system: str = "e6") -> list[str]:
    """Options of a run of the small size."""
    return ["--system", system, "--size", "small", "--ctc_units", "40", "--llm", str(llm)]


def test_a_batch_is_shared_by_the_gpus_of_all_nodes(checked_run: MakeRun) -> None:
    words = ("--system", "e5", "--llm", "some/llm", "--ngpu", "4")
    one, all_nodes = (
        systems.ctc_training(checked_run("covost2", *words, "--num_nodes", nodes)).batch for nodes in ("1", "2")
    )
    assert one.num_utterances // 2 == all_nodes.num_utterances > 0


def test_a_good_run_is_described_and_timed(checked_run: MakeRun, tmp_path: Path, tiny_llm: Path) -> None:
    report = checks.run_preflight(checked_run("covost2", *small(tiny_llm)))
    assert report.faults == []
    page = report.text()
    assert "No fault found." in page and "times are for an hour of speech" in page
    assert "an update sees 600 LLM positions x 1 (accum_grad), shared by 1 processes" in page
    assert [row.split(" | ")[0] for row in report.tables[-1].splitlines()[2:]] == [
        "| features",
        "| ctc",
        "| compress",
        "| train",
        "| lora",
        "| decode",
    ]
    assert checks.write_report(report, tmp_path / "out").read_text() == page


def test_a_decoder_from_scratch_needs_neither_an_llm_nor_ctc(checked_run: MakeRun) -> None:
    run = checked_run("covost2", "--system", "d")
    report = checks.Report()
    found = checks.check_llm(run, report)
    assert found is not None
    (training,) = systems.find_trainings(run, found.architecture, report.faults)
    assert report.faults == []
    assert training.num_trained == pytest.approx(143e6, rel=0.01)
    assert training.batch.num_positions == 1 + 125 + 22  # 5 s in frames of 40 ms


def test_units_are_built_on_ctc_and_an_llm(checked_run: MakeRun, tiny_llm: Path) -> None:
    run = checked_run("covost2", *small(tiny_llm, "u"))
    report = checks.run_preflight(run)
    assert report.faults == []
    architecture = read_architecture(tiny_llm)
    (_, first, second) = systems.find_trainings(run, architecture, report.faults)
    assert first.num_trained == 500 * 32  # a row of the LLM's width for each unit
    assert second.num_trained == 500 * 32 + 2 * 4 * 2 * 2 * 32  # and LoRA: layers, projections, A and B of rank 2
    assert training_memory(second.network, architecture, second.batch, False).total > 0  # type: ignore[arg-type]


@pytest.mark.parametrize(("system", "gate"), [("l", 0), ("l_gate", 1)])
def test_posteriors_are_built_on_ctc_and_an_llm(checked_run: MakeRun, tiny_llm: Path, system: str, gate: int) -> None:
    run = checked_run("covost2", *small(tiny_llm, system))
    report = checks.run_preflight(run)
    assert report.faults == []
    architecture = read_architecture(tiny_llm)
    (_, first, second) = systems.find_trainings(run, architecture, report.faults)
    (_, plain, _) = systems.find_trainings(checked_run("covost2", *small(tiny_llm)), architecture, [])
    # A temperature, a scale and a shift; through a gate, E5's audio encoder.
    assert first.num_trained == 1 + 2 * 32 + gate * (1 + plain.num_trained)
    assert second.num_trained == first.num_trained + 2 * 4 * 2 * 2 * 32  # and LoRA, as in U
    assert (first.num_frozen, plain.num_frozen) == (40 * 32, 0)  # checkpoints have the units' embeddings
    assert training_memory(second.network, architecture, second.batch, False).total > 0  # type: ignore[arg-type]


def test_the_disk_for_compressed_features_is_that_of_their_width(checked_run: MakeRun) -> None:
    amounts = {"train": Amount(720, 3600.0)}
    needed = {}
    for system in ("e5", "l", "l_gate", "u"):
        run = checked_run("covost2", "--system", system, "--llm", "some/llm", "--stop_stage", "6")
        trainings = systems.find_trainings(run, None, [])
        needed[system] = sum(
            size for what, _, size in checks.disk_needs(run, trainings, amounts, None) if "ctc" in what
        )
    vector = 3600 * VECTORS_PER_SECOND * 4
    assert needed["e5"] - needed["l"] == pytest.approx((512 - 64) * vector)
    assert needed["l_gate"] - needed["l"] == pytest.approx(512 * vector)
    assert needed["l"] - needed["u"] == pytest.approx((64 - 1) * vector)


def test_checkpoints_hold_moments_of_what_trains_only() -> None:
    assert checkpoint_bytes(10, 0, 3) == 4 * 10 * (2 * 3 + 3 + 3)
    assert checkpoint_bytes(10, 100, 3) - checkpoint_bytes(10, 0, 3) == 4 * 100 * (2 + 3 + 3)


def test_a_system_in_which_nothing_trains_is_a_fault(checked_run: MakeRun, tiny_llm: Path) -> None:
    words = [*small(tiny_llm, "l_frozen"), "--train_options", "--train_audio_encoder false"]
    faults = checks.run_preflight(checked_run("covost2", *words)).faults
    assert len(faults) == 1
    assert "l_frozen.yaml: nothing is left to train: train_audio_encoder is false and the LLM is frozen" in faults[0]


def test_all_faults_come_at_once(
    make_recipe: Callable[..., Path],
    tmp_path: Path,
    tiny_llm: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lora = "include: train.yaml\nllm_conf: {train: lora, lora: {targets: [query]}}\n"
    monkeypatch.chdir(make_recipe(small__ctc="max_epochs: 3\n", small__lora=lora))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 1, 1000))
    arguments = [*small(tiny_llm), "--corpus_kind", "covost2", "--langs", "de de"]
    arguments += ["--covost2", str(tmp_path / "nowhere"), "--common_voice", str(tmp_path / "nowhere"), "--ngpu", "3"]
    for name in ("datadir", "dumpdir", "expdir"):
        arguments += [f"--{name}", str(tmp_path / name)]
    assert main(arguments) == 1
    page = capsys.readouterr().out
    for fault in (
        "--langs names de more than once",
        f"{tmp_path}/nowhere: no such folder",
        "unknown key 'max_epochs'; did you mean 'max_epoch'?",
        "LoRA targets ['query'] are no linear layers of this model",
        "--ngpu 3: torch finds no GPU here",
        "0.0 GB free: make room, or give other folders",
    ):
        assert fault in page


def test_an_llm_that_is_not_whole_is_a_fault_where_a_stage_needs_it(
    checked_run: MakeRun, tmp_path: Path, tiny_llm: Path
) -> None:
    copy = tmp_path / "llm"
    shutil.copytree(tiny_llm, copy)
    (copy / "model.safetensors").unlink()
    faults = checks.run_preflight(checked_run("covost2", *small(copy))).faults
    assert len(faults) == 1 and "its weights are not all there: no model*.safetensors" in faults[0]
    assert checks.run_preflight(checked_run("covost2", *small(copy), "--stop_stage", "6")).faults == []


def test_an_llm_that_is_not_there_is_a_fault(checked_run: MakeRun, tmp_path: Path) -> None:
    missing = tmp_path / "no such"
    with pytest.raises(UsageError, match="no such' is no directory with config.json, nor a hub id"):
        checked_run("covost2", *small(missing))
    faults: list[str] = []
    assert llm_check.find_llm(str(missing), None, faults) is None
    assert len(faults) == 1 and "no such" in faults[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            find("jamba").config,
            "llm: jamba has recurrent layers .linear_attention., which no mask reaches",
        ),
        (find("bamba").config, "llm: bamba has recurrent layers"),
        (find("falcon_h1").config, "llm: falcon_h1 has recurrent layers"),
        (lambda: multimodal("qwen3_5"), "llm: qwen3_5_text has recurrent layers"),
        (lambda: multimodal("qwen2_5_vl"), "llm: qwen2_5_vl, whose text part is qwen2_5_vl_text, is no causal LM"),
    ],
)
def test_an_llm_that_is_never_admitted_is_a_fault(
    tiny_llm: Path, tmp_path: Path, config: Callable[[], Any], message: str
) -> None:
    copy, faults = tmp_path / "llm", list[str]()
    shutil.copytree(tiny_llm, copy)
    other = config()
    other.get_text_config().eos_token_id = load_tokenizer(str(tiny_llm)).eos_token_id
    other.to_json_file(copy / "config.json")
    assert llm_check.find_llm(str(copy), None, faults) is None
    assert len(faults) == 1
    assert re.search(message, faults[0]), faults


def test_the_text_part_of_a_multimodal_llm_is_looked_at(tiny_llm: Path, tmp_path: Path) -> None:
    copy, faults = tmp_path / "llm", list[str]()
    shutil.copytree(tiny_llm, copy)
    config = multimodal("gemma3")
    config.text_config.eos_token_id = load_tokenizer(str(tiny_llm)).eos_token_id
    config.to_json_file(copy / "config.json")
    found = llm_check.find_llm(str(copy), None, faults)
    assert not faults and found is not None
    assert f"gemma3_text, {len(load_tokenizer(str(tiny_llm)))} tokens for 160 embeddings" in found.line


def test_a_batch_that_the_card_cannot_hold_is_a_fault(
    checked_run: MakeRun, tiny_llm: Path, install_card: Callable[[float], None]
) -> None:
    run = checked_run("covost2", *small(tiny_llm), "--ngpu", "1")
    trainings = systems.find_trainings(run, read_architecture(tiny_llm), [])
    for total, expected in ((80e9, 0), (0.7e9, 4)):
        install_card(total)
        faults: list[str] = []
        assert len(systems.check_gpu(run, trainings, read_architecture(tiny_llm), faults)) == 4
        assert len(faults) == expected
        assert all("GB of GPU memory, the card has 0.7: smaller batch_bins" in fault for fault in faults)
    # A cluster's cards are not the one of the machine where the recipe is started.
    faults = []
    run = checked_run("covost2", *small(tiny_llm), "--ngpu", "4", launcher="slurm")
    systems.check_gpu(run, trainings, read_architecture(tiny_llm), faults)
    assert faults == []


def test_a_run_on_a_cluster_needs_no_gpu_where_it_starts(checked_run: MakeRun, tiny_llm: Path) -> None:
    words = [*small(tiny_llm), "--ngpu", "2", "--num_nodes", "3"]
    report = checks.run_preflight(checked_run("covost2", *words, launcher="slurm"))
    assert report.faults == []
    assert "times: not measured, since this machine has no GPU" in report.text()
    assert "shared by 6 processes" in report.text()


def test_the_corpora_of_another_run_are_checked_and_those_of_finished_data_are_not(
    checked_run: MakeRun, tmp_path: Path, tiny_llm: Path
) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / "datadir" / split).mkdir(parents=True)
        (tmp_path / "datadir" / split / "utt2dur").write_text("a 1.5\n")
    words = [*small(tiny_llm), "--corpus_kind", "covost2", "--covost2", str(tmp_path / "none")]
    for finished in ((), ("data",)):
        report = checks.Report()
        checks.check_corpus(checked_run("covost2", *words, finished=finished), report)
        assert bool(report.faults) is not bool(finished)
        assert any(f"{tmp_path}/none" in fault for fault in report.faults) is not bool(finished)


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


def test_a_quarter_is_a_quarter_of_what_e6_trains_in_the_mini_recipe(checked_run: MakeRun) -> None:
    trained = {}
    for system in ("e5_quarter", "e5_distilled", "e6"):
        report = checks.Report()
        run = checked_run("mini_covost2", "--system", system, "--corpus_kind", "mini_covost2")
        found = checks.check_llm(run, report)
        assert found is not None
        trainings = systems.find_trainings(run, found.architecture, report.faults)
        trained[system] = trainings[-1].num_trained
        assert report.faults == []
    assert trained["e5_distilled"] == trained["e5_quarter"]
    assert trained["e5_quarter"] / trained["e6"] == pytest.approx(0.25, abs=0.015)  # 100,932 of 420,228


def test_an_encoder_decoder_and_its_rescoring_are_checked_too(
    checked_run: MakeRun, make_recipe: Callable[..., Path]
) -> None:
    run = checked_run("mini_covost2", "--system", "b1")
    faults: list[str] = []
    (training,) = systems.find_trainings(run, None, faults)
    assert not faults and not run.uses_llm
    assert "about 3 utterances of 5 s; 1,959,331" in training.describe(1)
    wrong = checked_run("mini_covost2", "--system", "b1", "--train_options", "--network_conf {dimm:1}")
    systems.find_trainings(wrong, None, faults)
    recipe = make_recipe(b2="rescore_system: b1\nweights: [1.0]\n")
    rescoring = checked_run(recipe, "--system", "b2", "--llm", "some/llm")
    checks.check_rescoring(rescoring, checks.Report(faults=faults))
    assert "b1.yaml: network_conf: " in faults[0]
    assert "b2.yaml: unknown key 'weights'" in faults[1]
    assert rescoring.uses_llm


def test_a_further_data_directory_is_checked_before_hours_are_spent(
    checked_run: MakeRun, tiny_llm: Path, tmp_path: Path
) -> None:
    place = tmp_path / "real/test_real"
    words = [*small(tiny_llm), "--sets", f"test {place}"]

    def check(*more: str) -> checks.Report:
        report = checks.Report()
        checks.check_sets(checked_run("covost2", *words, *more), report)
        return report

    assert check().faults == [
        f"--sets: {place}: no such folder; expected a data directory with wav.scp, text, src_text, utt2lang"
    ]
    assert check("--datadir", str(tmp_path / "real")).faults == []  # stage data may write it
    named = check("--sets", "test fleurs", "--datadir", str(tmp_path / "real"))
    assert named.lines == [f"fleurs: {tmp_path}/real/fleurs, which stage data has yet to write"]
    place.mkdir(parents=True)
    for name in ("wav.scp", "text", "utt2lang"):
        (place / name).write_text("u x\n")
    assert "no src_text there" in check().faults[0]
    (place / "src_text").write_text("u x\n")
    (place / "utt2dur").write_text("u 1800\n")
    report = check()
    assert report.faults == [] and report.lines == [f"test_real: 1 utterances, 0.5 h, in {place}"]
    checked = checks.Report()
    checks.check_sets(checked_run("covost2", *small(tiny_llm)), checked)
    assert (checked.lines, checked.faults) == ([], [])


def test_ctc_as_a_system_needs_only_its_own_training(checked_run: MakeRun) -> None:
    run = checked_run("covost2", "--system", "ctc", "--task", "asr", "--size", "small")
    faults: list[str] = []
    (training,) = systems.find_trainings(run, None, faults)
    assert training.stage == "ctc" and faults == [] and not run.uses_llm


def test_an_adapter_to_start_from_is_checked_until_the_training_has_begun(
    checked_run: MakeRun, tmp_path: Path, tiny_llm: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llm)
    settings: dict[str, Any] = {"r": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    get_peft_model(model, LoraConfig(**settings)).save_pretrained(str(tmp_path / "theirs"))
    words = [*small(tiny_llm), "--init_adapter", str(tmp_path / "theirs")]
    run = checked_run("covost2", *words)
    (fault,) = checks.run_preflight(run).faults
    assert "--init_adapter: " in fault and "rank 8 there, 2 here" in fault and "targets: [q_proj, v_proj]" in fault
    (fault,) = checks.run_preflight(checked_run("covost2", *words[:-1], str(tmp_path / "nothing"))).faults
    assert "nothing/adapter_config.json: no adapter there" in fault
    begun = Path(run.layout.base_dir)
    begun.mkdir(parents=True)
    (begun / "config.yaml").touch()
    assert checks.run_preflight(checked_run("covost2", *words)).faults == []
