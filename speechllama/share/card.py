"""The page that goes with a packed model, README.md: all of it is written from the reports of the experiment.

CardFacts -> YAML metadata and markdown
"""

from __future__ import annotations

import re
from typing import Any

from speechllama.markdown import format_table
from speechllama.report.results import Results, format_results
from speechllama.report.score_tables import format_scores, group_scores
from speechllama.share.facts import CardFacts
from speechllama.text.targets import name_language

LIBRARY = "speechllama"
CLASSIFICATION, RECOGNITION = "audio-classification", "automatic-speech-recognition"  # the hub's words for tasks
USE = """\
from speechllama import Speech2Text

translate = Speech2Text.from_pretrained("{name}")
print(translate("clip.mp3")[0].text)
"""


def write_card(facts: CardFacts) -> str:
    """Write the page."""
    parts = [
        f"---\n{metadata(facts)}\n---\n",
        f"# {facts.name}\n",
        f"{summary(facts)} {facts.description}\n",
        f"## Use\n\nWith speechllama installed:\n\n```python\n{USE.format(name=facts.name)}```\n\n"
        f"or `python3 -m speechllama.bin.translate --model {facts.name} clip.mp3`. No code comes with the model; its "
        "weights are safetensors.\n",
        f"## Results\n\n{format_own(facts)}",
        format_others(facts),
        f"## Data\n\n{format_data(facts)}",
        f"## Licence\n\n{format_licence(facts)}",
        f"## Limits\n\n{format_limits(facts)}",
    ]
    return "\n".join(part for part in parts if part)


def metadata(facts: CardFacts) -> str:
    """Write the metadata by which a hub finds the page, as YAML."""
    from huggingface_hub import ModelCardData

    spoken = facts.data.languages if facts.data else []
    languages = dict.fromkeys(code.partition("-")[0] for code in [*spoken, *facts.targets])
    kind = "speech-translation" if facts.task.is_translation else "speech-recognition"
    kind = "speech-classification" if facts.task.is_label else kind
    base = facts.llm.path if facts.llm and facts.llm.is_of_hub else None
    data = ModelCardData(
        language=list(languages) or None,
        license=facts.licence.lower() if re.fullmatch(r"[\w.-]+", facts.licence) else None,
        library_name=LIBRARY,
        # The hub has no word for speech translation.
        pipeline_tag=CLASSIFICATION if facts.task.is_label else RECOGNITION,
        tags=["speech", kind, *(["speech-llm"] if facts.llm else [])],
        base_model=base,
        model_name=facts.name,
        eval_results=evaluations(facts) or None,
    )
    return str(data.to_yaml())


def evaluations(facts: CardFacts) -> list[Any]:
    """The scores as the hub's metadata has them."""
    from huggingface_hub import EvalResult

    corpus = facts.corpus or facts.system
    return [
        EvalResult(
            task_type=CLASSIFICATION if task.is_label else RECOGNITION if not task.is_translation else "translation",
            task_name=task.title if task.is_label else f"Speech {task.title.lower()}",
            dataset_type=re.sub(r"\W+", "-", corpus.lower()).strip("-"),
            dataset_name=f"{corpus}, {report['set']}",
            dataset_split=report["set"],
            metric_type=metric.name.partition("_")[0],
            metric_name=f"{metric.title}, {key.rpartition('/')[2]}",
            metric_value=report[metric.name],
            metric_args={
                "signature": report.get(task.signature(metric)),
                "control": report.get(f"control_{metric.name}"),
            },
        )
        for _, task, reports in group_scores(facts.scores)
        for key, report in reports.items()
        for metric in task.metrics_of(report)
    ]


def summary(facts: CardFacts) -> str:
    """Say what goes in and what comes out."""
    spoken = [name_language(code) for code in facts.data.languages] if facts.data else []
    names = ", ".join(spoken)
    if facts.task.is_translation:
        written = ", ".join(map(name_language, facts.targets))
        return f"Speech translation{f' from {names}' if names else ''} into {written}."
    what = facts.task.title if facts.task.is_label else "Speech recognition"
    return f"{what}{f' of {names}' if names else ''}."


def format_own(facts: CardFacts) -> str:
    """Write the system's scores as the recipe's page of results has them."""
    if not facts.scores:
        return "None of its decoded sets has been scored.\n"
    page = format_results(Results(facts.scores, {}, ()))
    return re.sub(r"^## ", "### ", page.partition("\n\n")[2], flags=re.MULTILINE)


def format_others(facts: CardFacts) -> str:
    """Write the scores of the recipe's other systems, to compare with; "" without any."""
    scores = {key: report for key, report in facts.others.items() if report["task"] == facts.task.name}
    if not scores:
        return ""
    tables = "\n".join(format_scores(*group) for group in group_scores(scores))
    return "## Other systems of the same recipe\n\n" + re.sub(r"^## ", "### ", tables, flags=re.MULTILINE)


def format_data(facts: CardFacts) -> str:
    """Write what it was trained and scored on."""
    corpus = f"Recipe: {facts.corpus}.\n\n" if facts.corpus else ""
    if facts.data is None:
        return f"{corpus}The training data is not recorded.\n"
    rows = [[name_language(code), f"{count:,}"] for code, count in sorted(facts.data.num_utterances.items())]
    table = format_table(["training language", "utterances"], rows)
    hours = f"\n{facts.data.seconds / 3600:.2f} h, utterances of up to {facts.data.longest:.1f} s.\n"
    return f"{corpus}{table}{hours if facts.data.seconds else ''}"


def format_licence(facts: CardFacts) -> str:
    """Write the licences of the model and of what it is built on."""
    lines = [f"* This model: {facts.licence or 'not stated'}."]
    if facts.llm:
        lines.append(f"* LLM: {facts.llm}. What is derived from it, adapters included, is under its terms, too.")
    return "\n".join(lines) + "\n"


def format_limits(facts: CardFacts) -> str:
    """Write the limits, with the numbers that show them."""
    lines = []
    if facts.data:
        names = ", ".join(name_language(code) for code in facts.data.languages)
        lines.append(f"It has learned from {names} only; other languages give fluent text that is wrong.")
        if facts.data.longest:
            lines.append(
                f"It has learned from utterances of up to {facts.data.longest:.1f} s: longer recordings must be cut, "
                "which `translate` does at pauses."
            )
    own = [(task, *item) for _, task, reports in group_scores(facts.scores) for item in reports.items()]
    for task, key, report in own:
        if task.control in report:
            score, control = (task.ranks_by.format(report[name]) for name in (task.ranks_by.name, task.control))
            lines.append(
                f"{key}: with its own audio {score}, with the audio of another utterance {control}: only the "
                "difference comes from listening."
            )
    lines.append("Scores hold for the sets above; other microphones, speakers and subjects were not measured.")
    lines.append("Like any language model, it can write what was not said. Have a person check texts that matter.")
    return "".join(f"* {line}\n" for line in lines)
