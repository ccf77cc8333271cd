"""The front end of a run: its YAML, its names in paths and commands, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.frontend.front_ends import choose_front_end
from speechllama.options import UsageError
from speechllama.recipe.plan import Plan, make_plan
from speechllama.recipe.stages import Stage
from speechllama.recipe.table import row_options

Write = Callable[[str, str], None]
WORDS = ["--langs", "de", "--llm", "some/llm"]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a front end of a recipe, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/frontend").mkdir(parents=True)

    def write_yaml(name: str, text: str) -> None:
        (tmp_path / f"conf/frontend/{name}.yaml").write_text(text)

    return write_yaml


def features_stage(plan: Plan) -> Stage:
    (stage,) = (stage for _, stage in plan.stages() if stage.name == "features")
    return stage


def features_command(plan: Plan) -> tuple[str, ...]:
    return features_stage(plan).jobs[0].command


def test_the_default_adds_nothing_to_names_and_commands(write: Write) -> None:
    plan = make_plan(WORDS)
    assert plan.layout.dump("train") == "dump/train"
    assert "--frontend" not in features_command(plan)


def test_another_front_end_is_part_of_every_name_that_depends_on_it(write: Write) -> None:
    write("mine", "frontend: hf\nfrontend_conf: {path: some/encoder, layers: [3, 4]}\n")
    plan = make_plan([*WORDS, "--frontend", "mine"])
    layout = plan.layout
    assert layout.dump("train") == "dump_mine/train"
    assert layout.cmvn == "exp/stats_transcript_bpe500_mine/cmvn.npz"
    assert layout.ctc_dir == "exp/ctc_transcript_bpe500_mine"
    assert (layout.system_dir, layout.init_dir) == ("exp/st_e6_mine_llm", "exp/st_e5_mine_llm")
    command = features_command(plan)
    assert command[command.index("--frontend") + 1] == "hf"
    assert command[command.index("--frontend_conf") + 1] == '{"path": "some/encoder", "layers": [3, 4]}'
    assert "--ngpu" not in command
    assert "--ngpu" in features_command(make_plan([*WORDS, "--frontend", "mine", "--ngpu", "1"]))


def test_a_front_end_that_trains_has_its_waveforms_written_without_a_gpu(write: Write) -> None:
    conf = "{path: some/encoder, train: lora, lora: {rank: 4, targets: [q_proj]}}"
    write("mine", f"frontend: hf\nfrontend_conf: {conf}\n")
    plan = make_plan([*WORDS, "--frontend", "mine", "--ngpu", "1"])
    assert plan.front_end.is_trained and plan.layout.dump("train") == "dump_mine/train"
    stage, command = features_stage(plan), features_command(plan)
    assert "--ngpu" not in command and stage.jobs[0].kind == "cpu" and stage.title.startswith("waveforms")
    given = json.loads(command[command.index("--frontend_conf") + 1])
    assert (given["train"], given["lora"]["rank"], given["lora"]["targets"]) == ("lora", 4, ["q_proj"])
    assert choose_front_end("hf", given) == plan.front_end.choice
    write("mine", "frontend: hf\nfrontend_conf: {path: some/encoder, train: lora, dtype: float16}\n")
    with pytest.raises(UsageError, match="mine.yaml: frontend_conf: dtype float16 with train: lora"):
        make_plan([*WORDS, "--frontend", "mine"])
    write("mine", "frontend: given\nfrontend_conf: {dim: 9, frame_shift_ms: 20, train: lora}\n")
    with pytest.raises(UsageError, match="mine.yaml: frontend_conf: unknown key 'train'"):
        make_plan([*WORDS, "--frontend", "mine"])


def test_weights_elsewhere_need_no_yaml(write: Write, tmp_path: Path) -> None:
    write("mine", "frontend: hf\nfrontend_conf: {path: some/encoder}\n")
    plan = make_plan([*WORDS, "--frontend", "mine", "--frontend_path", "/data/encoder"])
    assert plan.front_end.choice.settings.path == "/data/encoder"
    assert "config.json" not in " ".join(features_stage(plan).inputs)
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/config.json").write_text("{}")
    plan = make_plan([*WORDS, "--frontend", "mine", "--frontend_path", "encoder"])
    (tmp_path / "encoder/model.safetensors").write_text("weights")
    inputs = features_stage(plan).inputs  # others there make the features stale
    assert "encoder/config.json" in inputs and "encoder/model.safetensors" in inputs
    with pytest.raises(UsageError, match="--frontend_path: the front end fbank has no weights"):
        make_plan([*WORDS, "--frontend_path", "/data/encoder"])


def stages_of(plan: Plan) -> dict[str, Stage]:
    return {stage.name: stage for _, stage in plan.stages()}


def test_a_front_end_with_its_own_CTC_head_trains_none(write: Write) -> None:
    write("mine", "frontend: hf\nfrontend_conf: {path: some/encoder, ctc_head: true}\n")
    plan = make_plan([*WORDS, "--frontend", "mine", "--seed", "3"])
    layout, stages = plan.layout, stages_of(plan)
    assert layout.tokenizer == "data/ctc_own_mine/units.json"
    assert (layout.ctc_dir, layout.cmvn) == ("exp/ctc_own_mine", "exp/stats_own_mine/cmvn.npz")  # has no seed
    assert layout.compressed_dir == "exp/ctc_own_mine/compressed_frame_average"
    (units,), (head,) = stages["tokenizer"].jobs, stages["ctc"].jobs
    assert units.command[2:] == (
        *("speechllama.bin.adopt_units", "--frontend", "hf"),
        *("--frontend_conf", '{"path": "some/encoder", "ctc_head": true}'),
        *("--text", "data/train/src_text", "--output_dir", "data/ctc_own_mine"),
    )
    assert head.command[2:] == (
        *("speechllama.bin.adopt_ctc_head", "--data_dir", "dump_mine/train"),
        *("--tokenizer", "data/ctc_own_mine/units.json", "--output_dir", "exp/ctc_own_mine"),
    )
    assert stages["ctc"].title == "CTC head of the front end, nothing trains (exp/ctc_own_mine)"
    assert "dump_mine/train/frontend.json" in stages["ctc"].inputs  # other weights make it stale
    assert stages["statistics"].jobs[0].command[-2:] == ("--encoder", "own_head")
    assert "exp/ctc_own_mine" in plan.shared_dirs()


def test_its_weights_are_part_of_the_units(write: Write) -> None:
    write("mine", "frontend: hf\nfrontend_conf: {path: some/encoder, ctc_head: true}\n")
    one, other = (
        stages_of(make_plan([*WORDS, "--frontend", "mine", *more])) for more in ([], ["--frontend_path", "an/other"])
    )
    assert one["tokenizer"].settings != other["tokenizer"].settings


def test_an_encoder_decoder_learns_its_own_units_with_any_front_end(write: Write) -> None:
    for name, head in (("plain", "false"), ("headed", "true")):
        write(name, f"frontend: hf\nfrontend_conf: {{path: some/encoder, ctc_head: {head}}}\n")
    plain, headed = (
        stages_of(make_plan([*WORDS, "--system", "b1", "--frontend", name])) for name in ("plain", "headed")
    )
    for name in ("tokenizer", "train"):
        expected = [word.replace("_plain", "_headed") for job in plain[name].jobs for word in job.command]
        assert [word for job in headed[name].jobs for word in job.command] == expected
    assert headed["ctc"].skip


@pytest.mark.parametrize(
    ("option", "value"), [("ctc_units", "100"), ("ctc_options", "--max_epoch 5"), ("ctc_target", "translation")]
)
def test_options_of_CTC_training_are_refused_where_none_is_trained(write: Write, option: str, value: str) -> None:
    write("mine", "frontend: hf\nfrontend_conf: {path: some/encoder, ctc_head: true}\n")
    words = [*WORDS, "--frontend", "mine", f"--{option}", value]
    with pytest.raises(UsageError, match=f"--{option} {value}: the front end mine brings its own CTC head"):
        make_plan(words)
    assert make_plan([*words, "--system", "b1"]).layout.ctc_dir  # which trains its own


def test_given_features_are_read_from_the_data_directories(write: Write) -> None:
    write("lips", "frontend: given\nfrontend_conf: {dim: 96, frame_shift_ms: 40}\n")
    stages = {stage.name: stage for _, stage in make_plan([*WORDS, "--frontend", "lips"]).stages()}
    assert "data/train/feats.scp" in stages["features"].inputs
    assert "data/train/wav.scp" not in (*stages["features"].inputs, *stages["data"].outputs)


def test_a_front_end_is_a_variant_of_a_row(write: Write) -> None:
    write("mine", "frontend: hf\nfrontend_conf: {path: some/encoder}\n")
    assert row_options("e6:mine:asr", "2") == [
        *("--system", "e6", "--seed", "2", "--frontend", "mine", "--task", "asr"),
    ]
    with pytest.raises(UsageError, match="unknown variant 'nine', expected one of .*mine"):
        row_options("e6:nine", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frontend: fbnak\n", "mine.yaml: unknown front end 'fbnak', expected one of fbank, .*; did you mean 'fbank'"),
        ("frontend_conf: {bins: 40}\n", "mine.yaml: frontend_conf: unknown key 'bins'"),
        ("frontend: hf\n", "mine.yaml: frontend_conf: path is empty"),
        ("frontend: given\n", "mine.yaml: frontend_conf: dim 0, frame_shift_ms 0.0, num_layers 1: expected the width"),
        ("front_end: hf\n", "mine.yaml: unknown key 'front_end', expected one of frontend, frontend_conf"),
    ],
)
def test_a_wrong_yaml_is_refused(write: Write, text: str, message: str) -> None:
    write("mine", text)
    with pytest.raises(UsageError, match=message):
        make_plan([*WORDS, "--frontend", "mine"])


def test_an_unknown_front_end_is_refused(write: Write) -> None:
    with pytest.raises(UsageError, match="--frontend: unknown front end 'whisper', expected one of fbank, w2v_bert_2"):
        make_plan([*WORDS, "--frontend", "whisper"])


def test_a_front_end_among_the_options_of_a_command_is_refused(write: Write) -> None:
    with pytest.raises(UsageError, match="--feature_options holds --frontend, .*: give it to the recipe itself"):
        make_plan([*WORDS, "--feature_options", "--frontend hf"])
    with pytest.raises(UsageError, match="holds --frontend_conf, .*: write it into a YAML of conf/frontend"):
        make_plan([*WORDS, "--feature_options", "--frontend_conf={}"])
