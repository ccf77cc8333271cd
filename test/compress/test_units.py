"""Centroids of discrete units: what k-means finds, learned once, and which caches fit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechllama.bin import learn_units
from speechllama.compress.units import ClusterConfig, find_centroids
from speechllama.data.ark import check_maker
from speechllama.model.build import expected_cache, load_centroids
from speechllama.model.compressor import build_compressor


def clusters(number: int) -> list[str]:
    return ["--compressor_conf", f"{{num_clusters: {number}}}"]


def learn(recipe: Any, output: Path, *more: str) -> Path:
    learn_units.main(
        ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(recipe.root / "train/dump")]
        + ["--output_file", str(output), *(more or clusters(5))]
    )
    return output


def test_the_middles_of_separate_clouds_are_found() -> None:
    random = np.random.default_rng(0)
    middles = random.normal(size=(7, 4)).astype(np.float32) * 20
    states = np.repeat(middles, 50, axis=0) + random.normal(size=(350, 4)).astype(np.float32) * 0.1
    centroids = find_centroids(states, ClusterConfig(7))
    assert centroids.dtype == np.float32
    nearest = np.linalg.norm(middles[:, None] - centroids[None], axis=2)
    assert sorted(nearest.argmin(1)) == list(range(7))
    assert nearest.min(1).max() < 0.1
    assert np.array_equal(find_centroids(states, ClusterConfig(7)), centroids)


def test_centroids_are_learned_once(recipe: Any, tmp_path: Path) -> None:
    path = learn(recipe, tmp_path / "centroids.npz")
    with np.load(path) as file:
        assert file["centroids"].shape == (5, recipe.sizes["dim"])
    before = path.stat().st_mtime_ns
    assert learn(recipe, path).stat().st_mtime_ns == before
    assert learn(recipe, path, *clusters(6)).stat().st_mtime_ns > before
    assert [entry.name for entry in tmp_path.iterdir()] == ["centroids.npz"]


def test_too_little_speech_for_so_many_units_is_refused(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train/dump: \d+ encoder frames of 40 ms are too few for 9,000 units"):
        learn(recipe, tmp_path / "centroids.npz", *clusters(9000))


def test_a_cache_of_other_centroids_is_refused(recipe: Any, tmp_path: Path) -> None:
    paths = [learn(recipe, tmp_path / f"{s}.npz", *clusters(5), "--seed", s) for s in ("1", "2")]
    settings = ["--compressor", "units", *clusters(5)]
    written = recipe.compress("dev", *settings, "--centroids_file", str(paths[0]), name="units_cache")
    system = {"ctc_dir": recipe.root / "ctc", "compressor": "units", "compressor_conf": {"num_clusters": 5}}
    check_maker(written, "compressed", expected_cache({**system, "centroids_file": paths[0]}, "u.yaml"))
    other = expected_cache({**system, "centroids_file": paths[1]}, "u.yaml")
    with pytest.raises(
        ValueError, match="units_cache: compressed by .*centroids.*the model expects .*give its own, or run"
    ):
        check_maker(written, "compressed", other)


def test_centroids_that_are_not_there_or_do_not_fit_are_refused(recipe: Any, tmp_path: Path) -> None:
    compressor = build_compressor("units", {"num_clusters": 4}, recipe.sizes["dim"])
    with pytest.raises(FileNotFoundError, match="'': no centroids of the units; run stage `compress` or"):
        load_centroids(compressor, "")
    with pytest.raises(ValueError, match=r"centroids.npz: the centroids are 5 of width 16, .* expect 4 of width 16"):
        load_centroids(compressor, str(learn(recipe, tmp_path / "centroids.npz")))
