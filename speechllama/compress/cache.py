"""Compressed-feature cache: the frozen CTC encoder's output, written once.

    feats.scp (T, F) -> CTC encoder, compressor -> compressed.J.ark (U, D) or (U,), ctc_hyp.J

Every later epoch reads these instead of audio: about a twentieth of the frames and no encoder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from speechllama.batches import padded_batches
from speechllama.data.ark import ark_writer, digest_places, part_path, read_batch, split_part, stored_width
from speechllama.data.data_dir import DataDir, read_data_dir
from speechllama.faults import InputError
from speechllama.files import atomic_write, write_table
from speechllama.frontend.feature_format import recorded_format
from speechllama.frontend.fitting import check_features
from speechllama.model.audio import Features
from speechllama.model.build import check_device, describe_cache, load_centroids, load_ctc_encoder, read_settings
from speechllama.model.compressors import Compressor
from speechllama.model.ctc_encoder import greedy_units
from speechllama.progress import progress
from speechllama.registry import Choice
from speechllama.split_on_oom import split_on_oom
from speechllama.text.checkpoint_units import read_units


@dataclass(frozen=True)
class CacheJob:
    """One part of the work.

    Attributes:
        data_dir: Data directory with feats.scp and utt2num_frames.
        output_dir: Where the part goes.
        num_jobs: Parts in all.
        job: This part, from 1.
        batch_frames: Feature frames in a batch, padding included.
        centroids_file: What names the units, for the compressor `units`.
    """

    data_dir: str
    output_dir: str
    num_jobs: int = 1
    job: int = 1
    batch_frames: int = 20000
    centroids_file: str = ""


@torch.inference_mode()
def write_cache(ctc_dir: str, tokenizer: str, choice: Choice[Compressor], job: CacheJob, device: str) -> None:
    """Write one part: compressed.J.ark/.scp, utt2num_frames.J, ctc_hyp.J and, last, compressed.J.done.

    A part that is done with the same model, settings and features is kept, if its files are there.

    Args:
        ctc_dir: Trained CTC experiment.
        tokenizer: Its CTC units: a SentencePiece model, or units.json of a checkpoint.
        choice: The compressor and its settings.
        job: Which part of which data.
        device: torch device.

    Raises:
        FileNotFoundError, ValueError: There is no such CTC experiment, GPU or centroids file, or the units are
            not its own.
    """
    check_device(device)
    data = read_data_dir(job.data_dir)
    feats, lengths = data.table("feats.scp"), data.num_frames
    utterances = split_part(list(feats), job.num_jobs, job.job)
    check_features(data.path, recorded_format(read_settings(ctc_dir), ctc_dir), ctc_dir)
    encoder = load_ctc_encoder(ctc_dir)
    compressor = choice.build(encoder.dim)
    load_centroids(compressor, job.centroids_file)
    source = {"input": digest_places({utterance: feats[utterance] for utterance in utterances})}
    stamp = json.dumps([describe_cache(encoder, compressor, choice), asdict(job), source], sort_keys=True)
    done = part_path(job.output_dir, "compressed", job.job, "done")
    if _is_finished(job, stamp):
        logging.info("part %d of %d is finished: %s", job.job, job.num_jobs, done)
        return
    done.unlink(missing_ok=True)  # it must not vouch for what is written from here on
    units = read_units(tokenizer)
    if read_settings(ctc_dir)["num_units"] != units.num_units:
        raise InputError(f"{tokenizer}: {units.num_units} CTC units, but {ctc_dir} was trained with another number")
    compression = _Compression(data, encoder.to(device), compressor.to(device), device)
    num_vectors, hypotheses = {}, {}
    with ark_writer(job.output_dir, "compressed", job.job) as write:
        batches = list(batch_by_frames(utterances, {utt: lengths[utt] for utt in utterances}, job.batch_frames))
        for batch in progress(batches, len(batches), "batches"):
            for utterance, (vectors, best) in split_on_oom(compression, batch, compression.too_long):
                write(utterance, vectors)
                num_vectors[utterance], hypotheses[utterance] = str(len(vectors)), units.decode(best)
    write_table(Path(job.output_dir) / f"utt2num_frames.{job.job}", num_vectors)
    write_table(Path(job.output_dir) / f"ctc_hyp.{job.job}", hypotheses)
    with atomic_write(done) as stream:
        stream.write(stamp)


@dataclass(frozen=True)
class _Compression:
    """Vectors and best CTC units of utterances of a data directory."""

    data: DataDir
    encoder: nn.Module
    compressor: nn.Module
    device: str

    def __call__(self, batch: Sequence[str]) -> list[tuple[np.ndarray, list[int]]]:
        scp, width = self.data.path / "feats.scp", stored_width(self.data.path)
        features = Features.pad(read_batch(self.data.table("feats.scp"), batch, scp, width))
        encoded = self.encoder(*features.to(self.device))
        compressed = self.compressor(encoded)
        vectors = zip(compressed.vectors.cpu().numpy(), compressed.lengths.tolist(), strict=True)
        return [(row[:count], best) for (row, count), best in zip(vectors, greedy_units(encoded), strict=True)]

    def too_long(self, utterance: str) -> str:
        """What to do about an utterance that does not fit into memory by itself."""
        frames = self.data.num_frames[utterance]
        place = self.data.path / "feats.scp"
        return f"{place}: {utterance}: its {frames:,} frames do not fit into memory; cut it, or leave it out"


def _is_finished(job: CacheJob, stamp: str) -> bool:
    """Whether a part was written with this stamp, and none of its files is missing."""
    done, *written = (part_path(job.output_dir, "compressed", job.job, kind) for kind in ("done", "scp", "ark"))
    written += [Path(job.output_dir) / f"{table}.{job.job}" for table in ("utt2num_frames", "ctc_hyp")]
    return all(path.is_file() for path in (done, *written)) and done.read_bytes() == stamp.encode()


def batch_by_frames(utterances: Sequence[str], num_frames: dict[str, int], limit: int) -> Iterator[list[str]]:
    """Group utterances of like length, longest first, so that a batch holds at most `limit` frames with padding."""
    ordered = sorted(utterances, key=lambda utt: (-num_frames[utt], utt))
    return padded_batches(ordered, num_frames.__getitem__, limit)
