"""Decode a data directory: batches by length, resumable by utterance, with or without the right audio.

    {feats,compressed}.scp -> nbest.jsonl, text, decode.json
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from speechllama.data.ark import read_matrix
from speechllama.data.data_dir import DataDir, read_data_dir
from speechllama.decode.cache import check_cache
from speechllama.decode.control import Audio, find_audio
from speechllama.decode.speech2text import Speech2Text, Translation
from speechllama.files import write_json, write_table
from speechllama.progress import progress


@dataclass(frozen=True)
class DecodeJob:
    """What to decode and where to.

    Attributes:
        data_dir: Data directory with compressed.scp or feats.scp, and utt2dur.
        output_dir: Where text, nbest.jsonl and decode.json go.
        batch_size: Utterances at once; halved where memory ends.
        control: Give each utterance another utterance's audio.
    """

    data_dir: str
    output_dir: str
    batch_size: int = 16
    control: bool = False


def decode_set(translate: Speech2Text, job: DecodeJob, command: str = "") -> dict[str, Any]:
    """Decode every utterance of a data directory.

    Finished utterances are kept in nbest.jsonl.part: after an interruption the same call goes on behind them, if
    model, settings and audio are the same. A finished set is not decoded again.

    Args:
        translate: The model and its search settings.
        job: What to decode.
        command: The command line, for the record.

    Returns:
        The record written to decode.json: settings, number of utterances, real-time factor, device.
    """
    data = read_data_dir(job.data_dir)
    audio = find_audio(data, job.control)
    if audio.is_compressed:
        check_cache(data.path, translate.experiment.network.config.compressor)
    output = Path(job.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    stamp = {
        "search": asdict(translate.config),
        "job": asdict(job),
        "model": (translate.experiment.folder / "model.pth").stat().st_mtime_ns,
        "num_utterances": len(audio.places),
        "audio": (data.path / ("compressed.scp" if audio.is_compressed else "feats.scp")).stat().st_mtime_ns,
    }
    part = output / "nbest.jsonl.part"
    if (output / "nbest.jsonl").is_file() and not part.is_file():
        (output / "nbest.jsonl").replace(part)  # finished before; stays so unless model, settings or audio are others
    done = read_part(part, stamp)
    left = sorted((utt for utt in audio.places if utt not in done), key=lambda utt: (-audio.seconds[utt], utt))
    if done:
        logging.info("%s: %d utterances are done, going on with %d", output, len(done), len(left))
    batches = [left[start : start + job.batch_size] for start in range(0, len(left), job.batch_size)]
    with part.open("a" if done else "w", encoding="utf-8") as stream:
        if not done:
            stream.write(json.dumps({"stamp": stamp}) + "\n")
        for batch in progress(batches, len(batches), "batches"):
            start = time.perf_counter()
            results = list(decode_batch(translate, data, audio, batch))
            spent = (time.perf_counter() - start) / len(batch)
            for utterance, nbest in results:
                done[utterance] = {"utt": utterance, "nbest": [entry._asdict() for entry in nbest], "spent": spent}
                stream.write(json.dumps(done[utterance], ensure_ascii=False) + "\n")
            stream.flush()
    return write_outputs(translate, job, audio, done, command)


def decode_batch(
    translate: Speech2Text, data: DataDir, audio: Audio, batch: Sequence[str]
) -> Iterator[tuple[str, list[Translation]]]:
    """Decode some utterances; where memory ends, each half for itself.

    Raises:
        ValueError: Not even one utterance fits; it is named.
    """
    languages, templates = data.table("utt2lang"), data.table("prompt")
    try:
        results = translate.translate(
            [read_matrix(audio.places[utt]) for utt in batch],
            [audio.seconds[utt] for utt in batch],
            [languages.get(utt, "") for utt in batch],
            audio.is_compressed,
            [templates.get(utt, "") for utt in batch],
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise ValueError(
                f"utterance {batch[0]} ({audio.seconds[batch[0]]:.1f} s) alone does not fit into memory; "
                "leave it out or take a smaller beam"
            ) from error
        results = None
    if results is not None:
        yield from zip(batch, results, strict=True)
        return
    # Outside the except block: its traceback would keep the failed batch's tensors alive.
    logging.warning("out of memory with %d utterances, halving the batch", len(batch))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(batch) // 2
    yield from decode_batch(translate, data, audio, batch[:middle])
    yield from decode_batch(translate, data, audio, batch[middle:])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ended, the GPU's or, where torch raises a plain RuntimeError, the CPU's."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def read_part(path: Path, stamp: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Utterances an interrupted run finished with the same model and settings; its last, torn line is dropped."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    whole = lines[:-1]  # a line counts once its line break is there
    if not whole or json.loads(whole[0]).get("stamp") != json.loads(json.dumps(stamp)):
        return {}
    records = [json.loads(line) for line in whole[1:]]
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    os.replace(partial, path)
    return {record["utt"]: record for record in records}


def write_outputs(
    translate: Speech2Text, job: DecodeJob, audio: Audio, done: Mapping[str, dict[str, Any]], command: str
) -> dict[str, Any]:
    """Write text (best hypotheses), nbest.jsonl, and decode.json last."""
    output, network = Path(job.output_dir), translate.experiment.network
    audio_seconds = sum(audio.seconds.values())
    spent = sum(record["spent"] for record in done.values())
    report = {
        "beam_size": translate.config.beam_size,
        "length_penalty": translate.config.length_penalty,
        "batch_size": job.batch_size,
        "control": job.control,
        "num_utterances": len(done),
        "audio_seconds": round(audio_seconds, 2),
        "decode_seconds": round(spent, 2),
        "rtf": round(spent / audio_seconds, 5),
        "commit": read_commit(),
        "device": describe_device(translate.experiment.device),
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "num_trainable": sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
        "command": command,
    }
    best = {utt: record["nbest"][0]["text"] if record["nbest"] else "" for utt, record in done.items()}
    write_table(output / "text", best)
    (output / "nbest.jsonl.part").replace(output / "nbest.jsonl")
    write_json(output / "decode.json", report)
    logging.info("%s: %d utterances, real-time factor %.4f", output, len(done), report["rtf"])
    return report


def read_commit() -> str:
    """The commit of the code that runs, "-dirty" with uncommitted changes; "" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def describe_device(device: torch.device) -> str:
    """The device's name, with the number of threads on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
