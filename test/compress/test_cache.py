"""The cache of compressed features: what the network computes, by the right units."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechllama.bin import collect_llm_stats, ctc_compress
from speechllama.compress import cache as cache_module
from speechllama.data.ark import ark_writer, merge_parts, read_matrix
from speechllama.data.data_dir import read_data_dir
from speechllama.decode.experiment import load_experiment
from speechllama.files import read_table
from speechllama.model.audio import Features
from speechllama.text.tokenizer import train_tokenizer


def test_the_cache_holds_what_the_network_computes(recipe: Any) -> None:
    network = load_experiment(recipe.root / "e5").network
    dump, cache = (read_data_dir(recipe.root / "test" / kind) for kind in ("dump", "compressed"))

    for utterance, place in dump.table("feats.scp").items():
        features = torch.from_numpy(read_matrix(place).copy())[None]
        with torch.no_grad():
            expected = network.compress(Features(features, torch.tensor([features.shape[1]]))).vectors[0]
        cached = torch.from_numpy(read_matrix(cache.table("compressed.scp")[utterance]).copy())
        torch.testing.assert_close(cached, expected, atol=1e-4, rtol=1e-4)


def test_a_cache_of_another_encoder_or_compressor_is_refused_by_all_that_read_it(recipe: Any, tmp_path: Path) -> None:
    shutil.copytree(recipe.root / "ctc", tmp_path / "ctc")
    state = recipe.load(tmp_path / "ctc/model.pth")
    torch.save({name: tensor + (name == "head.bias") for name, tensor in state.items()}, tmp_path / "ctc/model.pth")
    other = ["--ctc_dir", str(tmp_path / "ctc")]
    message = "train/compressed: compressed by {'encoder': .*the model expects {'encoder': .*run stage `compress`"
    with pytest.raises(ValueError, match=message):
        recipe.train_llm("other_ctc", *other)
    config, right = recipe.config("other_ctc"), ["--ctc_dir", str(recipe.root / "ctc")]
    data = ["--data_dir", str(recipe.root / "train/compressed"), "--llm_dir", str(recipe.root / "llm")]
    collect = ["--config", config, *data, "--output_file", str(tmp_path / "shape")]
    with pytest.raises(ValueError, match=message):
        collect_llm_stats.main([*collect, *other])
    collect_llm_stats.main([*collect, *right])
    recipe.config("other_ctc", compressor="blank_removal")
    with pytest.raises(ValueError, match="compressed by {'compressor': 'frame_average', .*expects .*blank_removal"):
        collect_llm_stats.main([*collect, *right])
    record = recipe.root / "train/compressed/compressed.1.done"
    older = json.loads(record.read_text())
    settings = {"name": older[0].pop("compressor"), "num_clusters": 0, **older[0]["compressor_conf"]}
    older[0] = {**settings, "encoder": older[0]["encoder"]}  # as caches said before there was compressor_conf
    shutil.copytree(record.parent, tmp_path / "older")
    (tmp_path / "older" / record.name).write_text(json.dumps(older))
    recipe.config("other_ctc")
    collect_llm_stats.main([*collect, *right, "--data_dir", str(tmp_path / "older")])
    recipe.config("other_ctc", compressor="blank_removal")
    with pytest.raises(ValueError, match="compressed by {'compressor': 'frame_average'.*or run stage `compress` again"):
        collect_llm_stats.main([*collect, *right, "--data_dir", str(tmp_path / "older")])


def test_units_of_another_tokenizer_are_refused(recipe: Any, tmp_path: Path) -> None:
    train_tokenizer(["der hund", "la femme"], tmp_path, 20)
    with pytest.raises(ValueError, match=r"bpe.model: \d+ CTC units, but .*ctc was trained with another number"):
        ctc_compress.main(
            ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(recipe.root / "test/dump")]
            + ["--output_dir", str(tmp_path), "--tokenizer", str(tmp_path / "bpe.model")]
        )


class Cache:
    """A cache of features that can be made anew."""

    def __init__(self, recipe: Any, folder: Path) -> None:
        self.recipe, self.source, self.dump, self.folder = recipe, recipe.root / "test/dump", folder / "dump", folder
        shutil.copytree(self.source, self.dump)
        self.make_features(1.0)

    def make_features(self, scale: float) -> None:
        with ark_writer(self.dump, "feats", 1) as write:
            for utterance, place in read_table(self.source / "feats.scp").items():
                write(utterance, read_matrix(place) * scale)
        shutil.copy(self.dump / "feats.1.scp", self.dump / "feats.scp")

    def compress(self) -> dict[str, bytes]:
        """The vectors of each utterance."""
        ctc_compress.main(
            ["--ctc_dir", str(self.recipe.root / "ctc"), "--tokenizer", str(self.recipe.root / "bpe/bpe.model")]
            + ["--data_dir", str(self.dump), "--output_dir", str(self.folder / "compressed")]
        )
        merged = merge_parts(self.dump, self.folder / "compressed", 1, "compressed")
        return {utt: read_matrix(place).tobytes() for utt, place in merged.table("compressed.scp").items()}


@pytest.fixture
def cache(recipe: Any, tmp_path: Path) -> Cache:
    return Cache(recipe, tmp_path)


def test_a_finished_part_is_kept_unless_a_file_of_it_is_missing(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    first = cache.compress()
    assert "part 1 of 1 is finished" not in caplog.text
    assert cache.compress() == first and "part 1 of 1 is finished" in caplog.text
    for name in ("compressed.1.scp", "compressed.1.ark", "utt2num_frames.1", "ctc_hyp.1", "compressed.1.done"):
        (cache.folder / "compressed" / name).unlink()
        assert cache.compress() == first
        assert (cache.folder / "compressed" / name).is_file()


def test_a_part_of_older_features_is_written_again(cache: Cache) -> None:
    first = cache.compress()
    cache.make_features(0.5)
    second = cache.compress()
    assert second.keys() == first.keys() and all(second[utterance] != first[utterance] for utterance in first)


def test_a_record_is_gone_while_its_part_is_written(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.compress()
    cache.make_features(0.5)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("speechllama.compress.cache.write_table", stop)  # after the ark
        with pytest.raises(KeyboardInterrupt):
            cache.compress()
    assert not (cache.folder / "compressed/compressed.1.done").exists()


def test_a_batch_that_does_not_fit_into_memory_is_halved(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cache.compress()
    read, sizes = cache_module.read_batch, []

    def read_few(feats: Any, batch: Any, *more: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > most:
            raise RuntimeError("CUDA error: out of memory")
        return read(feats, batch, *more)

    monkeypatch.setattr(cache_module, "read_batch", read_few)
    most = 2
    cache.make_features(1.0)
    halved = cache.compress()
    assert max(sizes) > 2 and halved.keys() == whole.keys()
    for utterance, found in halved.items():
        expected = np.frombuffer(whole[utterance], np.float32)
        np.testing.assert_allclose(np.frombuffer(found, np.float32), expected, atol=1e-4)
    most = 0
    cache.make_features(1.0)
    with pytest.raises(ValueError, match=r"feats.scp: .*: its \d+ frames do not fit into memory; cut it, or leave it"):
        cache.compress()
