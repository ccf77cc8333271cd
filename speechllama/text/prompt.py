"""Prompts: what the LLM reads around the audio, and what it shall write.

    template "Translate the speech to English: {audio} English:" -> ids before the audio, ids behind it
    text -> ids (end of sequence is added by the model)

The same class serves training, decoding and the mini recipe's text LLM, so that all see the same tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

TaskName = Literal["st", "asr"]
StartPlace = Literal["before_prompt", "behind_audio"]
AUDIO = "{audio}"
LANGUAGE = "{language}"

# Ours: the paper does not give its prompt. The source language is not named, as in the paper's many-to-English model.
TEMPLATES: dict[str, str] = {
    "st": "Translate the speech to English: {audio} English:",
    "asr": "Write down the speech: {audio} Text:",
}

# CoVoST 2's 21 source languages and English, by the codes of its file names.
LANGUAGES = {
    "ar": "Arabic", "ca": "Catalan", "cy": "Welsh", "de": "German", "en": "English", "es": "Spanish",
    "et": "Estonian", "fa": "Persian", "fr": "French", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "lv": "Latvian", "mn": "Mongolian", "nl": "Dutch", "pt": "Portuguese", "ru": "Russian", "sl": "Slovenian",
    "sv": "Swedish", "sv-SE": "Swedish", "ta": "Tamil", "tr": "Turkish", "zh": "Chinese", "zh-CN": "Chinese",
}  # fmt: skip


@dataclass(frozen=True)
class PromptConfig:
    """Which template an utterance gets.

    Attributes:
        template: Text with `{audio}` where the audio goes and, if wanted, `{language}`; empty: the task's own.
        by_language: Templates of single languages, by the codes of utt2lang; they replace `template`.
        start: Where the LLM's start token stands: first, as LLMs were trained, or last before the text, the <SOS>
            of a decoder-only model from scratch (arXiv 2307.03917, section 4).
    """

    template: str = ""
    by_language: dict[str, str] = field(default_factory=dict)
    start: StartPlace = "before_prompt"


class PromptIds(NamedTuple):
    """Token ids before the audio and behind it; the LLM's start token, if it has one, is among them."""

    prompt: list[int]
    suffix: list[int]


class Prompt:
    """Renders prompts and targets with an LLM's tokenizer.

    Args:
        config: Templates.
        task: `st` or `asr`; chooses the default template.
        tokenizer: The LLM's tokenizer, transformers' kind.

    Raises:
        ValueError: A template has not exactly one `{audio}`, or names a field that does not exist; or the start token
            shall stand behind the audio and the tokenizer has none.
    """

    def __init__(self, config: PromptConfig, task: TaskName, tokenizer: Any) -> None:
        if task not in TEMPLATES:
            raise ValueError(f"task {task!r} is none of {', '.join(TEMPLATES)}")
        if config.start == "behind_audio" and tokenizer.bos_token_id is None:
            raise ValueError("prompt start: behind_audio needs a start token, and the LLM's tokenizer has none")
        self.start = config.start
        self.template = config.template or TEMPLATES[task]
        self.by_language: Mapping[str, str] = config.by_language
        self.tokenizer = tokenizer
        self._rendered: dict[tuple[str, str], PromptIds] = {}
        for template in (self.template, *self.by_language.values()):
            check_template(template)

    def render(self, language: str = "", template: str = "") -> PromptIds:
        """Ids around the audio of one utterance.

        Args:
            language: Its code, as in utt2lang; needed if the template names `{language}`.
            template: Its own template (a data directory's `prompt` file); empty: the config's.

        Returns:
            Ids before and behind the audio.

        Raises:
            ValueError: The template needs a language and the code is unknown, or the template is faulty.
        """
        key = (language, template)
        if key not in self._rendered:
            text = template or self.by_language.get(language, self.template)
            check_template(text)
            if LANGUAGE in text:
                if language not in LANGUAGES:
                    known = ", ".join(sorted(LANGUAGES))
                    raise ValueError(f"the prompt {text!r} needs a language, {language!r} is none of {known}")
                text = text.replace(LANGUAGE, LANGUAGES[language])
            before, behind = text.split(AUDIO)
            start = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
            # Outer spaces go: a SentencePiece tokenizer puts one in front of each piece of text by itself.
            prompt, suffix = self.encode(before.strip()), self.encode(behind.strip())
            is_first = self.start == "before_prompt"
            self._rendered[key] = PromptIds(start + prompt, suffix) if is_first else PromptIds(prompt, suffix + start)
        return self._rendered[key]

    def encode(self, text: str) -> list[int]:
        """Ids of a text without start or end token; transformers 5 adds none either, older ones did."""
        if not text:
            return []
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def decode(self, tokens: list[int]) -> str:
        """Text of ids, one line, without special tokens."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return " ".join(text.split())


def check_template(template: str) -> None:
    """Refuse a template the renderer would misread.

    Raises:
        ValueError: It has not exactly one `{audio}`, or holds another field.
    """
    rest = template.replace(LANGUAGE, "")
    if rest.count(AUDIO) != 1 or "{" in rest.replace(AUDIO, ""):
        raise ValueError(f"the prompt {template!r} must hold {AUDIO} once and no field but {AUDIO} and {LANGUAGE}")
