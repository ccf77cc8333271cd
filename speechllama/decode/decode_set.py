"""Decode a data directory in batches, in parts for parallel jobs, resumable by utterance.

{feats,compressed}.scp -> nbest.J.jsonl -> (nbest.py) nbest.jsonl, text, decode.json
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from speechllama.data.data_dir import TARGET_TABLE, DataDir, read_data_dir
from speechllama.decode.control import Audio, find_audio
from speechllama.decode.nbest import Part, decoded_part_path, merge_decoded, read_parts, start_part, warn_of_changes
from speechllama.decode.speech2text import Speech2Text, Translation, Utterance
from speechllama.faults import InputError
from speechllama.files import writing
from speechllama.frontend.feature_format import recorded_format
from speechllama.frontend.fitting import check_features
from speechllama.hub import fingerprint
from speechllama.llm.llm import LLM
from speechllama.model.audio import Features
from speechllama.model.weights import weights_path
from speechllama.progress import progress
from speechllama.split_on_oom import split_on_oom
from speechllama.text.tasks import trained_task


@dataclass(frozen=True)
class DecodeJob:
    """What to decode and where to.

    Attributes:
        data_dir: Data directory with compressed.scp or feats.scp, and utt2dur.
        output_dir: Where the parts, then text, nbest.jsonl and decode.json go.
        batch_size: Utterances at once; halved when memory runs out.
        control: Give each utterance another utterance's audio.
        num_jobs: Parts in all; a single one is merged at once.
        job: This part, from 1.
        task: What to write, for a system that was trained for several tasks; "" for all that it writes by itself.
    """

    data_dir: str
    output_dir: str
    batch_size: int = 16
    control: bool = False
    num_jobs: int = 1
    job: int = 1
    task: str = ""


def decode_set(translate: Speech2Text, job: DecodeJob, words: Sequence[str] = ()) -> dict[str, Any] | None:
    """Decode one part of a data directory.

    The batches are those of a single job, and each part takes some of them, so scores do not depend on the number of
    parts. Finished utterances of any part are not decoded again if model, search, audio and precision are the same.

    Args:
        translate: The model and its search settings.
        job: What to decode.
        words: The command line after the module, for the record.

    Returns:
        What `merge_decoded` returns, if this was the only part.

    Raises:
        ValueError: There is no such part, the model was not trained for the task, or one utterance by itself does not
            fit into memory.
    """
    translate.check_task(job.task)
    if not 1 <= job.job <= job.num_jobs or job.batch_size < 1:
        raise InputError(f"there is no part {job.job} of {job.num_jobs}, in batches of {job.batch_size}")
    data = read_data_dir(job.data_dir)
    task = trained_task(translate.settings)
    audio = find_audio(data, job.control, keeps_language=not (task and task.is_label))
    translate.check_data(data.path, audio.kind)
    if audio.kind is Features:
        folder = str(translate.folder)
        check_features(data.path, recorded_format(translate.settings, folder), folder)
    stamp = make_stamp(translate, job, data, audio)
    output = Path(job.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    own = decoded_part_path(output, job.job)
    parts = read_parts(output)
    warn_of_changes(output, parts, stamp)
    known = {utt for part in parts if part.stamp == stamp for utt in part.records}
    start_part(own, Part(stamp, describe(translate, job, words)))
    batches = list(own_batches(audio.seconds, job))
    # A batch of which some are known is decoded whole: with other padding, scores would be rounded differently.
    left = [batch for batch in batches if any(utt not in known for utt in batch)]
    num_left = sum(map(len, left))
    logging.info("%s: %d of %d utterances are to be decoded", own, num_left, sum(map(len, batches)))
    with writing(own), own.open("a", encoding="utf-8") as stream:
        for batch in progress(left, len(left), "batches"):
            start = time.perf_counter()
            results = list(decode_batch(translate, data, audio, batch, job.task))
            spent = (time.perf_counter() - start) / len(batch)
            records = (
                {"utt": utterance, "nbest": [to_record(entry) for entry in nbest], "spent": spent}
                for utterance, nbest in results
                if utterance not in known
            )
            stream.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
            stream.flush()
    if job.num_jobs > 1:
        return None
    return merge_decoded(job.data_dir, output, 1, job.control)


def to_record(entry: Translation) -> dict[str, Any]:
    """What a hypothesis is in a file; that it was cut is said of the few that were, utility where it has chosen."""
    record = entry._asdict()
    left_out = {"is_cut": not entry.is_cut, "utility": entry.utility is None}
    return {name: value for name, value in record.items() if not left_out.get(name)}


def own_batches(seconds: Mapping[str, float], job: DecodeJob) -> Iterator[list[str]]:
    """Yield the batches of this part: every num_jobs-th batch, from long utterances to short ones."""
    ordered = sorted(seconds, key=lambda utt: (-seconds[utt], utt))
    starts = range(0, len(ordered), job.batch_size)
    for start in starts[job.job - 1 :: job.num_jobs]:
        yield ordered[start : start + job.batch_size]


def make_stamp(translate: Speech2Text, job: DecodeJob, data: DataDir, audio: Audio) -> dict[str, Any]:
    """Return what the hypotheses depend on, as JSON gives it back; batches and parts do not matter."""
    stamp = {
        "search": asdict(translate.config),
        "data_dir": job.data_dir,
        "control": job.control,
        "model": weights_path(translate.folder).stat().st_mtime_ns,
        "dtype": name_dtypes(translate.network),
        "num_utterances": len(audio.places),
        "audio": (data.path / audio.table).stat().st_mtime_ns,
    }
    stamp |= {"task": job.task} if job.task else {}
    read_back: dict[str, Any] = json.loads(json.dumps(stamp))
    return read_back


def name_dtypes(network: torch.nn.Module) -> str:
    """Name what a network computes in: an LLM is in bfloat16 on a GPU, in float32 on a CPU, and scores differ."""
    found = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found))


def describe(translate: Speech2Text, job: DecodeJob, words: Sequence[str]) -> dict[str, Any]:
    """Return the entries of decode.json other than counts and times."""
    parameters = list(translate.network.parameters())
    return {
        "beam_size": translate.config.beam_size,
        "length_penalty": translate.config.length_penalty,
        "search": asdict(translate.config),
        "batch_size": job.batch_size,
        "control": job.control,
        "commit": read_commit(),
        "device": describe_device(translate.device),
        "num_parameters": sum(parameter.numel() for parameter in parameters),
        "num_trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "llm": identify_llm(translate.network),
        "command": shlex.join(["python3", "-m", "speechllama.bin.decode", *words]),
    }


def identify_llm(network: torch.nn.Module) -> str:
    """Return the fingerprint of a network's LLM, with LoRA or without; "" if it was fully trained."""
    llm = getattr(network, "llm", None)
    if not isinstance(llm, LLM) or llm.config.train == "full":
        return ""
    return fingerprint(llm.config.path, llm.config.revision).hex()


def decode_batch(
    translate: Speech2Text, data: DataDir, audio: Audio, batch: Sequence[str], task: str = ""
) -> Iterator[tuple[str, list[Translation]]]:
    """Decode some utterances; if memory runs out, in halves.

    Raises:
        ValueError: Not even one utterance fits; the message names it.
    """
    tables = [data.table(name) for name in ("utt2lang", "prompt", TARGET_TABLE)]  # in the order of an Utterance

    def decode(utterances: Sequence[str]) -> list[list[Translation]]:
        known = [
            Utterance(audio.seconds[utt], *(table.get(utt, "") for table in tables))._replace(name=utt, task=task)
            for utt in utterances
        ]
        return translate.translate(audio.read(utterances), known)

    def too_large(utt: str) -> str:
        return (
            f"utterance {utt} ({audio.seconds[utt]:.1f} s) by itself does not fit into memory; leave it out or take a "
            "smaller beam"
        )

    yield from split_on_oom(decode, batch, too_large)


def read_commit() -> str:
    """Return the commit of the running code, "-dirty" with uncommitted changes; "" outside a checkout."""
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
