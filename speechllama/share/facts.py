"""What there is to know of a trained system, from the files that training, scoring and the recipe left.

exp/<system>/{config.yaml, decode_*/score.json}, exp/RESULTS.md, data directory of the training -> CardFacts
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllama.decode.systems import find_rescoring, rescored_folder
from speechllama.files import find_path, read_json, read_table
from speechllama.llm.record import LLM_FILE
from speechllama.model.build import is_seq2seq, read_settings
from speechllama.report.decoded_set import expand_targets
from speechllama.report.results import collect_results, results_path
from speechllama.text.targets import DEFAULT_TARGET
from speechllama.text.tasks import DEFAULT_TASK, TASKS, Task, trained_task

PAPER = "arXiv 2307.03917"


@dataclass(frozen=True)
class LLMFacts:
    """The LLM that a system is built on.

    Attributes:
        path: Hub id, or the name of a local directory.
        revision: Commit of the hub.
        licence: As its own page names it; "" if it does not say.
        is_of_hub: Whether the path is a hub id.
    """

    path: str
    revision: str | None
    licence: str
    is_of_hub: bool

    def __str__(self) -> str:
        where = f"`{self.path}`" + (f" at revision `{self.revision}`" if self.revision else "")
        return f"{where}, licence {self.licence or 'not stated'}"


@dataclass(frozen=True)
class TrainingData:
    """What a system was trained on, as far as its data directory is still there.

    Attributes:
        num_utterances: Of each source language.
        seconds: All together; 0 where durations are not recorded.
        longest: The longest utterance, in seconds.
    """

    num_utterances: Counter[str]
    seconds: float
    longest: float

    @property
    def languages(self) -> list[str]:
        """Source languages, by the codes of utt2lang."""
        return sorted(self.num_utterances)


@dataclass(frozen=True)
class CardFacts:
    """What a page says.

    Attributes:
        name: Where the model will be: "organisation/name", or the name of a zip.
        system: Name of the experiment.
        corpus: Heading of the recipe's page of results; "" without one.
        task: What it writes.
        targets: Codes of the languages that it writes; none of a transcript.
        description: How it works, one sentence.
        llm: The LLM; None without one.
        data: Training data; None where its directory is gone.
        scores: Reports of its decoded sets, as score.json.
        others: Those of the recipe's other systems.
        licence: Of the model as published; "" if none is known.
    """

    name: str
    system: str
    corpus: str
    task: Task
    targets: tuple[str, ...]
    description: str
    llm: LLMFacts | None
    data: TrainingData | None
    scores: dict[str, dict[str, Any]]
    others: dict[str, dict[str, Any]]
    licence: str


def collect_facts(exp_dir: str | Path, name: str, licence: str = "") -> CardFacts:
    """Read what a page says from an experiment and the recipe's folder around it.

    Args:
        exp_dir: Experiment at stage `average` or later; without scores the page says that there are none.
        name: Where the model will be.
        licence: Of the model as published; "": that of the LLM, if its page names one.

    Raises:
        FileNotFoundError: It is no experiment.
    """
    folder = Path(exp_dir)
    tuned = find_rescoring(folder)
    base = rescored_folder(read_json(tuned), folder) if tuned else folder
    settings = read_settings(base)
    llm_dir = str((read_json(tuned) if tuned else settings).get("llm_dir") or "")
    llm = read_llm_facts(Path(find_path(llm_dir, folder))) if llm_dir else None
    results = collect_results(folder.resolve().parent)
    own = {key: report for key, report in results.scores.items() if key.split("/")[0] == folder.resolve().name}
    task = find_task(settings, own)
    page = results_path(folder.resolve().parent)
    heading = page.read_text(encoding="utf-8").partition("\n")[0] if page.is_file() else ""
    return CardFacts(
        name=name,
        system=folder.resolve().name,
        corpus=heading.removeprefix("# ") if heading.startswith("# ") else "",
        task=task,
        targets=find_targets(settings, own) if task.is_translation else (),
        description=describe(settings, is_seq2seq(base), base.name if tuned else ""),
        llm=llm,
        data=read_training_data(settings, base),
        scores=own,
        others={key: report for key, report in results.scores.items() if key not in own},
        licence=licence or (llm.licence if llm else ""),
    )


def find_task(settings: dict[str, Any], scores: dict[str, dict[str, Any]]) -> Task:
    """Find what a system writes: by its settings, or by its scores."""
    scored = [TASKS[report["task"]] for report in scores.values() if report["task"] in TASKS]
    return trained_task(settings) or next(iter(scored), TASKS[DEFAULT_TASK])


def find_targets(settings: dict[str, Any], scores: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """Find the languages that a system writes: those of its training or its scores, or else the one of its prompt."""
    prompt = settings.get("prompt_conf") or {}
    scored = (part.get("target", "") for report in scores.values() for part in expand_targets(report))
    found = dict.fromkeys(filter(None, [*(prompt.get("targets") or []), *scored]))
    return (*found,) or (str(prompt.get("target", DEFAULT_TARGET)),)


def describe(settings: dict[str, Any], seq2seq: bool, rescored: str) -> str:
    """Say in one sentence how a system works."""
    if rescored:
        return f"An LLM chooses among the hypotheses of the system `{rescored}`."
    if seq2seq:
        return "An encoder-decoder with auxiliary CTC, trained from scratch, without an LLM."
    llm = settings.get("llm_conf") or {}
    trained = {
        "lora": f"adapted by LoRA of rank {(llm.get('lora') or {}).get('rank')}",
        "full": "trained in all its weights",
    }
    return (
        f"Speech-LLaMA ({PAPER}): the encoder's frames are shortened by the compressor `{settings.get('compressor')}` "
        f"and read by an LLM that is {trained.get(str(llm.get('train')), 'frozen')}, with a "
        f"{str(settings.get('prefix_mask')).replace('_', '-')} mask over prompt and audio."
    )


def read_llm_facts(llm_dir: Path) -> LLMFacts:
    """Read which LLM a prepared one is, and its licence."""
    record = read_json(llm_dir / LLM_FILE)
    path, revision = str(record["path"]), record.get("revision")
    places = (llm_dir / path, Path(path))
    folder = next((place for place in places if place.is_dir()), None)
    licence = find_licence(folder, path, revision)
    return LLMFacts(folder.resolve().name if folder else path, revision, licence, folder is None)


def find_licence(folder: Path | None, name: str, revision: str | None) -> str:
    """Find the licence that a model's own page names; "" if it names none, or cannot be asked."""
    from huggingface_hub import HfApi, ModelCard

    try:
        if folder is None:
            data: Any = HfApi().model_info(name, revision=revision).card_data
        else:
            data = ModelCard.load(folder / "README.md", ignore_metadata_errors=True).data
    except Exception:  # no network, no page, no metadata: a page without this line is better than no page
        return ""
    found = getattr(data, "license", None) if data else None
    named = getattr(data, "license_name", None) if data else None
    return str(named or found or "")


def read_training_data(settings: dict[str, Any], folder: Path) -> TrainingData | None:
    """Count the training data of an experiment; None where its directory is gone."""
    entries = settings.get("train_data_path_and_name_and_type") or []
    places = [Path(find_path(str(path), folder)).parent for path, *_ in entries]
    data = next((place for place in places if (place / "utt2lang").is_file()), None)
    if data is None:
        return None
    durations = data / "utt2dur"
    seconds = [float(value) for value in read_table(durations).values()] if durations.is_file() else []
    return TrainingData(Counter(read_table(data / "utt2lang").values()), sum(seconds), max(seconds, default=0.0))
