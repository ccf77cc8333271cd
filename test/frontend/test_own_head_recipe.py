"""A recipe on a checkpoint with a CTC head of its own: every planned command, from recordings to a packed model."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import transformers
import yaml

from speechllama.bin import adopt_ctc_head, adopt_units, translate
from speechllama.decode.speech2text import Speech2Text
from speechllama.files import read_json, read_table
from speechllama.recipe.plan import Plan, make_plan
from speechllama.recipe.stages import Stage
from speechllama.recipe.stages.records import JOB
from test.frontend.encoders import make_encoder
from test.frontend.test_ctc_head import BLANK, changing_noise, sharpen
from test.text.test_checkpoint_units import LETTERS, save_letters
from test.trained_recipe import LORA, SIZES, TRAINER, hidden, make_set
from tools.stress.recipe import inside

FRONT_END = "frontend: hf\nfrontend_conf: {path: checkpoint, ctc_head: true}\n"
TRAIN = {**TRAINER, "audio_encoder_conf": SIZES, "batch_bins": 300, "prefix_mask": "non_causal"}
CONFS: dict[str, dict[str, Any]] = {
    "ctc": {"ctc_units": 40},
    "train": TRAIN,
    "e5": {"include": "train.yaml", "compressor": "frame_average"},
    "e6": {"include": "e5.yaml", "init_system": "e5", "llm_conf": LORA},
    "l_frozen": {"include": "train.yaml", "compressor": "posteriors", "prefix_mask": "causal"},
    "plain": {"include": "train.yaml", "compressor": "none"},
}
RUN = ["--langs", "de", "--frontend", "mine", "--nj", "1", "--num_best", "2", "--beam_size", "2"]


def run_stages(plan: Plan, first: int, done: set[str]) -> list[Stage]:
    """Run the commands of a plan, those of stages that are done excepted; return the stages that had any."""
    ran = []
    for number, stage in plan.stages():
        if number < first or stage.skip or stage.marker in done:
            continue
        for path in stage.inputs:
            assert Path(path).exists(), f"{stage.name}: {path}"
        for job in stage.jobs:
            for part in range(1, job.number + 1):
                words = [str(part) if word == JOB else word for word in job.command[3:]]
                importlib.import_module(job.command[2]).main(words)
        for path in stage.outputs:
            assert Path(path).is_file(), f"{stage.name}: {path}"
        done.add(stage.marker)
        ran.append(stage)
    return ran


class Finished:
    """A recipe's folder in which e6 is packed and other systems are decoded."""

    def __init__(self, root: Path, llm: Path) -> None:
        self.root, self.llm, self.done = root, llm, set[str]()
        make_encoder(root / "checkpoint", "wav2vec2", transformers.AutoModelForCTC, vocab_size=len(LETTERS))
        model = transformers.AutoModelForCTC.from_pretrained(root / "checkpoint")
        model.config.pad_token_id = BLANK
        model.save_pretrained(root / "checkpoint")
        sharpen(root / "checkpoint")
        save_letters(root / "checkpoint")
        for name, count in (("train", 12), ("dev", 4), ("test", 4)):
            make_set(root / "made" / name, count, len(name))
            (root / "data").mkdir(exist_ok=True)
            (root / "made" / name / "data").rename(root / "data" / name)
            seconds = read_table(root / "data" / name / "utt2dur")
            for seed, (utterance, path) in enumerate(read_table(root / "data" / name / "wav.scp").items()):
                soundfile.write(path, changing_noise(float(seconds[utterance]), seed), 16000)
        (root / "conf/frontend").mkdir(parents=True)
        (root / "conf/frontend/mine.yaml").write_text(FRONT_END)
        for name, settings in CONFS.items():
            (root / f"conf/{name}.yaml").write_text(yaml.safe_dump(settings))

    def plan(self, *words: str) -> Plan:
        return make_plan([*RUN, "--llm", str(self.llm), *words])

    def run(self, *words: str) -> list[Stage]:
        with inside(self.root):
            return run_stages(self.plan(*words), 2, self.done)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Finished:
    """The recipe after `run.sh --system e6 --pack_llm true`."""
    made = Finished(tmp_path_factory.mktemp("own_head"), tiny_llm)
    stages = {stage.name: stage for stage in made.run("--system", "e6", "--pack_llm", "true")}
    assert [job.command[2] for job in stages["ctc"].jobs] == ["speechllama.bin.adopt_ctc_head"]
    return made


def test_the_head_is_the_checkpoints_and_nothing_of_it_trained(finished: Finished) -> None:
    folder = finished.root / "exp/ctc_own_mine"
    own = transformers.AutoModelForCTC.from_pretrained(finished.root / "checkpoint").lm_head
    order = [BLANK, *(number for number in range(len(LETTERS)) if number != BLANK)]
    state = torch.load(folder / "model.pth", weights_only=True)
    torch.testing.assert_close(state["head.weight"], own.weight[order].detach())
    torch.testing.assert_close(state["head.bias"], own.bias[order].detach())
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert (settings["encoder"], settings["num_units"], settings["feature_dim"]) == ("own_head", len(LETTERS), 16)
    assert settings["tokenizer"] == "data/ctc_own_mine/units.json"
    assert not list(folder.glob("*epoch.pth")) and not (folder / "training.json").exists()


def test_the_texts_of_CTC_are_those_of_transformers(finished: Finished) -> None:
    checkpoint = finished.root / "checkpoint"
    model = transformers.AutoModelForCTC.from_pretrained(checkpoint).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(checkpoint)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    hypotheses = read_table(finished.root / "exp/ctc_own_mine/compressed_frame_average/test/ctc_hyp")
    texts = set()
    for utterance, path in read_table(finished.root / "data/test/wav.scp").items():
        batch = extractor(soundfile.read(path, dtype="float32")[0], sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            labels = model(batch.input_values).logits.argmax(-1)[0]
        text = re.sub("</?s>|<unk>", "", str(tokenizer.decode(labels)))
        expected = " ".join(text.lower().split())
        assert hypotheses[utterance] == expected
        texts.add(expected)
    assert len(texts) > 1 and any(texts)
    report = read_json(finished.root / "exp/ctc_own_mine/compressed_frame_average/report.json")
    assert report["sets"]["test"]["wer"] > 0 and report["sets"]["test"]["num_utterances"] == 4


def test_recordings_and_prepared_features_give_the_same_text(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished.root / "exp" / f"st_e6_mine_{finished.llm.name}"
    texts = read_table(folder / "decode_test_beam2/text")
    recordings = read_table(finished.root / "data/test/wav.scp")
    with hidden(finished.root / "checkpoint"):  # its weights are in the zip
        model = Speech2Text.from_pretrained(folder / "packed.zip")
        model.config = type(model.config)(beam_size=2)
        for utterance, path in recordings.items():
            assert model(path)[0].text == texts[utterance]
        first = next(iter(recordings.values()))
        words = ["--beam_size", "2", "--segmentation", "even"]  # it is noise, and silero-vad would find no speech
        assert translate.main(["--model", str(folder / "packed.zip"), *words, first]) in (0, None)
        assert capsys.readouterr().out.rstrip("\n").split("\t")[1] == next(iter(texts.values()))


@pytest.mark.parametrize("system", ["l_frozen", "plain"])
def test_every_kind_of_compressor_reads_the_states(finished: Finished, system: str) -> None:
    stages = finished.run("--system", system, "--stop_stage", "12")
    assert {"train", "decode", "score"} <= {stage.name for stage in stages} and "ctc" not in {s.name for s in stages}
    folder = finished.root / "exp" / f"st_{system}_mine_{finished.llm.name}"
    assert len(read_table(folder / "decode_test_beam2/text")) == 4
    if system == "plain":  # every state is a position: 20 ms, not 40
        frames = read_table(finished.root / "dump_mine/train/utt2num_frames")
        positions = read_table(folder / "llm_stats/train")
        assert all(int(positions[utterance]) > int(count) for utterance, count in frames.items())


def test_what_brings_no_head_is_refused(finished: Finished, tmp_path: Path) -> None:
    words = ["--tokenizer", "data/ctc_own_mine/units.json", "--output_dir", str(tmp_path / "ctc")]
    with inside(finished.root):
        with pytest.raises(ValueError, match=r"made/train/dump: its front end \(fbank\) brings no CTC head"):
            adopt_ctc_head.main(["--data_dir", "made/train/dump", *words])
        with pytest.raises(ValueError, match="--frontend fbank: brings no CTC head"):
            adopt_units.main(["--text", "data/train/src_text", "--output_dir", str(tmp_path)])
    assert not (tmp_path / "ctc").exists()


def test_units_or_weights_of_another_checkpoint_are_refused(finished: Finished, tmp_path: Path) -> None:
    units = finished.root / "data/ctc_own_mine"
    shutil.copytree(units, tmp_path / "units")
    record = read_json(units / "units.json")
    (tmp_path / "units/units.json").write_text(json.dumps({**record, "texts": record["texts"][:-1]}))
    words = ["--data_dir", "dump_mine/train", "--output_dir", str(tmp_path / "ctc"), "--tokenizer"]
    with inside(finished.root):
        with pytest.raises(ValueError, match="units.json: 13 CTC units, but the CTC head has 14"):
            adopt_ctc_head.main([*words, str(tmp_path / "units/units.json")])
        with hidden(Path("checkpoint")):
            shutil.copytree("checkpoint.hidden", "checkpoint")
            sharpen(Path("checkpoint"))
            try:
                with pytest.raises(ValueError, match="other weights than those of the features"):
                    adopt_ctc_head.main([*words, str(units / "units.json")])
            finally:
                shutil.rmtree("checkpoint")


def test_CTC_is_a_row_of_its_own(finished: Finished) -> None:
    stages = {stage.name: stage for stage in finished.run("--system", "ctc", "--task", "asr", "--stop_stage", "12")}
    assert {"decode", "score"} <= set(stages)
    folder = finished.root / "exp/asr_ctc_mine/decode_test_beam1"
    assert read_json(folder / "decode.json")["num_trainable"] == 0
    assert read_table(folder / "text") == read_table(
        finished.root / "exp/ctc_own_mine/compressed_frame_average/test/ctc_hyp"
    )
