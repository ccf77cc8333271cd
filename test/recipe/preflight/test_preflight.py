"""The preflight: a good run is described and timed, and every fault is in one list with what to do."""

from __future__ import annotations

import dataclasses
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.bin.preflight import main
from speechllama.model.meta_model import read_architecture
from speechllama.recipe.preflight import checks, llm_check, systems
from speechllama.recipe.preflight.memory import training_memory
from speechllama.recipe.preflight.plan import Plan

EGS = Path(__file__).resolve().parents[3] / "egs"
PAPER = EGS / "covost2" / "conf"
SMALL = PAPER / "small"


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
    tmp_path: Path, tiny_llm: Path, install_card: Callable[[float], None]
) -> None:
    plan = small_plan(tmp_path, tiny_llm, ngpu=1)
    trainings = systems.find_trainings(plan, read_architecture(tiny_llm), [])
    for total, expected in ((80e9, 0), (0.7e9, 4)):
        install_card(total)
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
