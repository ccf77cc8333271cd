"""A task and a target language that are not in the package's lists: one record each, and every page knows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from speechllama.bin import score
from speechllama.bin.write_results import main as write_results
from speechllama.files import read_json, write_table
from speechllama.report.decoded_set import format_report, rank, score_path
from speechllama.report.results import results_path
from speechllama.report.score import Pairs, pair, score_translation
from speechllama.text.prompt import Prompt, PromptConfig
from speechllama.text.targets import Target
from speechllama.text.tasks import TASKS, Metric, Task
from test.report.table.conftest import Experiment, row_of

ACCURACY = Metric("accuracy", "Accuracy", unit="%")
ERRORS = Metric("num_errors", "Errors", is_higher_better=False)


@dataclass(frozen=True)
class LabelScore:
    """What the scorer of the toy task gives."""

    accuracy: float
    num_errors: int
    signature: str
    num_errors_signature: str
    num_utterances: int
    num_empty: int


def score_labels(pairs: Pairs, target: Target, num_bootstrap: int) -> LabelScore:
    """Count texts that are right."""
    hits = [hypothesis == reference for hypothesis, reference in zip(pairs.hypotheses, pairs.references, strict=True)]
    accuracy = 100.0 * sum(hits) / len(hits)
    return LabelScore(accuracy, hits.count(False), "ACC|exact", "ERR|exact", len(hits), pairs.num_empty)


@pytest.fixture
def task(add: Callable[..., Task]) -> Task:
    scorer = f"{score_labels.__module__}:score_labels"
    return add(
        TASKS, Task("dialect", "Language", "utt2lang", "Which language? {audio} It is", (ACCURACY, ERRORS), scorer)
    )


def test_a_task_is_one_record_and_is_scored_listed_and_compared(task: Task, experiment: Experiment) -> None:
    exp = experiment.root / "exp"
    experiment.add("e6", 0.1)
    languages = {name: name[:2] for name in experiment.references}
    for row, share in (("e6:dialect", 4), ("e5:dialect", 2)):
        decoded, control = exp / f"{row}.1/decode_test_beam4", exp / f"{row}.1/decode_test_beam4_control"
        texts = {name: "??" if index % share == 0 else text for index, (name, text) in enumerate(languages.items())}
        write_table(decoded / "text", texts)
        write_table(control / "text", dict.fromkeys(languages, "de"))
        data = str(experiment.root / "dump/test")
        score.main(
            ["--hyp_dir", str(decoded), "--control_dir", str(control), "--data_dir", data, "--task", "dialect"],
        )
        experiment.add_paths(row, 1, system_dir=decoded.parent, base_dir=decoded.parent, decode_dir=decoded)
    report = read_json(score_path(exp / "e6:dialect.1/decode_test_beam4"))
    assert (report["task"], report["accuracy"], report["num_errors"], report["control_accuracy"]) == (
        "dialect",
        75,
        10,
        50,
    )
    assert "Accuracy 75.00 % (ACC|exact), Errors 10.00 (ERR|exact), control Accuracy 50.00 %" in format_report(report)
    warned = read_json(score_path(exp / "e5:dialect.1/decode_test_beam4"))["warning"]
    assert warned.startswith("not better than its control: Accuracy 50.00 % against 50.00 % with the audio of another")
    write_results(["--exp_dir", str(exp)])
    page = results_path(exp).read_text(encoding="utf-8")
    assert "## Language\n" in page and "| system | set | beam | Accuracy % | Errors | control Accuracy % |" in page
    assert "| e6:dialect.1 | test | - | 75.00 | 10.00 | 50.00 |" in page
    assert "Accuracy in percent (Accuracy of the control) of each language:" in page and "* `ERR|exact`" in page
    table = experiment.table("e6 e6:dialect e5:dialect e4:dialect")
    assert row_of(table, "e6:dialect")["accuracy"] == 75 and "difference" not in row_of(table, "e6:dialect")
    page = experiment.page()
    assert "Language:\n\n| row | parameters | Accuracy % | Errors | control |" in page
    assert "| e6:dialect | - | 75.0 | 10.0 | 50.0 |" in page
    assert page.index("Language:\n") < page.index("| e4:dialect | - |"), (
        "a row without a score is among those of its task"
    )
    assert "**not better than its control (seed 1)**" in page


def test_the_metric_that_ranks_a_task_says_which_way_is_better(task: Task) -> None:
    better, worse = (pair({"a": text}, {"a": "a b c d e"}) for text in ("a b c d e", "a b c d"))
    for name in ("st", "asr", "dialect"):
        assert rank(better, TASKS[name]) > rank(worse, TASKS[name]), name


def test_a_target_language_is_one_record_and_its_tokenizer_scores(tmp_path: Path) -> None:
    references = {"a": "今天天气很好。", "b": "我喜欢喝咖啡。"}
    hypotheses = {"a": "今天天气好。", "b": "我喜欢喝茶。"}
    write_table(tmp_path / "test/text", references)
    write_table(tmp_path / "test/utt2lang", dict.fromkeys(references, "en"))
    write_table(tmp_path / "hyp/text", hypotheses)
    score.main(["--hyp_dir", str(tmp_path / "hyp"), "--data_dir", str(tmp_path / "test"), "--target_lang", "zh"])
    report = read_json(score_path(tmp_path / "hyp"))
    assert report["target"] == "zh" and "tok:zh" in report["signature"]
    assert report["bleu"] > 20 > score_translation(pair(hypotheses, references)).bleu, "13a takes a sentence as a word"
    prompt = Prompt(PromptConfig(target="zh"), "st", SimpleNamespace(bos_token_id=1))
    assert prompt.fill(prompt.template) == ("Translate the speech to Chinese: ", " Chinese:")
