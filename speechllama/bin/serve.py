"""Serve a model over HTTP, as OpenAI's API for audio does: /v1/audio/translations or /v1/audio/transcriptions.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.serve --model exp/st_e6/packed.zip --name mini

Then, for instance:
    curl http://127.0.0.1:8000/v1/audio/translations -F model=mini -F file=@clip.mp3
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from speechllama.cli import MODEL_HELP, REVISION_HELP, new_parser, run_main
from speechllama.decode.search_options import add_search_options, given_search
from speechllama.faults import InputError
from speechllama.progress import setup_logging
from speechllama.serve.limits import Limits

NEEDED = ("fastapi", "uvicorn", "python_multipart")


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--revision", default=None, help=REVISION_HELP)
    parser.add_argument("--name", default="", help="what clients call the model; empty: its folder's name")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: every one of this machine")
    parser.add_argument("--port", type=int, default=8000)
    key = "a key that clients must send, or @FILE that holds it; empty: none is needed"
    parser.add_argument("--api_key", default="", help=key)
    parser.add_argument("--max_megabytes", type=float, default=Limits.max_megabytes, help="largest upload")
    longest = "longest recording"
    parser.add_argument("--max_recording_seconds", type=float, default=Limits.max_recording_seconds, help=longest)
    parser.add_argument("--max_queue", type=int, default=Limits.max_queue, help="most requests at a time")
    parser.add_argument("--request_seconds", type=float, default=Limits.request_seconds, help="time of a request")
    parser.add_argument("--batch_size", type=int, default=Limits.batch_size, help="most segments decoded at once")
    wait = "how long a batch that is not full waits for further requests"
    parser.add_argument("--max_wait_ms", type=float, default=Limits.max_wait_ms, help=wait)
    cuts = "vad: cut at pauses, found by silero-vad (pip install -e '.[vad]'); even: cut into windows of --max_seconds"
    parser.add_argument("--segmentation", choices=("vad", "even"), default="vad", help=cuts)
    parser.add_argument("--max_seconds", type=float, default=20.0, help="longest segment")
    parser.add_argument("--min_pause", type=float, default=0.5, help="seconds without speech that end a segment")
    add_search_options(parser, keeps_packed=True)
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Serve until a signal."""
    args = get_parser().parse_args(cmd)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serving needs the packages {', '.join(missing)}: pip install -e '.[serve]'")
    limits = Limits(**{field.name: getattr(args, field.name) for field in fields(Limits)})
    api_key = read_key(args.api_key)
    setup_logging()
    from speechllama.decode.segmenter import CutConfig
    from speechllama.serve.recording import ServedModel, load_model
    from speechllama.serve.server import Server
    from speechllama.serve.service import Service

    name = args.name or default_name(args.model)

    config = CutConfig(**{name: getattr(args, name) for name in ("segmentation", "max_seconds", "min_pause")})

    def load() -> ServedModel:
        device = "cuda" if args.ngpu else "cpu"
        return load_model(args.model, device, given_search(args), config, args.revision)

    return Server(Service(name, load, limits, api_key), args.host, args.port).serve_until_ended()


def default_name(model: str) -> str:
    """Name a model by the folder of its experiment: exp/st_e6/packed.zip is st_e6, ORG/e6-1.5 is e6-1.5."""
    path = Path(model).resolve()
    return path.parent.name if path.name == "packed.zip" else path.name.removesuffix(".zip")


def read_key(value: str) -> str:
    """Read a key that is given by itself or as @FILE.

    Raises:
        ValueError: The file is empty.
    """
    if not value.startswith("@"):
        return value
    key = Path(value[1:]).read_text(encoding="utf-8").strip()
    if not key:
        raise InputError(f"--api_key {value}: the file is empty; expected a key")
    return key


if __name__ == "__main__":
    run_main(main)
