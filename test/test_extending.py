"""What users add has one place: a toy one of each row of docs/extending.md, from outside, runs through a plan."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechllama.bin import make_features, score, write_results
from speechllama.constants import SAMPLE_RATE, SPLITS
from speechllama.corpora.covost2.files import table_name
from speechllama.corpora.options import DataOptions
from speechllama.feature_shape import FeatureShape
from speechllama.files import write_table
from speechllama.frontend.feature_format import read_format
from speechllama.frontend.front_ends import FRONT_ENDS
from speechllama.model.audio import Encoded
from speechllama.model.compressors import COMPRESSORS, Compressor
from speechllama.model.encoders import ENCODERS, choose_encoder
from speechllama.options import UsageError, at_least_one, format_help, option, parse, to_words
from speechllama.recipe.corpora import CORPORA, Corpus, SizeEstimate, Sources
from speechllama.recipe.options import Options
from speechllama.recipe.plan import Plan, make_plan
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.preflight.systems import find_trainings
from speechllama.recipe.stages import STAGES, Job, Stage, module, stage_number
from speechllama.report.segments import SegmentScores, digest_texts, write_segments
from speechllama.text.prompt import Prompt, PromptConfig
from speechllama.text.targets import TARGETS, Target
from speechllama.text.tasks import BLEU, CHRF, SEGMENT_MEAN, TASKS, Metric, Task
from test.toys import ENERGY, STACK, Every, EverySettings

LANGS = ("--langs", "de", "--llm", "some/llm")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a recipe outside egs, with these files of conf, the current directory."""

    def make(**confs: str) -> Path:
        folder = tmp_path / "site" / "toy"
        (folder / "conf").mkdir(parents=True)
        for name, text in confs.items():
            (folder / "conf" / f"{name}.yaml").write_text(text)
        monkeypatch.chdir(folder)
        return folder

    return make


def rows_of(plan: Plan) -> dict[str, Stage]:
    """The stages of a plan by name, of several parts the last one."""
    return {stage.name: stage for _, stage in plan.stages()}


def values_of(stage: Stage, name: str, program: str = "") -> list[str]:
    """The values of an option in the commands of a stage, or of one program of it."""
    commands = [job.command for job in stage.jobs if not program or f"speechllama.bin.{program}" in job.command]
    return [command[command.index(f"--{name}") + 1] for command in commands if f"--{name}" in command]


def test_every_row_of_the_documentation_has_a_test_here(root: Path) -> None:
    text = (root / "docs/extending.md").read_text(encoding="utf-8")
    table = text[text.index("| to add |") :].partition("\n\n")[0].splitlines()[2:]
    names = [re.findall(r"[Aa]n? [\w ]+", row.split("|")[1]) for row in table]
    assert len(names) == 13 and all(names)
    for name in [name.strip().replace(" ", "_") for row in names for name in row]:
        found = [test for test in globals() if test.lower().startswith(f"test_{name.lower()}_")]
        assert found, f"no test adds {name}"


def test_an_option_is_a_field() -> None:
    @dataclass(frozen=True)
    class SiteOptions(Options):
        """Options with one more."""

        max_pause: int = option(300, "longest pause in ms", at_least_one, "The site")

    options = parse(SiteOptions, ["--max-pause=200"], LANGS)
    assert options.max_pause == 200 and to_words(options)[-2:] == ["--max_pause", "200"]
    assert format_help(options).splitlines()[-2:] == ["The site", "  --max_pause        longest pause in ms [200]"]
    with pytest.raises(UsageError, match="^--max_pause: expected at least 1, found 0$"):
        parse(SiteOptions, ["--max_pause", "0"], LANGS)
    with pytest.raises(UsageError, match="unknown option --max_pauze; the nearest is --max_pause"):
        parse(SiteOptions, ["--max_pauze", "3"], LANGS)


def test_an_option_that_a_stage_reads_is_in_the_words_of_its_plan(recipe: Callable[..., Path]) -> None:
    fields = [("max_pause", int, option(300, "longest pause in ms"))]
    site_options = dataclasses.make_dataclass("SiteOptions", fields, bases=(Options,), frozen=True)
    recipe()
    plan = dataclasses.replace(make_plan(LANGS), options=parse(site_options, ["--max_pause", "200"], LANGS))
    assert plan.words == (*LANGS, "--max_pause", "200")
    assert values_of(rows_of(plan)["preflight"], "max_pause") == ["200"]


def segment(plan: Plan) -> list[Stage]:
    """Short utterances from long recordings."""
    folder = plan.layout.data("train")
    jobs = (Job("cpu", module("segment", "--data_dir", folder), f"{folder}/log/segment.log"),)
    inputs, outputs = (f"{folder}/wav.scp",), (f"{folder}/segments",)
    return [Stage("segment", f"segments ({folder})", f"{folder}/.segment.done", "", inputs, outputs, jobs)]


def test_a_stage_is_a_function_and_its_place_is_its_number(recipe: Callable[..., Path]) -> None:
    recipe()
    before = [(number, stage.name) for number, stage in make_plan(LANGS).stages()]
    STAGES.insert(stage_number("features"), segment)
    try:
        rows = [(number, stage.name) for number, stage in make_plan(LANGS).stages()]
        assert (stage_number("segment"), stage_number("features"), stage_number("pack")) == (2, 3, 14)
        with pytest.raises(UsageError, match="--llm is needed from stage llm on"):
            make_plan(["--langs", "de", "--stop_stage", "8"])
        assert make_plan(["--langs", "de", "--stop_stage", "7"]).options.stop_stage == 7
    finally:
        STAGES.remove(segment)
    assert rows == [*before[:2], (2, "segment"), *((number + 1, name) for number, name in before[2:])]


def test_a_system_is_a_yaml(recipe: Callable[..., Path]) -> None:
    recipe(e7="include: train.yaml\ncompressor_conf: {drop_blank_runs: true}\nprefix_mask: non_causal\n")
    plan = make_plan([*LANGS, "--system", "e7"])
    stages = rows_of(plan)
    assert plan.layout.system_dir == "exp/st_e7_llm" and plan.layout.compressed_dir.endswith("_no_blanks")
    assert values_of(stages["train"], "config", "llm_train") == ["conf/e7.yaml"]
    assert stages["train"].inputs[0] == "conf/e7.yaml" and stages["train"].inputs[1].endswith(
        "TEMPLATE/conf/train.yaml"
    )


def test_a_compressor_is_a_record(add: Callable[..., None], recipe: Callable[..., Path]) -> None:
    every = Compressor("every", EverySettings, lambda settings, dim: Every(settings.step), "encoder_states", True)
    add(COMPRESSORS, every)
    first = "compressor: every\ncompressor_conf: {step: 4}\n"
    recipe(first=f"include: train.yaml\n{first}", then=f"include: lora.yaml\ninit_system: first\n{first}")
    plan = make_plan([*LANGS, "--system", "then"])
    stages, folder = rows_of(plan), "exp/ctc_transcript_bpe500/compressed_every_step4"
    assert plan.layout.compressed_dir == folder
    assert values_of(stages["compress"], "compressor") == ["every"]
    assert values_of(stages["compress"], "compressor_conf") == ['{"step": 4}']
    for name in ("train", "lora"):
        assert f"{folder}/train/compressed.scp" in stages[name].inputs
        data = values_of(stages[name], "train_data_path_and_name_and_type", "llm_train")
        assert data == [f"{folder}/train/compressed.scp,compressed,kaldi_ark"]
    system = plan.selection.system
    made = system.compressor.build(system.compressor_settings, 6)
    lengths = torch.tensor([9, 4])
    assert made(Encoded(torch.zeros(2, 9, 6), torch.zeros(2, 9, 0), lengths)).lengths.tolist() == [3, 1]


def test_a_compressor_that_reads_states_of_a_trained_encoder_is_refused_on_a_fresh_one(
    add: Callable[..., None], recipe: Callable[..., Path]
) -> None:
    add(COMPRESSORS, Compressor("every", EverySettings, lambda settings, dim: Every(8), "encoder_states", True))
    recipe(mine="include: train.yaml\ncompressor: every\nfreeze_encoder: no\n")
    with pytest.raises(UsageError, match="mine.yaml: the compressor every needs a trained CTC encoder"):
        make_plan([*LANGS, "--system", "mine"])


def test_an_encoder_is_a_record(add: Callable[..., None], recipe: Callable[..., Path]) -> None:
    add(ENCODERS, STACK)
    stack = "encoder: stack\nencoder_conf: {num_stacked: 4, dim: 32}\n"
    recipe(ctc=f"include: gpu.yaml\nctc_units: 30\n{stack}", mine=f"freeze_encoder: no\n{stack}compressor: none\n")
    plan = make_plan([*LANGS, "--system", "e5"])
    assert values_of(rows_of(plan)["ctc"], "config") == ["conf/ctc.yaml"]
    assert plan.layout.ctc_dir == "exp/ctc_transcript_bpe30"
    faults: list[str] = []
    run = CheckedRun(make_plan([*LANGS, "--system", "e5", "--stop_stage", "6"]))
    (training,) = find_trainings(run, None, faults)
    assert faults == [] and training.num_trained == (320 + 1) * 32 + (32 + 1) * 30
    for config in (plan.layout.ctc, plan.folders.read("mine")):
        encoder = choose_encoder(config.settings, config.path).build(30, FeatureShape())
        assert (encoder.dim, encoder.frame_shift) == (32, pytest.approx(0.04))
        assert encoder(torch.zeros(1, 9, 80), torch.tensor([9])).logits.shape == (1, 2, 30)


def test_a_front_end_is_a_record(add: Callable[..., None], recipe: Callable[..., Path]) -> None:
    add(FRONT_ENDS, ENERGY)
    folder = recipe()
    for name in SPLITS:
        (folder / "data" / name).mkdir(parents=True)
        noise = np.random.default_rng(0).normal(size=SAMPLE_RATE) * 0.1
        soundfile.write(folder / "data" / name / "a.wav", noise, SAMPLE_RATE)
        tables = {"wav.scp": f"data/{name}/a.wav", "text": "a", "src_text": "a", "utt2lang": "de", "utt2spk": "s_a"}
        for table, value in {**tables, "utt2dur": "1.0"}.items():
            (folder / "data" / name / table).write_text(f"s_a {value}\n")
    (folder / "conf/frontend").mkdir()
    (folder / "conf/frontend/loudness.yaml").write_text("frontend: energy\nfrontend_conf: {seconds: 0.04}\n")
    plan = make_plan([*LANGS, "--nj", "1", "--frontend", "loudness"])
    stage = rows_of(plan)["features"]
    assert values_of(stage, "frontend", "make_features") == ["energy"]
    make_features.main([word.replace("JOB", "1") for word in stage.jobs[0].command[3:]])
    features = read_format(folder / "dump_loudness/train")
    assert (features.build().dim, features.frame_shift) == (1, 0.04)
    layout = plan.layout  # other features go to other places, and so does all that is trained on them
    assert (layout.ctc_dir, layout.system_dir) == ("exp/ctc_transcript_bpe500_loudness", "exp/st_e6_loudness_llm")
    assert CheckedRun(plan).features.feature_dim == 1  # the preflight's estimates are of these features


def test_a_task_is_a_record(add: Callable[..., None], recipe: Callable[..., Path]) -> None:
    scorer = "speechllama.report.score:score_translation"
    add(TASKS, Task("caption", "Captioning", "text", "Describe the audio: {audio} Caption:", (CHRF, BLEU), scorer))
    recipe()
    plan = make_plan([*LANGS, "--system", "e6", "--task", "caption"])
    stages, layout = rows_of(plan), plan.layout
    assert (layout.system_dir, layout.init_dir) == ("exp/caption_e6_llm", "exp/caption_e5_llm")
    assert f"{layout.compressed_dir}/train/text" in stages["lora"].inputs
    assert values_of(stages["lora"], "task_name") == ["caption"]
    assert values_of(stages["score"], "task") == ["caption"]
    command = next(job.command for job in stages["score"].jobs if "speechllama.bin.score" in job.command)
    assert score.get_parser().parse_args(command[3:]).task == "caption"
    with pytest.raises(UsageError, match="--task: unknown value 'captoin', expected one of .*, caption"):
        make_plan([*LANGS, "--task", "captoin"])


def test_a_metric_is_a_record_and_a_value_of_the_scorer(add: Callable[..., None], tmp_path: Path) -> None:
    metrics = (
        Metric("exact", "Exact", unit="%"),
        Metric("judge", "Judge", has_interval=True, compared_by=SEGMENT_MEAN, of_segments=True),
    )
    scorer = "test.toys:score_captions"
    add(TASKS, Task("caption", "Captioning", "text", "{audio} Caption:", metrics, scorer))
    hypotheses, references = ("a dog", "two cats", "rain"), ("a dog", "a cat", "rain")
    decoded, data = tmp_path / "exp/caption_e6/decode_test_beam4", tmp_path / "test"
    for folder, texts in ((decoded, hypotheses), (data, references)):
        folder.mkdir(parents=True)
        write_table(folder / "text", dict(zip("abc", texts, strict=True)))
    write_table(data / "utt2lang", dict.fromkeys("abc", "de"))
    given = SegmentScores("judge:1", digest_texts(hypotheses, references), "judge", {"a": 1.0, "b": 0.2, "c": 0.9})
    write_segments(given, decoded, "judge")
    score.main(["--hyp_dir", str(decoded), "--data_dir", str(data), "--task", "caption"])
    found = json.loads((decoded / "score.json").read_text())
    assert (found["exact"], found["judge"]) == (pytest.approx(200 / 3, abs=0.01), pytest.approx(70))
    assert found["judge_low"] < 70 < found["judge_high"] and found["judge_signature"].startswith("judge:1|bs:1000")
    write_results.main(["--exp_dir", str(tmp_path / "exp"), "--title", "toy"])
    page = (tmp_path / "exp/RESULTS.md").read_text()
    assert "| Exact % | Judge [95 %] |" in page and f"| 66.67 | 70.00 [{found['judge_low']:.2f}, " in page
    assert "exact|case:mixed" in page and found["judge_signature"] in page


def test_a_target_language_is_a_record(add: Callable[..., None], recipe: Callable[..., Path]) -> None:
    add(TARGETS, Target("xx", "Toylish", ("LATIN",), "char"))
    recipe()
    plan = make_plan([*LANGS, "--system", "e5", "--target_lang", "xx"])
    stages = rows_of(plan)
    assert (plan.layout.system_dir, plan.layout.data("dev")) == ("exp_xx/st_e5_llm", "data_xx/dev")
    assert make_plan(plan.words).words == plan.words
    assert values_of(stages["data"], "target_lang") == ["xx"]
    assert values_of(stages["train"], "target_lang", "collect_llm_stats") == ["xx"]
    assert "--prompt_conf=target=xx" in stages["train"].jobs[-1].command
    assert values_of(stages["score"], "target_lang", "score") == ["xx"]
    with pytest.raises(UsageError, match="--target_lang xx: the corpus tatoeba is translated into English"):
        make_plan([*LANGS, "--target_lang", "xx", "--corpus_kind", "tatoeba"])
    assert table_name("fr", "xx") == "covost_v2.fr_xx.tsv"
    options = score.get_parser().parse_args(["--hyp_dir", "a", "--data_dir", "b", "--target_lang", "xx"])
    assert TARGETS[options.target_lang].bleu_tokenizer == "char"
    prompt = Prompt(PromptConfig(target="xx"), tokenizer=None, task="st")
    assert prompt.fill(prompt.template) == ("Translate the speech to Toylish: ", " Toylish:")


def test_a_prompt_is_a_setting(recipe: Callable[..., Path]) -> None:
    recipe(mine='include: e5.yaml\nprompt_conf: {template: "Say it in English: {audio} So:"}\n')
    plan = make_plan([*LANGS, "--system", "mine"])
    settings = plan.selection.system.config.settings
    assert settings["prompt_conf"] == {"template": "Say it in English: {audio} So:"}
    assert values_of(rows_of(plan)["train"], "config") == ["conf/mine.yaml"] * 2


def test_an_LLM_is_a_directory(recipe: Callable[..., Path], tmp_path: Path) -> None:
    llm = tmp_path / "my-llm"
    llm.mkdir()
    (llm / "config.json").write_text(json.dumps({"model_type": "llama"}))
    recipe()
    plan = make_plan(["--langs", "de", "--llm", str(llm), "--pack_llm"])
    stage = rows_of(plan)["llm"]
    assert (plan.layout.llm_dir, plan.layout.system_dir) == ("exp/llm_my-llm", "exp/st_e6_my-llm")
    assert stage.inputs == (f"{llm}/config.json",) and values_of(stage, "llm", "prepare_llm") == [str(llm)]


@dataclass(frozen=True)
class ToyOptions(DataOptions):
    """Options of the toy's local/data.sh."""

    table: str = option("", "what it is made of")


def test_a_corpus_is_a_record(add: Callable[..., None], recipe: Callable[..., Path]) -> None:
    prepared: list[ToyOptions] = []
    toy = Corpus(
        name="toy",
        options=ToyOptions,
        prepare=prepared.append,
        find_sources=lambda options: Sources([options.table], [f"{options.downloads}/clips.tar"]),
        estimate=lambda options: SizeEstimate(Counter(train=3), 5e9, ["no dev set"]),
    )
    add(CORPORA, toy)
    folder = recipe()
    (folder / "downloads").mkdir()
    for name in ("table.tsv", "downloads/clips.tar"):
        (folder / name).write_text("abc")
        os.utime(folder / name, (1, 1_600_000_000))
    plan = make_plan([*LANGS, "--corpus_kind", "toy", "--data_options", "--table table.tsv"])
    stage = rows_of(plan)["data"]
    assert stage.inputs == ("table.tsv",) and stage.settings.endswith(" files= clips.tar:3:1600000000")
    assert stage.jobs[0].command[-2:] == ("--table", "table.tsv")
    assert plan.estimate_corpus().faults == ["no dev set"]
    from speechllama.bin import prepare_data

    python, module_of_python, name, *words = stage.jobs[0].command  # the recipe has no local/data.sh
    assert (python, module_of_python, name) == ("python3", "-m", "speechllama.bin.prepare_data")
    prepare_data.main(words)
    assert prepared == [plan.data_options] and prepared[0].table == "table.tsv"


def test_a_recipe_is_a_folder(recipe: Callable[..., Path], root: Path) -> None:
    folder = recipe(e5="include: train.yaml\nseed: 3\n")
    run = folder / "run.sh"
    template = root / "egs/TEMPLATE/speech_llama.sh"
    run.write_text(
        f'#!/usr/bin/env bash\n# A toy.\nset -euo pipefail\n. {template}\nspeech_llama {" ".join(LANGS)} -- "$@"\n'
    )
    run.chmod(0o755)
    plan = make_plan([*LANGS, "--system", "e5"])
    assert plan.recipe_name == "toy" and plan.folders.conf_path.startswith("conf:")
    assert plan.selection.system.config.seed("") == 3
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [str(run), "--system", "e5", "--list"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    names = [line.split()[1] for line in result.stdout.splitlines() if re.match(r" *\d+  ", line)]
    assert names == [make.__name__ for make in STAGES]
