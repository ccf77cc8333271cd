r"""Translate audio files, or transcribe them, as the model was trained: text, tables or subtitles.

A recording of at most --max_seconds is one segment: one line of text. A longer one is cut into segments at pauses.

Examples, in the directory of a recipe:
    python3 -m speechllama.bin.translate --model exp/st_e6/packed.zip clip.mp3 another.wav
    python3 -m speechllama.bin.translate --model exp/st_e6/packed.zip --format srt --output_dir subtitles lecture*.mp3
    python3 -m speechllama.bin.translate --model exp/st_e6/packed.zip --microphone
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import MODEL_HELP, REVISION_HELP, new_parser, run_main
from speechllama.decode.search_options import add_search_options, given_search
from speechllama.decode.subtitles import FORMATS
from speechllama.options import UsageError
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("audio", nargs="*", help="recordings: wav, flac, mp3, opus, ...")
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--revision", default=None, help=REVISION_HELP)
    parser.add_argument("--language", default="", help="source language code, if the model's prompt names it")
    parser.add_argument("--target_lang", default="", help="language to write, if the model writes several")
    parser.add_argument("--task", default="", help="st or asr, if the model was trained for both; empty: its own way")
    text = "text: a line a segment; tsv, json, jsonl, srt and vtt also have its times, in seconds or as subtitles do"
    parser.add_argument("--format", default="text", choices=FORMATS, help=text)
    parser.add_argument("--output_dir", default="", help="write NAME.srt etc. there, a file a recording; empty: stdout")
    parser.add_argument("--microphone", action="store_true", help="translate what is spoken now, until Ctrl-C")
    text = "vad: cut at pauses, found by silero-vad (pip install -e '.[vad]'); even: cut into windows of --max_seconds"
    parser.add_argument("--segmentation", default="vad", choices=("vad", "even"), help=text)
    parser.add_argument("--max_seconds", type=float, default=20.0, help="longest segment")
    parser.add_argument("--min_pause", type=float, default=0.5, help="seconds without speech that end a segment")
    parser.add_argument("--batch_size", type=int, default=8, help="segments at once, halved when memory runs out")
    add_search_options(parser, keeps_packed=True)
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Translate; a bad file is named and left out, and the exit status is then 1."""
    parser = get_parser()
    args = parser.parse_args(cmd)
    setup_logging()
    from speechllama.decode.long import LongConfig
    from speechllama.decode.speech2text import Speech2Text
    from speechllama.decode.systems import change_search
    from speechllama.decode.translate_files import FilesJob, check_job, translate_files, translate_microphone

    cutting = {name: getattr(args, name) for name in ("segmentation", "max_seconds", "min_pause", "batch_size")}
    long = LongConfig(**cutting, checks_short=True)
    job = FilesJob(args.audio, args.format, args.output_dir, args.language, args.target_lang, long)
    try:
        check_job(job, args.microphone)
    except UsageError as error:
        parser.error(str(error))
    translator = Speech2Text.from_pretrained(args.model, "cuda" if args.ngpu else "cpu", revision=args.revision)
    translator.config = change_search(translator.config, given_search(args))
    translator.check_language(args.language, args.target_lang)
    translator.check_task(args.task)
    translator.writes = args.task
    if args.microphone:
        return translate_microphone(translator, job)
    return 1 if translate_files(translator, job) else 0


if __name__ == "__main__":
    run_main(main)
