"""The front ends: what turns a recording into features; to add one, add a record to FRONT_ENDS.

    --frontend whisper_base -> conf/frontend/whisper_base.yaml: frontend, frontend_conf -> FRONT_ENDS["hf"]
    waveform (S,) -> features (T, F)             dump/<set>/frontend.json: what wrote them, F, their shift

Code that reads features takes their width and shift from frontend.json, or from the config.yaml that recorded it.

A front end that trains is a part of the network. Stage `features` then writes waveforms (S, 1), of which the network
makes the features; all that counts frames (utt2num_frames, F, the shift) is about these features, as with a frozen one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

from speechllama.constants import DEFAULT_FRONT_END, FRAME_SHIFT, NUM_MELS, SAMPLE_RATE
from speechllama.faults import InputError
from speechllama.lora import FrontEndLoRA
from speechllama.registry import Choice, Registry, choose

if TYPE_CHECKING:
    import numpy as np  # planning reads these records, and needs YAML only

FROZEN: Final = "frozen"  # `train` of a front end whose features are written once
LAST_LAYER = (-1,)


def describe_short(num_samples: int, least: int) -> str:
    """Say that a waveform gives no frame."""
    found, needed = num_samples / SAMPLE_RATE, least / SAMPLE_RATE
    return (
        f"{found:.4f} s of audio is too short for a frame: {num_samples:,} samples, at least {least:,} ({needed:g} s)"
    )


class FeatureExtractor(Protocol):
    """What a front end builds."""

    @property
    def dim(self) -> int:
        """Width F of its features."""

    @property
    def frame_shift(self) -> float:
        """Seconds from a feature frame to the next."""

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Compute features.

        Args:
            waveform: Samples (S,) at 16 kHz, within about +-1. A front end that reads features gets a matrix (T, F).

        Returns:
            Features (T, F), float32.

        Raises:
            ValueError: The waveform is not one-dimensional, or too short for a frame.
        """


@runtime_checkable
class PretrainedExtractor(FeatureExtractor, Protocol):
    """A front end with weights: it can run on a GPU, and on several waveforms at once."""

    @property
    def num_layers(self) -> int:
        """Layers that lie side by side in F."""

    @property
    def weights(self) -> str:
        """Fingerprint of the weights, in hexadecimal digits."""

    def to(self, device: str) -> PretrainedExtractor:
        """Move it to a device."""

    def weight_bytes(self, device: str) -> int:
        """Bytes of its weights there."""

    def many(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute features of several waveforms; each gets those that it has by itself."""


@dataclass(frozen=True)
class FrontEnd:
    """What there is to know of a front end.

    Attributes:
        name: What `frontend` says in its YAML.
        settings: Dataclass of `frontend_conf`.
        build: Settings -> a `FeatureExtractor`.
        reads: What it gets of an utterance: "audio" by wav.scp, or "features" by feats.scp, which stay where they are.
        has_weights: Whether it is a `PretrainedExtractor`, which a GPU makes faster.
        title: What its features are called in the title of the stage.
    """

    name: str
    settings: type[Any]
    build: Callable[[Any], FeatureExtractor]
    reads: str = "audio"
    has_weights: bool = False
    title: str = "features"


@dataclass(frozen=True)
class FbankSettings:
    """Settings of `fbank`, log-mel energies as Kaldi computes them.

    Attributes:
        num_mel_bins: F.
        frame_length_ms: Window, in milliseconds.
        frame_shift_ms: Step, in milliseconds.
    """

    num_mel_bins: int = NUM_MELS
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 1000 * FRAME_SHIFT


@dataclass(frozen=True)
class HfSettings:
    """Settings of `hf`, the states of a speech encoder of transformers.

    Attributes:
        path: Its directory, or its id on the hub.
        revision: Branch, tag or commit on the hub.
        layers: Which states: 0 is the input of the first layer, n the output of layer n, -1 the last, after the
            encoder's own normalisation. Several lie side by side, and the network learns the weights of their sum.
        window: Longest input in seconds; longer ones are cut into windows that overlap. 0: the encoder's own limit
            (Whisper: 30 s), else 30 s.
        overlap: Seconds that two windows share; each gives the half that is nearer to it.
        dtype: What it computes in: auto (float32 on a CPU, what the weights are stored in on a GPU), float32, bfloat16
            or float16. One that trains keeps float32 weights, and computes as `use_amp` says.
        storage: How its states lie on disk: float32, or int16 in half the space (Kaldi's compressed matrix: rounded to
            a 65,535th of the range within an utterance). Not for one that trains, of which waveforms lie there.
        train: `frozen`; `lora` (adapters train) or `full` (its weights train), in stage ctc, or in stage train of a
            system whose encoder trains. The convolutions over the waveform (wav2vec 2.0 and its kind) and a table of
            positions stay frozen.
        lora: Its adapters, used if `train` is `lora`.
        ctc_head: Take CTC labels from the checkpoint's own head (`...ForCTC`), with its units. The states are then the
            last ones, and stage ctc trains nothing.
    """

    path: str = ""
    revision: str | None = None
    layers: tuple[int, ...] = LAST_LAYER
    window: float = 0.0
    overlap: float = 4.0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    storage: Literal["float32", "int16"] = "float32"
    train: Literal["frozen", "lora", "full"] = FROZEN
    lora: FrontEndLoRA = FrontEndLoRA()
    ctc_head: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            raise InputError("path is empty; expected the directory of a speech encoder, or its id on the hub")
        if not self.layers:
            raise InputError("layers is empty; expected for example [-1]")
        if self.ctc_head and self.layers != LAST_LAYER:
            raise InputError(
                f"layers {list(self.layers)} with ctc_head: the head reads the last states only, layers: [-1]; leave "
                "one of the two out"
            )
        if self.window < 0 or self.overlap < 0 or (self.window and self.overlap >= self.window):
            raise InputError(f"overlap {self.overlap} s and window {self.window} s: expected 0 <= overlap < window")
        if self.train != FROZEN and self.dtype not in ("auto", "float32"):
            raise InputError(
                f"dtype {self.dtype} with train: {self.train}, whose weights are float32: drop one of them"
            )
        if self.train != FROZEN and self.storage != "float32":
            raise InputError(
                f"storage {self.storage} with train: {self.train}, of which waveforms lie on disk: drop one of them"
            )
        if self.train != FROZEN and self.ctc_head:
            raise InputError(
                f"train: {self.train} with ctc_head: true, which takes over the checkpoint's CTC head as it is "
                "and trains nothing; leave one of the two out"
            )


@dataclass(frozen=True)
class GivenSettings:
    """Settings of `given`, features from elsewhere: another encoder, lip video, sensors.

    Attributes:
        dim: Width F.
        frame_shift_ms: Step, in milliseconds.
        num_layers: Layers that lie side by side in F.
    """

    dim: int = 0
    frame_shift_ms: float = 0.0
    num_layers: int = 1

    def __post_init__(self) -> None:
        if self.dim < 1 or self.frame_shift_ms <= 0 or self.num_layers < 1 or self.dim % self.num_layers:
            raise InputError(
                f"dim {self.dim}, frame_shift_ms {self.frame_shift_ms}, num_layers {self.num_layers}: expected the "
                "width and the step of the features, and num_layers that divide the width"
            )


class Given:
    """Features as they are; only checked.

    Args:
        settings: What they must be.
    """

    def __init__(self, settings: GivenSettings) -> None:
        self.dim, self.frame_shift, self.num_layers = settings.dim, settings.frame_shift_ms / 1000, settings.num_layers

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Check features (T, F).

        Raises:
            ValueError: They are of another width, or it is a waveform.
        """
        if waveform.ndim == 1:
            raise InputError(
                "a recording, but this model reads features that were made elsewhere (front end given); give it a data "
                "directory with feats.scp"
            )
        if waveform.ndim != 2 or waveform.shape[1] != self.dim or not len(waveform):
            raise InputError(f"features of shape {waveform.shape}, expected (T, {self.dim}) with T of at least 1")
        return waveform


def _build_fbank(settings: FbankSettings) -> FeatureExtractor:
    from speechllama.frontend.fbank import Fbank

    return Fbank(settings)


def _build_hf(settings: HfSettings) -> FeatureExtractor:
    from speechllama.frontend.hf_encoder import HfEncoder

    return HfEncoder(settings)


FRONT_ENDS: Registry[FrontEnd] = Registry(
    "front end",
    [
        FrontEnd(DEFAULT_FRONT_END, FbankSettings, _build_fbank, title="log-mel features"),
        FrontEnd("hf", HfSettings, _build_hf, has_weights=True, title="states of a pre-trained encoder"),
        FrontEnd("given", GivenSettings, Given, reads="features", title="features from elsewhere"),
    ],
)


def choose_front_end(name: str, conf: Mapping[str, Any]) -> Choice[FrontEnd]:
    """Look a front end up and read its settings.

    Raises:
        ValueError: There is no such front end, or it has no such setting.
    """
    return choose(FRONT_ENDS, name, conf, "frontend_conf")


def trains(conf: Mapping[str, Any]) -> bool:
    """Whether settings of a front end say that it trains; those that cannot have no such setting."""
    return str(conf.get("train") or FROZEN) != FROZEN
