"""Translate transcripts with an LLM, the second half of a cascade: text -> [prompt ; transcript ; suffix] -> text.

<transcripts>/{text, decode.json} of a decoded set -> nbest.jsonl, text, decode.json, with the time of both steps
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from speechllama.config import from_mapping
from speechllama.data.data_dir import TARGET_TABLE, DataDir
from speechllama.decode.decode_set import describe_device, read_commit, to_record
from speechllama.decode.nbest import MERGED, Part, count_cut, warn_of_cut, write_part
from speechllama.decode.risk import choose_by_risk
from speechllama.decode.search import LLMSearch
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import NBest, Translation, Utterance
from speechllama.faults import InputError, first_ten
from speechllama.files import read_json, read_table, write_json, write_table
from speechllama.hub import fingerprint
from speechllama.llm.config import LLMConfig
from speechllama.llm.context import tokens_left
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import join_right_aligned
from speechllama.llm.record import read_llm_record
from speechllama.model.build import check_device
from speechllama.progress import progress
from speechllama.split_on_oom import split_on_oom
from speechllama.text.clean import is_blank
from speechllama.text.padding import pad_ids
from speechllama.text.prompt import Prompt, PromptConfig
from speechllama.text.targets import TARGETS, Target


class TextTranslator:
    """An LLM that writes, after the prompt of the speech, with a text where the speech would be.

    Args:
        llm: The LLM, in evaluation mode, on its device.
        prompt: Renders prompts with its tokenizer.
        config: Settings of the search.
    """

    def __init__(self, llm: LLM, prompt: Prompt, config: SearchConfig) -> None:
        self.llm, self.prompt, self.config = llm, prompt, config

    @torch.inference_mode()
    def translate(self, texts: Sequence[str], utterances: Sequence[Utterance]) -> list[NBest]:
        """Translate a batch.

        Args:
            texts: What was said; an empty text has no translation, and one for which the LLM has too few positions
                gets none, with a warning.
            utterances: What else is known of each; its duration limits its translation, as that of speech.

        Returns:
            N-best hypotheses of each, best first.
        """
        results: list[NBest] = [[] for _ in texts]
        ids = {row: self._prefix(text, utterances[row]) for row, text in enumerate(texts) if not is_blank(text)}
        left = {row: tokens_left(self.llm.context, torch.tensor([len(own)])) for row, own in ids.items()}
        rows = [row for row in ids if int(left[row]) > 0]
        if len(rows) < len(ids):
            logging.warning("%d texts are longer than the LLM's context, and get no translation", len(ids) - len(rows))
        if not rows:
            return results
        device = next(self.llm.parameters()).device
        tokens, lengths = (tensor.to(device) for tensor in pad_ids([ids[row] for row in rows]))
        prefix = join_right_aligned([(self.llm.embed(tokens), lengths)])
        limits = torch.tensor([self.config.limit(utterances[row].seconds) for row in rows], device=device)
        names = [utterances[row].name for row in rows]
        found = LLMSearch(self.llm, "causal", self.config)(prefix, limits, names)
        for row, hypotheses in zip(rows, found, strict=True):
            nbest = [Translation(self.prompt.decode(each.tokens), *each) for each in hypotheses]
            results[row] = choose_by_risk(nbest, self.config, partial(self._written, utterances[row]))
        return results

    def _written(self, utterance: Utterance) -> Target:
        """The language that the translation of an utterance is in."""
        return TARGETS[utterance.target] if utterance.target else self.prompt.target

    def _prefix(self, text: str, utterance: Utterance) -> list[int]:
        around = self.prompt.render(utterance.language, utterance.template, utterance.target)
        return [*around.prompt, *self.prompt.encode(text), *around.suffix]


def load_text_translator(
    llm_dir: str, prompt_conf: Mapping[str, Any], task: str, config: SearchConfig, device: str
) -> TextTranslator:
    """Load a recipe's LLM.

    Args:
        llm_dir: Prepared LLM.
        prompt_conf: Settings of the prompts, of this task only; see `prompt_conf_of`.
        task: A name in TASKS.
        config: Settings of the search.
        device: torch device.

    Raises:
        FileNotFoundError, ValueError: It is not there, or a setting is wrong.
    """
    path, revision = read_llm_record(llm_dir)
    check_device(device)
    prompt = Prompt(from_mapping(PromptConfig, prompt_conf, "prompt_conf"), task, load_tokenizer(path, revision))
    return TextTranslator(LLM(LLMConfig(path=path, revision=revision), device).to(device).eval(), prompt, config)


@dataclass(frozen=True)
class TranscriptsJob:
    """What to translate and where to.

    Attributes:
        transcript_dir: A decoded set of transcripts: text, and decode.json with what they cost.
        data: Its data directory.
        output_dir: Where nbest.jsonl, text and decode.json go.
        batch_size: Texts at once; halved when memory runs out.
        command: The command, for the record.
    """

    transcript_dir: str
    data: DataDir
    output_dir: str
    batch_size: int = 16
    command: str = ""


def translate_transcripts(translator: TextTranslator, job: TranscriptsJob) -> dict[str, Any]:
    """Translate the transcripts of a decoded set into the files that decoding writes.

    Args:
        translator: The LLM.
        job: What to translate.

    Returns:
        The record written to decode.json. `decode_seconds` and `rtf` are of both steps, and `transcript_seconds` of the
        first; CTC records no time, since stage `compress` writes its text in passing.

    Raises:
        FileNotFoundError: The transcripts are not there.
        ValueError: An utterance of the set has no transcript, or one by itself does not fit into memory.
    """
    texts, before = read_table(Path(job.transcript_dir) / "text"), read_json(Path(job.transcript_dir) / "decode.json")
    seconds, output = job.data.seconds, Path(job.output_dir)
    missing = [utterance for utterance in job.data.utterances if utterance not in texts]
    if missing or not texts:
        raise InputError(
            f"{job.transcript_dir}/text: {len(missing):,} utterances of {job.data.path} have no transcript; decode "
            f"them first:{first_ten(missing)}"
        )
    tables = [job.data.table(name) for name in ("utt2lang", "prompt", TARGET_TABLE)]  # in the order of an Utterance
    ordered = sorted(texts, key=lambda utterance: (-len(texts[utterance]), utterance))
    batches = [ordered[start : start + job.batch_size] for start in range(0, len(ordered), job.batch_size)]
    records: dict[str, dict[str, Any]] = {}

    def decode(batch: Sequence[str]) -> list[NBest]:
        known = [Utterance(seconds[utt], *(table.get(utt, "") for table in tables))._replace(name=utt) for utt in batch]
        return translator.translate([texts[utt] for utt in batch], known)

    def too_large(utterance: str) -> str:
        return f"the transcript of {utterance} does not fit into memory by itself; take a smaller beam"

    for batch in progress(batches, len(batches), "batches"):
        start = time.perf_counter()
        found = list(split_on_oom(decode, batch, too_large))
        spent = (time.perf_counter() - start) / len(batch)
        for utterance, nbest in found:
            records[utterance] = {"utt": utterance, "nbest": [*map(to_record, nbest)], "spent": spent}
    records = {utterance: records[utterance] for utterance in sorted(records, key=str.encode)}
    report = _describe(translator, job, before, records, sum(seconds[utterance] for utterance in records))
    stamp = {"search": vars(translator.config), "transcripts": job.transcript_dir, "control": report["control"]}
    write_part(output / MERGED, Part(stamp, {"command": job.command, "commit": report["commit"]}, records))
    best = {utt: record["nbest"][0]["text"] if record["nbest"] else "" for utt, record in records.items()}
    write_table(output / "text", best)
    write_json(output / "decode.json", report)
    logging.info("%s: %d transcripts, real-time factor %.4f", output, len(records), report["rtf"])
    warn_of_cut(output, report)
    return report


def _describe(
    translator: TextTranslator,
    job: TranscriptsJob,
    before: Mapping[str, Any],
    records: Mapping[str, Mapping[str, Any]],
    audio_seconds: float,
) -> dict[str, Any]:
    """Return the content of decode.json."""
    config, llm = translator.config, translator.llm
    own = sum(record["spent"] for record in records.values())
    total = own + float(before.get("decode_seconds", 0.0))
    identity = fingerprint(llm.config.path, llm.config.revision).hex()
    # A system that holds the very LLM itself, such as E6, needs it only once.
    added = 0 if before.get("llm") == identity else sum(parameter.numel() for parameter in llm.parameters())
    spent_before = {"transcript_seconds": before["decode_seconds"]} if "decode_seconds" in before else {}
    return {
        "beam_size": config.beam_size,
        "length_penalty": config.length_penalty,
        "search": vars(config),
        "batch_size": job.batch_size,
        "control": bool(before.get("control")),
        "commit": read_commit(),
        "device": describe_device(next(llm.parameters()).device),
        "num_parameters": int(before.get("num_parameters", 0)) + added,
        "num_trainable": int(before.get("num_trainable", 0)),
        "llm": identity,
        "transcripts": job.transcript_dir,
        "command": job.command,
        "num_utterances": len(records),
        "audio_seconds": round(audio_seconds, 2),
        **count_cut(record["nbest"] for record in records.values()),
        **spent_before,
        "decode_seconds": round(total, 2),
        "rtf": round(total / audio_seconds, 5),
    }
