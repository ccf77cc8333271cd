"""A table's rows: systems with seeds and variants, the options that they share, and the stage that writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from speechllama.bin.plan import TEMPLATE_CMD
from speechllama.options import UsageError
from speechllama.recipe.table import TablePlan, plan_table, row_options, split_words, table_records
from test.recipe.conftest import EGS, MINI_SETTINGS

TABLE_SETTINGS = ("--systems", "B1 B2 E5 E6", "--reference", "E6")
MakeTable = Callable[..., TablePlan]


@pytest.fixture
def mini_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MakeTable:
    """Plan a table of mini_covost2 from the user's words; experiments go to the test's folder."""
    monkeypatch.chdir(EGS / "mini_covost2")
    return lambda *words: plan_table([*words, "--expdir", str(tmp_path)], TABLE_SETTINGS, MINI_SETTINGS)


def names(plan: TablePlan) -> list[tuple[str, str]]:
    """Names and seeds of a table's rows."""
    return [(row.name, row.seed) for row in plan.rows]


def test_rows_are_systems_by_seeds_in_lower_case_and_each_once(mini_table: MakeTable) -> None:
    assert names(mini_table()) == [("b1", "1"), ("b2", "1"), ("e5", "1"), ("e6", "1")]
    plan = mini_table("--systems", "E5 e5 E6:ASR e6", "--seeds", "1 2 1", "--reference", "E5")
    assert names(plan) == [(name, seed) for seed in ("1", "2") for name in ("e5", "e6:asr", "e6")]
    assert (plan.options.systems, plan.options.reference, plan.options.seeds) == ("e5 e6:asr e6", "e5", "1 2")


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("e6", []),
        ("e6:asr", ["--task", "asr"]),
        ("e6:st", ["--task", "st"]),
        ("e6:ctc_translation", ["--ctc_target", "translation"]),
        ("e6:asr:ctc_translation", ["--task", "asr", "--ctc_target", "translation"]),
    ],
)
def test_a_variant_is_an_option_of_the_run(name: str, more: list[str]) -> None:
    assert row_options(name, "7") == ["--system", "e6", "--seed", "7", *more]


def test_a_row_is_the_run_of_its_own_words(mini_table: MakeTable, tmp_path: Path) -> None:
    plan = mini_table("--systems", "e6:asr", "--reference", "e6:asr", "--seeds", "7", "--nj", "3", "--stop_stage", "2")
    (row,) = plan.rows
    own = ("--system", "e6", "--seed", "7", "--task", "asr")
    assert row.words == ("--stop_stage", "12", "--nj", "3", "--stop_stage", "2", "--expdir", str(tmp_path), *own)
    assert row.plan.layout.system_dir == f"{tmp_path}/asr_e6_seed7"
    assert (row.plan.options.stop_stage, row.plan.options.langs) == (2, "de fr es")
    assert row.place == f"{tmp_path}/table/e6:asr.seed7"


def test_options_are_split_between_the_table_and_its_rows() -> None:
    words = ["--seeds", "1 2", "--nj", "3", "--reference=e5", "--dry_run", "--ctc_options", "--max_epoch 2"]
    assert split_words(words) == (
        ["--seeds", "1 2", "--reference=e5"],
        ["--nj", "3", "--dry_run", "--ctc_options", "--max_epoch 2"],
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--systems", "e5", "--seeds", "one"], "--seeds: expected whole numbers, found 'one'"),
        (["--systems", " "], "--systems: expected a value, found none"),
        (["--systems", "e5"], "--reference: unknown row 'e6', expected one of e5"),
        (["--reference", "e9"], "--reference: unknown row 'e9', expected one of b1 b2 e5 e6"),
        (
            ["--systems", "e6 e6:mt"],
            "--systems: 'e6:mt': unknown variant 'mt', expected one of st, asr, cot, joint, lid",
        ),
        (["--systems", "e6 e99"], "no system 'e99'"),
        (["--system", "e6"], "--system: rows are named by --systems and --seeds"),
        (["--seed=3"], "--seed: rows are named by --systems and --seeds"),
        (["--njobs", "3"], "unknown option --njobs; the nearest is --nj"),
        (["e6"], "unexpected argument 'e6'"),
    ],
)
def test_wrong_usage_of_a_table_is_refused(mini_table: MakeTable, words: Sequence[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mini_table(*words)


def test_the_paths_of_a_row_are_those_of_its_run(mini_table: MakeTable, tmp_path: Path) -> None:
    b2, e6, d = (row.paths()[0] for row in mini_table("--systems", "b2 e6 d", "--beam_size", "2").rows)
    assert (b2.row, b2.seed, b2.failed) == ("b2", 1, f"{tmp_path}/table/b2.seed1.failed")
    assert (b2.system_dir, b2.base_dir) == (f"{tmp_path}/st_b2", f"{tmp_path}/st_b1")
    assert (b2.ctc_dir, b2.compressed_dir, b2.init_dir, b2.llm_dir) == ("", "", "", f"{tmp_path}/llm")
    ctc = f"{tmp_path}/ctc_transcript_bpe120"
    assert (e6.ctc_dir, e6.compressed_dir) == (ctc, f"{ctc}/compressed_frame_average")
    assert (e6.init_dir, e6.llm_dir) == (f"{tmp_path}/st_e5", f"{tmp_path}/llm")
    assert (e6.decode_dir, e6.data_dir) == (f"{tmp_path}/st_e6/decode_test_beam2", "dump/test")
    assert (d.ctc_dir, d.llm_dir) == ("", f"{tmp_path}/llm_decoder_st")


def test_ctc_is_a_row_of_recognition(mini_table: MakeTable, tmp_path: Path) -> None:
    words = ("--systems", "CTC E6", "--task", "asr")
    ctc, e6 = (row.paths()[0] for row in mini_table(*words).rows)
    assert (ctc.system_dir, ctc.ctc_dir, ctc.data_dir) == (f"{tmp_path}/asr_ctc", e6.ctc_dir, e6.data_dir)
    assert ctc.decode_dir == f"{tmp_path}/asr_ctc/decode_test_beam1"
    assert (ctc.compressed_dir, ctc.llm_dir, ctc.init_dir) == ("", "", "")  # nothing is compressed, and no LLM reads


@pytest.mark.parametrize(
    ("sets", "scored"),
    [("test", ["test"]), ("test dev", ["test", "dev"]), ("test a/real", ["test", "real"]), ("a/real", ["real"])],
)
def test_a_table_scores_all_sets_in_their_order(mini_table: MakeTable, sets: str, scored: list[str]) -> None:
    paths = mini_table("--sets", sets).rows[0].paths()
    assert [(each.set_name, each.data_dir) for each in paths] == [(name, f"dump/{name}") for name in scored]
    (part,) = mini_table("--subset", "5").rows[0].paths()
    assert (part.set_name, part.data_dir) == ("test_subset5", "dump/test_subset5")


def test_the_stage_reads_what_the_rows_have_left_and_notes_what_failed(mini_table: MakeTable, tmp_path: Path) -> None:
    words = ("--systems", "e5 e6", "--seeds", "1 2")
    stage = mini_table(*words).stage()
    assert stage.inputs == () and stage.settings == "systems=e5 e6 seeds=1 2 reference=e6 failed="
    left = ["st_e6/decode_test_beam4/score.json", "st_e6/average.json", "st_e5/training.json", "llm/training.json"]
    for name in [*left, "st_e5/other.json", "table/e5.seed2.failed"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("stage 8 train, status 1\n")
    stage = mini_table(*words).stage()
    assert sorted(stage.inputs) == sorted(f"{tmp_path}/{name}" for name in left)
    assert stage.settings.endswith(" failed= e5.2: stage 8 train, status 1")
    assert stage.outputs == (f"{tmp_path}/table/table.json", f"{tmp_path}/table/scores.svg", f"{tmp_path}/CLAIMS.md")


def test_what_writes_the_table_plans_the_same_rows(mini_table: MakeTable) -> None:
    plan = mini_table("--systems", "E5 E6:asr e6", "--seeds", "1 2", "--sets", "dev test", "--list", "--stage", "3")
    (job,) = plan.stage().jobs
    assert job.command[:3] == ("python3", "-m", "speechllama.bin.write_table")
    assert not {"--list", "--stage"} & set(job.command)  # which say how this call runs, and not what
    again = plan_table(job.command[3:], (), ())
    assert [row.paths() for row in again.rows] == [row.paths() for row in plan.rows]
    assert again.options == plan.options and again.expdir == plan.expdir
    assert again.stage() == plan.stage()


def test_the_records_of_a_table_are_its_rows_and_its_stage(mini_table: MakeTable, tmp_path: Path) -> None:
    plan = mini_table("--systems", "e5 e6", "--dry_run")
    records = list(table_records(plan, TEMPLATE_CMD))
    assert records[:7] == [
        ("set", "list", "false"),
        ("set", "dry_run", "true"),
        ("set", "num_nodes", "1"),
        ("cmd", str(TEMPLATE_CMD)),
        ("set", "stage", "1"),
        ("set", "stop_stage", "1"),
        ("set", "table_dir", f"{tmp_path}/table"),
    ]
    rows = [record for record in records if record[0] == "row"]
    assert rows[1][:5] == ("row", "e6", "1", f"{tmp_path}/table/e6.seed1", f"{tmp_path}/st_e6")
    assert rows[1][5:] == plan.rows[1].words and "--dry_run" in rows[1]
    assert records[9][:3] == ("stage", "1", "table")
