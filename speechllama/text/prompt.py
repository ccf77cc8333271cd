"""Prompts: what the LLM reads around the audio, and what it should write.

    template "Translate the speech to {target}: {audio} {target}:" -> ids before the audio, ids after it
    text -> ids (end of sequence is added by the model)

The same class serves training, decoding and the mini recipe's text LLM, so that all see the same tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from speechllama.config import from_mapping
from speechllama.faults import InputError
from speechllama.text.control_tokens import TextEncoder, start_ids
from speechllama.text.targets import DEFAULT_TARGET, TARGETS, find_language
from speechllama.text.tasks import DEFAULT_TASK, TASKS

StartPlace = Literal["before_prompt", "behind_audio"]
StartToken = Literal["tokenizer", "bos"]
AUDIO = "{audio}"
LANGUAGE = "{language}"
TARGET = "{target}"


@dataclass(frozen=True)
class PromptConfig:
    """Which template an utterance gets.

    Attributes:
        template: Text with `{audio}` where the audio goes and, if wanted, `{language}` of the speech and `{target}`,
            the language to write; empty: the task's own. One with words is of the default task, translation.
        by_language: Templates of single languages, by the codes of utt2lang; they replace `template`.
        start: Where the LLM's start token comes: first, as LLMs were trained, or last before the text, the <SOS>
            of a decoder-only model from scratch (arXiv 2307.03917, section 4).
        start_token: Which start token: `tokenizer` is what the LLM's tokenizer itself puts before a text, see
            `start_ids`; `bos` is its `bos_token` in any case, as experiments of older versions have it.
        target: The language to write, a name in TARGETS, where utt2target does not say it.
        language_names: Names of languages by the codes of utt2lang and utt2target; they replace those of TARGETS.
        by_task: Templates of single tasks, by the names of TASKS; they replace `template`.
        targets: The languages that training wrote, where utt2target said so: recorded, not to be given.
    """

    template: str = ""
    by_language: dict[str, str] = field(default_factory=dict)
    start: StartPlace = "before_prompt"
    start_token: StartToken = "tokenizer"
    target: str = DEFAULT_TARGET
    language_names: dict[str, str] = field(default_factory=dict)
    by_task: dict[str, str] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)


def prompt_conf_of(conf: Mapping[str, Any], task: str, where: str) -> dict[str, Any]:
    """Take out of a YAML's `prompt_conf` what one task uses, as an experiment records it.

    A template with words is written for a task, and which one is not in it: without `by_task` it is of translation, so
    that recognition never trains with the prompt of translation.

    Args:
        conf: The settings, as the YAML has them.
        task: A name in TASKS.
        where: What they are called in messages, such as "conf/train.yaml: prompt_conf".

    Returns:
        The same without `by_task`, with the task's `template` if there is one. Of a task that mixes others, with the
        templates of those in `by_task`.

    Raises:
        ValueError: A key or a task is unknown, or the only template with words is that of another task.
    """
    by_task = from_mapping(PromptConfig, conf, where).by_task
    unknown = [name for name in by_task if name not in TASKS]
    if unknown:
        raise InputError(f"{where}: by_task: unknown task {unknown[0]!r}, expected one of {', '.join(TASKS)}")
    kept = {key: value for key, value in conf.items() if key != "by_task"}
    mixed = TASKS[task].prompted
    if len(mixed) > 1:
        confs = {part.name: prompt_conf_of(conf, part.name, where) for part in mixed}
        return {**kept, "by_task": {part.name: confs[part.name].get("template") or part.prompt for part in mixed}}
    if task in by_task:
        kept["template"] = by_task[task]
    if task == DEFAULT_TASK:
        return kept
    if task not in by_task:
        templates = [str(kept.get("template") or ""), *map(str, (kept.get("by_language") or {}).values())]
        worded = [template for template in templates if re.search(r"\w", re.sub(r"\{\w*\}", "", template))]
        if worded:
            raise InputError(
                f"{where}: the prompt {worded[0]!r} is for the task {DEFAULT_TASK}, and this one is {task}; "
                f"give that task its own: by_task: {{{task}: {TASKS[task].prompt!r}}}"
            )
    elif kept.get("by_language"):
        del kept["by_language"]  # of the default task
    return kept


class PromptIds(NamedTuple):
    """Token ids before the audio and after it; the LLM's start token, if it has one, is among them."""

    prompt: list[int]
    suffix: list[int]


class PromptText:
    """Fills templates in; needs no tokenizer, so that they are checked before there is one.

    Args:
        config: Templates.
        task: A name in TASKS; its template is the default.

    Raises:
        ValueError: The task or the target is unknown; a template has not exactly one `{audio}`, names a field that
            does not exist, or names the language where that is the label.
    """

    def __init__(self, config: PromptConfig, task: str) -> None:
        self.task = TASKS[task]
        self.template = config.by_task.get(task) or config.template or self.task.prompt
        self.target = TARGETS[config.target]
        self.targets = tuple(config.targets) or (config.target,)
        self.language_names: Mapping[str, str] = config.language_names
        is_other = task in config.by_task and task != DEFAULT_TASK  # templates of languages are of the default task
        self.by_language: Mapping[str, str] = {} if is_other else config.by_language
        for template in (self.template, *self.by_language.values()):
            check_template(template)
            if self.task.reference == "utt2lang" and LANGUAGE in template:
                raise InputError(f"the prompt {template!r} names the language, which the task {task} is to find out")

    def choose(self, language: str) -> str:
        """The template of a source language."""
        return self.by_language.get(language, self.template)

    def name(self, language: str) -> str:
        """Name a source language by its code; "" if it is not known."""
        record = find_language(language)
        return self.language_names.get(language) or (record.language if record else "")

    def fill(self, template: str, language: str = "", target: str = "") -> tuple[str, str]:
        """Fill a template in: the texts before and after the audio.

        Args:
            template: The template.
            language: Code of the source language, as in utt2lang; needed if the template names `{language}`.
            target: Code of the language to write, as in utt2target; empty: the config's.

        Raises:
            ValueError: The template needs a language and the code is unknown, the target is unknown, or the template is
                faulty.
        """
        check_template(template)
        written = TARGETS[target] if target else self.target
        text = template.replace(TARGET, self.language_names.get(written.name, written.language))
        if LANGUAGE in text:
            name = self.name(language)
            if not name:
                raise InputError(
                    f"the prompt {template!r} needs a language: unknown language {language!r}, expected one of "
                    f"{', '.join(sorted({*TARGETS, *self.language_names}))}; name it in prompt_conf, language_names: "
                    f"{{{language or 'code'}: its name}}"
                )
            text = text.replace(LANGUAGE, name)
        before, after = text.split(AUDIO)
        return before, after


class Prompt(PromptText):
    """Renders prompts and texts with an LLM's tokenizer.

    Control tokens (`</s>`, `<|im_end|>`) count as such only in the templates of the settings, where a chat model may
    need them; in texts and in the templates of a data directory they are characters like any others.

    Args:
        config: Templates.
        task: A name in TASKS; its template is the default.
        tokenizer: The LLM's tokenizer, transformers' kind.

    Raises:
        ValueError: As `PromptText`; or the start token should come after the audio and the tokenizer has none.
    """

    def __init__(self, config: PromptConfig, task: str, tokenizer: Any) -> None:
        super().__init__(config, task)
        if config.start == "behind_audio" and tokenizer.bos_token_id is None:
            raise InputError("prompt start: behind_audio needs a start token, and the LLM's tokenizer has none")
        self.start, self.start_token = config.start, config.start_token
        self.tokenizer = tokenizer
        self._rendered: dict[tuple[str, str, str], PromptIds] = {}

    def render(self, language: str = "", template: str = "", target: str = "") -> PromptIds:
        """Ids around the audio of one utterance.

        Args:
            language: Its code, as in utt2lang; needed if the template names `{language}`.
            template: Its own template (a data directory's `prompt` file); empty: the config's.
            target: The language that is written, as in utt2target; empty: the config's.

        Returns:
            Ids before and after the audio.

        Raises:
            ValueError: The template needs a language and the code is unknown, or the template is faulty.
        """
        key = (language, template, target)
        if key not in self._rendered:
            before, after = self.fill(template or self.choose(language), language, target)
            encode = self.encode if template else self._encode_with_control_tokens
            # Outer spaces go: a SentencePiece tokenizer puts one in front of each piece of text by itself.
            prompt, suffix = encode(before.strip()), encode(after.strip())
            start = self.start_tokens
            is_first = self.start == "before_prompt"
            self._rendered[key] = PromptIds(start + prompt, suffix) if is_first else PromptIds(prompt, suffix + start)
        return self._rendered[key]

    def encode(self, text: str) -> list[int]:
        """Ids of a text without start or end token, and without any other control token, whatever is written in it.

        No space is put before it, though a byte-level tokenizer has another token for the first word of a line
        (`The`) than for the same word after a space (`ĠThe`). With real SmolLM2-135M-Instruct and 300 English sentences
        after our prompt, a space makes them less likely: 28.6 nats a sentence in place of 27.5, in the first token
        (table in docs/extending.md).
        """
        return self._encoder.encode(text) if text else []

    def _encode_with_control_tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids if text else []
        return ids

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self.tokenizer)

    @cached_property
    def start_tokens(self) -> list[int]:
        """The start token, if there is one; where it is the place of the first text token, it must be."""
        bos = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        return bos if self.start == "behind_audio" or self.start_token == "bos" else start_ids(self.tokenizer)

    def lost(self, text: str, tokens: list[int]) -> str:
        """The characters of a text that the tokenizer cannot encode, each once; all of it where none is to blame.

        Args:
            text: The text.
            tokens: What `encode` made of it.

        Returns:
            "" if the text comes back from its tokens, but for runs of spaces.
        """
        if self.decode(tokens) == " ".join(text.split()):
            return ""
        found = dict.fromkeys(char for char in text if not char.isspace() and self.decode(self.encode(char)) != char)
        return "".join(found) or text

    def decode(self, tokens: list[int]) -> str:
        """Text of ids, one line, without special tokens."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return " ".join(text.split())


def make_prompts(config: PromptConfig, task: str, tokenizer: Any) -> dict[str, Prompt]:
    """Make the prompts of a training: of the task, or of each task that it mixes; by the names of TASKS."""
    return {each.name: Prompt(config, each.name, tokenizer) for each in TASKS[task].prompted}


def check_template(template: str) -> None:
    """Refuse a template the renderer would misread.

    Raises:
        ValueError: It has not exactly one `{audio}`, or holds another field.
    """
    rest = template.replace(LANGUAGE, "").replace(TARGET, "")
    if rest.count(AUDIO) != 1 or "{" in rest.replace(AUDIO, ""):
        raise InputError(
            f"the prompt {template!r} must hold {AUDIO} once and no field but {AUDIO}, {LANGUAGE} and {TARGET}"
        )
