"""A front end that trains: its states against those of the frozen one, what trains, what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechllama.frontend.feature_format import FeatureFormat, describe_features
from speechllama.frontend.front_ends import FRONT_ENDS, HfSettings, choose_front_end
from speechllama.frontend.hf_encoder import HfEncoder
from speechllama.frontend.trainable import Waveform
from speechllama.model.audio import Features
from speechllama.model.build import digest_tensors
from speechllama.model.checkpoint import FINGERPRINT, keep_only_trainable
from speechllama.model.encoders import choose_encoder
from speechllama.model.front_end import FrontedEncoder, TrainedFrontEnd, build_encoder, build_front_end
from test.frontend.encoders import ENCODERS, make_encoder, noise
from test.trained_recipe import MASKS, SIZES

# Where layers have other names than q_proj and v_proj, or attention does not compute through these.
LINEAR = {"w2v-bert": ["linear_q", "linear_v"], "wavlm": ["intermediate_dense", "output_dense"]}
SMALL = {"encoder_conf": {"conv_channels": 2, "transformer": SIZES, "spec_augment": MASKS}}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny speech encoder of each kind."""
    folders: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in folders:
            folders[name] = make_encoder(tmp_path_factory.mktemp("encoder"), name)
        return folders[name]

    return find


def conf_of(folder: Path, name: str = "whisper", **more: Any) -> dict[str, Any]:
    """Settings of a front end that trains adapters of rank 2."""
    lora = {"rank": 2, **({"targets": LINEAR[name]} if name in LINEAR else {}), **more.pop("lora", {})}
    return {"path": str(folder), "overlap": 1.0, "train": "lora", "lora": lora, **more}


def features_of(conf: dict[str, Any]) -> FeatureFormat:
    """What stage features records of them."""
    choice = choose_front_end("hf", conf)
    return describe_features(choice, choice.build())


def trained(folder: Path, name: str = "whisper", **more: Any) -> TrainedFrontEnd:
    front_end = build_front_end(features_of(conf_of(folder, name, **more)))
    assert front_end is not None
    return front_end


def waveforms(*seconds: float) -> Features:
    """A padded batch of noise, as the data reader makes it."""
    return Features.pad([Waveform()(noise(each, seed)) for seed, each in enumerate(seconds)])


def move_adapters(front_end: TrainedFrontEnd) -> None:
    """Make fresh adapters change something, as training would."""
    with torch.no_grad():
        for weight in front_end.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)) * 0.1)


def trainable(module: torch.nn.Module) -> set[str]:
    return {name for name, weight in module.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("name", ENCODERS)
def test_its_states_are_those_of_the_frozen_front_end_each_normalised(
    encoders: Callable[[str], Path], name: str
) -> None:
    frozen = HfEncoder(HfSettings(str(encoders(name)), overlap=1.0))
    front_end = trained(encoders(name), name)
    seconds = (0.5, 1.2345, 4.3)  # Whisper's longest is 3 s here: the last one is cut into windows
    states, lengths = front_end(*waveforms(*seconds))
    for index, each in enumerate(seconds):
        expected = frozen(noise(each, index))
        assert lengths[index] == len(expected)
        normalised = (expected - expected.mean(1, keepdims=True)) / np.sqrt(expected.var(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(states[index, : len(expected)].detach(), normalised, atol=1e-4)
        assert not states[index, len(expected) :].any()


def test_each_of_several_layers_is_normalised_by_itself(encoders: Callable[[str], Path]) -> None:
    both = trained(encoders("whisper"), layers=[1, -1])  # states within Whisper are not normalised, and its last are
    single = [trained(encoders("whisper"), layers=[layer]) for layer in (1, -1)]
    batch = waveforms(0.7)
    expected = torch.cat([front_end(*batch)[0] for front_end in single], dim=2)
    assert torch.allclose(both(*batch)[0], expected, atol=1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_and_company_change_nothing(encoders: Callable[[str], Path], name: str) -> None:
    front_end = trained(encoders(name), name)
    move_adapters(front_end)
    values, lengths = waveforms(0.6, 1.5)
    values[0, int(lengths[0]) :] = 7.0  # whatever the padding holds
    states, num_frames = front_end(values, lengths)
    alone, _ = front_end(*waveforms(0.6))
    assert torch.allclose(states[0, : int(num_frames[0])], alone[0], atol=1e-5)


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2 with group norm"])
def test_a_gpu_gets_a_batch_at_once_where_padding_changes_nothing(
    encoders: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end = trained(encoders(name), name, lora={"dropout": 0.5})
    # Measured before there were adapters with dropout, which would change the result and draw random numbers.
    assert {"_offset", "_is_batchable"} <= vars(front_end.extractor).keys()
    move_adapters(front_end)
    batch = waveforms(0.6, 1.5)
    expected, _ = front_end(*batch)
    run, sizes = HfEncoder._run, list[int]()

    def count(self: HfEncoder, pieces: Sequence[np.ndarray]) -> list[torch.Tensor]:
        sizes.append(len(pieces))
        return run(self, pieces)

    monkeypatch.setattr(HfEncoder, "_run", count)
    # Another name of the CPU, as if it were a GPU.
    monkeypatch.setattr(HfEncoder, "device", property(lambda _: "cpu:0", lambda *_: None), raising=False)
    states, _ = front_end(*batch)
    assert sizes == ([2] if name == "wav2vec2" else [1, 1])
    assert torch.allclose(states, expected, atol=0.05)
    (states * torch.randn(states.shape)).sum().backward()
    assert all(weight.grad is not None for weight in front_end.parameters() if weight.requires_grad)


@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_reach_the_adapters_and_only_them(encoders: Callable[[str], Path], name: str) -> None:
    front_end = trained(encoders(name), name)
    move_adapters(front_end)
    states, _ = front_end.train()(*waveforms(0.5, 0.8))
    (states * torch.randn(states.shape)).sum().backward()
    reached = {key for key, weight in front_end.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert reached == trainable(front_end)
    layers, targets, factors = (4 if name == "granite" else 2), 2, 2
    assert len(reached) == layers * targets * factors and all("lora_" in key for key in reached)


@pytest.mark.parametrize(
    ("name", "frozen"),
    [("whisper", ["embed_positions"]), ("wav2vec2", ["feature_extractor", "masked_spec_embed"]), ("w2v-bert", [])],
)
def test_with_full_all_weights_train_but_the_convolutions_and_what_has_no_gradient(
    encoders: Callable[[str], Path], name: str, frozen: list[str]
) -> None:
    front_end = trained(encoders(name), name, train="full")
    states, _ = front_end.train()(*waveforms(0.5))
    (states * torch.randn(states.shape)).sum().backward()
    left = {key for key, weight in front_end.named_parameters() if not weight.requires_grad}
    # w2v-BERT's own mask of its input is not used either.
    assert {key for key in left if "masked_spec_embed" not in key} == {
        key for key, _ in front_end.named_parameters() for part in frozen if part != "masked_spec_embed" and part in key
    }
    assert all(weight.grad is not None for weight in front_end.parameters() if weight.requires_grad)
    assert trainable(front_end) | {FINGERPRINT} == set(front_end.state_dict())


def test_adapters_after_the_chosen_layer_do_not_train(encoders: Callable[[str], Path]) -> None:
    front_end = trained(encoders("hubert"), layers=[1])
    assert {name.split(".layers.")[1][0] for name in trainable(front_end)} == {"0"}
    assert all(".layers.0." in name for name in front_end.state_dict() if name != FINGERPRINT)


def test_only_the_dropout_of_adapters_wakes_in_training(encoders: Callable[[str], Path]) -> None:
    front_end = trained(encoders("wav2vec2"), lora={"rank": 2, "dropout": 0.5}).train()
    move_adapters(front_end)
    awake = {name for name, module in front_end.model.named_modules() if module.training}
    assert awake and all("lora_dropout" in name for name in awake)
    batch = waveforms(0.5)
    assert not torch.equal(front_end(*batch)[0], front_end(*batch)[0])
    assert torch.equal(front_end.eval()(*batch)[0], front_end(*batch)[0])
    quiet = trained(encoders("wav2vec2")).train()  # wav2vec 2.0 has dropout, masks and skipped layers by default
    assert torch.equal(quiet(*batch)[0], quiet(*batch)[0])


def test_a_checkpoint_holds_the_adapters_and_the_fingerprint_of_the_rest(encoders: Callable[[str], Path]) -> None:
    one, other = trained(encoders("whisper")), trained(encoders("whisper"))
    move_adapters(one)
    state = one.state_dict()
    assert set(state) == trainable(one) | {FINGERPRINT} and all("lora_" in name for name in trainable(one))
    assert bytes(state[FINGERPRINT].int().tolist()).hex() == features_of(conf_of(encoders("whisper"))).weights
    batch = waveforms(0.5)
    assert not torch.equal(one(*batch)[0], other(*batch)[0])
    other.load_state_dict({name: tensor.clone() for name, tensor in state.items()})
    assert torch.equal(one(*batch)[0], other(*batch)[0])


def test_other_base_weights_are_refused(encoders: Callable[[str], Path], tmp_path: Path) -> None:
    state = trained(encoders("whisper")).state_dict()
    folder = make_encoder(tmp_path, "whisper", init_std=0.3)
    with pytest.raises(ValueError, match="trained on another base model: the LLM, the CTC encoder or the front end"):
        trained(folder).load_state_dict(state)
    features = features_of(conf_of(encoders("whisper")))
    moved = FeatureFormat(**{**vars(features), "frontend_conf": {**features.frontend_conf, "path": str(folder)}})
    with pytest.raises(ValueError, match="other weights than those of the features that the model learned from"):
        build_front_end(moved)


def test_a_checkpoint_of_an_encoder_on_it_is_whole_and_can_be_a_part_of_another(
    encoders: Callable[[str], Path],
) -> None:
    choice = choose_encoder(SMALL, "test")

    def fresh(seed: int) -> FrontedEncoder:
        torch.manual_seed(seed)
        encoder: FrontedEncoder = build_encoder(choice, 9, features_of(conf_of(encoders("whisper"))))
        move_adapters(encoder.front_end)
        return encoder.eval()

    one, other = fresh(1), fresh(2)
    batch = waveforms(0.7, 0.5)
    state = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    assert sum(name.startswith("front_end.") for name in state) == len(trainable(one.front_end)) + 1
    assert not torch.equal(one(*batch).logits, other(*batch).logits)
    other.load_state_dict(state)
    assert torch.equal(one(*batch).logits, other(*batch).logits)
    # As a frozen part of a network, it is in none of that network's checkpoints, but in its fingerprint.
    whole = torch.nn.ModuleDict({"encoder": fresh(3).requires_grad_(False), "rest": torch.nn.Linear(2, 2)})
    base = digest_tensors(whole["encoder"].state_dict())
    keep_only_trainable(whole, base)
    kept = whole.state_dict()
    assert set(kept) == {"rest.weight", "rest.bias", FINGERPRINT}
    whole.load_state_dict(kept)
    move_adapters(whole["encoder"].requires_grad_(True).front_end)  # type: ignore[arg-type]
    assert digest_tensors(whole["encoder"].state_dict()) != base


def test_a_part_that_trains_within_a_network_is_in_its_checkpoints(encoders: Callable[[str], Path]) -> None:
    def fresh() -> Any:
        encoder = build_encoder(choose_encoder(SMALL, "test"), 0, features_of(conf_of(encoders("hubert"))))
        whole = torch.nn.ModuleDict({"encoder": encoder})
        keep_only_trainable(whole, b"base")
        return whole

    one, other = fresh(), fresh()
    move_adapters(one["encoder"].front_end)
    state = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    assert set(state) == trainable(one) | {FINGERPRINT}
    other.load_state_dict(state)
    batch = waveforms(0.7)
    assert torch.equal(one["encoder"](*batch).hidden, other["encoder"](*batch).hidden)


def test_adapters_that_split_weights_are_loaded_with_their_start(encoders: Callable[[str], Path]) -> None:
    one, other = (trained(encoders("whisper"), lora={"init_lora_weights": "pissa"}) for _ in range(2))
    plain = trained(encoders("whisper"))
    batch = waveforms(0.5)
    assert torch.allclose(one(*batch)[0], plain(*batch)[0], atol=1e-5)
    move_adapters(one)
    other.load_state_dict({name: tensor.clone() for name, tensor in one.state_dict().items()})
    assert torch.allclose(one(*batch)[0], other(*batch)[0], atol=1e-5)


def test_a_frozen_front_end_is_no_part_of_the_network(encoders: Callable[[str], Path]) -> None:
    features = features_of({"path": str(encoders("whisper")), "overlap": 1.0})
    assert not features.is_trained and build_front_end(features) is None
    assert isinstance(features.build_reader(), HfEncoder)
    assert not isinstance(build_encoder(choose_encoder(SMALL, "test"), 9, features), FrontedEncoder)


def test_a_network_is_built_where_gradients_are_off(encoders: Callable[[str], Path]) -> None:
    with torch.inference_mode():
        front_end = trained(encoders("whisper"))
        states, _ = front_end(*waveforms(0.5))
    assert trainable(front_end) == trainable(trained(encoders("whisper"))) and not states.requires_grad


def test_what_is_no_batch_of_waveforms_is_refused(encoders: Callable[[str], Path]) -> None:
    front_end = trained(encoders("whisper"))
    with pytest.raises(ValueError, match=r"features of shape \(1, 50, 16\); this front end trains"):
        front_end(torch.zeros(1, 50, 16), torch.tensor([50]))
    with pytest.raises(ValueError, match=r"0.0063 s of audio is too short for a frame: 100 samples"):
        trained(encoders("wav2vec2"))(torch.zeros(1, 100, 1), torch.tensor([100]))
    frozen = choose_encoder(SMALL, "test").build(9, features_of({"path": str(encoders("hubert"))}).shape)
    with pytest.raises(ValueError, match="features of width 1, the network expects 16; give it those of its own"):
        frozen(*waveforms(0.5))  # and not, broadcast, as states that are all the same


def test_adapters_that_would_never_learn_are_refused(encoders: Callable[[str], Path]) -> None:
    # WavLM gives the weights of its projections to one function of torch, past the adapters.
    with pytest.raises(
        ValueError, match=r"LoRA targets \['q_proj'\]: the states of the chosen layers do not depend on"
    ):
        trained(encoders("wavlm"), lora={"targets": ["q_proj", "output_dense"]})
    names = trainable(trained(encoders("wavlm"), lora={"targets": "all-linear"}))
    assert names and not any("q_proj" in name for name in names)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lora": {"targets": ["query"]}}, r"LoRA targets \['query'\] are no linear layers of this model; it has"),
        ({"train": "fine"}, "train: unknown value 'fine', expected one of frozen, lora, full"),
        ({"lora": {"ranks": 3}}, "lora: unknown key 'ranks'; did you mean 'rank'"),
        ({"dtype": "bfloat16"}, "dtype bfloat16 with train: lora, whose weights are float32"),
        ({"storage": "int16"}, "storage int16 with train: lora, of which waveforms lie on disk"),
        ({"ctc_head": True}, "train: lora with ctc_head: true, which takes over the checkpoint's CTC head as it is"),
    ],
)
def test_wrong_settings_are_refused(encoders: Callable[[str], Path], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained(encoders("whisper"), **more)


def test_a_front_end_that_cannot_train_says_so(
    add: Callable[..., None], monkeypatch: pytest.MonkeyPatch, encoders: Callable[[str], Path]
) -> None:
    class Fixed:
        dim, frame_shift = 16, 0.02

        def __call__(self, waveform: np.ndarray) -> np.ndarray:
            return np.zeros((1, 16), np.float32)

    from speechllama.frontend.front_ends import FrontEnd

    add(FRONT_ENDS, FrontEnd("fixed", HfSettings, lambda _: Fixed()))
    with pytest.raises(ValueError, match="front end fixed: train: lora, but it cannot train"):
        build_front_end(FeatureFormat("fixed", {"path": "x", "train": "lora"}, 16, 0.02))
