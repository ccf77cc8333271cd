"""Sampling over languages: shares, coverage, the same draws on every process and after every resume."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from espnet2.samplers.num_elements_batch_sampler import NumElementsBatchSampler

from speechllama.data.sampling import BatchLimits, LanguageSampler, share_draws

SIZES = {"fr": 900, "sl": 20, "zh-CN": 80}


def make(temperature: float = 3.0, seed: int = 1, bins: int = 4000, min_size: int = 1) -> LanguageSampler:
    random = np.random.default_rng(5)
    utt2lang = {f"{name}_{index:04d}": name for name, size in SIZES.items() for index in range(size)}
    shapes = {utt: [(int(random.integers(20, 400)), 1)] for utt in utt2lang}
    return LanguageSampler(utt2lang, shapes, temperature, BatchLimits(bins, min_size), seed)


def language(utterance: str) -> str:
    return utterance.partition("_")[0]


def test_temperature_moves_the_shares_from_those_of_the_data_to_equal_ones() -> None:
    assert share_draws(SIZES, 1.0) == SIZES
    assert share_draws(SIZES, math.inf) == {"fr": 333, "sl": 333, "zh-CN": 333}
    roots = {name: math.sqrt(size) for name, size in SIZES.items()}
    assert share_draws(SIZES, 2.0) == {name: round(1000 * root / sum(roots.values())) for name, root in roots.items()}


def test_an_epoch_draws_the_shares_and_no_batch_holds_an_utterance_twice() -> None:
    sampler = make()
    batches = sampler.batches(4)
    assert Counter(language(utt) for batch in batches for utt in batch) == sampler.num_draws
    assert all(len(set(batch)) == len(batch) for batch in batches)
    assert max(Counter(utt for batch in batches for utt in batch).values()) > 5  # so it is no empty promise


def test_all_utterances_come_equally_often_over_the_epochs() -> None:
    sampler = make()
    drawn = Counter(utt for epoch in range(1, 8) for batch in sampler.batches(epoch) for utt in batch)
    for name, size in SIZES.items():
        counts = [drawn[utt] for utt in sampler.utterances if language(utt) == name]
        assert len(counts) == size and max(counts) - min(counts) <= 2  # windows begin and end within a copy
        assert sum(counts) == 7 * sampler.num_draws[name]


def test_an_epoch_follows_from_seed_and_number_only() -> None:
    resumed = make()  # has never seen epochs 1 to 4
    running = make()
    for epoch in range(1, 5):
        running.batches(epoch)
    assert running.batches(5) == resumed.batches(5)
    assert running.batches(5) != running.batches(6)
    assert running.batches(5) != make(seed=2).batches(5)


def test_epochs_of_fixed_length_cut_one_row_of_passes() -> None:
    row = [batch for number in range(1, 12) for batch in make()._pass(number)]
    sampler = make()
    for epoch in (1, 2, 5, 3):  # in any order, as after a resume
        assert sampler.batches(epoch, 37) == row[37 * (epoch - 1) : 37 * epoch]
    assert make().batches(2, 200) == row[200:400]


def test_batches_are_those_of_the_host_where_every_utterance_comes_once(tmp_path: Path) -> None:
    shapes = {utt: [(50 + index, 80), (50 + index, 1)] for index, utt in enumerate(make().utterances)}
    utt2lang = {utt: language(utt) for utt in shapes}
    for name, width in (("speech", ",80"), ("text", "")):
        lines = (f"{utt} {length}{width}\n" for utt, [(length, _), _] in shapes.items())
        (tmp_path / name).write_text("".join(lines))
    own = LanguageSampler(utt2lang, shapes, 1.0, BatchLimits(100_000, 4), seed=1)
    files = [str(tmp_path / "speech"), str(tmp_path / "text")]
    espnet = NumElementsBatchSampler(batch_bins=100_000, shape_files=files, min_batch_size=4)
    assert sorted(map(tuple, own.batches(1))) == sorted(map(tuple, espnet))


def test_every_process_has_a_share_of_every_batch() -> None:
    batches = make(min_size=3).batches(1)
    assert min(map(len, batches)) >= 3
    for rank in range(3):
        assert all(batch[rank::3] for batch in batches)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="language_temperature is 0.5, expected 1"):
        make(temperature=0.5)
    with pytest.raises(ValueError, match="1 utterances have no language in utt2lang, first b"):
        LanguageSampler({"a": "fr"}, {"a": [(1, 1)], "b": [(1, 1)]}, 2.0, BatchLimits(10), 1)
