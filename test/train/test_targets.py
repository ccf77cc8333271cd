"""Several target languages in one model, from training to scores, and the prompts that each task and B2 have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from speechllama.bin import (
    average_checkpoints,
    collect_llm_stats,
    ctc_compress,
    decode,
    llm_train,
    make_features,
    merge_parts,
    rescore,
    score,
    tune_rescoring,
)
from speechllama.constants import SAMPLE_RATE
from speechllama.data.data_dir import DataDir, read_data_dir
from speechllama.data.validation import fix_data_dir, validate_data_dir
from speechllama.decode.control import exchange
from speechllama.decode.long import LongConfig
from speechllama.decode.rescored2text import RescoredToText, Rescoring
from speechllama.decode.speech2text import Speech2Text
from speechllama.decode.speech_llama2text import SpeechLlamaToText
from speechllama.decode.text_scorer import TextScorer
from speechllama.files import read_json, read_table, write_table
from speechllama.llm.files import load_tokenizer
from speechllama.llm.text_lines import TextCorpus, read_lines
from speechllama.llm.text_llm import train_llm_tokenizer
from speechllama.report.decoded_set import score_path
from speechllama.text.prompt import Prompt, PromptConfig, PromptIds, PromptText, prompt_conf_of
from speechllama.text.tasks import TASKS
from speechllama.train.preprocessor import SpeechLlamaPreprocessor
from speechllama.train.task_mixture import TaskMixture

PROMPT = {"template": "{language} to {target}: {audio}"}


@pytest.fixture(scope="module")
def sets(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets of the trained recipe, every second utterance into Chinese, the others into French."""
    copied: Path = recipe.copy_sets(tmp_path_factory.mktemp("sets"), {"utt2target": ("fr", "zh-CN")})
    return copied


def train(recipe: Any, sets: Path, name: str, prompt_conf: dict[str, Any], *words: str) -> Path:
    """Train on the sets with both target languages."""
    config = recipe.config(name, audio_encoder_conf=recipe.sizes, batch_bins=300, prompt_conf=prompt_conf)
    base = ["--llm_dir", str(recipe.root / "llm"), "--ctc_dir", str(recipe.root / "ctc")]
    shapes = [[str(sets / f"{part}.shape")] for part in ("train", "dev")]
    data = ["--data_dir", str(sets / "train"), str(sets / "dev"), "--output_file", *(shape[0] for shape in shapes)]
    task = words[words.index("--task_name") + 1] if "--task_name" in words else "st"
    collect_llm_stats.main(["--config", config, *base, *data, "--task", task])
    tables = ("compressed.scp,compressed,kaldi_ark", "text,text,text", "utt2lang,lang,text", "utt2target,target,text")
    read = [[str(sets / part / table) for table in tables] for part in ("train", "dev")]
    output = ["--config", config, "--output_dir", str(sets / name)]
    llm_train.main([*output, *base, *recipe.options(read, shapes), *words])
    average_checkpoints.main(["--exp_dir", str(sets / name), "--num_best", "2"])
    return sets / name


@pytest.fixture(scope="module")
def trained(recipe: Any, sets: Path) -> Path:
    """A system that writes both."""
    return train(recipe, sets, "st_two", PROMPT)


def test_the_target_of_an_utterance_goes_from_the_data_to_the_cache(
    recipe: Any, make_data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    data, dump, cache = make_data_dir(num=4), tmp_path / "dump", tmp_path / "cache"
    targets = dict(zip(sorted(read_table(data / "text")), ("fr", "zh-CN", "zh-CN", "fr"), strict=True))
    write_table(data / "utt2target", targets)
    make_features.main(["--data_dir", str(data), "--output_dir", str(dump)])
    merge_parts.main(["--data_dir", str(data), "--output_dir", str(dump)])
    assert read_table(dump / "utt2target") == targets
    words = ["--ctc_dir", str(recipe.root / "ctc"), "--tokenizer", str(recipe.root / "bpe/bpe.model")]
    places = ["--data_dir", str(dump), "--output_dir", str(cache)]
    ctc_compress.main([*words, *places])
    merge_parts.main([*places, "--name", "compressed"])
    assert read_table(cache / "utt2target") == targets


def test_one_model_writes_several_languages_each_after_its_prompt(recipe: Any, sets: Path, trained: Path) -> None:
    recorded = yaml.safe_load((trained / "config.yaml").read_text())["prompt_conf"]
    assert recorded["template"] == PROMPT["template"] and recorded["targets"] == ["fr", "zh-CN"]
    for control in ("false", "true"):
        output = ["--output_dir", str(trained / f"decode_test{'_control' * (control == 'true')}"), "--control", control]
        decode.main(["--exp_dir", str(trained), "--data_dir", str(sets / "test"), *output, "--nbest", "2"])
    places = ["--data_dir", str(sets / "test"), "--control_dir", str(trained / "decode_test_control")]
    score.main(["--hyp_dir", str(trained / "decode_test"), *places])
    report = read_json(score_path(trained / "decode_test"))
    assert set(report["per_target"]) == {"fr", "zh-CN"} and report["num_utterances"] == 6
    model = Speech2Text.from_pretrained(trained)
    assert isinstance(model, SpeechLlamaToText)
    prompt = model.experiment.prompt
    for target, called in (("fr", "French"), ("zh-CN", "Chinese"), ("", "English")):
        expected = Prompt(PromptConfig(f"German to {called}: {{audio}}"), "st", prompt.tokenizer).render()
        assert prompt.render("de", target=target) == expected
    wave = np.random.default_rng(1).normal(0, 0.1, 8000)
    texts = [model(wave, language="de", target=target)[0].tokens for target in ("fr", "zh-CN", "")]
    assert texts[0] == model(wave, language="de", target="fr")[0].tokens and len(texts) == 3
    with pytest.raises(ValueError, match="unknown target language 'xx'"):
        model(wave, language="de", target="xx")


WAVE = np.random.default_rng(1).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
CUTTING = LongConfig(segmentation="even", max_seconds=1.0)
WAYS_IN: dict[str, Callable[[Speech2Text], object]] = {
    "one": lambda system: system(WAVE, language="de", target="fr"),
    "batch": lambda system: system.batch([WAVE], ["de"], ["fr"]),
    "long": lambda system: [*system.long(WAVE, CUTTING, "de", target="fr")],
    "check": lambda system: system.check_language("de", "fr"),
}


@pytest.mark.parametrize("way_in", WAYS_IN)
def test_the_language_to_write_reaches_prompts_by_every_way_in(
    trained: Path, way_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Speech2Text.from_pretrained(trained)
    assert isinstance(model, SpeechLlamaToText)
    prompt = model.experiment.prompt
    scorer = TextScorer(model.network.llm, prompt, prompted=True)
    rescored = RescoredToText(model, Rescoring(scorer, 1.0, 0.0), model.config)
    asked: list[str] = []
    render = prompt.render

    def listen(language: str = "", template: str = "", target: str = "") -> PromptIds:
        asked.append(target)
        return render(language, template, target)

    monkeypatch.setattr(prompt, "render", listen)
    WAYS_IN[way_in](model)
    num_asked = len(asked)
    WAYS_IN[way_in](rescored)
    assert num_asked and len(asked) > 2 * num_asked and {*asked} == {"fr"}


def test_a_language_that_a_system_cannot_write_is_refused(recipe: Any, trained: Path) -> None:
    model = Speech2Text.from_pretrained(trained)
    model.check_language("de", "zh-CN")
    with pytest.raises(ValueError, match="unknown target language 'xx'"):
        model.check_language("de", "xx")
    assert isinstance(model, SpeechLlamaToText)
    model.experiment.prompt.template = "From {language}: {audio}"
    with pytest.raises(ValueError, match=r"does not name the language to write, so it writes en only; found 'fr'"):
        model.check_language("de", "fr")


def test_shapes_count_the_prompt_of_each_target(sets: Path, trained: Path, recipe: Any) -> None:
    llm = str(read_json(recipe.root / "llm/llm.json")["path"])
    prompt = Prompt(PromptConfig(PROMPT["template"]), "st", load_tokenizer(llm))
    data = read_data_dir(sets / "train")
    for utterance, count in read_table(sets / "train.shape").items():
        ids = prompt.render("de", target=data.table("utt2target")[utterance])
        audio = int(data.table("utt2num_frames")[utterance])
        text = prompt.encode(data.table("text")[utterance])
        assert int(count) == len(ids.prompt) + len(ids.suffix) + audio + len(text) + 1


def test_rescoring_reads_hypotheses_behind_the_prompt_of_the_system(
    recipe: Any, sets: Path, trained: Path, tmp_path: Path
) -> None:
    """The system's own template and targets; a template of the rescoring YAML replaces it."""
    output = ["--data_dir", str(sets / "dev"), "--output_dir", str(trained / "decode_dev"), "--nbest", "2"]
    decode.main(["--exp_dir", str(trained), *output])
    config = tmp_path / "b2.yaml"
    config.write_text("rescore_system: two\nrescoring_conf: {weights: [0.5], length_norms: [1.0]}\n")
    decoded = str(trained / "decode_dev")
    words = ["--config", str(config), "--llm_dir", str(recipe.root / "llm"), "--decode_dir", decoded]
    words += ["--data_dir", str(sets / "dev"), "--output_file", str(tmp_path / "tuned.json")]
    tune_rescoring.main(words)
    tuned = read_json(tmp_path / "tuned.json")
    assert tuned["prompt_conf"]["template"] == PROMPT["template"] and tuned["tuned_by"].startswith("chrF over all")
    places = ["--data_dir", str(sets / "dev"), "--decode_dir", str(trained / "decode_dev")]
    rescore.main(["--settings", str(tmp_path / "tuned.json"), *places, "--output_dir", str(tmp_path / "out")])
    config.write_text(config.read_text() + 'prompt_conf: {template: "Own: {audio}"}\n')
    tune_rescoring.main(words)
    assert read_json(tmp_path / "tuned.json")["prompt_conf"]["template"] == "Own: {audio}"


def test_a_system_without_a_prompt_is_rescored_with_the_shared_one(recipe: Any, sets: Path, tmp_path: Path) -> None:
    (tmp_path / "st_b1").mkdir()
    shutil.copytree(sets / "st_two/decode_dev", tmp_path / "st_b1/decode_dev")
    (tmp_path / "st_b1/config.yaml").write_text("model: seq2seq\n")
    (tmp_path / "b2.yaml").write_text("rescore_system: b1\nrescoring_conf: {weights: [0.5], length_norms: [1.0]}\n")
    (tmp_path / "train.yaml").write_text('prompt_conf: {template: "To {target}: {audio}"}\n')
    words = ["--config", str(tmp_path / "b2.yaml"), "--llm_dir", str(recipe.root / "llm")]
    words += ["--decode_dir", str(tmp_path / "st_b1/decode_dev"), "--data_dir", str(sets / "dev")]
    words += ["--output_file", str(tmp_path / "tuned.json")]
    tune_rescoring.main([*words, "--prompt_config", str(tmp_path / "train.yaml")])
    assert read_json(tmp_path / "tuned.json")["prompt_conf"] == {"target": "en", "template": "To {target}: {audio}"}
    tune_rescoring.main(words)
    assert read_json(tmp_path / "tuned.json")["prompt_conf"] == {"target": "en"}


def test_recognition_never_trains_behind_the_prompt_of_translation(recipe: Any, sets: Path) -> None:
    with pytest.raises(ValueError, match=r"'To German: \{audio\}' is for the task st, and this one is asr; give that"):
        train(recipe, sets, "asr_bad", {"template": "To German: {audio}"}, "--task_name", "asr")
    conf = {"template": "To German: {audio}", "by_task": {"asr": "Type: {audio}"}}
    folder = train(recipe, sets, "asr_good", conf, "--task_name", "asr", "--max_epoch", "1")
    recorded = yaml.safe_load((folder / "config.yaml").read_text())["prompt_conf"]
    assert recorded["template"] == "Type: {audio}" and "by_task" not in recorded


def test_settings_of_prompts_are_taken_by_task() -> None:
    conf = {"template": "To German: {audio}", "by_language": {"fr": "F: {audio}"}, "by_task": {"asr": "Type: {audio}"}}
    assert prompt_conf_of(conf, "asr", "x") == {"template": "Type: {audio}"}
    assert prompt_conf_of(conf, "st", "x") == {"template": "To German: {audio}", "by_language": {"fr": "F: {audio}"}}
    assert prompt_conf_of({"template": "{audio}"}, "asr", "x") == {"template": "{audio}"}  # as D's, which has no words
    assert PromptText(PromptConfig(by_task={"asr": "Type: {audio}"}), "asr").template == "Type: {audio}"


def test_an_utterance_says_what_to_write(tiny_llm: Path) -> None:
    prompt = Prompt(PromptConfig(), "st", load_tokenizer(str(tiny_llm)))
    make = SpeechLlamaPreprocessor({"st": prompt}, TaskMixture(TASKS["st"], {}, 1))
    for more, called in (({"target": "de"}, "German"), ({}, "English")):
        template = f"Translate the speech to {called}: {{audio}}"
        expected = Prompt(PromptConfig(template), "st", prompt.tokenizer).render().prompt
        assert make("a", {"text": "x", "lang": "fr", **more})["prompt"].tolist() == expected
    with pytest.raises(ValueError, match="utterance a: unknown target language 'xx'"):
        make("a", {"text": "x", "target": "xx"})


def test_the_control_keeps_to_the_language_pair() -> None:
    names = [f"{language}-{target}-{n}" for language in ("en", "fr") for target in ("de", "ja") for n in range(3)]
    tables = {
        "text": {name: name for name in names},
        "utt2lang": {name: name.split("-")[0] for name in names},
        "utt2target": {name: name.split("-")[1] for name in names},
    }
    data = DataDir(Path("data"), tables)
    other = exchange(names, data)
    assert sorted(other.values()) == sorted(names)
    assert all(name != partner and name[:5] == partner[:5] for name, partner in other.items())
    alone = exchange(
        [*names, "xx-ja-0"], DataDir(Path("data"), {**tables, "utt2target": {**tables["utt2target"], "xx-ja-0": "ja"}})
    )
    assert sorted(alone.values()) == sorted([*names, "xx-ja-0"]) and alone["xx-ja-0"] != "xx-ja-0"
    one = DataDir(Path("data"), {**tables, "utt2target": dict.fromkeys(names, "de")})
    assert exchange(names, one) == exchange(names, DataDir(Path("data"), {"text": tables["text"]}))


def test_an_unknown_target_is_a_fault_of_the_data_directory(sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets / "test", tmp_path / "test")
    targets = read_table(tmp_path / "test/utt2target")
    assert not [fault for fault in validate_data_dir(tmp_path / "test") if "target" in fault.kind]
    first = min(targets)
    write_table(tmp_path / "test/utt2target", {**targets, first: "xx"})
    [fault] = [fault for fault in validate_data_dir(tmp_path / "test") if "target" in fault.kind]
    assert str(fault).startswith(f"{tmp_path}/test/utt2target:1: unknown target language: '{first}' has 'xx', expected")
    fix_data_dir(tmp_path / "test")
    assert first in read_table(tmp_path / "test/utt2target"), "no utterance is lost for a code"


def test_the_recipes_own_llm_learns_the_prompts_of_its_systems_and_targets(tmp_path: Path) -> None:
    path = tmp_path / "llm_text.tsv"
    path.write_text("lang\tsentence\ttranslation\ttarget\nde\tEin Hund.\tA dog.\ten\nde\tEin Hund.\tUn chien.\tfr\n")
    lines = read_lines(path)
    assert [(line.language, line.target) for line in lines] == [("de", "en"), ("de", "fr")]
    corpus = TextCorpus(path, [], prompt_conf={"template": "{language} into {target}: {audio}"})
    configs = {task: corpus.prompt_config(task) for task in ("st", "asr")}
    assert PromptText(configs["st"], "st").fill(configs["st"].template, "de", "fr") == ("German into French: ", "")
    assert PromptText(configs["asr"], "asr").template == "Write down the speech: {audio} Text:"
    tokenizer = train_llm_tokenizer(lines, 120, configs)
    prompt = Prompt(configs["st"], "st", tokenizer)
    assert prompt.decode(prompt.render("de", target="fr").prompt) == "German into French:"
