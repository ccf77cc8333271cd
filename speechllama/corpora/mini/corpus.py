"""The miniature corpus on disk, as CoVoST 2 and Common Voice 6.1 lay it out.

    plan -> Utterance -> espeak -> clips/*.mp3; validated.tsv, covost_v2.<lang>_en.tsv, llm_text.tsv

    DIR/common_voice/<lang>/validated.tsv, clips/common_voice_<lang>_<8 digits>.mp3
    DIR/covost2/covost_v2.<lang>_en.tsv        path, translation, split
    DIR/llm_text.tsv                           lang, sentence, translation: text for the small LLM
    DIR/settings.json                          what it was made with

The same settings give the same bytes on every run, whatever the number of processes.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechllama.constants import SAMPLE_RATE
from speechllama.corpora.covost2.files import table_name
from speechllama.corpora.mini.plan import Pair, Settings, Utterance, draw_pairs, plan_utterances
from speechllama.corpora.synthetic.acoustics import surround
from speechllama.corpora.synthetic.espeak import synthesize
from speechllama.data.audio import resample
from speechllama.data.tsv import escape
from speechllama.faults import InputError
from speechllama.files import atomic_write, read_json, write_json, writing
from speechllama.progress import progress
from speechllama.text.targets import DEFAULT_TARGET

VALIDATED_COLUMNS = "client_id path sentence up_votes down_votes age gender accent locale segment".split()
CONTENT = "content"  # key of the digest of sentences and voices


def make_clip(utterance: Utterance, clip: Path) -> None:
    """Speak one utterance into an MP3 that appears when it is whole.

    Args:
        utterance: What to say and how; its number seeds the noise.
        clip: File to write; its folder exists.
    """
    waveform, rate = synthesize(
        utterance.pair.sentence, utterance.pair.lang, utterance.variant, utterance.speed_wpm, utterance.pitch
    )
    if utterance.surroundings is not None:
        waveform = surround(waveform, rate, utterance.surroundings)
    waveform *= utterance.peak / max(float(np.abs(waveform).max()), 1e-3)
    if utterance.noise_db is not None:  # white noise, decibels relative to the peak
        noise = np.random.default_rng(utterance.number).standard_normal(len(waveform), dtype=np.float32)
        waveform += noise * np.float32(utterance.peak * 10.0 ** (utterance.noise_db / 20.0))
    waveform = resample(waveform, rate)  # fewer samples take less time to encode, which is most of the time of a clip
    temporary = clip.with_name(f"{clip.name}.tmp.{os.getpid()}")
    try:
        with writing(clip):
            soundfile.write(temporary, np.clip(waveform, -1.0, 1.0), SAMPLE_RATE, format="MP3")
        os.replace(temporary, clip)
    finally:
        temporary.unlink(missing_ok=True)


def make_clips(utterances: list[Utterance], output_dir: Path, num_jobs: int) -> None:
    """Make the clips that are not there yet, in as many processes as asked for."""
    todo = []
    for utterance in utterances:
        clip = output_dir / "common_voice" / utterance.pair.lang / "clips" / utterance.file_name
        if not clip.is_file():
            clip.parent.mkdir(parents=True, exist_ok=True)
            todo.append((utterance, clip))
    logging.info("%d clips to make, %d are there already", len(todo), len(utterances) - len(todo))
    for _ in progress(run_jobs(todo, num_jobs), len(todo), "clips"):
        pass


def run_jobs(todo: list[tuple[Utterance, Path]], num_jobs: int) -> Iterator[None]:
    """Make clips here (one job) or in processes of their own."""
    if num_jobs == 1 or len(todo) < 2:
        for utterance, clip in todo:
            make_clip(utterance, clip)
            yield
        return
    with ProcessPoolExecutor(num_jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(make_clip, *zip(*todo, strict=True), chunksize=8)


def write_tables(utterances: list[Utterance], text: list[Pair], output_dir: Path, target: str) -> None:
    """Write validated.tsv and covost_v2.<lang>_<target>.tsv of every language, and llm_text.tsv."""
    for lang in dict.fromkeys(utterance.pair.lang for utterance in utterances):
        spoken = [utterance for utterance in utterances if utterance.pair.lang == lang]
        with atomic_write(output_dir / "common_voice" / lang / "validated.tsv") as stream:
            stream.write("\t".join(VALIDATED_COLUMNS) + "\n")
            for item in spoken:
                row = (item.client_id, item.file_name, escape(item.pair.sentence), "2", "0", "", "", "", lang, "")
                stream.write("\t".join(row) + "\n")
        with atomic_write(output_dir / "covost2" / table_name(lang, target)) as stream:
            stream.write("path\ttranslation\tsplit\n")
            for item in spoken:
                stream.write(f"{item.file_name}\t{escape(item.pair.translation)}\t{item.split}\n")
    with atomic_write(output_dir / "llm_text.tsv") as stream:
        stream.write("lang\tsentence\ttranslation\n")
        for pair in text:
            stream.write(f"{pair.lang}\t{pair.sentence}\t{pair.translation}\n")


def check_same_settings(wanted: Mapping[str, Any], path: Path) -> None:
    """Remember what a folder is made with, so that clips of other settings or sentences never mix.

    Args:
        wanted: Settings, and as `content` a digest of what is said and how; JSON can hold them.
        path: Where they are remembered.

    Raises:
        ValueError: The folder was made with other settings, or by another version of sentences or voices.
    """
    if path.is_file():
        found = read_json(path)
        changed = [name for name, value in wanted.items() if found.get(name) != value]
        differing = [f"{name}: {found.get(name)!r}, now {wanted[name]!r}" for name in changed if name != CONTENT]
        if changed == [CONTENT]:
            differing = ["other sentences, or another version of sentences and voices"]
        if changed:
            parts = ", ".join((path.name, "common_voice", "covost2", "llm_text.tsv"))
            raise InputError(
                f"{path}: the corpus in this folder was made with other settings ({'; '.join(differing)}). To keep it, "
                "choose another --output_dir (of a recipe: --downloads, and with it --datadir, --dumpdir, --expdir); "
                f"to make the new one in its place, remove {parts} from {path.parent}"
            )
    write_json(path, wanted)


def digest(items: Iterable[object]) -> str:
    """A fingerprint of sentences or utterances, by what `repr` says of them."""
    sha = hashlib.sha1()
    for item in items:
        sha.update(f"{item!r}\n".encode())
    return sha.hexdigest()


def make_corpus(settings: Settings, output_dir: Path, num_jobs: int) -> None:
    """Make the corpus; a second call makes only what is missing.

    Args:
        settings: Sizes, languages and seed; with them the bytes are fixed, whatever the number of jobs.
        output_dir: Folder of the corpus.
        num_jobs: Processes.

    Raises:
        ValueError: Settings that make no corpus, or a folder with another corpus.
    """
    pairs, text = draw_pairs(settings)
    utterances = plan_utterances(settings, pairs)
    wanted = {**asdict(settings), "langs": list(settings.langs), CONTENT: digest(utterances)}
    if settings.target == DEFAULT_TARGET:
        del wanted["target"]  # as folders remember that were made before there was another
    write_corpus(wanted, utterances, text, output_dir, num_jobs)


def write_corpus(
    wanted: Mapping[str, Any], utterances: list[Utterance], text: list[Pair], output_dir: Path, num_jobs: int
) -> None:
    """Speak and write what was planned; what is there already stays.

    Args:
        wanted: What the folder is made with, see `check_same_settings`.
        utterances: Clips of all splits.
        text: Pairs for the LLM; one without a sentence is plain English.
        output_dir: Folder of the corpus.
        num_jobs: Processes.

    Raises:
        ValueError: No processes, or a folder with another corpus.
    """
    if num_jobs < 1:
        raise InputError(f"nj is {num_jobs}, expected 1 or more")
    check_same_settings({**wanted, "clip_rate": SAMPLE_RATE}, output_dir / "settings.json")
    make_clips(utterances, output_dir, num_jobs)
    write_tables(utterances, text, output_dir, str(wanted.get("target", DEFAULT_TARGET)))
    logging.info("%s: %d clips, %d lines of text", output_dir, len(utterances), len(text))
