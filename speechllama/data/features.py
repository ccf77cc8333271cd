"""Log-mel features: waveform (S,) -> features (T, 80), Kaldi-compatible; data directory -> ark in parts."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import kaldi_native_fbank
import numpy as np

from speechllama.constants import FRAME_SHIFT, NUM_MELS, SAMPLE_RATE
from speechllama.data.ark import ark_writer, num_allowed, part_path, split_part
from speechllama.data.audio import read_audio
from speechllama.data.data_dir import DataDir, read_data_dir
from speechllama.data.skipped import Reason, Skip, read_skipped, write_skipped
from speechllama.faults import first_ten
from speechllama.files import read_json, write_json, write_table
from speechllama.progress import progress

INT16_SCALE = 32768.0  # Kaldi computes on 16-bit sample values, a waveform here is within +-1


@dataclass(frozen=True)
class FeatureExtractor:
    """Settings of the filter bank; the rest is Kaldi's default (povey, pre-emphasis 0.97, 20 Hz to 8 kHz).

    Attributes:
        num_mel_bins: F.
        frame_length_ms: Window, in milliseconds.
        frame_shift_ms: Step, in milliseconds.
        sample_rate: Hertz.
    """

    num_mel_bins: int = NUM_MELS
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 1000 * FRAME_SHIFT
    sample_rate: int = SAMPLE_RATE

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Compute log-mel features.

        Args:
            waveform: Samples (S,) within about +-1.

        Returns:
            Features (T, F), float32, natural logarithm; T = 1 + (S - window) // step.

        Raises:
            ValueError: The waveform is not one-dimensional or shorter than one window.
        """
        window = round(self.sample_rate * self.frame_length_ms / 1000)
        if waveform.ndim != 1 or len(waveform) < window:
            raise ValueError(
                f"found a waveform of shape {waveform.shape}, expected (S,) with at least {window} samples"
            )
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.dither = 0.0  # same input, same features
        options.frame_opts.samp_freq = float(self.sample_rate)
        options.frame_opts.frame_length_ms = self.frame_length_ms
        options.frame_opts.frame_shift_ms = self.frame_shift_ms
        options.mel_opts.num_bins = self.num_mel_bins
        fbank = kaldi_native_fbank.OnlineFbank(options)
        scaled = np.asarray(waveform, dtype=np.float32) * np.float32(INT16_SCALE)
        fbank.accept_waveform(float(self.sample_rate), scaled)
        fbank.input_finished()
        return np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """Compute features (T, 80) of a waveform (S,) with the settings of the whole project."""
    return FeatureExtractor()(waveform)


def make_features(
    data_dir: str | Path, output_dir: str | Path, num_jobs: int = 1, job: int = 1, max_bad_share: float = 0.05
) -> None:
    """Write the features of one part of a data directory; a finished part of the same input is kept.

    Writes feats.J.ark, feats.J.scp, utt2num_frames.J, skipped.J, and last feats.J.done (the input's digest).

    Args:
        data_dir: Data directory with wav.scp.
        output_dir: Where the part goes; the ark's path is written into the scp as given here.
        num_jobs: Number of parts.
        job: Which part, from 1.
        max_bad_share: Utterances that may fail, as a share of the whole data directory; one always may. What all parts
            lost together is checked where they are merged.

    Raises:
        ValueError: More utterances failed; what is done is kept, the next call only repeats the check.
    """
    data = read_data_dir(data_dir)
    if not data.table("wav.scp"):
        raise ValueError(f"{data_dir}: has no wav.scp (or an empty one), features need recordings")
    utterances = split_part(data.utterances, num_jobs, job)
    extractor = FeatureExtractor()
    output_dir = Path(output_dir)
    done = part_path(output_dir, "feats", job, "done")
    fingerprint = _fingerprint(data, utterances, extractor)
    if _is_finished(output_dir, job, fingerprint):
        logging.info("part %d of %d is finished: %s", job, num_jobs, done)
    else:
        done.unlink(missing_ok=True)
        _write_part(data, utterances, extractor, output_dir, job)
        write_json(done, {"input": fingerprint})
    skipped = read_skipped(output_dir / f"skipped.{job}")
    allowed = num_allowed(max_bad_share, len(data.utterances))
    kept, total = len(utterances) - len(skipped), len(utterances)
    message = f"{output_dir}: part {job} of {num_jobs}: kept {kept:,} of {total:,}"
    faults = first_ten([f"{utterance}: {skip.detail}" for utterance, skip in skipped.items()])
    if len(skipped) > allowed:
        raise ValueError(
            f"{message}; {len(skipped):,} failed, at most {allowed:,} may (--max_bad_share {max_bad_share}); "
            f"repair them or raise the share:{faults}"
        )
    logging.info("%s%s", message, f"; skipped:{faults}" if skipped else "")


def _write_part(data: DataDir, utterances: list[str], extractor: FeatureExtractor, output_dir: Path, job: int) -> None:
    num_frames: dict[str, str] = {}
    skipped: dict[str, Skip] = {}
    with ark_writer(output_dir, "feats", job) as write:
        for utterance in progress(utterances, len(utterances), "utterances"):
            try:
                features = extractor(_read_utterance(data, utterance))
            except (ValueError, OSError) as error:
                skipped[utterance] = Skip(Reason.NO_FEATURES, str(error))
                continue
            write(utterance, features)
            num_frames[utterance] = str(len(features))
        write_table(output_dir / f"utt2num_frames.{job}", num_frames)
        write_skipped(output_dir / f"skipped.{job}", skipped)


def _read_utterance(data: DataDir, utterance: str) -> np.ndarray:
    segment = data.table("segments").get(utterance)
    if segment is None:
        return read_audio(data.table("wav.scp")[utterance])
    recording, start, end = segment.split()
    return read_audio(data.table("wav.scp")[recording], float(start), float(end))


def _fingerprint(data: DataDir, utterances: list[str], extractor: FeatureExtractor) -> str:
    """Digest what a part depends on: settings, utterances, each recording's path, size and time of change."""
    digest = hashlib.sha256(json.dumps(asdict(extractor), sort_keys=True).encode())
    recordings: Mapping[str, str] = data.table("wav.scp")
    for utterance in utterances:
        segment = data.table("segments").get(utterance, "")
        path = Path(recordings.get(segment.split()[0] if segment else utterance, ""))
        state = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        facts = (utterance, segment, str(path), state)
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def _is_finished(output_dir: Path, job: int, fingerprint: str) -> bool:
    done = part_path(output_dir, "feats", job, "done")
    written = [part_path(output_dir, "feats", job, kind) for kind in ("ark", "scp")]
    written += [output_dir / f"utt2num_frames.{job}", output_dir / f"skipped.{job}"]
    if not done.is_file() or not all(path.is_file() for path in written):
        return False
    return bool(read_json(done).get("input") == fingerprint)
