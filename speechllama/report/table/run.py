"""Read all that the run of one row and seed wrote.

RunPaths -> score, hypotheses, training records, and what must be equal for a fair comparison
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from speechllama.config import read_yaml
from speechllama.faults import InputError
from speechllama.feature_shape import FeatureShape
from speechllama.files import read_json, read_table
from speechllama.model.compressors import COMPRESSORS
from speechllama.model.old_settings import upgrade_settings
from speechllama.report.ctc import ctc_report_path, read_lengths, report_compression
from speechllama.report.decoded_set import add_segments, expand_targets, hypothesis_path, read_targets, score_path
from speechllama.report.score import Pairs, pair
from speechllama.text.tasks import TASKS
from speechllama.training_record import average_record_path, training_record_path

# The trainings that a system is built on, and the field of `RunPaths` with the directory of each.
TRAININGS = {"own": "system_dir", "base": "base_dir", "start": "init_dir", "CTC": "ctc_dir", "LLM": "llm_dir"}


@dataclass(frozen=True)
class RunPaths:
    """Where a row's files are, with one seed; "" for what the system does without.

    Attributes:
        row: The system, with its variants: "e6:asr".
        seed: Of its training.
        failed: File that names the stage at which it failed, if it did.
        system_dir: Its experiment.
        base_dir: Experiment of what is decoded; of a rescoring system the one that it rescores.
        init_dir: Experiment that it starts from.
        ctc_dir: Its CTC encoder.
        compressed_dir: Its compressed features.
        llm_dir: Its LLM.
        decode_dir: Its hypotheses.
        data_dir: Data directory of the set that is scored.
        set_name: The set's name.
    """

    row: str
    seed: int
    failed: str
    system_dir: str
    base_dir: str
    init_dir: str
    ctc_dir: str
    compressed_dir: str
    llm_dir: str
    decode_dir: str
    data_dir: str
    set_name: str = ""


@dataclass(frozen=True)
class Run:
    """A row of the table with one seed.

    Attributes:
        row: The system, with its variants: "e6:asr".
        seed: Of its training.
        missing: Why there is no score; "" if there is one.
        report: What score.json holds.
        pairs: Hypotheses and references.
        facts: Records of trainings, choice of epochs, compression ratio.
        identity: What a fair comparison must have in common, by name; without what the system does without.
        part: The target language that this is a part of; "" for a run with one target.
        set_name: The set that is scored.
    """

    row: str
    seed: int
    missing: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)
    pairs: Pairs | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    set_name: str = ""


def read_runs(paths: RunPaths) -> list[Run]:
    """Read all of a system with one seed.

    Args:
        paths: Where it is.

    Returns:
        The run, or one for each target language where it has several; with `missing` where it failed or was not run.

    Raises:
        ValueError: It has a score, but its files do not fit each other; the row is named.
    """
    row, seed = paths.row, paths.seed
    if Path(paths.failed).is_file():
        why = f"failed: {Path(paths.failed).read_text(encoding='utf-8').strip()}"
        return [Run(row, seed, why, set_name=paths.set_name)]
    if not score_path(paths.decode_dir).is_file():
        is_begun = Path(paths.system_dir).is_dir()
        why = f"has no {score_path(paths.decode_dir)}" if is_begun else "was not run"
        return [Run(row, seed, why, set_name=paths.set_name)]
    dirs = {
        field.name: Path(getattr(paths, field.name))
        for field in fields(paths)
        if field.name.endswith("_dir") and getattr(paths, field.name)
    }
    try:
        report = read_json(score_path(paths.decode_dir))
        if "unscored" in report:
            return [Run(row, seed, f"is not scored: {report['unscored']}", set_name=paths.set_name)]
        task = TASKS[report["task"]]
        references = task.texts_of(read_table(dirs["data_dir"] / task.reference))
        pairs = pair(read_table(hypothesis_path(paths.decode_dir)), references, paths.decode_dir)
        pairs = add_segments(pairs, paths.decode_dir, task)
        facts = read_facts(dirs, report, pairs)
        found = []
        for part in expand_targets(report):
            name = str(part["target"]) if "per_target" in report else ""
            own = select_target(pairs, dirs["data_dir"], name)
            identity = read_identity(dirs, part, own, facts)
            found.append(Run(row, seed, "", part, own, facts, identity, name, paths.set_name))
    except (ValueError, OSError) as error:
        raise InputError(f"system {row}, seed {seed}: {error}; run it again from stage decode") from error
    except KeyError as error:
        raise InputError(
            f"system {row}, seed {seed}: no {error} in its records; run it again from stage decode"
        ) from error
    return found


def select_target(pairs: Pairs, data_dir: Path, target: str) -> Pairs:
    """Take the pairs of one target language out of a set with several; all of them for ""."""
    if not target:
        return pairs
    targets = read_targets(data_dir, pairs.utterances, "")
    return pairs.select([row for row, utterance in enumerate(pairs.utterances) if targets[utterance] == target])


def read_settings(folder: Path) -> dict[str, Any]:
    """Read config.yaml of an experiment of any age; nothing where there is none."""
    path = folder / "config.yaml"
    return upgrade_settings(read_yaml(path)) if path.is_file() else {}


def read_facts(dirs: Mapping[str, Path], report: Mapping[str, Any], pairs: Pairs) -> dict[str, Any]:
    """Read the trainings it is built on, the epochs it averages and its compression ratio."""
    trainings: dict[str, Any] = {}
    seen: set[Path] = set()
    for name, key in TRAININGS.items():
        if key in dirs and dirs[key] not in seen and training_record_path(dirs[key]).is_file():
            trainings[name] = read_json(training_record_path(dirs[key])) | read_budget(dirs[key])
        seen.add(dirs.get(key, Path()))
    average_file = average_record_path(dirs["base_dir"])
    average = read_json(average_file) if average_file.is_file() else {}
    facts = {"decode_dir": str(dirs["decode_dir"]), "trainings": trainings, "average": average}
    ratio = find_compression(dirs, str(report["set"]), pairs.utterances)
    return {**facts, "compression_ratio": ratio}


def read_budget(folder: Path) -> dict[str, Any]:
    """The epochs that a training has to run to, as `max_epoch`; nothing where it may end before (`patience`)."""
    settings = read_settings(folder)
    budget = settings.get("max_epoch")
    return {} if budget is None or settings.get("patience") is not None else {"max_epoch": budget}


def find_compression(dirs: Mapping[str, Path], set_name: str, utterances: Iterable[str]) -> float | None:
    """Feature frames for each vector that the LLM reads, of one set; None where there are no such vectors."""
    if "compressed_dir" in dirs:
        for folder in (dirs["compressed_dir"], dirs["compressed_dir"] / set_name):  # the latter: a further directory's
            report = ctc_report_path(folder)
            values = read_json(report)["sets"].get(set_name, {}) if report.is_file() else {}
            if "compression_ratio" in values:
                return float(values["compression_ratio"])
        return None
    settings = read_settings(dirs["base_dir"])
    name = str(settings.get("compressor"))
    factor = COMPRESSORS[name].frames_per_vector if name in COMPRESSORS else None
    if factor is None or not (dirs["data_dir"] / "utt2num_frames").is_file():
        return None
    from speechllama.model.encoders import choose_encoder  # brings torch, which most tables do without

    record, features = choose_encoder(settings, str(dirs["base_dir"])).record, FeatureShape.recorded(settings)
    frames = read_lengths(dirs["data_dir"] / "utt2num_frames", list(utterances))
    vectors = {
        utterance: -(-record.num_frames(count, features.frame_shift) // factor) for utterance, count in frames.items()
    }
    log_mel = {utterance: features.log_mel_frames(count) for utterance, count in frames.items()}
    return float(report_compression(log_mel, vectors, frames)["compression_ratio"])


def read_identity(
    dirs: Mapping[str, Path], report: Mapping[str, Any], pairs: Pairs, facts: Mapping[str, Any]
) -> dict[str, str]:
    """Name what must be the same in all rows: by a fingerprint where it is long, and only what can be found out."""
    settings = read_settings(dirs["base_dir"])
    identity = {
        "test set": digest(f"{utt}\t{text}" for utt, text in zip(pairs.utterances, pairs.references, strict=True)),
        "scoring": str(report["signature"]),
        "beam": str(report.get("beam_size", "unknown")),
    }
    for name, kind in [("data", "train"), ("development data", "valid")]:
        for entry in settings.get(f"{kind}_data_path_and_name_and_type") or []:
            if list(entry)[1] == "text" and Path(entry[0]).is_file():
                texts = scored_texts(Path(entry[0]), TASKS[report["task"]].reference)
                identity[name] = digest(f"{utt}\t{text}" for utt, text in read_table(texts).items())
    if "ctc_dir" in dirs:
        tokenizer = Path(str(read_settings(dirs["ctc_dir"]).get("tokenizer")))
        if tokenizer.is_file():
            identity["tokenizer"] = hashlib.blake2b(tokenizer.read_bytes(), digest_size=16).hexdigest()
    if "llm_dir" in dirs and (dirs["llm_dir"] / "llm.json").is_file():
        llm = read_json(dirs["llm_dir"] / "llm.json")
        identity["LLM"] = str(llm.get("fingerprint", "its own, from random weights"))
    if facts["average"]:
        identity["selection rule"] = f"{facts['average']['num_best']} by {facts['average']['criterion']}"
    return identity


def scored_texts(learned: Path, reference: str) -> Path:
    """Name the training texts of what is scored: next to the transcripts that a cascade's first system learns.

    What a teacher wrote has references next to it, but these were not learned, so it counts as it is.
    """
    scored = learned.with_name(reference)
    return scored if scored.is_file() and not learned.with_name("taught.json").is_file() else learned


def digest(lines: Iterable[str]) -> str:
    """A fingerprint of lines, whatever their order."""
    content = hashlib.blake2b(digest_size=16)
    for line in sorted(lines):
        content.update(line.encode("utf-8") + b"\n")
    return content.hexdigest()


def find_differences(run: Run, reference: Run) -> list[str]:
    """Name what is not the same as in the reference, of what both have."""
    common = [name for name in reference.identity if name in run.identity]
    return [name for name in common if run.identity[name] != reference.identity[name]]
