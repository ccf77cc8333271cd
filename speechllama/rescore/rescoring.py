"""Rescoring (B2): an LLM reads the hypotheses of any system, and a sum of both scores chooses.

    n-best of a decoded set, LLM -> score + weight * log p_LLM(text) / length ** length_norm -> the best text

Weight and length norm are tuned on the dev set. Weight 0 gives the system's own hypotheses back.

Source: arXiv 2307.03917, section 4 (log-linear interpolation with LLaMA's score); weights, prompt and normalisation are
not in the paper, so they are ours.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechllama.config import from_mapping
from speechllama.data.data_dir import TARGET_TABLE, DataDir
from speechllama.decode.decode_set import read_commit
from speechllama.decode.nbest import MERGED, NBest, Part, count_cut, write_part
from speechllama.decode.text_scorer import TextScorer, combine
from speechllama.faults import InputError, MissingFileError, first_ten
from speechllama.files import read_json, write_json, write_table
from speechllama.hub import fingerprint
from speechllama.model.build import CONFIG_FILE, read_settings
from speechllama.text.prompt import PromptConfig


@dataclass(frozen=True)
class RescoringConfig:
    """What is tried on the dev set.

    Attributes:
        prompted: The LLM reads the text after the prompt, without audio in it; else after its start token only.
        weights: Weights of the LLM's score; 0 is always among them.
        length_norms: Exponents of the text's length in tokens, its end included, that divide the LLM's score.
    """

    prompted: bool = True
    weights: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
    length_norms: tuple[float, ...] = (0.0, 0.5, 1.0)

    def __post_init__(self) -> None:
        numbers = (*self.weights, *self.length_norms)
        if not self.length_norms or not all(isinstance(number, int | float) and number >= 0 for number in numbers):
            raise InputError(f"weights {self.weights} and length_norms {self.length_norms} must be numbers from 0 on")


class Tuned(NamedTuple):
    """One setting and its score on the dev set; of the metric, more is better."""

    weight: float
    length_norm: float
    metric: float


def add_llm_scores(nbest: NBest, data: DataDir, scorer: TextScorer) -> None:
    """Write `llm_score` (nats) and `llm_length` (tokens, end included) into every hypothesis.

    Args:
        nbest: Changed in place.
        data: The data directory that was decoded; its utt2lang, utt2target and prompt choose the prompts.
        scorer: The LLM.

    Raises:
        ValueError: Utterances are not in the data directory, or minimum Bayes risk has chosen already.
    """
    risk = nbest.stamp.get("search", {}).get("mbr", "none")
    if risk != "none":
        raise InputError(
            f"{nbest.path}: its texts were chosen by minimum Bayes risk (mbr {risk}), and rescoring needs those of the "
            f"search with their scores; run {nbest.stage} without mbr"
        )
    foreign = sorted(set(nbest.entries) - set(data.utterances))
    if foreign:
        raise InputError(
            f"{nbest.path}: {len(foreign):,} of {len(nbest.entries):,} utterances are not in {data.path}, so it is of "
            f"another set:{first_ten(foreign)}"
        )
    tables = [data.table(name) for name in ("utt2lang", "prompt", TARGET_TABLE)]
    entries = [(utt, entry) for utt, hypotheses in nbest.entries.items() for entry in hypotheses]
    items = [scorer.item(entry["text"], *(table.get(utt, "") for table in tables)) for utt, entry in entries]
    for (_, entry), item, score in zip(entries, items, scorer.score(items), strict=True):
        entry.update(llm_score=score, llm_length=len(item.text) + 1)


def reorder(nbest: NBest, weight: float, length_norm: float) -> NBest:
    """Hypotheses by their sum, best first; equal ones, and all with weight 0, keep their order."""
    entries = {
        utt: sorted(hypotheses, key=lambda entry: -combine(entry, weight, length_norm))
        for utt, hypotheses in nbest.entries.items()
    }
    return dataclasses.replace(nbest, entries=entries)


def tune(nbest: NBest, config: RescoringConfig, metric: Callable[[dict[str, str]], float]) -> list[Tuned]:
    """Try every setting on a set with LLM scores.

    Args:
        nbest: The dev set.
        config: The settings.
        metric: Score of the texts by utterance; more is better.

    Returns:
        All settings, best first; of equal ones the smallest weight is first.
    """
    grid = [(0.0, 0.0)]  # without a weight the norm does not matter
    grid += [(weight, norm) for weight in sorted({*config.weights} - {0.0}) for norm in config.length_norms]
    tried = [Tuned(weight, norm, metric(reorder(nbest, weight, norm).best())) for weight, norm in grid]
    return sorted(tried, key=lambda entry: (-entry.metric, entry.weight))


def read_rescoring_config(settings: Mapping[str, Any], where: str) -> tuple[RescoringConfig, dict[str, Any]]:
    """Read a rescoring system's YAML.

    Args:
        settings: Its content.
        where: The file, for messages.

    Returns:
        What should be tried, and what the scorer needs: `prompted` and `prompt_conf`.

    Raises:
        ValueError: A key does not exist, or a value does not fit.
    """
    known = ("rescore_system", "rescoring_conf", "prompt_conf")
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
    config = from_mapping(RescoringConfig, settings.get("rescoring_conf") or {}, f"{where}: rescoring_conf")
    prompt_conf = settings.get("prompt_conf") or {}
    from_mapping(PromptConfig, prompt_conf, f"{where}: prompt_conf")
    return config, {"prompted": config.prompted, "prompt_conf": prompt_conf}


def recorded_prompts(decode_dir: str | Path) -> dict[str, Any]:
    """The prompts of the system whose decoded set this is, as its experiment records them; {} where it has none."""
    folder = Path(decode_dir).parent
    return dict(read_settings(folder).get("prompt_conf") or {}) if (folder / CONFIG_FILE).is_file() else {}


def report_tuning(tried: Sequence[Tuned], decode_dir: str | Path) -> dict[str, Any]:
    """What is kept of the tuning: the best setting, the metric with and without it, and all that was tried."""
    best, own = tried[0], next(entry for entry in tried if not entry.weight)
    logging.info("weight %s, length norm %s: %.2f, the system on its own %.2f", *best, own.metric)
    return {
        "weight": best.weight,
        "length_norm": best.length_norm,
        "tuned_on": str(decode_dir),
        "tuned_metric": round(best.metric, 4),
        "own_metric": round(own.metric, 4),
        "tried": [entry._asdict() for entry in tried],
    }


def rescore_set(
    nbest: NBest, output_dir: str | Path, data: DataDir, scorer: TextScorer, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Rescore a decoded set into the files that decoding writes.

    Args:
        nbest: The system's own hypotheses, with decode.json next to them.
        output_dir: Where nbest.jsonl, text and decode.json go.
        data: The data directory that was decoded.
        scorer: The LLM.
        settings: `weight`, `length_norm`, `command` and the rest of the tuning, for decode.json.

    Returns:
        The record written to decode.json.

    Raises:
        FileNotFoundError: Decoding was not finished.
        ValueError: As `add_llm_scores`.
    """
    output, own = Path(output_dir), nbest.path.with_name("decode.json")
    if not own.is_file():
        raise MissingFileError(f"{own}: not there, so decoding was not finished; run {nbest.stage} again")
    report = read_json(own)
    made = {"commit": read_commit(), "command": settings.get("command", "")}
    settings = {key: value for key, value in settings.items() if key not in ("tried", "command")}
    weight, length_norm = settings["weight"], settings["length_norm"]
    start = time.perf_counter()
    add_llm_scores(nbest, data, scorer)
    chosen = reorder(nbest, weight, length_norm)
    spent = (time.perf_counter() - start) / len(nbest.entries)
    part = Part({"rescored": nbest.stamp, **settings}, {**nbest.report, **made})
    for utt, hypotheses in chosen.entries.items():
        entries = [
            {**entry, "score": combine(entry, weight, length_norm), "own_score": entry["score"]} for entry in hypotheses
        ]
        part.records[utt] = {"utt": utt, "nbest": entries, "spent": nbest.spent[utt] + spent}
    write_part(output / MERGED, part)
    write_table(output / "text", chosen.best())
    seconds = sum(nbest.spent.values()) + spent * len(nbest.entries)
    report |= {
        **settings,
        **made,
        **count_cut(chosen.entries.values()),
        "decode_seconds": round(seconds, 2),
        "rtf": round(seconds / report["audio_seconds"], 5),
        "num_parameters": report["num_parameters"] + num_added(report, scorer),
    }
    write_json(output / "decode.json", report)
    logging.info("%s: rescored with weight %s, length norm %s", output, weight, length_norm)
    return report


def num_added(report: Mapping[str, Any], scorer: TextScorer) -> int:
    """Parameters that rescoring adds to a system: none where the system holds the very LLM itself."""
    llm = scorer.llm
    if report.get("llm") and report["llm"] == fingerprint(llm.config.path, llm.config.revision).hex():
        return 0
    return sum(parameter.numel() for parameter in llm.parameters())
