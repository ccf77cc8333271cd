"""The front end `hf`: the states of any speech encoder of transformers.

waveform (S,) -> the encoder's own input -> windows, where it is long -> states of some layers (T, F)

How many frames a waveform gives, and how far apart they are, is measured once, so nothing about an encoder is listed.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechllama.batches import padded_batches
from speechllama.constants import BATCH_SECONDS, SAMPLE_RATE
from speechllama.faults import InputError
from speechllama.frontend.ctc_head import check_logits, take_head, unit_numbers
from speechllama.frontend.front_ends import HfSettings, describe_short
from speechllama.frontend.hf_loading import choose_dtype, load_extractor, load_model, take_encoder
from speechllama.hub import fingerprint

DEFAULT_WINDOW = 30.0  # seconds; attention over more takes memory by its square
SHORT, LONG = 0.4, 2.0  # seconds of noise that frames are counted in; multiples of every frame shift in use
MASKS = ("attention_mask", "padding_mask")  # what encoders call the valid part of a batch; omniASR the second
AGREEMENT = 1e-2  # how far a state of a batch may be from the same one by itself, in standard deviations of the states


class HfEncoder:
    """States of a speech encoder, frozen as it is made; a network in which it trains frees its weights.

    Args:
        settings: Which encoder, which layers.
        device: Where it computes.

    Attributes:
        stored: The dtype of the weights in their file.
        ctc_head: The checkpoint's own CTC head, on the CPU; None unless the settings ask for it.

    Raises:
        ValueError: It is no speech encoder, it does not read 16 kHz, it has no such layer or no CTC head, or the hub
            refuses it.
    """

    def __init__(self, settings: HfSettings, device: str = "cpu") -> None:
        self.settings, self.device = settings, device
        self.extractor = load_extractor(settings)
        model, missing = load_model(settings)
        encoder = take_encoder(model, missing, settings)
        self.stored: torch.dtype = encoder.dtype
        self.encoder = encoder.to(device, choose_dtype(settings, self.stored, device))
        self.ctc_head = take_head(model, missing, settings.path) if settings.ctc_head else None
        self.num_layers = len(settings.layers)
        short, long = (self._measure(seconds) for seconds in (SHORT, LONG))
        self.dim = short.shape[1]
        self.frame_shift = round((LONG - SHORT) / (len(long) - len(short)), 6)
        limit = position_limit(self.encoder) * self.frame_shift
        self.window = min(filter(None, (settings.window or limit or DEFAULT_WINDOW, limit)))
        self._check_window()
        if self.ctc_head is not None:
            self._check_head(model)

    @functools.cached_property
    def weights(self) -> str:
        """Fingerprint of the weights, in hexadecimal digits."""
        return fingerprint(self.settings.path, self.settings.revision).hex()

    @property
    def storage(self) -> str:
        """How its states lie on disk, see `ark_writer`."""
        return self.settings.storage

    def to(self, device: str) -> HfEncoder:
        """Move it to a device, in the dtype for it."""
        self.device = device
        self.encoder = self.encoder.to(device, choose_dtype(self.settings, self.stored, device))
        return self

    def weight_bytes(self, device: str) -> int:
        """Bytes of its weights on a device, in the dtype for it."""
        size = choose_dtype(self.settings, self.stored, device).itemsize
        return size * sum(weight.numel() for weight in self.encoder.parameters())

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Compute the states of one waveform (S,): (T, F), float32.

        Raises:
            ValueError: It is not one-dimensional, or too short for a state.
        """
        return self.many([waveform])[0]

    @torch.inference_mode()
    def many(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute the states of several waveforms, each as by itself; errors as of one."""
        return [states.float().cpu().numpy() for states in self.states(waveforms)]

    def states(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """Compute them as tensors on the device, with gradients where they are enabled.

        They go through the encoder together if it gives states in a batch as it gives them one by one.
        """
        for waveform in waveforms:
            self._check(waveform)
        windows = [self._cut(len(waveform)) for waveform in waveforms]
        pieces = [waveform[start:end] for waveform, cuts in zip(waveforms, windows, strict=True) for start, end in cuts]
        together = len(pieces) > 1 and self.device != "cpu" and self._is_batchable
        limit = BATCH_SECONDS * SAMPLE_RATE if together else 0.0
        batches = padded_batches(pieces, len, limit)
        states = (row for batch in batches for row in self._run(batch))
        return [self._join([next(states) for _ in cuts], cuts) for cuts in windows]

    def measure(self) -> None:
        """Count frames and try a batch now, not when states are first asked for: adapters may have dropout by then."""
        _ = self._offset, self._is_batchable

    def num_frames(self, num_samples: int) -> int:
        """Count the frames of a waveform, cut into windows or not."""
        return (num_samples + self._offset) // self._hop

    @property
    def fixed_parts(self) -> list[nn.Module]:
        """What stays frozen even if all weights train: convolutions over the waveform, a table of positions.

        Source: Baevski et al. 2020 (arXiv 2006.11477, section 4.3) for the convolutions; a table is cut to each input.
        """
        parts = [getattr(self.encoder, "feature_extractor", None)]
        parts.append(self.encoder.embed_positions if position_limit(self.encoder) else None)
        return [part for part in parts if isinstance(part, nn.Module)]

    @property
    def _hop(self) -> int:
        return round(self.frame_shift * SAMPLE_RATE)

    @property
    def _window_samples(self) -> tuple[int, int]:
        """Samples of a window, and of what two of them share, in whole frames."""
        size, shared = int(self.window * SAMPLE_RATE), round(self.settings.overlap * SAMPLE_RATE)
        return size // self._hop * self._hop, shared // self._hop * self._hop

    @functools.cached_property
    @torch.no_grad()
    def _offset(self) -> int:
        """Samples c in T = (S + c) // hop, which holds for every chain of strided steps; found by bisection."""
        base = round(SHORT * SAMPLE_RATE)
        first = len(self._run([np.zeros(base, np.float32)])[0])
        low, high = 0, self._hop  # the count grows somewhere in (low, high]
        while high - low > 1:
            middle = (low + high) // 2
            if len(self._run([np.zeros(base + middle, np.float32)])[0]) > first:
                high = middle
            else:
                low = middle
        return (first + 1) * self._hop - (base + high)

    @functools.cached_property
    @torch.no_grad()
    def _is_batchable(self) -> bool:
        """Whether a padded waveform gives the states that it gives by itself."""
        noise = np.random.default_rng(0).standard_normal(round(LONG * SAMPLE_RATE)).astype(np.float32) * 0.1
        pair = [noise, noise[: round(SHORT * SAMPLE_RATE)]]
        alone, padded = self._run(pair[1:])[0].double(), self._run(pair)[1].double()
        spread = alone.std(correction=0) + 1e-9
        worst = float((padded - alone).abs().max() / spread) if padded.shape == alone.shape else np.inf
        if worst > AGREEMENT:
            logging.info("%s: padding changes its states by %.2g, so it gets one at a time", self.settings.path, worst)
        return worst <= AGREEMENT

    @torch.no_grad()
    def _measure(self, seconds: float) -> Tensor:
        return self._run([np.zeros(round(seconds * SAMPLE_RATE), np.float32)])[0]

    def _check(self, waveform: np.ndarray) -> None:
        if waveform.ndim != 1:
            raise InputError(f"a waveform of shape {waveform.shape}, expected one channel (S,)")
        if self.num_frames(len(waveform)) < 1:
            raise InputError(describe_short(len(waveform), self._hop - self._offset))

    def _check_window(self) -> None:
        if self.settings.window > self.window:
            raise InputError(f"window {self.settings.window} s: {self.settings.path} reads at most {self.window:.2f} s")
        if self.settings.overlap >= self.window:
            raise InputError(f"overlap {self.settings.overlap} s is not less than the window, {self.window:.2f} s")
        size, shared = self._window_samples
        lost = size // self._hop - self.num_frames(size)  # at the end of a window, where a state needs more samples
        if -(-(shared // self._hop) // 2) < lost:
            least = (2 * lost - 1) * self.frame_shift
            raise InputError(
                f"overlap {self.settings.overlap} s: a window of {self.settings.path} gives {lost} frames less than "
                f"its length, which would be lost between two windows; expected at least {least:g} s"
            )

    @torch.inference_mode()
    def _check_head(self, model: Any) -> None:
        """Compare the head's logits of noise with those of the model that it was taken from."""
        assert self.ctc_head is not None
        noise = np.random.default_rng(0).standard_normal(round(SHORT * SAMPLE_RATE)).astype(np.float32) * 0.1
        dtype = self.encoder.dtype  # that of the rest of the model is still the one of its file
        logits = model.to(self.device, dtype)(**self._inputs([noise])).logits[0].float().cpu()  # (T, C)
        order = unit_numbers(model.config, self.settings.path).order()
        ours = self.ctc_head(self._run([noise])[0].float().cpu())
        # The head of a model in half precision rounds its logits; ours does not.
        tolerance = AGREEMENT if dtype == torch.float32 else 10 * AGREEMENT
        check_logits(ours, logits[:, order], self.settings.path, tolerance)

    def _cut(self, num_samples: int) -> list[tuple[int, int]]:
        """Windows of a waveform, from sample to sample; all but the last end are whole frames."""
        size, shared = self._window_samples
        if num_samples <= size:
            return [(0, num_samples)]
        step = size - shared
        last = -(-(num_samples - size) // self._hop) * self._hop
        return [*((start, start + size) for start in range(0, last, step)), (last, num_samples)]

    def _join(self, states: list[Tensor], windows: list[tuple[int, int]]) -> Tensor:
        """Of neighbouring windows (T', F) each gives the half of what they share that is nearer to it."""
        parts, done = [], 0  # frames of the whole that are there
        for index, (piece, (start, end)) in enumerate(zip(states, windows, strict=True)):
            first = start // self._hop
            until = first + len(piece)
            if index + 1 < len(windows):
                until = (windows[index + 1][0] + end) // 2 // self._hop
            parts.append(piece[done - first : until - first])
            done = until
        return torch.cat(parts)

    def _run(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """States of waveforms that fit into a window, in one batch: (T, F)."""
        inputs = self._inputs(waveforms)
        with fitting_positions(self.encoder, inputs):
            output = self.encoder(**inputs, output_hidden_states=True)
        chosen = [pick_layer(output, layer, self.settings.path) for layer in self.settings.layers]
        counts = [states.shape[1] for states in chosen]
        if len(set(counts)) > 1:  # Granite's first layers halve the number of frames
            layers = list(self.settings.layers)
            raise InputError(
                f"{self.settings.path}: layers {layers} have {counts} states of the same speech; choose layers with "
                "equally many"
            )
        states = torch.cat(chosen, dim=2)  # (B, T, F)
        if len(waveforms) == 1:
            return [states[0]]
        return [row[: self.num_frames(len(waveform))] for row, waveform in zip(states, waveforms, strict=True)]

    def _inputs(self, waveforms: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """What the encoder reads of waveforms, made without gradients; a mask only where there are several."""
        audio = [np.asarray(waveform, np.float32) for waveform in waveforms]
        with torch.autocast("cpu", enabled=False):  # spectra are made on the CPU, and numpy knows no bfloat16
            batch = self.extractor(
                audio, sampling_rate=SAMPLE_RATE, return_tensors="pt", padding="longest", return_attention_mask=True
            )
        name = self.encoder.main_input_name
        inputs = {name: batch[name].to(self.device, self.encoder.dtype)}
        masks = [mask for mask in MASKS if mask in batch]
        if len(audio) > 1:
            return {**inputs, **{mask: batch[mask].to(self.device) for mask in masks}}
        # Frames at the end that the extractor itself calls padding (Parakeet's one too many) are no states of speech.
        lengths = [int(batch[mask].sum()) for mask in masks if batch[mask].shape == batch[name].shape[:2]]
        return {name: inputs[name][:, : lengths[0]]} if lengths else inputs


def pick_layer(output: Any, layer: int, path: str) -> Tensor:
    """Return the states (B, T, F) of a layer.

    Raises:
        ValueError: The encoder has no such layer.
    """
    hidden = output.hidden_states or (output.last_hidden_state,)
    if layer == -1:
        states: Tensor = output.last_hidden_state
        return states
    if not -len(hidden) <= layer < len(hidden):
        raise InputError(f"{path}: layer {layer}, expected {-len(hidden)} to {len(hidden) - 1}")
    picked: Tensor = hidden[layer]
    return picked


def position_limit(encoder: Any) -> int:
    """States that fit into an encoder's table of positions; 0 where there is none."""
    table = getattr(encoder, "embed_positions", None)
    is_table = isinstance(table, nn.Embedding) and hasattr(encoder.config, "max_source_positions")
    return int(table.num_embeddings) if is_table else 0  # type: ignore[union-attr]


@contextlib.contextmanager
def fitting_positions(encoder: Any, inputs: dict[str, Tensor]) -> Iterator[None]:
    """Cut the table of positions to the input, for encoders that take only their longest (Whisper: 30 s).

    The input (B, mel, frames) is padded to whole states. Padding it to 30 s would cost ten times the time for a short
    utterance, and its states would be written along with those of the speech.
    """
    limit = position_limit(encoder)
    if not limit:
        yield
        return
    name = encoder.main_input_name
    stride = int(encoder.conv1.stride[0] * encoder.conv2.stride[0])
    features = inputs[name]
    num_states = min(limit, -(-features.shape[-1] // stride))
    missing = num_states * stride - features.shape[-1]
    inputs[name] = nn.functional.pad(features, (0, missing), value=float(features.min()))
    inputs.pop("attention_mask", None)  # it would not be read
    table, longest = encoder.embed_positions, encoder.config.max_source_positions
    encoder.embed_positions = nn.Embedding.from_pretrained(table.weight[:num_states], freeze=True)
    encoder.config.max_source_positions = num_states
    try:
        yield
    finally:
        encoder.embed_positions, encoder.config.max_source_positions = table, longest
