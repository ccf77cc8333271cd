"""Systems that write transcript and translation: both in one output (cot), or each after its own prompt (joint)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from speechllama.bin import collect_llm_stats, pack, score, split_outputs
from speechllama.decode.long import Segment, warn_if_cut
from speechllama.decode.output_parts import take_part
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.segmenter import CutConfig
from speechllama.decode.speech2text import Speech2Text
from speechllama.files import read_json, read_table, write_table
from speechllama.llm.files import load_tokenizer
from speechllama.report.decoded_set import format_report
from speechllama.report.results import collect_results, format_results
from speechllama.serve.recording import load_model
from speechllama.text.prompt import PromptConfig, make_prompts, prompt_conf_of
from speechllama.text.tasks import NUM_WITHOUT, TASKS, trained_task
from speechllama.train.preprocessor import SpeechLlamaPreprocessor
from speechllama.train.task_mixture import TaskMixture, read_shares

COT, JOINT = TASKS["cot"], TASKS["joint"]
TEXTS = {"src_text": "der hund", "text": "The dog."}
NAMES = [f"utt{number}" for number in range(2000)]
SHARES = {"asr": 0.25, "st": 0.75}


def choose_all(epoch: int, seed: int = 1, names: list[str] = NAMES) -> dict[str, str]:
    """The tasks of all utterances in an epoch."""
    mixture = TaskMixture(JOINT, SHARES, seed)
    mixture.epoch = epoch
    return {name: mixture.choose(name) for name in names}


def test_an_output_is_made_of_its_parts_and_comes_apart_again() -> None:
    output = COT.join(TEXTS)
    assert output == "der hund Translation: The dog."
    assert COT.split(output) == {"asr": "der hund", "st": "The dog."}
    assert COT.split("Translation: x Translation: y") == {"asr": "", "st": "x Translation: y"}  # the first one counts
    assert COT.split("der hund") is None
    assert [take_part(COT, "der hund", part) for part in COT.parts] == ["der hund", ""]
    assert TASKS["asr"].join(TEXTS) == "der hund" and TASKS["st"].join(TEXTS) == "The dog."


def test_a_task_of_several_parts_knows_their_tables_and_what_ranks() -> None:
    for task in (COT, JOINT):
        assert (task.ranked.name, task.references, task.is_translation) == ("st", ("text", "src_text"), True)
        assert [part.name for part in task.scored] == ["asr", "st"]
    assert COT.prompted == (COT,) and [part.name for part in JOINT.prompted] == ["asr", "st"]
    assert TASKS["asr"].scored == TASKS["asr"].prompted == (TASKS["asr"],)


def test_the_task_of_an_utterance_depends_on_seed_epoch_and_utterance_only() -> None:
    first = choose_all(1)
    assert choose_all(1) == first and choose_all(1, names=NAMES[::-1]) == first
    assert abs(Counter(first.values())["asr"] / len(NAMES) - SHARES["asr"]) < 0.03
    for other in (choose_all(2), choose_all(1, seed=2)):
        same = sum(first[name] == other[name] for name in NAMES) / len(NAMES)
        assert abs(same - (0.25**2 + 0.75**2)) < 0.04  # drawn independently


@pytest.mark.parametrize(
    ("task", "conf", "message"),
    [
        ("joint", {"shares": {"asr": 0.5}}, "task_conf: shares .*: expected a share of each of asr, st, together 1"),
        ("joint", {"shares": {"asr": 0.5, "st": 0.6}}, "together 1"),
        ("joint", {"shares": {"asr": -0.5, "st": 1.5}}, "together 1"),
        ("joint", {"shares": {"asr": "half", "st": 0.5}}, "shares"),
        ("joint", {"share": 0.5}, "task_conf: unknown key 'share'"),
        ("st", {"shares": SHARES}, "the task st mixes no others; joint does"),
        ("cot", {"shares": SHARES}, "the task cot mixes no others; joint does"),
    ],
)
def test_wrong_shares_are_refused(task: str, conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_shares(conf, TASKS[task], "task_conf")
    assert read_shares({}, JOINT, "") == {"asr": 0.5, "st": 0.5} and read_shares({}, COT, "") == {}


def test_each_mixed_task_has_its_own_prompt_in_the_settings(tiny_llm: Path) -> None:
    conf = {"template": "Say: {audio}", "by_task": {"asr": "Write: {audio}"}, "by_language": {"de": "Sag: {audio}"}}
    recorded = prompt_conf_of(conf, "joint", "x.yaml")
    assert recorded["by_task"] == {"st": "Say: {audio}", "asr": "Write: {audio}"}
    prompts = make_prompts(PromptConfig(**recorded), "joint", load_tokenizer(str(tiny_llm)))
    assert (prompts["st"].choose("de"), prompts["st"].choose("fr")) == ("Sag: {audio}", "Say: {audio}")
    assert prompts["asr"].choose("de") == "Write: {audio}"  # the template of a language is of translation
    assert prompt_conf_of({}, "joint", "")["by_task"] == {name: TASKS[name].prompt for name in ("asr", "st")}
    with pytest.raises(ValueError, match="is for the task st, and this one is asr"):
        prompt_conf_of({"template": "Say: {audio}"}, "joint", "x.yaml")


def test_an_utterance_is_shown_with_the_prompt_and_the_text_of_its_task(tiny_llm: Path) -> None:
    prompts = make_prompts(PromptConfig(), "joint", load_tokenizer(str(tiny_llm)))
    preprocess = SpeechLlamaPreprocessor(prompts, TaskMixture(JOINT, SHARES, 1))
    data = {**TEXTS, "compressed": torch.zeros(3, 4).numpy()}
    preprocess.start_epoch(3)
    tasks = choose_all(3)
    for name in NAMES[:20]:
        made, prompt = preprocess(name, dict(data)), prompts[tasks[name]]
        assert made["text"].tolist() == prompt.encode(TEXTS["text" if tasks[name] == "st" else "src_text"])
        assert made["prompt"].tolist() == prompt.render().prompt
    assert len({*tasks.values()}) == 2


@pytest.fixture(scope="module")
def trained(recipe: Any) -> Any:
    """The tiny recipe with E5 trained to write both texts, in either way."""
    for name in ("cot", "joint"):
        recipe.train_llm(f"e5_{name}", task=name, batch_bins=600)
        recipe.average(f"e5_{name}")
    return recipe


def test_joint_training_resumes_as_if_it_had_never_stopped_with_any_number_of_workers(recipe: Any) -> None:
    settings: dict[str, Any] = {"task": "joint", "batch_bins": 200, "task_conf": {"shares": SHARES}}
    recipe.train_llm("joint_whole", max_epoch=3, **settings)
    recipe.train_llm("joint_broken", "--num_workers", "2", max_epoch=1, **settings)
    # The settings for a CPU keep utterances in memory, whose tasks change nevertheless.
    recipe.train_llm("joint_broken", max_epoch=3, max_cache_size=2.0, **settings)
    recipe.train_llm("joint_other", max_epoch=3, **{**settings, "task_conf": {}})
    names = ("joint_whole", "joint_broken", "joint_other")
    whole, broken, other = (recipe.load(recipe.root / name / "3epoch.pth") for name in names)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not all(torch.equal(whole[name], other[name]) for name in whole)
    recorded = yaml.safe_load((recipe.root / "joint_whole/config.yaml").read_text())
    assert recorded["task_conf"] == {"shares": SHARES} and recorded["task_name"] == "joint"
    with pytest.raises(ValueError, match="a training with other settings began here.*\n  task_conf: shares: asr: 0.25"):
        recipe.train_llm("joint_broken", max_epoch=4, **{**settings, "task_conf": {"shares": {"asr": 0.5, "st": 0.5}}})


def test_the_parts_of_an_output_are_scored_each_as_what_it_is(trained: Any, tmp_path: Path) -> None:
    whole = trained.decode("e5_cot", "compressed", "cot_whole")
    parts = {"asr": str(tmp_path / "asr"), "st": str(tmp_path / "st")}
    split = ["--task", "cot", "--output_dir", str(trained.root / "cot_whole")]
    split_outputs.main([*split, "--part", *parts, "--part_dir", *parts.values()])
    num_without = sum("Translation:" not in text for text in whole.values())
    for part, folder in parts.items():
        assert read_table(Path(folder) / "text") == {utt: take_part(COT, text, part) for utt, text in whole.items()}
        assert read_json(Path(folder) / "decode.json")[NUM_WITHOUT] == num_without
        score.main(["--hyp_dir", folder, "--data_dir", str(trained.root / "test/dump"), "--task", part])
        report = read_json(Path(folder) / "score.json")
        assert (report["task"], report[NUM_WITHOUT]) == (part, num_without)
    with pytest.raises(ValueError, match="parts of the task cot: expected asr, st, found mt"):
        split_outputs.main([*split, "--part", "mt", "--part_dir", str(tmp_path)])


def test_the_texts_of_an_output_have_the_maximum_of_tokens_together(
    trained: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = trained.root / "e5_cot"
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(1)).numpy() * 0.1
    counts = {}
    for config in (SearchConfig(1, max_tokens=3), SearchConfig(1, tokens_per_second=0.1, min_tokens=2)):
        translate = Speech2Text.from_pretrained(folder, config=config)
        (entry,) = translate(noise)
        counts[config] = len(entry.tokens), entry.is_cut
        warn_if_cut("a.wav", Segment(0.0, 1.0, [entry]), translate)
    assert [*counts.values()] == [(3, True), (4, True)]
    assert "the text was cut at max_tokens 3" in caplog.text
    assert "the text was cut at 4 tokens, tokens_per_second 0.1 for each of 2 texts" in caplog.text


def test_outputs_without_the_separator_are_counted_on_the_page(recipe: Any, tmp_path: Path) -> None:
    output, folder, data = tmp_path / "output", tmp_path / "cot_e5/decode_test_beam4", recipe.root / "test/dump"
    output.mkdir()
    texts = {utt: COT.join({"src_text": "x", "text": text}) for utt, text in read_table(data / "text").items()}
    write_table(output / "text", {**texts, max(texts): "only a transcript"})
    (output / "decode.json").write_text('{"beam_size": 4}')
    split = ["--task", "cot", "--output_dir", str(output)]
    split_outputs.main([*split, "--part", "st", "--part_dir", str(folder)])
    score.main(["--hyp_dir", str(folder), "--data_dir", str(data)])
    report = read_json(folder / "score.json")
    assert (report["num_empty"], report["beam_size"]) == (1, 4)
    line = "* cot_e5/decode_test_beam4: 1 of 6 outputs lack the separator; all of such an output counts as its first"
    assert line in format_results(collect_results(tmp_path))
    assert "6 of 6 utterances, 1 empty, 1 outputs without the separator" in format_report(report)


def test_a_joint_system_does_each_task_when_asked(trained: Any) -> None:
    first = {task: trained.decode("e5_joint", "compressed", f"joint_{task}", "--task", task) for task in ("st", "asr")}
    assert first["st"] == trained.decode("e5_joint", "compressed", "joint_by_itself")  # what ranks is the default
    stamps = [json.loads((trained.root / f"joint_{name}/nbest.jsonl").read_text().partition("\n")[0])["stamp"]
              for name in ("st", "asr", "by_itself")]  # fmt: skip
    assert [stamp.get("task") for stamp in stamps] == ["st", "asr", None]
    with pytest.raises(ValueError, match="e5_joint: not trained for the task 'cot', expected asr or st"):
        trained.decode("e5_joint", "compressed", "no", "--task", "cot")
    with pytest.raises(ValueError, match="e5: not trained for the task 'asr', expected st"):
        trained.decode("e5", "compressed", "no", "--task", "asr")


@pytest.mark.parametrize("name", ["cot", "joint"])
def test_a_packed_system_is_asked_for_either_task_and_the_server_too(trained: Any, tmp_path: Path, name: str) -> None:
    archive = tmp_path / "packed.zip"
    pack.main(["--exp_dir", str(trained.root / f"e5_{name}"), "--output", str(archive), "--include_llm", "true"])
    translate = Speech2Text.from_pretrained(archive)
    assert trained_task(translate.settings) == TASKS[name]
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(1)).numpy() * 0.1
    texts = [nbest[0].text for nbest in translate.batch([noise] * 3, tasks=["", "asr", "st"])]
    assert texts == [translate(noise, task=task)[0].text for task in ("", "asr", "st")]
    if name == "cot":
        assert texts[1:] == [take_part(COT, texts[0], part) for part in COT.parts]
    served = load_model(str(archive), "cpu", {}, CutConfig(segmentation="even"))
    assert served.endpoints == ("transcriptions", "translations")


def test_what_lacks_transcripts_or_holds_the_separator_is_refused_or_left_out(recipe: Any, tmp_path: Path) -> None:
    command = recipe.llm_command("cot_refused", task="cot")
    without = [word for word in command if "src_text" not in word]
    kept = [word for index, word in enumerate(command) if "src_text" not in word and not (
        word.endswith("_name_and_type") and "src_text" in command[index + 1])]  # fmt: skip
    assert len(without) < len(command)
    from speechllama.bin import llm_train

    with pytest.raises(ValueError, match="the task cot writes text and src_text, and no data is named 'src_text'"):
        llm_train.main(kept)
    data = tmp_path / "data"
    data.mkdir()
    for path in (recipe.root / "train/compressed").iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    texts = read_table(data / "src_text")
    first = min(texts)
    write_table(data / "src_text", {**texts, first: "das Translation: wort"})
    words = ["--config", str(recipe.root / "cot_refused.yaml"), "--llm_dir", str(recipe.root / "llm"), "--task", "cot"]
    words += ["--data_dir", str(data), "--output_file", str(tmp_path / "shape"), "--ctc_dir", str(recipe.root / "ctc")]
    collect_llm_stats.main(words)
    assert first not in read_table(tmp_path / "shape") and len(read_table(tmp_path / "shape")) == len(texts) - 1
    assert (
        f"{first}\thas_separator\tits src_text 'das Translation: wort' holds"
        in (tmp_path / "shape.skipped").read_text()
    )
    (data / "src_text").unlink()
    with pytest.raises(ValueError, match="data: no src_text, which the task learns to write .cot."):
        collect_llm_stats.main(words)
