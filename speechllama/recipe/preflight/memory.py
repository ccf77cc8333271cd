"""GPU memory of training and decoding, estimated without a GPU and without weights.

    settings, shape of the LLM, batch -> bytes of weights, what trains, activations, scratch

Activations are counted, not guessed: one forward pass runs on fake tensors (shapes without memory), and what autograd
keeps for the backward pass is added up. Two depths of the LLM give what a layer costs.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from speechllama.constants import NUM_MELS
from speechllama.feature_shape import FeatureShape
from speechllama.llm.architecture import running
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.model.audio_encoder import AudioEncoder
from speechllama.model.config import SpeechLlamaConfig
from speechllama.model.meta_model import EncoderShape, meta_encoder, meta_llm, num_parameters
from speechllama.model.spec_augment import SpecAugment
from speechllama.model.speech_llama import SpeechLlama
from speechllama.recipe.preflight.amounts import SECONDS_PER_CLIP

BYTES_TRAINED = 16  # float32 weight and gradient, Adam's two moments
BYTES_QUANTIZED = {"8bit": 1.0, "4bit": 0.516}  # a weight of a linear layer; 4 bit: with its quantised scales
BYTES_LOGIT = 10  # in addition to the kept ones: gradients in float32 and bfloat16, and a copy in float32
BYTES_TAUGHT = 16  # of a logit with a teacher: its own, both sides' log-probabilities, a gradient
RESERVE = 0.8e9  # bytes: the GPU's context and libraries
FRAGMENTATION = 1.05  # of activations and scratch; the allocator's blocks are not all full


@dataclass(frozen=True)
class BatchShape:
    """What a batch holds; the defaults are an utterance of CoVoST 2: 5 s of speech, 12 words.

    Attributes:
        num_utterances: B.
        num_prompt: Prompt positions.
        num_audio: Compressed vectors U.
        num_text: Text tokens L.
        num_frames: Feature frames T.
        num_hypotheses: Beam K of decoding.
        features: Shape of the features.
    """

    num_utterances: int = 1
    num_prompt: int = 15
    num_audio: int = 38
    num_text: int = 22
    num_frames: int = 500
    num_hypotheses: int = 4
    features: FeatureShape = FeatureShape()

    @classmethod
    def of_features(cls, features: FeatureShape) -> BatchShape:
        """The typical utterance in the features of a front end."""
        return cls(num_frames=round(SECONDS_PER_CLIP / features.frame_shift), features=features)

    @property
    def seconds(self) -> float:
        """Speech of all utterances."""
        return self.num_utterances * self.num_frames * self.features.frame_shift

    @property
    def num_positions(self) -> int:
        """LLM positions N of an utterance."""
        return self.num_prompt + self.num_audio + self.num_text

    def of_positions(self, total: int) -> BatchShape:
        """As many utterances as fit into that many LLM positions."""
        return dataclasses.replace(self, num_utterances=max(1, total // self.num_positions))

    def of_bins(self, total: int) -> BatchShape:
        """As many utterances as fit into that many feature values, counted as log-mel ones; see `log_mel_frames`."""
        size = NUM_MELS * self.features.log_mel_frames(self.num_frames)
        return dataclasses.replace(self, num_utterances=max(1, total // size))

    def of_frames(self, total: int) -> BatchShape:
        """As many utterances as fit into that many feature frames."""
        return dataclasses.replace(self, num_utterances=max(1, total // self.num_frames))


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by purpose: frozen weights; what trains, with its optimizer; activations; scratch and reserve."""

    weights: float
    trained: float
    activations: float
    scratch: float

    @property
    def total(self) -> float:
        """Bytes."""
        return self.weights + self.trained + self.activations + self.scratch

    def plus(self, other: MemoryEstimate) -> MemoryEstimate:
        """Add what another part of the network takes at the same time."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return MemoryEstimate(*(own + more for own, more in pairs))


def kept_bytes(forward: Callable[[], Any], module: nn.Module) -> int:
    """Bytes that autograd keeps for the backward pass of a call, without the module's own weights."""
    own = {weight.untyped_storage()._cdata for weight in [*module.parameters(), *module.buffers()]}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in own:
            kept[key] = tensor  # held, so that no other tensor gets its storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del result
    return total


def precision(is_amp: bool) -> Any:
    """ESPnet's mixed precision; fake tensors use the CPU's."""
    return torch.autocast("cpu", torch.bfloat16) if is_amp else nullcontext()


def llm_activations(config: LLMConfig, architecture: Any, batch: BatchShape) -> tuple[float, float]:
    """Bytes kept by the LLM, and by one of its layers without checkpointing."""
    counts = []
    for depth, again in ((1, False), (2, False), (1, True), (2, True)):
        if again and not config.gradient_checkpointing:
            continue
        shallow = copy.deepcopy(architecture)
        shallow.num_hidden_layers = depth
        if getattr(shallow, "layer_types", None):
            shallow.layer_types = shallow.layer_types[:depth]
        own = dataclasses.replace(config, quantize="none", gradient_checkpointing=again)
        counts.append(_count_llm(own, shallow, batch))
    layer = counts[1] - counts[0]
    first, second = counts[-2:]
    return first + (architecture.num_hidden_layers - 1) * (second - first), layer


def _count_llm(config: LLMConfig, architecture: Any, batch: BatchShape) -> int:
    size, columns = batch.num_utterances, batch.num_positions
    llm = meta_llm(config, architecture).train()
    with FakeTensorMode():
        for module in llm.modules():  # from meta to fake tensors of the CPU, which have attention kernels and autocast
            for name, weight in module._parameters.items():
                if weight is not None:
                    fake = torch.empty(weight.shape, dtype=weight.dtype)
                    module._parameters[name] = nn.Parameter(fake, weight.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)

        def forward() -> Tensor:
            embeddings = torch.zeros(size, columns, llm.dim, dtype=llm.base_dtype, requires_grad=True)
            seen = torch.ones(size, 1, columns, columns, dtype=torch.bool)
            positions = torch.zeros(size, columns, dtype=torch.long)
            logits = llm(embeddings, seen, positions, num_logits=batch.num_text + 1)
            labels = torch.zeros(size * (batch.num_text + 1), dtype=torch.long)
            return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels)

        with running(architecture):
            return kept_bytes(forward, llm)


def audio_encoder_activations(network: SpeechLlama, batch: BatchShape, is_amp: bool) -> int:
    """Bytes kept by the audio encoder and, in its place or besides it, by embeddings looked up."""
    looked_up = 0
    if not isinstance(network.audio_encoder, AudioEncoder):
        looked_up = batch.num_utterances * batch.num_audio * network.llm.dim * 4
    if not has_audio_encoder(network):
        return looked_up
    with FakeTensorMode(), precision(is_amp):
        encoder = AudioEncoder(network.config.audio_encoder, network.encoder.dim, network.llm.dim, 1.0)
        vectors = torch.zeros(batch.num_utterances, batch.num_audio, network.encoder.dim)
        lengths = torch.full((batch.num_utterances,), batch.num_audio)
        return looked_up + kept_bytes(lambda: encoder(vectors, lengths), encoder)


def has_audio_encoder(network: SpeechLlama) -> bool:
    """Whether a Transformer maps the audio into the LLM: not that of units, and of posteriors only through a gate."""
    return any(isinstance(part, AudioEncoder) for part in network.audio_encoder.modules())


def encoder_activations(shape: EncoderShape, batch: BatchShape, is_amp: bool) -> int:
    """Bytes kept by the CTC encoder and, with units, its loss."""
    with FakeTensorMode(), precision(is_amp):
        encoder = shape.build()
        for module in encoder.modules():
            if isinstance(module, SpecAugment):
                module.eval()  # it draws random numbers and keeps nothing
        speech = torch.zeros(batch.num_utterances, batch.num_frames, batch.features.dim)
        lengths = torch.full((batch.num_utterances,), batch.num_frames)

        def forward() -> Tensor:
            encoded = encoder(speech, lengths)
            # What CTC's loss itself adds, (2 L + 1) numbers a frame, is small next to the log-probabilities.
            return encoded.logits.float().log_softmax(-1) if shape.num_units else encoded.hidden

        return kept_bytes(forward, encoder)


def weight_bytes(llm: LLM) -> float:
    """Bytes of the LLM's frozen weights as they are on the GPU."""
    quantized = 0
    if llm.config.quantize != "none":
        head = llm.model.get_output_embeddings()
        layers = [layer for layer in llm.model.modules() if isinstance(layer, nn.Linear) and layer is not head]
        quantized = sum(layer.weight.numel() for layer in layers if not layer.weight.requires_grad)
    frozen = sum(weight.numel() for weight in llm.parameters() if not weight.requires_grad)
    rest = (frozen - quantized) * llm.base_dtype.itemsize
    return rest + quantized * BYTES_QUANTIZED.get(llm.config.quantize, 0.0)


def training_memory(
    network: SpeechLlama, architecture: Any, batch: BatchShape, is_amp: bool, is_distilled: bool = False
) -> MemoryEstimate:
    """Memory of training a Speech-LLaMA (stages `train` and `lora`).

    Args:
        network: The network, on the meta device.
        architecture: The LLM's transformers config.
        batch: What one GPU gets of a batch.
        is_amp: ESPnet's `use_amp`.
        is_distilled: Whether the LLM also reads the transcripts, as a teacher.
    """
    config: SpeechLlamaConfig = network.config
    kept, layer = llm_activations(config.llm, architecture, batch)
    kept += audio_encoder_activations(network, batch, is_amp)
    if not config.freeze_encoder:
        kept += encoder_activations(EncoderShape(config.encoder, 0, batch.features), batch, is_amp)
    num_logits = batch.num_utterances * (batch.num_text + 1) * architecture.vocab_size
    scratch = float(num_logits * (BYTES_LOGIT + BYTES_TAUGHT * is_distilled))
    if config.llm.gradient_checkpointing:
        scratch = max(scratch, layer)  # the layer that is computed again when the logits are long gone
    trained = num_parameters(network, trainable_only=True) * BYTES_TRAINED
    others = [*network.encoder.parameters(), *network.audio_encoder.parameters()]
    frozen = sum(weight.nbytes for weight in others if not weight.requires_grad)
    return MemoryEstimate(
        weight_bytes(network.llm) + frozen, trained, kept * FRAGMENTATION, scratch * FRAGMENTATION + RESERVE
    )


def ctc_memory(shape: EncoderShape, batch: BatchShape, is_amp: bool) -> MemoryEstimate:
    """Memory of CTC training (stage `ctc`)."""
    trained = num_parameters(meta_encoder(shape)) * BYTES_TRAINED
    kept = encoder_activations(shape, batch, is_amp)
    scratch = batch.num_utterances * shape.num_frames(batch.num_frames) * shape.num_units * BYTES_LOGIT
    return MemoryEstimate(0.0, trained, kept * FRAGMENTATION, scratch * FRAGMENTATION + RESERVE)


def decoding_memory(network: SpeechLlama, architecture: Any, batch: BatchShape, beam_size: int) -> MemoryEstimate:
    """Memory of decoding (stage `decode`): weights, and the keys and values of prefix and K hypotheses."""
    heads = getattr(architecture, "num_key_value_heads", None) or architecture.num_attention_heads
    width = getattr(architecture, "head_dim", None) or architecture.hidden_size // architecture.num_attention_heads
    position = 2 * architecture.num_hidden_layers * heads * width * network.llm.base_dtype.itemsize
    columns = batch.num_prompt + batch.num_audio + beam_size * 2 * batch.num_text  # twice the typical text
    kept = batch.num_utterances * columns * position
    logits = batch.num_utterances * beam_size * architecture.vocab_size * 8
    others = sum(weight.nbytes for weight in [*network.encoder.parameters(), *network.audio_encoder.parameters()])
    # The largest layer's keys are copied when a column joins them.
    copied = kept / architecture.num_hidden_layers * 2
    return MemoryEstimate(
        weight_bytes(network.llm) + others, 0.0, kept * FRAGMENTATION, (logits + copied) * FRAGMENTATION + RESERVE
    )
