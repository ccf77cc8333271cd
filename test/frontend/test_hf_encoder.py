"""Speech encoders of transformers as front ends: tiny ones with random weights, of each kind that there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from speechllama.data.audio import read_audio
from speechllama.faults import InputError
from speechllama.frontend import hf_encoder
from speechllama.frontend.feature_format import FeatureFormat
from speechllama.frontend.front_ends import HfSettings, choose_front_end
from speechllama.frontend.hf_encoder import HfEncoder
from speechllama.frontend.hf_loading import choose_dtype
from test.fake_hub import FakeHub
from test.frontend.encoders import ENCODERS, make_encoder, noise


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., HfEncoder]:
    folders: dict[str, Path] = {}

    def make(name: str, **settings: Any) -> HfEncoder:
        if name not in folders:
            folders[name] = make_encoder(tmp_path_factory.mktemp("encoder"), name)
        return HfEncoder(HfSettings(str(folders[name]), **settings))

    return make


@pytest.mark.parametrize("name", ENCODERS)
def test_every_kind_of_encoder_gives_its_states(build: Callable[..., HfEncoder], name: str) -> None:
    front_end = build(name, overlap=1.0)
    assert (front_end.dim, front_end.frame_shift) == (16, ENCODERS[name][3])
    for seconds in (0.15, 0.5, 1.2345, 2.9):
        states = front_end(noise(seconds))
        assert states.shape == (front_end.num_frames(round(seconds * 16000)), 16) and states.dtype == np.float32
        assert np.isfinite(states).all()
    assert len(front_end.weights) == 64


# Padding changes their states: Whisper has no mask, a group norm is over all of a waveform, WavLM's positions see it.
ONE_BY_ONE = ("whisper", "wav2vec2 with group norm", "hubert", "wavlm")


@pytest.mark.parametrize("name", ENCODERS)
def test_a_batch_gives_what_its_members_give(
    build: Callable[..., HfEncoder], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end = build(name, overlap=1.0)
    assert front_end._is_batchable == (name not in ONE_BY_ONE)
    waveforms = [noise(1.0, 1), noise(2.3, 2), noise(0.7, 3)]
    single = [front_end(waveform) for waveform in waveforms]
    front_end.device = "batched"  # as on a GPU, without one
    try:
        monkeypatch.setattr(front_end, "_run", run_on_cpu(front_end))
        batched = front_end.many(waveforms)
    finally:
        front_end.device = "cpu"
    for alone, together in zip(single, batched, strict=True):
        # A batch may differ by what the check of padding admits: a hundredth of a standard deviation.
        np.testing.assert_allclose(together, alone, atol=1e-2 * alone.std())


def run_on_cpu(front_end: HfEncoder) -> Callable[[Any], list[torch.Tensor]]:
    """The encoder's own `_run`, whatever device it believes to be on."""
    run = type(front_end)._run

    def call(waveforms: Any) -> list[torch.Tensor]:
        device, front_end.device = front_end.device, "cpu"
        try:
            return run(front_end, waveforms)
        finally:
            front_end.device = device

    return call


@pytest.mark.parametrize("name", ENCODERS)
def test_the_states_are_those_that_transformers_computes(build: Callable[..., HfEncoder], name: str) -> None:
    """Of one waveform with the mask that the encoder's own extractor makes."""
    if name == "whisper":
        pytest.skip("its own encoder needs 30 s")  # see the next test
    front_end = build(name, overlap=1.0)
    for seconds in (0.4, 0.81, 1.2345):
        waveform = noise(seconds)
        batch = front_end.extractor(
            [waveform], sampling_rate=16000, return_tensors="pt", padding=True, return_attention_mask=True
        )
        with torch.no_grad():
            expected = front_end.encoder(**batch).last_hidden_state[0].numpy()
        states = front_end(waveform)
        # Beyond the mask, encoders write states of nothing.
        assert len(expected) - 1 <= len(states) <= len(expected)
        np.testing.assert_allclose(states, expected[: len(states)], atol=1e-4)


def test_whisper_without_padding_is_transformers_own_encoder_with_fewer_positions(
    build: Callable[..., HfEncoder],
) -> None:
    front_end = build("whisper", overlap=1.0)
    waveform = noise(3.0)  # all of its positions: transformers takes it as it is
    features = front_end.extractor(waveform, sampling_rate=16000, return_tensors="pt").input_features
    with torch.no_grad():
        expected = front_end.encoder(features).last_hidden_state[0].numpy()
    np.testing.assert_allclose(front_end(waveform), expected, atol=1e-5)
    assert front_end(noise(1.0)).shape == (50, 16)
    assert front_end.encoder.embed_positions.num_embeddings == 150  # as it was


def test_the_states_of_a_layer_and_of_several(build: Callable[..., HfEncoder]) -> None:
    waveform = noise(1.0)
    first, second = (build("wav2vec2", layers=(layer,), overlap=1.0)(waveform) for layer in (1, 2))
    several = build("wav2vec2", layers=(1, 2), overlap=1.0)
    assert (several.dim, several.num_layers) == (32, 2)
    np.testing.assert_allclose(several(waveform), np.concatenate([first, second], axis=1), atol=1e-6)
    with pytest.raises(ValueError, match="layer 7, expected -3 to 2"):
        build("wav2vec2", layers=(7,), overlap=1.0)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_layer_has_its_number(build: Callable[..., HfEncoder], name: str) -> None:
    waveform, settings = noise(1.0), ENCODERS[name][1]
    settings = {**settings, **settings.get("encoder_config", {}), **settings.get("audio_config", {})}
    count = settings.get("encoder_layers") or settings["num_hidden_layers"]
    last, outermost = (build(name, layers=(layer,), overlap=1.0)(waveform) for layer in (-1, count))
    assert last.shape == outermost.shape
    before = build(name, layers=(count - 1,), overlap=1.0)(waveform)
    assert not np.allclose(before, outermost)
    with pytest.raises(ValueError, match=f"layer {count + 1}, expected -{count + 1} to {count}"):
        build(name, layers=(count + 1,), overlap=1.0)


@pytest.mark.skipif("granite" not in ENCODERS, reason="this transformers has no Granite speech")
def test_layers_with_different_numbers_of_states_are_refused(build: Callable[..., HfEncoder]) -> None:
    assert build("granite", layers=(0,), overlap=1.0).frame_shift == 0.02
    with pytest.raises(ValueError, match=r"layers \[0, 4\] have \[20, 5\] states of the same speech"):
        build("granite", layers=(0, 4), overlap=1.0)


def test_a_gpu_computes_in_the_precision_of_the_file(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "whisper")
    transformers.AutoModel.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    front_end = HfEncoder(HfSettings(str(folder), overlap=1.0))
    count = sum(weight.numel() for weight in front_end.encoder.parameters())
    assert (front_end.stored, front_end.encoder.dtype) == (torch.float16, torch.float32)
    assert (front_end.weight_bytes("cpu"), front_end.weight_bytes("cuda")) == (4 * count, 2 * count)
    for settings, expected in (
        (HfSettings("it"), torch.float16),
        (HfSettings("it", dtype="bfloat16"), torch.bfloat16),
        (HfSettings("it", dtype="float32"), torch.float32),
        (HfSettings("it", train="full"), torch.float32),
    ):
        assert choose_dtype(settings, front_end.stored, "cuda") == expected


def test_the_windows_of_a_long_recording_go_through_a_gpu_in_batches(
    build: Callable[..., HfEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end = build("wav2vec2", overlap=1.0, window=3.0)
    waveforms = [noise(0.9, 1), noise(17.0, 2), noise(2.0, 3)]
    expected = [front_end(waveform) for waveform in waveforms]
    front_end.measure()
    run, sizes = run_on_cpu(front_end), []

    def counting(batch: Any) -> list[torch.Tensor]:
        sizes.append((len(batch), max(map(len, batch)) / 16000))
        return run(batch)

    monkeypatch.setattr(hf_encoder, "BATCH_SECONDS", 10.0)
    monkeypatch.setattr(front_end, "_run", counting)
    monkeypatch.setattr(front_end, "device", "batched")
    found = front_end.many(waveforms)
    assert len(sizes) > 2 and sum(number for number, _ in sizes) == 10  # windows, eight of them of the long one
    assert all(number * longest <= 10.0 for number, longest in sizes)
    for alone, together in zip(expected, found, strict=True):
        np.testing.assert_allclose(together, alone, atol=1e-2 * alone.std())


def test_long_recordings_are_cut_into_windows_that_overlap(build: Callable[..., HfEncoder]) -> None:
    front_end = build("whisper", overlap=1.0)
    assert front_end.window == pytest.approx(3.0)
    waveform = noise(8.13)
    size, shift = 48000, 320
    states = front_end(waveform)
    last = -(-(len(waveform) - size) // shift) * shift
    starts = [*range(0, last, 32000), last]
    assert starts == [0, 32000, 64000, 82240]
    pieces = [front_end(waveform[start : start + size]) for start in starts]
    # Of what two windows share, each gives the half that is nearer to it.
    borders = [0, *((after + before + size) // 2 // shift for before, after in zip(starts, starts[1:], strict=False))]
    borders.append(last // shift + len(pieces[-1]))
    expected = [
        piece[low - start // shift : high - start // shift]
        for piece, start, low, high in zip(pieces, starts, borders, borders[1:], strict=False)
    ]
    np.testing.assert_allclose(states, np.concatenate(expected), atol=1e-5)
    assert len(states) == len(waveform) // shift + 1


@pytest.mark.parametrize("name", ENCODERS)
def test_no_frame_is_lost_between_windows(build: Callable[..., HfEncoder], name: str) -> None:
    """A window may give fewer states than its length says, since the last ones would need more samples."""
    waveform, overlaps = noise(4.3), [0.0, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5]
    needed = 0.0
    for overlap in overlaps:
        try:
            front_end = build(name, window=1.0, overlap=overlap)
        except InputError as error:
            needed = float(str(error).rpartition("expected at least ")[2].removesuffix(" s"))
            assert overlap < needed, "what is enough is not refused"
            continue
        assert overlap >= needed - 1e-9
        assert len(front_end(waveform)) == front_end.num_frames(len(waveform))
    assert needed < overlaps[-1]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0,), r"0.0000 s of audio is too short for a frame: 0 samples, at least 400 \(0.025 s\)"),
        ((399,), r"0.0249 s of audio is too short for a frame: 399 samples, at least 400"),
        ((1, 16000), r"a waveform of shape \(1, 16000\), expected one channel \(S,\)"),
    ],
)
def test_what_is_no_waveform_is_refused(build: Callable[..., HfEncoder], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("wav2vec2", overlap=1.0)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("ctc_head", [False, True])
@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("org/nothing", None, "org/nothing: the hub knows no such model, or it is private"),
        ("org/encoder", "v9", "org/encoder: the hub has no such revision of it"),
    ],
)
def test_what_the_hub_refuses_is_said(
    hub: FakeHub, tmp_path: Path, name: str, revision: str | None, message: str, ctc_head: bool
) -> None:
    hub.add_folder("org/encoder", make_encoder(tmp_path / "encoder", "hubert"))
    with pytest.raises(ValueError, match=message):
        HfEncoder(HfSettings(name, revision=revision, ctc_head=ctc_head))


def test_an_encoder_comes_from_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder", "hubert")
    hub.add_folder("org/encoder", folder)
    found, expected = (HfEncoder(HfSettings(path)) for path in ("org/encoder", str(folder)))
    np.testing.assert_array_equal(found(noise(1.0)), expected(noise(1.0)))
    assert found.weights == expected.weights


def test_what_is_no_speech_encoder_is_refused(tmp_path: Path, tiny_llm: Path) -> None:
    with pytest.raises(ValueError, match="no preprocessor_config.json of a speech encoder"):
        HfEncoder(HfSettings(str(tiny_llm)))
    folder = make_encoder(tmp_path / "telephone", "hubert")
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(folder)
    with pytest.raises(ValueError, match="telephone: its input has a sampling rate of 8000 Hz, expected 16000"):
        HfEncoder(HfSettings(str(folder)))
    text = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.AutoModel.from_config(text).save_pretrained(tmp_path / "text")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "text")
    with pytest.raises(ValueError, match="text: no speech encoder, a LlamaModel of input_ids"):
        HfEncoder(HfSettings(str(tmp_path / "text")))


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_encoder(tmp_path, "hubert")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if "layers.1" not in name}, folder / "model.safetensors"
    )
    with pytest.raises(ValueError, match=r"\d+ weights of the encoder are missing, first \['encoder.layers.1"):
        HfEncoder(HfSettings(str(folder)))


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "path is empty"),
        ({"path": "x", "layers": []}, "layers is empty"),
        ({"path": "x", "window": 4.0, "overlap": 4.0}, "overlap 4.0 s and window 4.0 s"),
        ({"path": "x", "dtype": "int8"}, "dtype: unknown value 'int8', expected one of auto, float32"),
        ({"path": "x", "layer": -1}, "unknown key 'layer'; did you mean 'layers'"),
    ],
)
def test_wrong_settings_are_refused(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_front_end("hf", conf)


def test_a_window_beyond_the_encoders_own_is_refused(build: Callable[..., HfEncoder]) -> None:
    with pytest.raises(ValueError, match="window 30.0 s: .* reads at most 3.00 s"):
        build("whisper", window=30.0)
    with pytest.raises(ValueError, match="overlap 4.0 s is not less than the window, 3.00 s"):
        build("whisper")


def test_other_weights_than_those_of_the_features_are_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "hubert")
    choice = choose_front_end("hf", {"path": str(folder)})
    weights = choice.build().weights
    features = FeatureFormat("hf", choice.conf(), 16, 0.02, 1, weights)
    assert features.build().dim == 16
    make_encoder(tmp_path, "hubert", initializer_range=0.5)
    with pytest.raises(ValueError, match="other weights than those of the features that the model learned from"):
        features.build()


def test_whisper_base_reads_real_speech(shared_data: Path) -> None:
    folder = shared_data / "whisper_base_encoder"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    front_end = HfEncoder(HfSettings(str(folder)))
    assert (front_end.dim, front_end.frame_shift, front_end.window) == (512, 0.02, pytest.approx(30.0))
    assert front_end(noise(2.0)).shape == (100, 512)
    clips = sorted((shared_data / "librispeech_sample").rglob("*.flac"))[:2]
    for clip in clips:  # Whisper learned with silence up to 30 s, which is left out here: what that changes
        waveform = read_audio(clip)
        states = torch.from_numpy(front_end(waveform))
        inputs = front_end.extractor(waveform, sampling_rate=16000, return_tensors="pt").input_features
        with torch.no_grad():
            padded = front_end.encoder(inputs).last_hidden_state[0, : len(states)]
        alike = torch.cosine_similarity(states, padded)
        assert inputs.shape[-1] == 3000 and alike.median() > 0.99 and alike.quantile(0.05) > 0.9
        assert (states - padded).square().mean().sqrt() < 0.25 * padded.std()
