"""K-means over the CTC encoder's states: the centroids whose numbers are the discrete units.

feats.scp (T, F) -> CTC encoder -> states (N, D) -> centroids (K, D), an npz
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from speechllama.compress.cache import batch_by_frames
from speechllama.data.ark import read_batch, stored_width
from speechllama.data.data_dir import DataDir, read_data_dir
from speechllama.faults import InputError
from speechllama.files import writing
from speechllama.model.audio import Features, SpeechEncoder
from speechllama.model.build import MODEL_FILE, check_device, load_ctc_encoder
from speechllama.model.layers import length_mask
from speechllama.progress import progress

BATCH_FRAMES = 20000  # feature frames encoded together, padding included


@dataclass(frozen=True)
class ClusterConfig:
    """How units are learned.

    Attributes:
        num_clusters: Centroids K.
        max_states: Encoder states looked at: utterances are drawn until they have as many.
        seed: Of the draw and of k-means.
    """

    num_clusters: int
    max_states: int = 200_000
    seed: int = 1


def learn_centroids(ctc_dir: str, data_dir: str, config: ClusterConfig, output_file: str | Path, device: str) -> None:
    """Write the centroids; those already learned from the same model with the same settings are kept.

    Args:
        ctc_dir: Trained CTC experiment.
        data_dir: Data directory with feats.scp and utt2num_frames: the training set.
        config: How.
        output_file: The npz: `centroids` (K, D) and `stamp`, what they were learned from.
        device: torch device of the encoder.

    Raises:
        FileNotFoundError, ValueError: There is no such CTC experiment or GPU, or too little speech.
    """
    check_device(device)
    path = Path(output_file)
    stamp = json.dumps([asdict(config), data_dir, (Path(ctc_dir) / MODEL_FILE).stat().st_mtime_ns], sort_keys=True)
    if path.is_file():
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as file:
            if str(file["stamp"]) == stamp:
                logging.info("the centroids are finished: %s", path)
                return
    encoder = load_ctc_encoder(ctc_dir).to(device)
    states = encode_sample(encoder, read_data_dir(data_dir), config, device)
    if len(states) < config.num_clusters:
        shift_ms = 1000 * encoder.frame_shift
        raise InputError(
            f"{data_dir}: {len(states):,} encoder frames of {shift_ms:.0f} ms are too few for {config.num_clusters:,} "
            "units; take fewer (num_clusters) or more speech"
        )
    centroids = find_centroids(states, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.tmp.npz")
    with writing(path):
        np.savez(partial, centroids=centroids, stamp=np.array(stamp))
    os.replace(partial, path)


def find_centroids(states: np.ndarray, config: ClusterConfig) -> np.ndarray:
    """K-means of states (N, D) -> centroids (K, D), float32; the same states and seed give the same."""
    from sklearn.cluster import MiniBatchKMeans

    batch = 4096  # sklearn asks for at least 256 a core
    kmeans = MiniBatchKMeans(
        config.num_clusters,
        batch_size=batch,
        init_size=max(3 * batch, 3 * config.num_clusters),
        n_init=3,
        random_state=config.seed,
    )
    nearest = kmeans.fit_predict(states)
    spread = 1.0 - kmeans.inertia_ / ((states - states.mean(0)) ** 2).sum()
    used = len(np.unique(nearest))
    logging.info(
        "%d centroids of %s states explain %.1f %% of their variance; %d are the nearest of some state",
        config.num_clusters, f"{len(states):,}", 100 * spread, used,
    )  # fmt: skip
    centroids: np.ndarray = kmeans.cluster_centers_.astype(np.float32)
    return centroids


@torch.inference_mode()
def encode_sample(encoder: SpeechEncoder, data: DataDir, config: ClusterConfig, device: str) -> np.ndarray:
    """Encoder states (N, D) of utterances drawn by the seed, at least `max_states` if there are as many."""
    feats, lengths = data.table("feats.scp"), data.num_frames
    utterances = sorted(feats)
    random.Random(config.seed).shuffle(utterances)
    chosen, num_frames = [], 0
    for utterance in utterances:
        if num_frames >= 4 * config.max_states:
            break
        chosen.append(utterance)
        num_frames += lengths[utterance]
    batches = list(batch_by_frames(chosen, {utt: lengths[utt] for utt in chosen}, BATCH_FRAMES))
    states = []
    for batch in progress(batches, len(batches), "batches"):
        features = read_batch(feats, batch, data.path / "feats.scp", stored_width(data.path))
        encoded = encoder(*Features.pad(features).to(device))
        states.append(encoded.hidden[length_mask(encoded.lengths, encoded.hidden.shape[1])].float().cpu())
    return torch.cat(states).numpy() if states else np.zeros((0, encoder.dim), np.float32)
