"""What kind of LLM a config describes, from the config only: its text part, its class, what rules it out.

transformers config -> config of the text part, class of its causal LM
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch

from speechllama.faults import InputError

# Names in `layer_types` of layers that carry a state from position to position.
RECURRENT_KINDS = {"linear_attention", "mamba", "conv", "recurrent", "hybrid", "hybrid_sliding"}


def text_part(architecture: Any, where: str) -> Any:
    """The config of a model's text part: the config itself, but of a multimodal model.

    Args:
        architecture: A transformers config.
        where: Path or hub id, for messages.

    Raises:
        ValueError: Neither it nor a part of it is a causal LM of transformers.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    text = architecture.get_text_config(decoder=True)
    if type(text) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return text
    kind = architecture.model_type
    what = kind if text.model_type == kind else f"{kind}, whose text part is {text.model_type},"
    raise InputError(
        f"{where}: {what} is no causal LM of the installed transformers; choose another LLM, or a newer transformers"
    )


def causal_lm_class(text: Any, where: str) -> type[Any]:
    """The class of a text part's causal LM.

    Args:
        text: Config of a text part.
        where: Path or hub id, for messages.

    Raises:
        ValueError: As `text_part` and `check_interface`.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    found: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(text_part(text, where))]
    model_class: type[Any] = found[0] if isinstance(found, tuple) else found
    check_interface(model_class, where)
    return model_class


def check_interface(model_class: type[Any], where: str) -> None:
    """Refuse a class of models that cannot be told where an utterance begins.

    Raises:
        ValueError: Its forward takes no position_ids.
    """
    if "position_ids" not in inspect.signature(model_class.forward).parameters:
        raise InputError(
            f"{where}: {model_class.__name__} takes no position_ids; without them a padded utterance would differ from "
            "the same one by itself. Choose another LLM"
        )


def cache_argument(model_class: type[Any]) -> str:
    """The name of the argument that takes keys and values; transformers 5.24 renamed it."""
    return "cache" if "cache" in inspect.signature(model_class.forward).parameters else "past_key_values"


def check_layers(text: Any, where: str) -> None:
    """Refuse an LLM whose layers rule it out, before its weights are there; `admit` measures it when they are.

    Args:
        text: Config of a text part.
        where: Path or hub id, for messages.

    Raises:
        ValueError: It has recurrent layers or embeddings of its own for each layer, or `causal_lm_class` refuses it.
    """
    model_class = causal_lm_class(text, where)
    kinds = sorted({*(getattr(text, "layer_types", None) or ())} & RECURRENT_KINDS)
    if kinds or getattr(model_class, "_is_stateful", False):
        raise InputError(
            f"{where}: {text.model_type} has recurrent layers ({', '.join(kinds) or 'by its class'}), which no mask "
            "reaches: padding would change an utterance, and the hypotheses of a search would read each other. "
            "Choose an LLM whose layers all have attention"
        )
    if getattr(text, "hidden_size_per_layer_input", 0):
        raise InputError(
            f"{where}: {text.model_type} looks up embeddings of each token for each layer, and audio has no tokens. "
            "Choose an LLM that reads its input embeddings only"
        )


@contextlib.contextmanager
def running(text: Any) -> Iterator[None]:
    """Name the LLM that cannot be run in our way, where only its shape is known.

    Raises:
        ValueError: Its code raised an exception.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # code of any family, which was not written for our masks
        raise InputError(
            f"{text.model_type}: this LLM does not read embeddings with a 4-D mask and position ids "
            f"({type(error).__name__}: {error}). Choose another LLM"
        ) from error
