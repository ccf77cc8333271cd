"""Whole recipes with the real programs at a tiny setting: every stage, a kill, a second run, and the packed model."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

from speechllama.data.audio import read_audio
from speechllama.data.tsv import read_tsv
from speechllama.decode.rescored2text import RescoredToText
from speechllama.decode.speech2text import Speech2Text
from speechllama.files import read_json, read_table
from test.frontend.encoders import make_encoder
from test.trained_recipe import hidden
from tools.stress.processes import kill_session, session_members

pytestmark = pytest.mark.recipe

STAGES = "preflight data features tokenizer statistics ctc compress llm train lora average decode score pack".split()
KILLED_STAGE = 5  # CTC training
STARTED_EARLY = "started early, next to the others"  # said of llm while ctc trains
NUM_EPOCHS = 6
DEADLINE = 300  # seconds after which something that was waited for will not come any more


class RecipeRun:
    """A recipe whose outputs go to a directory of the test, with settings that make it short."""

    def __init__(self, directory: Path, root: Path, recipe: str, settings: list[str]) -> None:
        self.exp = directory / "exp"
        self.downloads = directory / "downloads"
        self.ctc_log = self.exp / f"ctc_transcript_bpe{settings[settings.index('--ctc_units') + 1]}" / "train.log"
        places = {"datadir": "data", "dumpdir": "dump", "expdir": "exp", "downloads": "downloads"}
        where = [word for name, folder in places.items() for word in (f"--{name}", str(directory / folder))]
        self.command = [str(root / "egs" / recipe / "run.sh"), *where, *settings]
        # The Python that runs the tests has what the recipe needs, so nothing is installed.
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.environment |= {"PYTHONPATH": str(root)}

    def run(self, *arguments: str) -> str:
        """Run it to its end; what it printed."""
        return self._run([*self.command, *arguments])

    def run_table(self, *arguments: str) -> str:
        """Run its table of systems, with the same settings."""
        table = str(Path(self.command[0]).with_name("run_table.sh"))
        return self._run([table, *self.command[1:], *arguments])

    def _run(self, command: list[str]) -> str:
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        assert result.returncode == 0, f"{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
        return result.stdout

    def kill_during_training(self) -> None:
        """Start it, and kill every process of it with SIGKILL once CTC training has saved an epoch."""
        process = subprocess.Popen(
            self.command,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        end = time.monotonic() + DEADLINE
        saved = self.ctc_log.with_name("1epoch.pth")
        while not saved.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        kill_session(process.pid, session_members(process.pid))
        _, errors = process.communicate()
        assert saved.exists(), errors.decode()


def stage_states(output: str) -> dict[str, str]:
    """What the recipe said last about each stage, in the order of their turns."""
    said = [line for line in output.splitlines() if line.startswith("## stage ") and STARTED_EARLY not in line]
    lines = [line.split(maxsplit=3) for line in said]
    return {name.rstrip(":"): rest for _, _, number, text in lines for name, _, rest in [text.partition(" ")] if number}


def modification_times(folder: Path) -> dict[Path, int]:
    """When each file was written, but for the locks, which say who runs."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory, root: Path) -> RecipeRun:
    """The mini recipe, killed in CTC training and then run to its end with the same command."""
    settings = ["--data_options", "--num_train 60 --num_dev 9 --num_test 9 --num_llm_text 200", "--ctc_units", "80"]
    settings += ["--ctc_options", f"--max_epoch {NUM_EPOCHS}", "--llm_options", "--num_steps 10"]
    settings += ["--train_options", "--max_epoch 2", "--beam_size", "2"]
    recipe = RecipeRun(tmp_path_factory.mktemp("mini recipe"), root, "mini_covost2", settings)
    recipe.kill_during_training()
    output = recipe.run()
    states = stage_states(output)
    assert list(states) == STAGES
    assert all(states[name].startswith("finished before") for name in STAGES[1:KILLED_STAGE]), output
    assert states["preflight"].startswith("done in"), output  # it checks whatever is still ahead
    later = [name for name in STAGES[KILLED_STAGE:] if name != "llm"]  # it may have ended before the kill
    assert all(states[name].startswith("done in") for name in later), output
    return recipe


def test_a_killed_training_resumes_after_its_last_epoch(mini: RecipeRun) -> None:
    runs = mini.ctc_log.read_text().split("# started ")[1:]
    assert len(runs) == 2
    assert f"1/{NUM_EPOCHS}epoch started" in runs[0] and f"1/{NUM_EPOCHS}epoch started" not in runs[1]
    assert f"{NUM_EPOCHS}epoch results" in runs[1]
    assert (mini.ctc_log.parent / "model.pth").is_file()


def test_every_stage_leaves_what_the_user_looks_for(mini: RecipeRun) -> None:
    assert (mini.exp.with_name("data") / "report.md").read_text().startswith("# Mini CoVoST 2: what was kept")
    decoded = mini.exp / "st_e6" / "decode_test_beam2"
    score = read_json(decoded / "score.json")
    assert {"bleu", "chrf", "signature", "control_bleu", "num_utterances"} <= set(score)
    assert score["num_utterances"] == 9
    assert sorted(read_table(decoded / "text")) == sorted(
        read_table(decoded.with_name(f"{decoded.name}_control") / "text")
    )
    page = (mini.exp / "RESULTS.md").read_text()
    assert "| st_e6 | test | 2 |" in page and "control BLEU" in page
    report = read_json(mini.ctc_log.parent / "compressed_frame_average" / "report.json")
    assert "wer" in json.dumps(report)
    assert read_json(mini.exp / "llm" / "llm.json")["text_bleu"] >= 0


def test_a_second_run_does_nothing(mini: RecipeRun) -> None:
    before = modification_times(mini.exp)
    states = stage_states(mini.run())
    assert list(states) == STAGES
    assert all(state.startswith("finished before") for state in states.values()), states
    assert modification_times(mini.exp) == before


def test_the_baselines_need_the_corpus_and_the_llm_alone(mini: RecipeRun) -> None:
    arguments = ["--system", "b2", "--target_units", "80"]
    states = stage_states(mini.run(*arguments))
    assert all(states[name].startswith("not needed") for name in ("ctc", "compress", "lora"))
    assert all(states[name].startswith("finished before") for name in ("data", "features", "llm"))
    tuned, rescored = read_json(mini.exp / "st_b2/rescoring_beam2.json"), mini.exp / "st_b2/decode_test_beam2"
    assert tuned["tuned_metric"] >= tuned["own_metric"] and len(tuned["tried"]) == 34
    score = read_json(rescored / "score.json")
    assert score["weight"] == tuned["weight"] and {"bleu", "control_bleu"} <= set(score)
    assert sorted(read_table(rescored / "text")) == sorted(read_table(mini.exp / "st_b1/decode_test_beam2/text"))
    translate = Speech2Text.from_pretrained(mini.exp / "st_b2/packed.zip")
    assert isinstance(translate, RescoredToText) and translate.config.beam_size == 2
    assert len(translate.batch([np.ones(8000, np.float32)])) == 1
    before = modification_times(mini.exp)
    mini.run(*arguments)
    assert modification_times(mini.exp) == before


def test_the_packed_model_translates_a_file(mini: RecipeRun, tmp_path: Path) -> None:
    clip = sorted(mini.downloads.glob("common_voice/de/clips/*.mp3"))[0]
    packed = mini.exp / "st_e6" / "packed.zip"
    (tmp_path / "elsewhere.zip").write_bytes(packed.read_bytes())
    command = [sys.executable, "-m", "speechllama.bin.translate", "--model", "elsewhere.zip", str(clip)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=mini.environment)
    assert result.returncode == 0, result.stderr
    assert str(clip) in result.stdout + result.stderr  # its text, or that there is none, after so few updates


def test_a_front_end_that_trains_goes_through_every_stage(mini: RecipeRun, tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "whisper", "whisper", max_source_positions=1500)
    transformers.WhisperFeatureExtractor(feature_size=8).save_pretrained(encoder)  # of 30 s, as Whisper's own
    arguments = ["--system", "e5", "--frontend", "whisper_base_lora", "--frontend_path", str(encoder)]
    states = stage_states(mini.run(*arguments))
    assert all(states[name].startswith("finished before") for name in ("data", "tokenizer", "llm"))
    assert all(states[name].startswith("done in") for name in ("features", "ctc", "compress", "train", "pack")), states
    ctc = torch.load(mini.ctc_log.parents[1] / "ctc_transcript_bpe80_whisper_base_lora/model.pth", weights_only=True)
    own = [name for name in ctc if name.startswith("front_end.")]
    assert own and all("lora_" in name or name.endswith("base_fingerprint") for name in own)
    clip = sorted(mini.downloads.glob("common_voice/de/clips/*.mp3"))[0]
    packed = mini.exp / "st_e5_whisper_base_lora" / "packed.zip"
    command = [sys.executable, "-m", "speechllama.bin.translate", "--model", str(packed), str(clip)]
    with hidden(encoder):
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=mini.environment)
    assert result.returncode == 0 and str(clip) in result.stdout + result.stderr, result.stderr
    before = modification_times(mini.exp)
    mini.run(*arguments)
    assert modification_times(mini.exp) == before


def test_real_recordings_go_through_every_stage(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory, root: Path
) -> None:
    corpus = shared_data / "common_voice_sample"
    settings = ["--common_voice", str(corpus / "cv-corpus-6.1-sample"), "--covost2", str(corpus / "covost2")]
    settings += ["--langs", "de es zh-CN", "--llm", str(shared_data / "llama" / "stories260K"), "--size", "small"]
    settings += ["--ctc_units", "200", "--ctc_options", "--max_epoch 1", "--train_options", "--max_epoch 1"]
    settings += ["--beam_size", "2", "--decode_options", "--max_tokens 20"]
    recipe = RecipeRun(tmp_path_factory.mktemp("covost2 recipe"), root, "covost2", settings)
    states = stage_states(recipe.run())
    assert list(states) == STAGES
    assert all(state.startswith("done in") for state in states.values()), states
    score = read_json(recipe.exp / "st_e6_small_stories260K" / "decode_test_beam2" / "score.json")
    assert score["num_utterances"] == 60  # 20 test clips of each language
    assert {"bleu", "chrf", "control_bleu"} <= set(score)
    report = (recipe.exp / "ctc_transcript_bpe200_small" / "compressed_frame_average" / "report.md").read_text()
    assert all(f"| test | {language} |" in report for language in ("de", "es", "zh-CN"))


def write_part_of_librispeech(shared_data: Path, folder: Path) -> None:
    """Link the first five utterances of each speaker that the sample holds out, and of two more speakers."""
    for speaker in ("226", "2136", "3242", "6272", "7859", "19", "1088"):
        place = shared_data / "librispeech_sample/LibriSpeech/train-clean-5" / speaker
        chapter = sorted(place.iterdir())[0]
        part = folder / "LibriSpeech/train-clean-5" / speaker / chapter.name
        part.mkdir(parents=True)
        (transcripts,) = chapter.glob("*.trans.txt")
        lines = transcripts.read_text(encoding="utf-8").splitlines(keepends=True)[:5]
        (part / transcripts.name).write_text("".join(lines), encoding="utf-8")
        for line in lines:
            (audio,) = chapter.glob(f"{line.split()[0]}.*")
            (part / audio.name).symlink_to(audio)


def test_real_english_speech_with_whispers_encoder_goes_through_every_stage(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory, root: Path
) -> None:
    folder = tmp_path_factory.mktemp("librispeech recipe")
    write_part_of_librispeech(shared_data, folder / "part")
    settings = ["--librispeech", str(folder / "part"), "--data_options", "--division sample", "--size", "small"]
    settings += ["--frontend", "whisper_base", "--frontend_path", str(shared_data / "whisper_base_encoder")]
    settings += ["--llm", str(shared_data / "llama/stories260K"), "--ctc_units", "40", "--nj", "1"]
    settings += ["--ctc_options", "--max_epoch 1", "--train_options", "--max_epoch 1", "--num_best", "1"]
    settings += ["--ctc_num_best", "1", "--beam_size", "2", "--decode_options", "--max_tokens 20"]
    recipe = RecipeRun(folder, root, "librispeech", settings)
    states = stage_states(recipe.run())
    assert list(states) == STAGES
    assert all(state.startswith("done in") for state in states.values()), states
    score = read_json(recipe.exp / "asr_e6_whisper_base_small_stories260K/decode_test_beam2/score.json")
    assert score["num_utterances"] == 15 and {"wer", "control_wer", "cer"} <= set(score)


def write_pair_without_english(shared_data: Path, folder: Path) -> None:
    """Write a corpus in the form of IWSLT: French clips and long Italian recordings, with German lines.

    The speech and the transcripts are Common Voice's. The German sentences are Tatoeba's, and no translations of them:
    the test is whether a pair without English runs, not how well.
    """
    with gzip.open(shared_data / "tatoeba/deu-eng.tsv.gz", "rt", encoding="utf-8") as stream:
        german = [line.split("\t")[1].strip() for line in itertools.islice(stream, 40_000, 80_000, 400)]
    for language in ("fr", "it"):
        place = shared_data / "common_voice_sample/cv-corpus-6.1-sample" / language
        rows = [row for _, row in read_tsv(place / "validated.tsv", ("client_id", "path", "sentence"), [])]
        for split, first, last in (("train", 0, 40), ("dev", 40, 46), ("tst-COMMON", 46, 54), ("tst-HE", 54, 57)):
            part, data = rows[first:last], folder / f"{language}-de/data" / split
            for name in ("txt", "wav"):
                (data / name).mkdir(parents=True)
            clips = [place / "clips" / path for _, path, _ in part]
            write = write_clips if language == "fr" else write_long_recording
            segments = write(data / "wav", clips, [client[:8] for client, *_ in part])
            texts = {"yaml": segments, language: [sentence for *_, sentence in part], "de": german[: len(part)]}
            for suffix, lines in texts.items():
                (data / "txt" / f"{split}.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_clips(folder: Path, clips: list[Path], speakers: list[str]) -> list[str]:
    """Put clips into a folder; give the list of them."""
    for clip in clips:
        (folder / clip.name).symlink_to(clip)
    return [f"- {{wav: {clip.name}, speaker_id: {speaker}}}" for clip, speaker in zip(clips, speakers, strict=True)]


def write_long_recording(folder: Path, clips: list[Path], speakers: list[str]) -> list[str]:
    """Join clips into one recording; give the list of its segments."""
    waveforms = [read_audio(clip) for clip in clips]
    soundfile.write(folder / "long.flac", np.concatenate(waveforms), 16000)
    segments, offset = [], 0.0
    for waveform, speaker in zip(waveforms, speakers, strict=True):
        duration = len(waveform) / 16000
        segments.append(f"- {{duration: {duration}, offset: {offset}, speaker_id: {speaker}, wav: long.wav}}")
        offset += duration
    return segments


def test_a_pair_without_english_goes_through_every_stage(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory, root: Path
) -> None:
    folder = tmp_path_factory.mktemp("iwslt recipe")
    write_pair_without_english(shared_data, folder / "my corpus")
    settings = ["--corpus", str(folder / "my corpus"), "--source_lang", "fr it", "--target_lang", "de", "--nj", "1"]
    settings += ["--llm", str(shared_data / "llama/stories260K"), "--size", "small", "--ctc_units", "60"]
    settings += ["--ctc_options", "--max_epoch 1", "--train_options", "--max_epoch 1", "--num_best", "1"]
    settings += ["--ctc_num_best", "1", "--beam_size", "2", "--decode_options", "--max_tokens 20"]
    recipe = RecipeRun(folder, root, "iwslt", [*settings, "--data_options", "--test tst-COMMON,tst-HE"])
    output = recipe.run()
    states = stage_states(output)
    assert list(states) == STAGES
    assert all(state.startswith("done in") for state in states.values()), states
    assert "Translate the speech to German: " in output
    assert (folder / "data/train/segments").is_file() and len(read_table(folder / "data/tst-HE/text")) == 6
    score = read_json(recipe.exp / "st_e6_small_stories260K/decode_test_beam2/score.json")
    assert score["num_utterances"] == 16 and {"bleu", "control_bleu"} <= set(score)
    assert "tok:13a" in score["signature"]
    recipe.run_table("--stage", "1", "--systems", "E6 CTC:asr", "--reference", "E6", "--sets", "test tst-HE")
    table = (recipe.exp / "RESULTS.md").read_text()
    assert "Language pair: fr, it to de." in table
    for test_set in ("test", "tst-HE"):
        for task, row in (("Translation", "e6"), ("Recognition", "ctc:asr")):
            _, heading, rows = table.partition(f"\n{task}, {test_set}:\n\n")
            assert heading and f"| {row} |" in rows.split("\n\n")[0]
    further = read_json(recipe.exp / "st_e6_small_stories260K/decode_tst-HE_beam2/score.json")
    assert further["num_utterances"] == 6 and {"bleu", "control_bleu"} <= set(further)
