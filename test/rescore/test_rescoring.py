"""Rescoring: the LLM's scores against one text at a time, tuning, weight 0, and damaged n-best files."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from speechllama.bin import rescore, tune_rescoring
from speechllama.decode.nbest import NBest, read_nbest
from speechllama.decode.text_scorer import Item, TextScorer, load_text_scorer
from speechllama.files import read_json, read_table, write_json
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.record import prepare_llm
from speechllama.rescore.rescoring import RescoringConfig, combine, read_rescoring_config, reorder, tune
from speechllama.text.prompt import Prompt, PromptConfig

TEXTS = ["The dog sleeps today.", "The old woman", "", "bread", "The dog sleeps today."]


@pytest.fixture(scope="module", params=[True, False], ids=["prompted", "unprompted"])
def scorer(request: pytest.FixtureRequest, tiny_llm: Path) -> TextScorer:
    llm = LLM(LLMConfig(str(tiny_llm))).eval()
    return TextScorer(llm, Prompt(PromptConfig(), "st", load_tokenizer(str(tiny_llm))), request.param, batch_tokens=60)


def score_one(scorer: TextScorer, item: Item) -> float:
    """The model of transformers, one text, one token after the other."""
    total = 0.0
    for place, token in enumerate([*item.text, scorer.llm.eos_token_id]):
        with torch.no_grad():
            logits = scorer.llm.model(torch.tensor([[*item.prefix, *item.text[:place]]])).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
    return total


def test_a_batch_scores_as_each_text_by_itself(scorer: TextScorer) -> None:
    items = [scorer.item(text) for text in TEXTS]
    assert (len(items[0].prefix) > 1) == scorer.prompted
    assert scorer.score(items) == pytest.approx([score_one(scorer, item) for item in items], abs=1e-3)


def test_texts_after_prompts_of_several_lengths_score_as_one_by_one(scorer: TextScorer) -> None:
    if not scorer.prompted:
        pytest.skip("there is no prompt")
    long = "{language} {language} {language}: {audio}"
    items = [scorer.item(text, "de", long * (n % 2)) for n, text in enumerate(TEXTS)]
    assert len({len(item.prefix) for item in items}) == 2
    assert scorer.score(items) == pytest.approx([score_one(scorer, item) for item in items], abs=1e-3)


def test_batches_keep_to_their_size_and_equal_texts_are_read_once(
    scorer: TextScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []
    original = TextScorer.score_batch

    def note(self: TextScorer, items: list[Item]) -> list[float]:
        sizes.append([len(item.prefix) + len(item.text) for item in items])
        return original(self, items)

    monkeypatch.setattr(TextScorer, "score_batch", note)
    scorer.score([scorer.item(text) for text in TEXTS * 3])
    assert sum(map(len, sizes)) == 4
    assert all(len(batch) == 1 or len(batch) * max(batch) <= 60 for batch in sizes)
    flat = [size for batch in sizes for size in batch]
    assert flat == sorted(flat, reverse=True)


def test_memory_that_ends_halves_the_batch(scorer: TextScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [scorer.item(text) for text in TEXTS]
    whole, original = scorer.score(items), TextScorer.score_batch

    def small_memory(self: TextScorer, some: list[Item]) -> list[float]:
        if len(some) > room:
            raise torch.OutOfMemoryError("no memory")
        return original(self, some)

    monkeypatch.setattr(TextScorer, "score_batch", small_memory)
    room = 1
    assert scorer.score(items) == pytest.approx(whole, abs=1e-4)
    room = 0
    with pytest.raises(ValueError, match=r"no memory left for a text of \d+ tokens after \d+, not even by itself"):
        scorer.score(items)


def test_of_several_ends_the_tokenizers_is_the_one_that_is_scored(tiny_llm: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llm, tmp_path / "llm")
    end = load_tokenizer(str(tiny_llm)).eos_token_id
    for name in ("config.json", "generation_config.json"):
        settings = read_json(tmp_path / "llm" / name)
        write_json(tmp_path / "llm" / name, {**settings, "eos_token_id": [5, end]})
    prepare_llm(str(tmp_path / "llm"), None, tmp_path / "exp")
    settings = {"llm_dir": str(tmp_path / "exp"), "prompt_conf": {}, "task": "st", "prompted": False}
    assert load_text_scorer(settings, "cpu", 100).llm.eos_token_id == end != 5


def nbest(*scores: tuple[float, float, int]) -> NBest:
    """One utterance: own score, LLM's score, length of each hypothesis."""
    entries = [
        {"text": str(n), "tokens": [], "score": own, "llm_score": llm, "llm_length": length}
        for n, (own, llm, length) in enumerate(scores)
    ]
    return NBest(Path("x"), {}, {}, {"utt": entries}, {"utt": 0.0})


def test_scores_add_up_with_weight_and_length_norm() -> None:
    entry = nbest((-1.0, -9.0, 3)).entries["utt"][0]
    assert combine(entry, 0.5, 0.0) == -1.0 - 4.5
    assert combine(entry, 0.5, 1.0) == -1.0 - 1.5
    assert combine(entry, 2.0, 0.5) == pytest.approx(-1.0 - 18 / math.sqrt(3))


def test_without_a_weight_the_llm_changes_no_bit_whatever_it_says() -> None:
    own = (-0.1, -0.30000000000000004, -1e9)
    found = reorder(nbest(*((score, -math.inf, 1) for score in own)), 0.0, 1.0)
    assert [combine(entry, 0.0, 1.0) for entry in found.entries["utt"]] == [*own]


def test_equal_sums_keep_their_order() -> None:
    found = reorder(nbest((-1.0, -5.0, 2), (-1.0, -2.0, 2), (-1.5, -1.0, 1)), 0.0, 1.0)
    assert [entry["text"] for entry in found.entries["utt"]] == ["0", "1", "2"]


def test_tuning_takes_the_best_setting_and_the_smallest_weight_among_equals() -> None:
    config = RescoringConfig(weights=(2.0, 0.1, 1.0), length_norms=(0.0, 1.0))
    tried = tune(nbest((-1.0, -5.0, 5), (-2.0, -3.5, 1)), config, lambda texts: float(texts["utt"] == "1"))
    assert tried[0] == (1.0, 0.0, 1.0)  # the gain of 1.5 nats outweighs 1 nat; at 0.1 it does not
    assert (0.0, 0.0, 0.0) in tried and len(tried) == 1 + 3 * 2


@pytest.fixture
def decoded(recipe: Any) -> dict[str, Path]:
    """The test and dev sets, decoded by one of our own systems with three hypotheses each."""
    folders = {}
    for part in ("dev", "test"):
        folders[part] = recipe.root / f"rescored_{part}"
        if not (folders[part] / "decode.json").exists():
            data = str(recipe.root / part / "dump")
            recipe.decode("e5", "dump", folders[part].name, "--nbest", "3", "--data_dir", data)
    return folders


def run_tuning(recipe: Any, decoded: Path, output: Path, **conf: Any) -> dict[str, Any]:
    config = output.with_suffix(".yaml")
    config.write_text(yaml.safe_dump({"rescore_system": "e5", "rescoring_conf": conf}))
    tune_rescoring.main(
        ["--config", str(config), "--llm_dir", str(recipe.root / "llm"), "--decode_dir", str(decoded)]
        + ["--data_dir", str(recipe.root / "dev/dump"), "--output_file", str(output)]
    )
    return read_json(output)


def run_rescoring(recipe: Any, decoded: Path, settings: Path, output: Path) -> dict[str, Any]:
    rescore.main(
        ["--settings", str(settings), "--decode_dir", str(decoded), "--output_dir", str(output)]
        + ["--data_dir", str(recipe.root / "test/dump")]
    )
    return read_json(output / "decode.json")


def test_weight_zero_gives_the_systems_own_output_back(recipe: Any, decoded: dict[str, Path], tmp_path: Path) -> None:
    tuned = run_tuning(recipe, decoded["dev"], tmp_path / "tuned.json", weights=[])
    assert tuned["weight"] == 0.0 and tuned["own_metric"] == tuned["tuned_metric"]
    report = run_rescoring(recipe, decoded["test"], tmp_path / "tuned.json", tmp_path / "out")
    assert (tmp_path / "out/text").read_bytes() == (decoded["test"] / "text").read_bytes()
    own, again = read_nbest(decoded["test"]), read_nbest(tmp_path / "out")
    for utt, hypotheses in own.entries.items():
        assert [(e["text"], e["score"]) for e in hypotheses] == [(e["text"], e["score"]) for e in again.entries[utt]]
    before = read_json(decoded["test"] / "decode.json")
    assert report["weight"] == 0.0 and report["rtf"] > before["rtf"]
    assert report["command"].startswith("python3 -m speechllama.bin.rescore --settings")
    assert report["num_parameters"] == before["num_parameters"], "e5 holds the same LLM: it counts once"
    assert report["num_trainable"] == before["num_trainable"]


@pytest.mark.parametrize("llm", ["", "another"])
def test_an_llm_that_the_system_does_not_hold_is_added_to_its_parameters(
    recipe: Any, decoded: dict[str, Path], tmp_path: Path, llm: str
) -> None:
    run_tuning(recipe, decoded["dev"], tmp_path / "tuned.json", weights=[])
    shutil.copytree(decoded["test"], tmp_path / "own")
    before = {**read_json(decoded["test"] / "decode.json"), "llm": llm}
    write_json(tmp_path / "own/decode.json", before)
    report = run_rescoring(recipe, tmp_path / "own", tmp_path / "tuned.json", tmp_path / "out")
    added = read_json(recipe.root / "llm/llm.json")["num_parameters"]
    assert report["num_parameters"] == before["num_parameters"] + added > added


@pytest.mark.parametrize("prompted", [True, False])
def test_the_tuned_weight_is_applied_and_reported(
    recipe: Any, decoded: dict[str, Path], tmp_path: Path, prompted: bool
) -> None:
    settings = {"weights": [1000.0], "length_norms": [0.0], "prompted": prompted}
    tuned = run_tuning(recipe, decoded["dev"], tmp_path / "tuned.json", **settings)
    assert [entry["weight"] for entry in tuned["tried"]] in ([0.0, 1000.0], [1000.0, 0.0])
    forced = tmp_path / "forced.json"
    forced.write_text(json.dumps({**tuned, "weight": 1000.0}))
    report = run_rescoring(recipe, decoded["test"], forced, tmp_path / "out")
    assert report["prompted"] is prompted and report["tuned_on"] == str(decoded["dev"])
    for utt, text in read_table(tmp_path / "out/text").items():
        entries = read_nbest(tmp_path / "out").entries[utt]
        best = max(entries, key=lambda entry: entry["llm_score"])
        assert text == best["text"]
        assert {"own_score", "llm_score", "llm_length"} <= best.keys()


def test_cut_texts_are_counted_among_those_that_rescoring_chose(
    recipe: Any, decoded: dict[str, Path], tmp_path: Path
) -> None:
    run_tuning(recipe, decoded["dev"], tmp_path / "tuned.json", weights=[])
    shutil.copytree(decoded["test"], tmp_path / "own")
    stamp, *lines = (tmp_path / "own/nbest.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:  # each first text was cut, and repeats itself to the end; no other was
        for rank, entry in enumerate(record["nbest"]):
            entry |= {"is_cut": not rank, "tokens": [5, 6] * 5 if not rank else [5, 6, 7]}
    texts = "".join(f"{json.dumps(record)}\n" for record in records)
    (tmp_path / "own/nbest.jsonl").write_text(f"{stamp}\n{texts}", encoding="utf-8")
    for weight in (0.0, 1000.0):
        forced, output = tmp_path / f"{weight}.json", tmp_path / f"out{weight}"
        forced.write_text(json.dumps({**read_json(tmp_path / "tuned.json"), "weight": weight}))
        report = run_rescoring(recipe, tmp_path / "own", forced, output)
        chosen = sum(entries[0].get("is_cut", False) for entries in read_nbest(output).entries.values())
        assert report["num_cut"] == report["num_runaway"] == chosen
        assert (chosen == len(records)) == (weight == 0.0), "the LLM prefers other texts"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [*lines[:2], "{truncated", *lines[3:]], r"1 of 7 lines.*\n  .*nbest.jsonl:3: not JSON"),
        (lambda lines: [*lines, lines[-1]], r"nbest.jsonl:8: utterance \S+ comes a second time"),
        (lambda lines: ["[]", *lines[1:]], r"nbest.jsonl:1: no stamp, report"),
        (lambda lines: [*lines[:1], '{"utt": "x", "nbest": []}', *lines[2:]], r":2: no spent"),
        (lambda lines: ['{"stamp": 1, "report": 2}', *lines[1:]], r":1: stamp and report are no JSON objects"),
        (lambda lines: [lines[0], '{"utt": ["x"], "nbest": [], "spent": 1}'], r":2: utt is \['x'\], expected an utt"),
        (lambda lines: [lines[0], '{"utt": "x", "nbest": [], "spent": "1"}'], r":2: utterance x: spent is '1', expe"),
        (lambda lines: lines[:1], r"1 of 1 lines are not.*no utterance"),
        (
            lambda lines: [lines[0], '{"utt": "x", "spent": 1, "nbest": [{"text": "a", "score": NaN}]}'],
            r":2: utterance x, hypothesis 1: its score is nan, expected a finite number",
        ),
        (
            lambda lines: [lines[0], '{"utt": "x", "spent": 1, "nbest": [{"score": 1.0}]}'],
            r":2: utterance x, hypothesis 1: no text",
        ),
        (
            lambda lines: [
                lines[0],
                '{"utt": "x", "spent": 1, "nbest": [{"score": 1, "text": ""}, {"score": 2, "text": ""}]}',
            ],
            r":2: utterance x: its hypotheses are not in the order of their scores",
        ),
    ],
)
def test_a_damaged_nbest_file_is_refused_with_file_and_line(
    decoded: dict[str, Path], tmp_path: Path, damage: Any, message: str
) -> None:
    lines = (decoded["test"] / "nbest.jsonl").read_text().splitlines()
    (tmp_path / "nbest.jsonl").write_text("\n".join(damage(lines)) + "\n")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read_nbest(tmp_path)


def test_a_cut_or_absent_nbest_file_is_refused(decoded: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nbest.jsonl: no n-best hypotheses; decode this set first"):
        read_nbest(tmp_path)
    (tmp_path / "nbest.jsonl").write_bytes((decoded["test"] / "nbest.jsonl").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"nbest.jsonl:7: the last line has no end, so the file was cut; remove"):
        read_nbest(tmp_path)


def test_a_set_that_was_not_decoded_to_the_end_is_refused(
    recipe: Any, decoded: dict[str, Path], tmp_path: Path
) -> None:
    run_tuning(recipe, decoded["dev"], tmp_path / "tuned.json", weights=[])
    (tmp_path / "st_e5/decode_test").mkdir(parents=True)
    shutil.copy(decoded["test"] / "nbest.jsonl", tmp_path / "st_e5/decode_test")
    with pytest.raises(FileNotFoundError, match="decode.json: not there, so .* run stage `decode` of st_e5 again"):
        run_rescoring(recipe, tmp_path / "st_e5/decode_test", tmp_path / "tuned.json", tmp_path / "out")


def test_hypotheses_of_another_set_are_refused(recipe: Any, decoded: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rescored_test/nbest.jsonl"):
        run_tuning(recipe, decoded["test"], tmp_path / "tuned.json")
    run_tuning(recipe, decoded["dev"], tmp_path / "tuned.json")
    with pytest.raises(ValueError, match=r"rescored_dev/nbest.jsonl: 4 of 4 utterances are not in .*/test/dump, so it"):
        run_rescoring(recipe, decoded["dev"], tmp_path / "tuned.json", tmp_path / "out")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"b2.yaml: unknown key 'weights'; known are rescore_system"):
        read_rescoring_config({"weights": [1.0]}, "b2.yaml")
    with pytest.raises(ValueError, match=r"rescoring_conf: weights \(-1,\) .* must be numbers from 0 on"):
        read_rescoring_config({"rescoring_conf": {"weights": [-1]}}, "b2.yaml")
    with pytest.raises(ValueError, match=r"prompt_conf: unknown key 'templates'; did you mean 'template'"):
        read_rescoring_config({"prompt_conf": {"templates": "x"}}, "b2.yaml")
