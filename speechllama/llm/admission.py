"""Admission of an LLM: what the toolkit asks of one, tested on its own weights before anything is trained on them.

LLM, tokenizer -> Admission; ValueError with the property that failed, and by how much

An LLM that fails one of these would train and decode to the end, and only its scores would be wrong. Nothing here knows
the name of a family: recurrent layers fail because padding changes an utterance, embeddings for each layer because
vectors are not tokens, and families to come by what they do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechllama.faults import InputError
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import PREFIX_MASKS, PrefixMaskName, position_ids, visible
from speechllama.llm.shallow import shorten
from speechllama.text.prompt import Prompt, PromptConfig
from speechllama.text.tasks import DEFAULT_TASK

WORDS = ("The", "dog", "sleeps", "today.", "Is", "it", "5", "o'clock,", "or", "later?")  # what a text must survive with
NUM_PREFIX, NUM_TEXT, NUM_STEPS, NUM_HYPOTHESES = 13, 5, 3, 2
SHORTER = (0, 4, 9)  # prefix positions that the rows of the padded batch lack
WINDOW = 8  # positions: windows and chunks are made so small for the test, or it would need thousands of positions
TOLERANCE = 1.0e-3  # largest difference of float32 logits, as a share of the largest logit; rounding makes 1e-6 to 1e-4
ROUGH_TOLERANCE = 0.05  # the same for a checkpoint that is quantised, which cannot be made float32
CHANGE = 1.0e-5  # smallest difference that a prefix which sees itself makes, as such a share; without, it is exactly 0


@dataclass(frozen=True)
class Admission:
    """How an LLM was admitted.

    Attributes:
        prefix_masks: The masks that it can be used with.
        causal_only: Why `non_causal` is not among them; "" if it is.
        deviation: The largest difference found between logits that should be equal, as a share of the largest logit.
        num_layers: Layers that took part: all, or of a large LLM as many as there are kinds.
    """

    prefix_masks: tuple[PrefixMaskName, ...]
    causal_only: str
    deviation: float
    num_layers: int

    def entries(self) -> dict[str, Any]:
        """What llm.json says about it."""
        entries = {"prefix_masks": list(self.prefix_masks), "admission_layers": self.num_layers}
        entries["admission_deviation"] = float(f"{self.deviation:.2g}")
        return {**entries, **({"causal_only": self.causal_only} if self.causal_only else {})}


class _FailedError(Exception):
    """A property that does not hold; the text says how far from it the LLM is."""


@torch.no_grad()
def admit(llm: LLM, tokenizer: Any) -> Admission:
    """Test an LLM, or refuse it.

    The LLM is of no use afterwards: it is made float32 unless its checkpoint is quantised, a large one loses layers,
    and windows are narrowed.

    Args:
        llm: The LLM on its weights, in any precision.
        tokenizer: Its tokenizer.

    Returns:
        For which systems it is admitted.

    Raises:
        ValueError: A text does not survive its tokenizer, or a property does not hold for `causal`.
    """
    where = llm.config.path
    check_text(tokenizer, where)
    num_layers = shorten(llm.model)
    narrow(llm.text_config)
    if not getattr(llm.model, "is_quantized", False):
        llm = LLM(dataclasses.replace(llm.config, dtype="float32"), model=llm.model.float())
    trial = Trial(llm.eval())
    try:
        trial.test_ids()
        trial.test_vectors()
        trial.test_mask("causal")
    except _FailedError as error:
        raise InputError(f"{where}: {type(llm.model).__name__} is refused: {error}. Choose another LLM") from error
    causal_only = ""
    try:
        trial.test_sight()
        trial.test_mask("non_causal")
    except _FailedError as error:
        causal_only = str(error)
    masks = PREFIX_MASKS[:1] if causal_only else PREFIX_MASKS
    return Admission(masks, causal_only, trial.deviation, num_layers)


def check_text(tokenizer: Any, where: str) -> None:
    """Refuse a tokenizer from which a text does not come back.

    Words with a character that it does not know are left out: a small vocabulary may lack some.

    Raises:
        ValueError: It changes the text, or knows less than two of the words.
    """
    prompt = Prompt(PromptConfig(), DEFAULT_TASK, tokenizer)
    known = [word for word in WORDS if tokenizer.unk_token_id not in prompt.encode(word)]
    text = " ".join(known if tokenizer.unk_token_id is not None else WORDS)
    found = prompt.decode(prompt.encode(text))
    if found != text or len(text.split()) < 2:
        raise InputError(
            f"{where}: its tokenizer does not keep a text: {text!r} comes back as {found!r}. Is it the tokenizer of "
            "this LLM? Put the files next to config.json that the LLM was published with"
        )


def narrow(text: Any) -> None:
    """Make the windows and chunks of a text LLM's config, from which all masks are made, small enough to be tested."""
    for name in ("sliding_window", "attention_chunk_size"):
        if isinstance(getattr(text, name, None), int):
            setattr(text, name, min(getattr(text, name), WINDOW))


def _property(statement: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a test the property that it tests; whatever a model raises is a failure of that property."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        def run(trial: Trial, *args: Any) -> None:
            place = f" (prefix_mask: {args[0]})" if args else ""
            try:
                test(trial, *args)
            except _FailedError as error:
                raise _FailedError(f"{statement}, but {error}{place}") from error
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # code of any family, which was not written for our masks
                what = f"{type(error).__name__}: {error}"
                raise _FailedError(f"{statement}, but it cannot be computed{place}: {what}") from error

        return run

    return decorate


class Trial:
    """An LLM with something for it to read: three rows of [prefix ; text].

    A text is random tokens. A prefix is the mean of two random tokens everywhere: vectors that are no token's, as those
    of audio are.

    Args:
        llm: The LLM in evaluation mode, in float32 if it can be.
    """

    def __init__(self, llm: LLM) -> None:
        self.llm = llm
        self.deviation = 0.0
        self.tolerance = TOLERANCE if llm.base_dtype == torch.float32 else ROUGH_TOLERANCE
        # A window that is part of the weights cannot be narrowed (GPT-Neo): the prefix must be longer.
        fixed, places = (getattr(llm.text_config, name, 0) for name in ("window_size", "max_position_embeddings"))
        is_reached = isinstance(fixed, int) and 0 < fixed <= places - NUM_TEXT - WINDOW
        self.num_prefix = fixed + WINDOW if is_reached else NUM_PREFIX
        device = next(llm.parameters()).device
        generator = torch.Generator().manual_seed(1)
        shape = (len(SHORTER), self.num_prefix + NUM_TEXT)
        num_tokens = len(llm.model.get_input_embeddings().weight)
        self.tokens = torch.randint(num_tokens, shape, generator=generator).to(device)  # (B, P + L)
        self.vectors = llm.embed(self.tokens)  # (B, P + L, H)
        self.vectors[:, : self.num_prefix] += self.vectors[:, : self.num_prefix].roll(1, 0)
        self.vectors[:, : self.num_prefix] /= 2
        self.lengths = torch.tensor([self.num_prefix - missing for missing in SHORTER], device=device)  # (B,)

    def test_mask(self, mask: PrefixMaskName) -> None:
        """Test everything that a system with this mask needs."""
        self.test_batch(mask)
        self.test_padding(mask)
        self.test_cache(mask)

    @_property("logits from embeddings must be its own from token ids")
    def test_ids(self) -> None:
        """Embeddings with our mask give what the LLM's own forward gives of ids with its own mask."""
        own = self.llm.model(input_ids=self.tokens[:1], use_cache=False).logits
        self._compare(self._read(self.llm.embed(self.tokens[:1]), self.lengths[:1], "causal"), own)

    @_property("vectors that are no token's must be read")
    def test_vectors(self) -> None:
        """A model may look up the token of each vector."""
        logits = self._read(self.vectors[:1], self.lengths[:1], "causal")
        if not logits.isfinite().all():
            raise _FailedError("their logits are not finite")

    @_property("a batch must give the logits of its members")
    def test_batch(self, mask: PrefixMaskName) -> None:
        """Rows of equal length, without padding."""
        lengths = torch.full_like(self.lengths, self.num_prefix)
        batch = self._read(self.vectors, lengths, mask)
        for row in range(len(batch)):
            self._compare(batch[row], self._read(self.vectors[row : row + 1], lengths[:1], mask)[0])

    @_property("a padded prefix must give the logits of an unpadded one")
    def test_padding(self, mask: PrefixMaskName) -> None:
        """Rows of different length, padded in front."""
        batch = self._read(self.vectors, self.lengths, mask)
        for row, missing in enumerate(SHORTER):
            alone = self._read(self.vectors[row : row + 1, missing:], self.lengths[row : row + 1], mask)
            self._compare(batch[row, missing:], alone[0])

    @_property("the prefix must see itself under prefix_mask: non_causal, and no text")
    def test_sight(self) -> None:
        """A later vector of the prefix changes what an earlier one says; a text's does not."""
        plain = self._read(self.vectors[:1], self.lengths[:1], "non_causal")[0]
        later, after = self.vectors[:1].clone(), self.vectors[:1].clone()
        later[0, 2], after[0, -1] = self.vectors[1, 2], self.vectors[1, -1]
        change = (self._read(later, self.lengths[:1], "non_causal")[0, 0] - plain[0]).abs().max().item()
        if not change > CHANGE * plain.abs().max().item():
            raise _FailedError(f"another vector at its position 2 changes the logits at position 0 by {change:.2g}")
        self._compare(self._read(after, self.lengths[:1], "non_causal")[0, :-1], plain[:-1])

    @_property("a step with cached keys and values must give the logits of the full pass")
    def test_cache(self, mask: PrefixMaskName) -> None:
        """The steps of the search: hypotheses are columns of one row, and utterances leave the batch."""
        from transformers import DynamicCache

        cache, width = DynamicCache(), self.num_prefix
        rows = torch.arange(len(SHORTER), device=self.tokens.device)
        prefix, positions = self.vectors[:, :width], position_ids(self.lengths, width, 0)
        seen = visible(self.lengths, width, 0, mask)
        found = self.llm(prefix, seen, positions, num_logits=1, cache=cache)[:, 0]
        self._compare(found, self._read(prefix, self.lengths, mask)[:, -1])
        own = torch.eye(NUM_HYPOTHESES, dtype=torch.bool, device=self.tokens.device)
        for step in range(1, NUM_STEPS + 1):
            if step == NUM_STEPS:
                rows = rows[1:]
                cache.batch_select_indices(rows)
                positions = positions[rows]
            # Hypothesis k is the text from its token k on.
            texts = [self.vectors[rows, width + first : width + first + step] for first in range(NUM_HYPOTHESES)]
            columns = torch.stack([text[:, -1] for text in texts], dim=1)  # (A, K, H)
            positions = torch.cat((positions, (positions[:, -1:] + 1).expand(-1, NUM_HYPOTHESES)), dim=1)
            real = seen[rows, :, -1:].expand(-1, -1, NUM_HYPOTHESES, -1)  # the prefix's last column sees all of it
            sight = torch.cat((real, own.repeat(1, step).expand(len(rows), 1, -1, -1)), dim=3)
            found = self.llm(columns, sight, positions, num_logits=NUM_HYPOTHESES, cache=cache)
            for which, text in enumerate(texts):
                whole = self._read(torch.cat((prefix[rows], text), dim=1), self.lengths[rows], mask)
                self._compare(found[:, which], whole[:, -1])

    def _read(self, vectors: Tensor, lengths: Tensor, mask: PrefixMaskName) -> Tensor:
        """Logits of all columns (B, N, V) of vectors (B, N, H) whose prefixes end in one column, as in training."""
        width = int(lengths[0]) if len(lengths) == 1 else self.num_prefix
        num_text = vectors.shape[1] - width
        seen, positions = visible(lengths, width, num_text, mask), position_ids(lengths, width, num_text)
        logits: Tensor = self.llm(vectors, seen, positions, num_logits=vectors.shape[1])
        return logits

    def _compare(self, found: Tensor, expected: Tensor) -> None:
        """Compare logits.

        Raises:
            _FailedError: They differ by more than rounding, or are not numbers.
        """
        largest = expected.abs().max().item()
        difference = (found.float() - expected.float()).abs().max().item()
        self.deviation = max(self.deviation, difference / largest if largest else difference)
        if not difference <= self.tolerance * largest:
            raise _FailedError(f"they differ by {difference:.2g}, of logits up to {largest:.2g}")
