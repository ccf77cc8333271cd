"""Which utterances an epoch trains on: languages, temperature, epoch -> batches of utterances.

With n_l utterances of language l of N in all, an epoch draws about N of them, N * p_l of language l, where p_l is
proportional to n_l ** (1 / temperature): 1 leaves the languages as they are, infinity makes them equal. The draws of
a language are a window of an endless row of shuffled copies of its utterances, and each epoch takes the next window.
So no utterance comes a second time before all of its language came once; and what an epoch draws follows from seed
and epoch only, on every process of a distributed training and after every resume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speechllama.faults import InputError


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch is.

    Attributes:
        bins: Elements of a batch, padding included: the sum over the shape files of utterances * length * width.
        min_size: Least utterances of a batch.
    """

    bins: int
    min_size: int = 1


class LanguageSampler:
    """Draws the batches of each epoch.

    Args:
        utt2lang: Language of each utterance.
        shapes: By utterance its length and width in each shape file, as [(length, width), ...].
        temperature: 1 or more.
        limits: Of a batch.
        seed: The same seed draws the same.

    Raises:
        ValueError: The temperature is below 1, or an utterance has no language.
    """

    def __init__(
        self,
        utt2lang: Mapping[str, str],
        shapes: Mapping[str, Sequence[tuple[int, int]]],
        temperature: float,
        limits: BatchLimits,
        seed: int,
    ) -> None:
        if not temperature >= 1:
            raise InputError(f"language_temperature is {temperature}, expected 1 (as the data is) or more")
        lost = [utterance for utterance in shapes if utterance not in utt2lang]
        if lost:
            raise InputError(
                f"{len(lost):,} utterances have no language in utt2lang, first {lost[0]}; run stage `data` again"
            )
        self.limits, self.seed = limits, seed
        self._sizes: dict[int, int] = {}  # batches of each pass that was made
        self.utterances = sorted(shapes, key=str.encode)
        self._lengths = np.array([[length for length, _ in shapes[utt]] for utt in self.utterances])  # (N, files)
        self._widths = np.array([width for _, width in shapes[self.utterances[0]]])
        members: dict[str, list[int]] = {}
        for index, utterance in enumerate(self.utterances):
            members.setdefault(utt2lang[utterance], []).append(index)
        self._members = {language: np.array(members[language]) for language in sorted(members)}
        self.num_draws = share_draws({name: len(own) for name, own in self._members.items()}, temperature)

    def draw(self, epoch: int) -> list[np.ndarray]:
        """Draw the utterances of a pass, in groups of which none holds an utterance twice.

        Args:
            epoch: The pass, from 1.

        Returns:
            Indices of utterances, (n,) for each group; all groups have about the same languages.
        """
        drawn = [self._draw_language(number, name, epoch) for number, name in enumerate(self._members)]
        indices = np.concatenate([own for own, _ in drawn])
        cycles = np.concatenate([cycle for _, cycle in drawn])  # two draws of an utterance are of different cycles
        num_groups = int(cycles.max()) + 1
        offsets = np.random.default_rng((self.seed, epoch)).integers(num_groups, size=len(self.utterances))
        groups = (offsets[indices] + cycles) % num_groups
        return [indices[groups == group] for group in range(num_groups)]

    def _draw_language(self, number: int, name: str, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut one language's window: indices of utterances (n,), and of the copy that each is from (n,), from 0."""
        own, num = self._members[name], self.num_draws[name]
        start, stop = (epoch - 1) * num, epoch * num
        first, last = start // len(own), (stop - 1) // len(own)
        copies = [np.random.default_rng((self.seed, number, copy)).permutation(own) for copy in range(first, last + 1)]
        window = slice(start - first * len(own), stop - first * len(own))
        cycles = np.repeat(np.arange(last - first + 1), len(own))
        return np.concatenate(copies)[window], cycles[window]

    def batches(self, epoch: int, num_iterations: int | None = None) -> list[list[str]]:
        """Give the batches of an epoch: utterances of similar length, the batches in random order.

        Args:
            epoch: From 1.
            num_iterations: Batches of an epoch; the epochs are then cut from passes that follow one another.
        """
        if num_iterations is None:
            return self._pass(epoch)
        start, taken, number = (epoch - 1) * num_iterations, list[list[str]](), 0
        while len(taken) < num_iterations:
            number += 1
            if start >= self._sizes.get(number, start + 1):  # known, and before this epoch
                start -= self._sizes[number]
                continue
            made = self._pass(number)
            self._sizes[number] = len(made)
            taken += made[start:]
            start = max(0, start - len(made))
        return taken[:num_iterations]

    def _pass(self, epoch: int) -> list[list[str]]:
        made = [batch for group in self.draw(epoch) if len(group) for batch in self._cut(group)]
        order = np.random.default_rng((self.seed, epoch, 1)).permutation(len(made))
        return [[self.utterances[index] for index in made[place]] for place in order]

    def _cut(self, group: np.ndarray) -> list[np.ndarray]:
        """Cut a group, sorted by length, into batches as large as allowed; the longest utterance of each is first."""
        lengths = self._lengths[group]  # (n, files)
        order = np.lexsort((group, lengths[:, 0]))
        group, costs = group[order], (lengths[order] * self._widths).sum(axis=1).tolist()
        sizes, size = list[int](), 0
        for cost in costs:  # as ESPnet's sampler does
            size += 1
            if size * cost > self.limits.bins and size >= self.limits.min_size:
                sizes.append(size)
                size = 0
        if size >= self.limits.min_size or (size and not sizes):
            sizes.append(size)
        else:  # too few for a batch of their own: one more for each of the last ones
            for place in range(size):
                sizes[-1 - place % len(sizes)] += 1
        return [batch[::-1] for batch in np.split(group, np.cumsum(sizes)[:-1])]


def share_draws(num_utterances: Mapping[str, int], temperature: float) -> dict[str, int]:
    """Share an epoch's draws among the languages.

    Args:
        num_utterances: n_l by language.
        temperature: 1 or more; may be infinite.

    Returns:
        Draws by language, at least one each, about sum(n_l) in all.
    """
    total = sum(num_utterances.values())
    weights = {name: (num / total) ** (1 / temperature) for name, num in num_utterances.items()}
    whole = sum(weights.values())
    return {name: max(1, round(total * weight / whole)) for name, weight in weights.items()}
