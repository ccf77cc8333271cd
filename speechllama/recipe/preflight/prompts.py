"""Every prompt of a run, rendered before anything trains, and the tokenizers of its scores.

settings, language pairs of the data -> the texts around the audio, or what is wrong with them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechllama.config import from_mapping
from speechllama.constants import SPLITS
from speechllama.data.data_dir import TARGET_TABLE
from speechllama.files import read_table
from speechllama.llm.text_lines import BOTH, COPY, TRANSLATE, TextCorpus
from speechllama.recipe.preflight.run import CheckedRun, read_settings
from speechllama.recipe.stages import stage_number
from speechllama.rescore.rescoring import read_rescoring_config
from speechllama.text.bleu import bleu_metric
from speechllama.text.prompt import AUDIO, PromptConfig, PromptText, prompt_conf_of
from speechllama.text.targets import choose_target
from speechllama.text.tasks import Task

Use = tuple[str, str, str]  # source language, target language, own template of utterances ("": none)
NUM_SHOWN = 3  # prompts of a YAML


def check_prompts(run: CheckedRun, lines: list[str], faults: list[str]) -> None:
    """Render every prompt that stages use hours later, and build the tokenizer of every target language.

    Args:
        run: The run.
        lines: Get what each YAML's prompts are.
        faults: Get what is wrong: an unknown field or language, one prompt for several targets, a missing package.
    """
    uses = find_uses(run)
    targets = list(dict.fromkeys(target for _, target, _ in uses)) if run.layout.task.is_translation else []
    for target in targets if run.options.stop_stage >= stage_number("score") else ():
        try:
            bleu_metric(choose_target(target, run.options.bleu_tokenizer))
        except ValueError as error:
            faults.append(str(error))
    if len(targets) > 1 and run.plan.selection.system.is_seq2seq:
        name = run.plan.selection.system.name
        faults.append(
            f"--system {name}: an encoder-decoder has no prompt that says which language to write, and there are "
            f"{len(targets)}: {', '.join(targets)}; choose a system with an LLM, or one --target_lang"
        )
    rendered: dict[tuple[str, str], tuple[str, ...]] = {}  # by place and task
    for where, conf, task in find_confs(run) if run.uses_llm else ():
        try:
            config = from_mapping(PromptConfig, prompt_conf_of(conf, task.name, where), where)
            texts = {each: PromptText(config, each.name) for each in task.prompted}
        except ValueError as error:
            faults.append(f"{where}: {error}".replace(f"{where}: {where}", where))
            continue
        for each, text in texts.items():
            found = render(text, uses, where, faults)
            rendered[where, each.name] = tuple(found)
            lines += [f"prompt of {where}, {', '.join(found[prompt])}: {prompt}" for prompt in list(found)[:NUM_SHOWN]]
            faults += describe_shared(found, where) if len(targets) > 1 and each.is_translation else []
    lines += compare_with_own_llm(run, uses, rendered)


def find_uses(run: CheckedRun) -> list[Use]:
    """The language pairs, and the templates of single utterances: those of the data, or else what the options say."""
    is_there = "data" in run.finished
    names = [*(SPLITS if is_there else ()), *run.options.further_sets]
    folders = [Path(run.layout.data(name)) for name in names]
    found: dict[Use, None] = {} if is_there else {(*pair, ""): None for pair in run.options.language_pairs}
    for folder in folders:
        tables = [
            read_table(folder / name) if (folder / name).is_file() else {}
            for name in ("utt2lang", TARGET_TABLE, "prompt")
        ]
        languages, targets, templates = tables
        for utterance, language in languages.items():
            target = targets.get(utterance, run.options.target_lang)
            found[language, target, templates.get(utterance, "")] = None
    return list(found)


def find_confs(run: CheckedRun) -> Iterator[tuple[str, Mapping[str, Any], Task]]:
    """The settings of prompts: where they are, what they say, and for which task."""
    plan = run.plan
    target = {"target": plan.options.target_lang} if plan.options.target_words else {}
    system = plan.selection.system
    base: Mapping[str, Any] = plan.shared_prompts.settings["prompt_conf"] if plan.shared_prompts else {}
    if not system.is_seq2seq and not system.is_ctc:
        for each in (system.init, system):
            try:
                settings = read_settings(each.config, plan.options.train_options, "system") if each else None
            except ValueError:  # which the check of the trainings reports
                continue
            if each is not None and settings is not None:
                base = {**(settings.get("prompt_conf") or {}), **target}
                yield f"{each.config.path}: prompt_conf", base, run.layout.base_task
    cascade = plan.selection.cascade
    if cascade:
        shared = plan.shared_prompts.settings["prompt_conf"] if plan.shared_prompts else {}
        own = {**target, **shared, **(cascade.settings.get("prompt_conf") or {})}
        yield f"{cascade.path}: prompt_conf", own, run.layout.task
    if plan.selection.rescoring:
        path = plan.selection.rescoring.path
        try:
            config, settings = read_rescoring_config(dict(plan.selection.rescoring.settings), path)
        except ValueError:  # which the check of rescoring reports
            return
        if config.prompted:
            yield f"{path}: prompt_conf", {**target, **base, **settings["prompt_conf"]}, run.layout.task


def render(text: PromptText, uses: list[Use], where: str, faults: list[str]) -> dict[str, list[str]]:
    """Render the prompts of all uses; pairs of languages by prompt."""
    found: dict[str, list[str]] = {}
    for language, target, template in uses:
        try:
            before, after = text.fill(template or text.choose(language), language, target)
        except ValueError as error:
            fault = f"{where}: {error}"
            faults += [fault] if fault not in faults else []
            continue
        found.setdefault(f"{before}{AUDIO}{after}", []).append(f"{language} to {target}")
    return found


def describe_shared(found: Mapping[str, list[str]], where: str) -> list[str]:
    """Name the prompts that do not say which of several languages to write."""
    shared = {prompt: {pair.partition(" to ")[2] for pair in pairs} for prompt, pairs in found.items()}
    return [
        f"{where}: the prompt {prompt!r} is the same for the targets {', '.join(sorted(targets))}, so that the LLM "
        "cannot know which one to write; put {target} into the template"
        for prompt, targets in shared.items()
        if len(targets) > 1
    ]


def compare_with_own_llm(
    run: CheckedRun, uses: list[Use], rendered: Mapping[tuple[str, str], tuple[str, ...]]
) -> list[str]:
    """Say it where the recipe's own LLM learns other prompts than the systems use."""
    llm, shared = run.layout.llm, run.plan.shared_prompts
    if not run.uses_llm or llm is None:
        return []
    conf = shared.settings["prompt_conf"] if shared else {}
    found = []
    for (where, task), prompts in rendered.items():
        try:
            text = PromptText(TextCorpus("", [], run.options.target_lang, conf).prompt_config(task), task)
        except ValueError:  # reported where the systems use it, or in stage llm
            continue
        tasks = (TRANSLATE, COPY, *([BOTH] if llm.settings.get("both_share") else []))  # it learns no other one
        learned = render(text, uses, "", []) if task in tasks else {}
        if learned and prompts and set(prompts) != set(learned):
            called = f"another prompt than {where} has: {next(iter(learned))} (conf/train.yaml)"
            found.append(f"the recipe's own LLM learns {called}")
    return found
