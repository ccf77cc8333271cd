"""Further data directories as sets of a run, and CTC as a system: what runs, and what stays as it was."""

from __future__ import annotations

import pytest

from speechllama.options import UsageError
from speechllama.recipe.plan import Plan
from speechllama.recipe.stages import Stage
from test.recipe.conftest import MakePlan, commands, value_of

REAL = "../covost2/data/real/test_real"


def rows_of(plan: Plan, stage: str) -> list[Stage]:
    """The rows of a stage."""
    return [row for _, row in plan.stages() if row.name == stage]


def test_a_further_data_directory_is_decoded_and_scored_and_never_trained_on(mini_plan: MakePlan) -> None:
    plain, further = mini_plan("--sets", "test"), mini_plan("--sets", f"test {REAL}/")
    for stage in ("data", "tokenizer", "statistics", "ctc", "llm", "train", "lora", "average", "pack"):
        assert rows_of(plain, stage) == rows_of(further, stage), stage
    for stage in ("features", "compress", "decode", "score"):
        first, second = rows_of(further, stage)
        assert [first] == rows_of(plain, stage), stage
        assert "test_real" in second.title or stage == "score"
        assert second.marker not in {"", first.marker}
    features, compress = rows_of(further, "features")[1], rows_of(further, "compress")[1]
    assert features.settings == f"source={REAL}"
    assert features.inputs == tuple(f"{REAL}/{table}" for table in ("wav.scp", "text", "src_text", "utt2lang"))
    assert features.jobs[0].command[2:] == ("speechllama.bin.validate_data_dir", "--data_dir", REAL)
    cache = "exp/ctc_transcript_bpe120/compressed_frame_average"
    assert features.clears[0].paths == ("dump/test_real",) and compress.clears[0].paths == (f"{cache}/test_real",)
    assert f"{cache}/test_real/report.json" in compress.outputs
    for command in commands(further, "decode")[2:]:
        assert command[0] == "merge_decoded" or value_of(command, "data_dir") in (f"{cache}/test", f"{cache}/test_real")
    score = next(command for command in commands(further, "score") if "dump/test_real" in command)
    assert value_of(score, "hyp_dir") == "exp/st_e6/decode_test_real_beam4"
    assert value_of(score, "corpus_report") == "../covost2/data/real/report.json"


def test_a_name_is_that_of_a_set_in_the_folder_of_stage_data(mini_plan: MakePlan) -> None:
    plan = mini_plan("--sets", "test fleurs", "--target_lang", "de")
    assert plan.options.further_sets == {"fleurs": "data_de/fleurs"}
    by_path = mini_plan("--sets", "test data_de/fleurs", "--target_lang", "de")
    assert [*plan.stages()][1:] == [*by_path.stages()][1:]  # but for the preflight, which gets the words


def test_a_subset_is_a_set_of_its_own_that_is_decoded_and_scored(mini_plan: MakePlan) -> None:
    whole, part = mini_plan(), mini_plan("--subset", "20")
    assert rows_of(whole, "subset") == []
    cache = "exp/ctc_transcript_bpe120/compressed_frame_average"
    taken = rows_of(part, "subset")
    assert [row.marker for row in taken] == [f"{root}/test_subset20/.subset.done" for root in ("dump", cache)]
    decoded = [command for command in commands(part, "decode") if command[0] == "decode"]
    assert {value_of(command, "data_dir") for command in decoded} == {f"{cache}/test_subset20"}
    (score,) = (command for command in commands(part, "score") if command[0] == "score")
    assert value_of(score, "hyp_dir") == "exp/st_e6/decode_test_subset20_beam4"
    assert value_of(score, "data_dir") == "dump/test_subset20"
    (pack,) = commands(part, "pack")
    assert value_of(pack, "decode_dir") == "exp/st_e6/decode_test_subset20_beam4"
    rescored = mini_plan("--system", "b2", "--subset", "20")
    (tune,) = commands(rescored, "tune")
    assert value_of(tune, "data_dir") == "dump/dev_subset20"
    assert value_of(tune, "output_file") == "exp/st_b2/rescoring_beam4_subset20.json"


def test_a_rescoring_is_tuned_without_a_control(mini_plan: MakePlan) -> None:
    dev = {row.marker: row for row in rows_of(mini_plan("--system", "b2"), "decode")}[
        "exp/st_b1/.decode_dev_beam4.done"
    ]
    assert dev.outputs == tuple(f"exp/st_b1/decode_dev_beam4/{name}" for name in ("text", "nbest.jsonl"))
    assert not any("_control" in word for job in dev.jobs for word in job.command)
    both = rows_of(mini_plan("--system", "b2", "--sets", "dev test"), "decode")
    assert all(len(row.outputs) == 4 for row in both) and len(both) == 2


@pytest.mark.parametrize(("system", "source"), [("b1", "dump"), ("u", "exp/ctc_transcript_bpe120/compressed_units500")])
def test_any_system_decodes_a_further_data_directory(mini_plan: MakePlan, system: str, source: str) -> None:
    plan = mini_plan("--system", system, "--sets", REAL)
    decoded = [command for command in commands(plan, "decode") if command[0] == "decode"]
    assert {value_of(command, "data_dir") for command in decoded} == {f"{source}/test_real"}
    assert (len(rows_of(plan, "compress")) == 2) == (system == "u")


def test_ctc_is_a_system_without_any_training_of_its_own(mini_plan: MakePlan) -> None:
    plan = mini_plan(
        "--system", "ctc", "--task", "asr", "--sets", "dev test", "--llm", "some/llm", "--pack_llm", "false"
    )
    skipped = {stage.name for _, stage in plan.stages() if stage.skip}
    assert skipped == {"llm", "train", "lora", "average", "pack"}
    ctc = "exp/ctc_transcript_bpe120"
    take = commands(plan, "decode")
    assert [command[0] for command in take] == ["ctc_text"] * 4
    assert {value_of(command, "data_dir") for command in take} == {
        f"{ctc}/compressed_frame_average/{name}" for name in ("dev", "test")
    }
    assert [value_of(command, "control") for command in take] == ["false", "true"] * 2
    assert value_of(take[3], "output_dir") == "exp/asr_ctc/decode_test_beam1_control"
    assert value_of(commands(plan, "score")[0], "hyp_dir") == "exp/asr_ctc/decode_dev_beam1"
    assert not plan.selection.needs_llm


def test_ctc_writes_what_it_has_learned(mini_plan: MakePlan, own_plan: MakePlan) -> None:
    with pytest.raises(UsageError, match="--system ctc: CTC learns the transcript, but --task st writes `text`; give"):
        mini_plan("--system", "ctc")
    learned = mini_plan("--system", "ctc", "--ctc_target", "translation")
    assert learned.layout.decoded("test") == "exp/st_ctc/decode_test_beam1"
    with pytest.raises(UsageError, match="conf/mine.yaml: rescore_system ctc: CTC has one hypothesis"):
        own_plan("--system", "mine", mine="rescore_system: ctc")
