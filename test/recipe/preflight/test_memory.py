"""GPU memory counted without a GPU: what it counts is what autograd keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from speechllama.bin import estimate_memory
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.model.audio_encoder import AudioEncoder, Ends
from speechllama.model.compressors import PosteriorSettings
from speechllama.model.meta_model import meta_speech_llama, read_architecture
from speechllama.model.posteriors import PosteriorEmbedding
from speechllama.options import UsageError
from speechllama.recipe.preflight import memory, systems
from speechllama.recipe.preflight.memory import (
    BatchShape,
    MemoryEstimate,
    kept_bytes,
    llm_activations,
    training_memory,
    weight_bytes,
)
from speechllama.recipe.preflight.run import read_settings
from speechllama.recipe.preflight.speed import fill
from test.frontend.encoders import make_encoder
from test.llm.families import find, multimodal
from test.recipe.preflight.conftest import MakeRun

EGS = Path(__file__).resolve().parents[3] / "egs"
LLMS = EGS / "covost2" / "conf" / "llm"
MetaSystem = Callable[[str], tuple[systems.SpeechLlama, object]]
BATCH = BatchShape(num_utterances=3, num_prompt=4, num_audio=6, num_text=5, num_frames=40)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("train", ["frozen", "lora"])
def test_the_count_without_memory_is_what_a_real_pass_keeps(tiny_llm: Path, train: str, again: bool) -> None:
    config = LLMConfig(str(tiny_llm), train=train, dtype="bfloat16", gradient_checkpointing=again)  # type: ignore[arg-type]
    llm = LLM(config).train()

    def forward() -> torch.Tensor:
        size, columns = BATCH.num_utterances, BATCH.num_positions
        embeddings = torch.zeros(size, columns, llm.dim, dtype=llm.base_dtype, requires_grad=True)
        seen = torch.ones(size, 1, columns, columns, dtype=torch.bool)
        logits = llm(embeddings, seen, torch.zeros(size, columns, dtype=torch.long), num_logits=BATCH.num_text + 1)
        labels = torch.zeros(size * (BATCH.num_text + 1), dtype=torch.long)
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels)

    counted, _ = llm_activations(config, read_architecture(tiny_llm), BATCH)
    assert counted == kept_bytes(forward, llm)


def test_the_encoders_counts_are_what_real_passes_keep(checked_run: MakeRun, tiny_llm: Path) -> None:
    words = ("--system", "e5", "--size", "small", "--ctc_units", "20", "--llm", str(tiny_llm))
    run = checked_run("covost2", *words)
    settings = run.plan.selection.system.config.settings
    ctc = systems.ctc_training(run).encoder
    assert ctc is not None
    network = meta_speech_llama(settings, "e5", read_architecture(tiny_llm), ctc)
    real = AudioEncoder(network.config.audio_encoder, network.encoder.dim, network.llm.dim, 1.0)
    vectors, lengths = torch.zeros(3, 6, network.encoder.dim), torch.full((3,), 6)
    assert memory.audio_encoder_activations(network, BATCH, False) == kept_bytes(lambda: real(vectors, lengths), real)
    encoder = ctc.build()
    encoder.spec_augment.eval()
    speech, frames = torch.zeros(3, 40, 80), torch.full((3,), 40)
    kept = kept_bytes(lambda: encoder(speech, frames).logits.float().log_softmax(-1), encoder)
    assert memory.encoder_activations(ctc, BATCH, False) == kept


@pytest.mark.parametrize("keep_states", [False, True])
def test_the_count_of_posteriors_is_nearly_what_a_real_pass_keeps(meta_system: MetaSystem, keep_states: bool) -> None:
    network, _ = meta_system("l_gate_frozen" if keep_states else "l_frozen")
    settings: PosteriorSettings = network.config.compressor.settings
    dim, width = network.encoder.dim, network.llm.dim
    inner = AudioEncoder(network.config.audio_encoder, dim, width, 1.0) if keep_states else None
    real = PosteriorEmbedding(settings, Ends(dim, 101, width, 1.0), inner)
    vectors, lengths = torch.ones(3, 6, settings.width(dim)), torch.full((3,), 6)
    kept = kept_bytes(lambda: real(vectors, lengths), real)
    assert memory.audio_encoder_activations(network, BATCH, False) == pytest.approx(kept, rel=0.2)
    plain, _ = meta_system("e5")
    assert (memory.audio_encoder_activations(plain, BATCH, False) > kept) is not keep_states


def test_the_table_of_units_embeddings_is_counted(meta_system: MetaSystem) -> None:
    (network, architecture), (plain, _) = meta_system("l_frozen"), meta_system("e5")
    shape = BatchShape().of_positions(2048)
    found, expected = (training_memory(each, architecture, shape, True) for each in (network, plain))
    assert found.weights - expected.weights == 4 * 5000 * 4096
    assert found.trained == 16 * (1 + 2 * 4096)
    decoded, other = (memory.decoding_memory(each, architecture, shape, 4) for each in (network, plain))
    assert decoded.weights - other.weights == 4 * (5000 * 4096 + 1 + 2 * 4096 - 14_721_032)


@pytest.fixture
def meta_system(checked_run: MakeRun) -> MetaSystem:
    """Make a system of the paper's size on LLaMA-7B, without weights: the network and the LLM's shape."""

    def make(system: str) -> tuple[systems.SpeechLlama, object]:
        run = checked_run("covost2", "--system", system, "--llm", "some/llama_7b")
        architecture = read_architecture(LLMS / "llama_7b.json")
        config = run.plan.selection.system.config
        settings, encoder = read_settings(config, "", "system"), systems.ctc_training(run).encoder
        return meta_speech_llama(settings, config.path, architecture, encoder), architecture

    return make


def test_the_weights_of_llama_7b_take_what_arithmetic_says(meta_system: MetaSystem) -> None:
    plain, four, eight = (weight_bytes(meta_system(system)[0].llm) for system in ("e5", "e5_4bit", "e5_8bit"))
    embeddings = 2 * 32000 * 4096 + 65 * 4096  # and the norms: these stay in bfloat16
    layers = 6_738_415_616 - embeddings
    assert plain == 2 * 6_738_415_616
    assert eight == 2 * embeddings + layers
    assert four == pytest.approx(2 * embeddings + 0.516 * layers)


def test_more_positions_need_more_memory_and_checkpointing_less(meta_system: MetaSystem) -> None:
    network, architecture = meta_system("e6")
    small, large = (
        training_memory(network, architecture, BatchShape().of_positions(total), True) for total in (2048, 4096)
    )
    assert large.activations == pytest.approx(2 * small.activations, rel=0.02)
    assert large.trained == 16 * (14_721_032 + 2_097_152)
    taught = training_memory(network, architecture, BatchShape().of_positions(4096), True, is_distilled=True)
    assert taught.scratch > 2 * large.scratch - 0.8e9 and taught.activations == large.activations
    network, architecture = meta_system("e6_8bit")
    again = training_memory(network, architecture, BatchShape().of_positions(4096), True)
    assert again.activations < large.activations / 5


def test_weights_drawn_without_initialisation_make_a_model_that_computes(tiny_llm: Path) -> None:
    architecture = read_architecture(tiny_llm)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture)
    reference = AutoModelForCausalLM.from_config(architecture)
    fill(model, "cpu")
    assert torch.equal(model.model.rotary_emb.inv_freq, reference.model.rotary_emb.inv_freq)
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.isfinite().all()
    assert MemoryEstimate(1.0, 2.0, 3.0, 4.0).total == 10.0


def test_the_table_of_memory_has_a_row_for_each_llm_and_system(capsys: pytest.CaptureFixture[str]) -> None:
    llms = [str(LLMS / f"{name}.json") for name in ("llama_7b", "tinyllama_1.1b")]
    words = ["--recipe", str(EGS / "covost2"), "--systems", "e5 e6_4bit", "--positions", "2048"]
    estimate_memory.main([*words, "--llms", *llms])
    page = capsys.readouterr().out
    rows = [row.split(" | ") for row in page.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        [f"| {llm}", system] for llm in ("llama_7b", "tinyllama_1.1b") for system in ("e5", "e6_4bit")
    ]
    # 13.5 GB of weights do not fit where 4 bits do; the README's table is this command's
    assert float(rows[0][2]) > 14 > float(rows[1][2])
    readme = (EGS / "covost2" / "README.md").read_text()
    assert all(" | ".join(row[:3]) in readme for row in rows)


def test_a_front_end_that_trains_takes_memory_where_the_encoder_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Wide layers, so that gigabytes show it: 250 states of 5 s x 100,000 numbers x 2 bytes x 2 layers an utterance.
    encoder = make_encoder(tmp_path / "whisper", "whisper", max_source_positions=1500, encoder_ffn_dim=100_000)
    transformers.WhisperFeatureExtractor(feature_size=8).save_pretrained(encoder)
    words = ["--recipe", str(EGS / "covost2"), "--systems", "e0 e5", "--positions", "2048"]
    words += ["--llms", str(LLMS / "tinyllama_1.1b.json"), "--frontend_path", str(encoder), "--frontend"]
    rows = {}
    for front_end in ("whisper_base", "whisper_base_lora"):
        estimate_memory.main([*words, front_end])
        table = [row.split(" | ") for row in capsys.readouterr().out.splitlines()[2:]]
        rows[front_end] = {row[1]: float(row[2]) for row in table}
    frozen, trained = rows["whisper_base"], rows["whisper_base_lora"]
    assert trained["e0"] > frozen["e0"] and trained["e5"] == frozen["e5"]
    with pytest.raises(UsageError, match="--frontend: unknown front end 'whisper_bass', expected one of fbank"):
        estimate_memory.main([*words, "whisper_bass"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jamba", "config.json: jamba has recurrent layers .linear_attention., which no mask reaches: padding would"),
        ("bamba", "config.json: bamba has recurrent layers .linear_attention., which no mask reaches"),
        ("falcon_h1", "config.json: falcon_h1 has recurrent layers .hybrid., which no mask reaches"),
        ("recurrent_gemma", "config.json: recurrent_gemma has recurrent layers"),
        (
            "gemma3n_text",
            "config.json: gemma3n_text looks up embeddings of each token for each layer, and audio",
        ),
        ("mpt", "config.json: MptForCausalLM takes no position_ids"),
        ("t5", "config.json: t5 is no causal LM of the installed transformers"),
    ],
)
def test_an_llm_that_is_never_admitted_is_refused_instead_of_estimated(name: str, message: str, tmp_path: Path) -> None:
    find(name).config().to_json_file(tmp_path / "config.json")
    words = ["--recipe", str(EGS / "covost2"), "--systems", "e5", "--positions", "2048"]
    with pytest.raises(ValueError, match=message):
        estimate_memory.main([*words, "--llms", str(tmp_path / "config.json")])


def test_an_llm_that_does_not_run_in_our_way_is_refused_instead_of_estimated() -> None:
    with pytest.raises(ValueError, match="falcon: this LLM does not read embeddings with a 4-D mask and position ids"):
        llm_activations(LLMConfig(), find("falcon", "alibi").config(), BATCH)


def test_the_text_part_of_a_multimodal_llm_is_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--recipe", str(EGS / "covost2"), "--systems", "e6", "--positions", "2048", "--llms"]
    pages = []
    for config in (multimodal("gemma3"), multimodal("gemma3").text_config):
        config.to_json_file(tmp_path / "config.json")
        estimate_memory.main([*words, str(tmp_path / "config.json")])
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1] and "| config | e6 |" in pages[0]


def test_a_config_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}')
    with pytest.raises(ValueError, match="config.json: no config.json of a causal LM: .*hidden_size"):
        read_architecture(tmp_path / "config.json")
