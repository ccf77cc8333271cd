"""Any trained system has a page and can be served: each kind of compressor and decoder, on noise."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from starlette.datastructures import UploadFile

from speechllama.bin import learn_units, make_scratch_llm
from speechllama.constants import SAMPLE_RATE
from speechllama.decode.long import LongConfig, Segment
from speechllama.decode.segmenter import CutConfig
from speechllama.decode.speech2text import Speech2Text
from speechllama.decode.systems import change_search
from speechllama.page.answer import Controls, answer
from speechllama.page.utterance import Part, align_speech, draw_utterance
from speechllama.report.pictures.alignment import draw_alignment
from speechllama.serve.batcher import Batcher
from speechllama.serve.form import Form
from speechllama.serve.recording import Spoken, load_model
from test.report.pictures.test_alignment import polygons
from test.seq2seq_recipe import train_b1, tune_b2

EPOCH = ["--max_epoch", "1"]
MAX_SECONDS = 2.0
LENGTHS = (1.0, 0.7, 3.5)  # seconds of recordings; the last is cut in two


def train_e0(recipe: Any) -> Path:
    """Strided convolutions, trained from scratch with the encoder."""
    encoder = {"conv_channels": 2, "transformer": recipe.sizes, "spec_augment": recipe.masks}
    settings = {"compressor": "convolution", "freeze_encoder": False, "encoder_conf": encoder}
    return Path(recipe.train_llm("any_e0", *EPOCH, source="dump", **settings))


def train_d(recipe: Any) -> Path:
    """A decoder from scratch, which reads every frame."""
    config, llm_dir = recipe.root / "any_decoder.yaml", recipe.root / "any_llm_d"
    sizes = {"vocab_size": 90, "width": 24, "num_layers": 2, "num_heads": 2, "ffn_dim": 32}
    config.write_text(yaml.safe_dump(sizes))
    text = ["--text", str(recipe.root / "train/dump/text"), "--output_dir", str(llm_dir)]
    make_scratch_llm.main(["--config", str(config), *text])
    none = {**recipe.sizes, "num_layers": 0}
    settings: dict[str, Any] = {
        "compressor": "none",
        "freeze_encoder": False,
        "encoder_conf": {"conv_channels": 2, "transformer": none, "spec_augment": recipe.masks},
        "audio_encoder_conf": none,
        "llm_conf": {"train": "full", "random_weights": True},
        "prompt_conf": {"template": "{audio}", "start": "behind_audio"},
    }
    return Path(recipe.train_llm("any_d", *EPOCH, "--llm_dir", str(llm_dir), source="dump", **settings))


def train_u(recipe: Any) -> Path:
    """Discrete units."""
    centroids, conf = recipe.root / "any_centroids.npz", "{num_clusters: 12}"
    learn_units.main(
        ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(recipe.root / "train/dump")]
        + ["--compressor_conf", conf, "--output_file", str(centroids)]
    )
    more = ["--centroids_file", str(centroids)]
    for part in ("train", "dev"):
        recipe.compress(part, "--compressor", "units", "--compressor_conf", conf, *more, name="any_units")
    settings = {"compressor": "units", "compressor_conf": yaml.safe_load(conf)}
    return Path(recipe.train_llm("any_u", *EPOCH, *more, source="any_units", **settings))


def train_l(recipe: Any) -> Path:
    """CTC posteriors in the LLM's embeddings."""
    conf = "{num_best: 5}"
    for part in ("train", "dev"):
        recipe.compress(part, "--compressor", "posteriors", "--compressor_conf", conf, name="any_posteriors")
    settings = {"compressor": "posteriors", "compressor_conf": yaml.safe_load(conf)}
    return Path(recipe.train_llm("any_l", *EPOCH, source="any_posteriors", **settings))


def train_b2(recipe: Any) -> Path:
    """An encoder-decoder, rescored by the LLM."""
    return tune_b2(recipe, "b1", weights=[0.5], length_norms=[0.0])


TRAIN = {"e0": train_e0, "d": train_d, "u": train_u, "l": train_l}


@pytest.fixture(scope="module", params=["e0", "e6", "d", "u", "l", "b1", "b2"])
def system(request: pytest.FixtureRequest, recipe: Any, seq2seq_sizes: dict[str, Any]) -> Path:
    """The folder of a trained system."""
    name = request.param
    if name == "e6":
        return Path(recipe.root / "e6")
    if name in ("b1", "b2"):
        b1 = train_b1(recipe, seq2seq_sizes)
        return b1 if name == "b1" else train_b2(recipe)
    folder = TRAIN[name](recipe)
    recipe.average(folder.name)
    return folder


@pytest.fixture
def noise(tmp_path: Path) -> list[Path]:
    """Recordings of noise."""
    random, paths = np.random.default_rng(2), []
    for number, seconds in enumerate(LENGTHS):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], random.normal(0, 0.1, round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
    return paths


def test_every_system_has_a_page_and_a_picture(system: Path, noise: list[Path], tmp_path: Path) -> None:
    translator = Speech2Text.from_pretrained(system)
    waveform, _ = soundfile.read(noise[0], dtype="float32")
    *_, shown = answer(translator, waveform, Controls(beam_size=2), LongConfig(segmentation="even"))
    (best, *_) = translator(waveform)
    assert shown.count("<img ") == 1 and shown.count("<tr><td>") == 2 and 'class="downloads"' in shown
    assert f"<td>{best.score:.3f}</td>" in shown
    svg = draw_utterance(translator, Part(str(noise[0])), tmp_path / "a.svg").read_text(encoding="utf-8")
    alignment = align_speech(translator, waveform)
    numbers = f"{alignment.num_frames} encoder frames, {len(alignment.vectors)} vector"
    assert numbers in svg and numbers in shown and len(alignment.vectors) > 0
    panels = draw_alignment(alignment).axes
    drawn = [len(each) for panel in panels[1:] for each in polygons(panel)]
    frames = [alignment.num_frames] if alignment.runs else []
    assert drawn == [*frames, len(alignment.vectors), len(alignment.vectors)], "bars of frames, bands, boxes"
    texts = [run.text.replace(" ", "▁") or str(run.unit) for run in alignment.runs if not run.is_blank]
    assert [text.get_text() for text in panels[1].texts] == texts and all(f">{text}</text>" in svg for text in texts)


def upload(path: Path) -> Form:
    """A form with a recording, as a client sends it."""
    file = tempfile.SpooledTemporaryFile()
    file.write(path.read_bytes())
    file.seek(0)
    return Form(UploadFile(file, filename=path.name), path.name, "", "", "json")  # type: ignore[arg-type]


def test_every_system_is_served_in_batches(system: Path, noise: list[Path]) -> None:
    model = load_model(str(system), "cpu", {"beam_size": 2}, CutConfig(segmentation="even", max_seconds=MAX_SECONDS))
    sizes: list[int] = []

    def decode(pieces: Sequence[Spoken]) -> list[Segment]:
        sizes.append(len(pieces))
        return model.decode(pieces)

    batcher: Batcher[Spoken, Segment] = Batcher(decode, 8, 0.5)
    try:
        (endpoint,) = model.endpoints
        forms = [upload(path) for path in noise]
        asked = [batcher.submit(model.open(form, 60.0, endpoint)) for form in forms]
        answered = [future.result(60) for future in asked]
    finally:
        batcher.close()
    assert sizes == [4], "all at once"
    assert endpoint == ("transcriptions" if system.name.startswith("b") else "translations")
    own = Speech2Text.from_pretrained(system)
    own.config = change_search(own.config, {"beam_size": 2})
    cutting = LongConfig(segmentation="even", max_seconds=MAX_SECONDS, batch_size=1)
    expected = [[segment.text for segment in own.long(path, cutting)] for path in noise]
    assert [[segment.text for segment in found] for found in answered] == expected
    assert [len(found) for found in answered] == [1, 1, 2] and any(text for texts in expected for text in texts)
    assert expected[0] == [own(noise[0])[0].text]
