"""A planned run: its stages in order, what each reads and writes, and the records that the shell is given."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speechllama.bin.plan import TEMPLATE_CMD
from speechllama.decode.search_config import SearchConfig
from speechllama.options import UsageError
from speechllama.recipe.plan import Plan, find_cmd, make_plan, plan_records
from speechllama.recipe.stages import STAGES, Stage, stage_number
from test.recipe.conftest import MakePlan, commands, value_of

NAMES = "preflight data features tokenizer statistics ctc compress llm train lora average decode score pack".split()
SYSTEMS = ("b1", "b2", "d", "e0", "e1", "e5", "e6", "u", "u_frozen")
TRAININGS = ("ctc_train", "llm_train", "seq2seq_train")  # their options are ESPnet's


def test_the_order_of_the_stages_is_their_numbering(mini_plan: MakePlan) -> None:
    assert [make.__name__ for make in STAGES] == NAMES
    assert [stage_number(name) for name in NAMES] == list(range(len(NAMES)))
    rows = list(mini_plan("--sets", "dev test").stages())
    assert [number for number, _ in rows] == [*range(12), 11, 12, 12, 13]
    assert [stage.name for _, stage in rows] == [*NAMES[:11], "decode", "decode", "score", "score", "pack"]


@pytest.mark.parametrize(
    ("system", "skipped"),
    [
        ("e6", {}),
        ("e5", {"lora": "e5 has no init_system, so stage train trains it"}),
        (
            "e0",
            {
                "ctc": "the encoder of e0 learns with the LLM's loss",
                "compress": "e0 trains from features",
                "lora": "e0 has no init_system, so stage train trains it",
            },
        ),
        (
            "b1",
            {
                "ctc": "the encoder-decoder trains its CTC head along with the rest",
                "compress": "an encoder-decoder trains from features",
                "llm": "b1 has no LLM",
                "lora": "an encoder-decoder has no LLM to adapt",
            },
        ),
        (
            "b2",
            {
                "ctc": "the encoder-decoder trains its CTC head along with the rest",
                "compress": "an encoder-decoder trains from features",
                "lora": "an encoder-decoder has no LLM to adapt",
            },
        ),
    ],
)
def test_a_system_without_use_for_a_stage_says_why(mini_plan: MakePlan, system: str, skipped: dict[str, str]) -> None:
    rows = [stage for _, stage in mini_plan("--system", system).stages()]
    assert {stage.name: stage.skip for stage in rows if stage.skip} == skipped
    assert all(stage == Stage(stage.name, skip=stage.skip) for stage in rows if stage.skip)
    assert all(stage.jobs and stage.title for stage in rows if not stage.skip)


@pytest.mark.parametrize("more", [(), ("--task", "asr"), ("--from_features",), ("--ctc_target", "translation")])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_stage_reads_only_what_is_there_or_an_earlier_stage_writes(
    mini_plan: MakePlan, system: str, more: tuple[str, ...]
) -> None:
    written: set[str] = set()
    for _, stage in mini_plan("--system", system, *more).stages():
        missing = [path for path in stage.inputs if path not in written and not Path(path).is_file()]
        assert not missing, f"stage {stage.name}"
        written |= set(stage.outputs)


@pytest.mark.parametrize("system", SYSTEMS)
def test_markers_and_logs_are_where_no_other_stage_has_its_own(mini_plan: MakePlan, system: str) -> None:
    rows = [stage for _, stage in mini_plan("--system", system, "--sets", "dev test").stages() if not stage.skip]
    markers = [stage.marker for stage in rows if stage.name != "preflight"]
    assert all(markers) and len(set(markers)) == len(markers)
    logs = {(job.log, stage.name) for stage in rows for job in stage.jobs if job.log}
    assert len({log for log, _ in logs}) == len(logs)
    assert all((".JOB." in job.log) == ("JOB" in job.command) for stage in rows for job in stage.jobs if job.log)


@pytest.mark.parametrize("words", [("--nj", "3"), ("--ngpu", "4", "--num_nodes", "2", "--from_features")])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_option_of_a_command_is_one_of_its_entry_point(
    mini_plan: MakePlan, system: str, words: tuple[str, ...]
) -> None:
    found = set()
    jobs = [job for _, stage in mini_plan("--system", system, *words).stages() for job in stage.jobs]
    for command in [job.command for job in jobs if job.command[2].startswith("speechllama.bin.")]:
        name = command[2].removeprefix("speechllama.bin.")
        if name in (*TRAININGS, "preflight"):
            continue
        parser = importlib.import_module(command[2]).get_parser()
        known = {option for action in parser._actions for option in action.option_strings}
        assert {word for word in command[3:] if word.startswith("--")} <= known, name
        found.add(name)
    assert {"make_features", "train_tokenizer", "average_checkpoints", "decode", "score"} <= found


def test_commands_of_wav_scp_are_allowed_to_what_reads_recordings_and_to_nothing_else(mini_plan: MakePlan) -> None:
    words = ("--sets", "test ../real/test_real")
    allowed = ("--allow_commands", "true")
    for given in ((), allowed):
        plan = mini_plan(*words, *given)
        jobs = [job.command for _, row in plan.stages() if row.name != "preflight" for job in row.jobs]
        found = [command[2] for command in jobs if "--allow_commands" in command]
        reading = ["validate_data_dir", "make_features", "validate_data_dir", "make_features"]
        assert found == [f"speechllama.bin.{name}" for name in (reading if given else ())]
        assert all(value_of(command, "allow_commands") == "true" for command in jobs if "--allow_commands" in command)


def test_the_share_of_utterances_without_units_is_a_limit_of_stage_compress(mini_plan: MakePlan) -> None:
    for words, limit in (((), None), (("--max_blank_share", "0.3"), "0.3")):
        reports = [command for command in commands(mini_plan(*words), "compress") if command[0] == "ctc_report"]
        assert [command[-2:] == ("--max_blank_share", limit) for command in reports] == [limit is not None]


@pytest.mark.parametrize(
    ("holder", "stage", "job"),
    [
        ("data_options", "data", 0),
        ("feature_options", "features", 0),
        ("ctc_options", "ctc", 0),
        ("llm_options", "llm", 0),
        ("train_options", "train", -1),
    ],
)
def test_options_of_a_command_may_have_values_with_spaces(
    own_plan: MakePlan, holder: str, stage: str, job: int
) -> None:
    words = (f"--{holder}", "--column 'my text' --n 3", "--llm", "some/llm")
    plan = own_plan("--system", "e5", *words, mine="")
    row = next(row for _, row in plan.stages() if row.name == stage)
    command = row.jobs[job].command
    at = command.index("--column")
    assert command[at : at + 4] == ("--column", "my text", "--n", "3")


def test_trainings_have_the_seed_the_search_path_and_the_users_options(mini_plan: MakePlan) -> None:
    plan = mini_plan("--seed", "7", "--ctc_options", "--max_epoch 5", "--train_options", "--max_epoch 6 --patience 2")
    training, average = commands(plan, "ctc")
    assert training[:7] == (
        "ctc_train",
        "--ngpu",
        "0",
        "--config",
        "conf/ctc.yaml",
        "--conf_path",
        "conf:../TEMPLATE/conf",
    )
    assert training[-6:] == ("--max_epoch", "5", "--seed", "7", "--resume", "true")
    assert average == ("average_checkpoints", "--exp_dir", plan.layout.ctc_dir, "--num_best", "1")
    assert commands(plan, "lora")[-1][-8:-4] == ("--max_epoch", "6", "--patience", "2")
    (stage,) = [stage for _, stage in plan.stages() if stage.name == "lora"]
    assert stage.settings == "task=st seed=7 train_options=--max_epoch 6 --patience 2 num_best=1"


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (("--ngpu", "1"), ("speechllama.bin.ctc_train", "--ngpu", "1", "--config")),
        (
            ("--ngpu", "4"),
            (
                *("torch.distributed.run", "--nproc_per_node", "4", "--standalone", "-m", "speechllama.bin.ctc_train"),
                *("--multiprocessing_distributed", "false", "--ngpu", "1", "--config"),
            ),
        ),
        (
            ("--num_nodes", "2"),
            (
                *("torch.distributed.run", "--nproc_per_node", "1", "--nnodes", "2", "-m", "speechllama.bin.ctc_train"),
                *("--multiprocessing_distributed", "false", "--ngpu", "0", "--dist_backend", "gloo", "--config"),
            ),
        ),
    ],
)
def test_a_training_on_several_processes_goes_through_torchrun(
    mini_plan: MakePlan, words: tuple[str, ...], start: tuple[str, ...]
) -> None:
    (stage,) = [stage for _, stage in mini_plan(*words).stages() if stage.name == "ctc"]
    job = stage.jobs[0]
    assert job.kind == "train" and job.command[: 2 + len(start)] == ("python3", "-m", *start)


def test_compression_learns_units_once_and_names_only_changed_settings(
    mini_plan: MakePlan, own_plan: Callable[..., Plan]
) -> None:
    learn, first, *_ = commands(mini_plan("--system", "u", "--seed", "7"), "compress")
    conf = '{"num_clusters": 500}'
    assert learn[0] == "learn_units" and value_of(learn, "compressor_conf") == conf and value_of(learn, "seed") == "7"
    assert first[0] == "ctc_compress" and value_of(first, "compressor_conf") == conf
    assert value_of(first, "centroids_file") == value_of(learn, "output_file")
    (first, *_) = commands(mini_plan("--system", "e5"), "compress")
    assert value_of(first, "compressor") == "frame_average" and "--compressor_conf" not in first
    yaml = "compressor_conf: {drop_blank_runs: yes, max_compressed_length: null}\n"
    (first, *_) = commands(own_plan("--system", "mine", mine=yaml), "compress")
    assert value_of(first, "compressor_conf") == '{"drop_blank_runs": true}'


@pytest.mark.parametrize(
    ("decode_nj", "expected"), [("1", ["decode", "decode"]), ("2", ["decode", "merge_decoded"] * 2)]
)
def test_decoding_and_its_control_are_merged_where_several_jobs_share_them(
    mini_plan: MakePlan, decode_nj: str, expected: list[str]
) -> None:
    found = commands(mini_plan("--decode_nj", decode_nj, "--decode_options", "--length_penalty 0.8"), "decode")
    assert [command[0] for command in found] == expected
    decodings = [command for command in found if command[0] == "decode"]
    assert [value_of(command, "control") for command in decodings] == ["false", "true"]
    assert all(command[-2:] == ("--length_penalty", "0.8") for command in decodings)


def test_a_rescoring_system_decodes_dev_tunes_on_it_and_rescores_the_sets(mini_plan: MakePlan) -> None:
    rows = [stage for number, stage in mini_plan("--system", "b2").stages() if number == stage_number("decode")]
    assert [stage.name for stage in rows] == ["decode", "decode", "tune", "rescore"]
    assert [stage.marker for stage in rows] == [
        "exp/st_b1/.decode_test_beam4.done",
        "exp/st_b1/.decode_dev_beam4.done",
        "exp/st_b2/.tune_beam4.done",
        "exp/st_b2/.rescore_test_beam4.done",
    ]
    sets = mini_plan("--system", "b2", "--sets", "dev test").stages()
    assert [stage.name for number, stage in sets if number == 11] == ["decode"] * 2 + ["tune"] + ["rescore"] * 2


def test_the_preflight_gets_the_run_and_leaves_nothing_of_a_dry_one(mini_plan: MakePlan) -> None:
    plan = mini_plan("--system", "e5", "--nj", "3")
    (command,) = commands(plan, "preflight")
    assert command[0] == "preflight" and command[1:-4] == plan.words
    assert command[-4:] == ("--finished", "FINISHED", "--output_dir", "exp/preflight/st_e5")
    (command,) = commands(mini_plan("--system", "e5", "--nj", "3", "--dry_run"), "preflight")
    assert command[1:] == (*plan.words, "--finished", "FINISHED")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--system", "b2", "--task", "asr", "--seed", "7", "--tag", "a b"),
        ("--system", "u", "--size", "small", "--llm", "some/big", "--pack_llm", "false", "--stop_stage", "9"),
        ("--ctc_options", "--max_epoch 5 --optim_conf lr=0.1", "--data_options=--num_test 3", "--nj=08"),
        ("--from_features", "--ngpu", "2", "--sets", "dev test", "--expdir", "my exp"),
        ("--stage", "3", "--list", "--dry_run", "--python", "python3.11"),
    ],
)
def test_a_plans_words_give_the_same_plan_again(mini_plan: MakePlan, words: tuple[str, ...]) -> None:
    plan = mini_plan(*words)
    again = make_plan(plan.words)
    assert again.words == plan.words

    def rows(planned: Plan) -> Iterator[Stage]:
        return (stage for _, stage in planned.stages() if stage.name != "preflight")

    assert list(rows(again)) == list(rows(plan))
    assert again.options.stage == 0 and not again.options.list and not again.options.dry_run


def test_the_records_are_what_the_shell_takes(mini_plan: MakePlan) -> None:
    records = list(plan_records(mini_plan("--system", "e6", "--list", "--ngpu", "2"), TEMPLATE_CMD))
    assert records[:8] == [
        ("set", "stage", "0"),
        ("set", "stop_stage", "99"),
        ("set", "list", "true"),
        ("set", "dry_run", "false"),
        ("set", "ngpu", "2"),
        ("set", "num_nodes", "1"),
        ("set", "python", ""),
        ("set", "system_dir", "exp/st_e6"),
    ]
    assert records[8:14] == [
        ("cmd", str(TEMPLATE_CMD)),
        ("hold", "exclusive", "exp/st_e6"),
        ("hold", "shared", "dump"),
        ("hold", "shared", "exp/st_e5"),
        ("hold", "shared", "exp/llm"),
        ("hold", "shared", "exp/ctc_transcript_bpe120"),
    ]
    keys = {"stage", "input", "output", "show", "replan", "early", "clear", "job"}
    assert {record[0] for record in records[14:]} == keys
    start = records.index(next(record for record in records if record[:3] == ("stage", "10", "average")))
    title = "average of the 1 best epochs (exp/st_e6/model.pth)"
    assert records[start : start + 4] == [
        ("stage", "10", "average", "exp/st_e6/.average.done", title, "num_best=1", ""),
        ("input", "exp/st_e6/config.yaml"),
        ("output", "exp/st_e6/model.pth"),
        ("show",),
    ]
    job = ("python3", "-m", "speechllama.bin.average_checkpoints", "--exp_dir", "exp/st_e6", "--num_best", "1")
    assert records[start + 4] == ("job", "cpu", "1", "exp/st_e6/average.log", *job, "--output_dir", "exp/st_e6")
    assert all(isinstance(word, str) for record in records for word in record)


@pytest.mark.parametrize(
    ("system", "shared"),
    [
        ("e0", ["dump", "exp/llm"]),
        ("b1", ["dump"]),
        ("b2", ["dump", "exp/llm", "exp/st_b1"]),
        ("d", ["dump", "exp/llm_decoder_st"]),
    ],
)
def test_a_run_holds_what_it_reads(mini_plan: MakePlan, system: str, shared: list[str]) -> None:
    assert mini_plan("--system", system).shared_dirs() == shared


def test_jobs_run_where_the_user_the_recipe_or_the_template_says(own_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = own_plan("--system", "e5", mine="")
    assert find_cmd(plan.options, TEMPLATE_CMD) == str(TEMPLATE_CMD)
    Path("cmd.sh").touch()
    assert find_cmd(plan.options, TEMPLATE_CMD) == str(tmp_path / "recipe" / "cmd.sh")
    (tmp_path / "site.sh").touch()
    plan = own_plan("--system", "e5", "--cmd", str(tmp_path / "site.sh"), mine="")
    assert find_cmd(plan.options, TEMPLATE_CMD) == str(tmp_path / "site.sh")
    with pytest.raises(UsageError, match="--cmd 'nowhere.sh' is no file"):
        find_cmd(own_plan("--system", "e5", "--cmd", "nowhere.sh", mine="").options, TEMPLATE_CMD)


def test_the_plan_knows_the_search_of_stage_decode(mini_plan: MakePlan) -> None:
    assert mini_plan("--beam_size", "3").search == SearchConfig(beam_size=3, nbest=3)
    options = "--num_samples 16 --mbr chrf --no_repeat_ngram_size 4"
    config = mini_plan("--decode_options", options).search
    assert config == SearchConfig(nbest=4, num_samples=16, mbr="chrf", no_repeat_ngram_size=4)
    assert mini_plan("--system", "b1", "--decode_options", "--ctc_weight 0.5").search == SearchConfig(nbest=4)


def test_a_training_has_a_batch_size_of_its_own(mini_plan: MakePlan) -> None:
    assert mini_plan("--train_options", "--batch_size 8").options.train_options == "--batch_size 8"
