"""Settings of a Speech-LLaMA, from YAML to frozen dataclasses; an unknown key is an error.

    mapping -> SpeechLlamaConfig
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from speechllama.model.compressor import CompressorConfig
from speechllama.model.ctc_encoder import CTCEncoderConfig
from speechllama.model.layers import TransformerConfig
from speechllama.model.llm_config import LLMConfig
from speechllama.model.prefix_mask import PREFIX_MASKS, PrefixMaskName

Config = TypeVar("Config")


@dataclass(frozen=True)
class SpeechLlamaConfig:
    """Everything that shapes the network.

    Attributes:
        ctc_dir: Experiment directory of the trained CTC encoder, which stays frozen; empty: `encoder` is built
            from its own settings and trains (E0).
        encoder: Sizes of the encoder if `ctc_dir` is empty.
        compressor: How the encoder's output is shortened.
        audio_encoder: Sizes of the audio encoder.
        train_audio_encoder: False freezes it (a switch for the LoRA stage).
        llm: The language model.
        prefix_mask: Who sees whom in prompt and audio.
        label_smoothing: Share of probability spread over the vocabulary in the loss, 0 to 1.
    """

    ctc_dir: str = ""
    encoder: CTCEncoderConfig = field(default_factory=CTCEncoderConfig)
    compressor: CompressorConfig = field(default_factory=CompressorConfig)
    audio_encoder: TransformerConfig = field(default_factory=TransformerConfig)
    train_audio_encoder: bool = True
    llm: LLMConfig = field(default_factory=LLMConfig)
    prefix_mask: PrefixMaskName = "non_causal"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.prefix_mask not in PREFIX_MASKS:
            raise ValueError(f"prefix_mask {self.prefix_mask!r} is none of {', '.join(PREFIX_MASKS)}")


def from_mapping(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Build a config dataclass, nested ones included.

    Args:
        kind: The dataclass.
        values: Settings by name; those absent keep their default.
        where: What the settings are called in messages, such as "conf/e5.yaml: model_conf".

    Returns:
        The config.

    Raises:
        ValueError: An unknown key or a value of another type; the message names the nearest key.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected settings (key: value), found {values!r}")
    hints = typing.get_type_hints(kind)
    names = [entry.name for entry in dataclasses.fields(kind)]  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(names)}"
            raise ValueError(f"{where}: unknown key {key!r}{hint}")
        arguments[key] = _convert(hints[key], value, f"{where}: {key}")
    try:
        return kind(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Fit a YAML value to a field's type."""
    if dataclasses.is_dataclass(hint):
        return from_mapping(cast(type[Any], hint), value, where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where}: expected a list, found {value!r}")
        return tuple(value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected settings (key: value), found {value!r}")
        return dict(value)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise ValueError(f"{where}: {value!r} is none of {', '.join(map(str, typing.get_args(hint)))}")
        return value
    accepted = typing.get_args(hint) if origin is types.UnionType else (hint,)
    if float in accepted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) and bool not in accepted or not isinstance(value, accepted):
        expected = " or ".join(getattr(kind, "__name__", str(kind)) for kind in accepted)
        raise ValueError(f"{where}: expected {expected}, found {value!r} (YAML reads 1e-3 as text: write 1.0e-3)")
    return value
