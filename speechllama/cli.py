"""What entry points share: the parser, the exit status, and types of options that argparse lacks."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib.metadata
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from speechllama.constants import DEFAULT_FRONT_END
from speechllama.faults import InputError

REPORTED = ("speechllama", "torch", "transformers", "peft", "espnet")  # whose versions a report of a fault should hold


MODEL_HELP = "trained experiment directory, packed zip, or repository on the Hugging Face hub"
REVISION_HELP = "branch, tag or commit of the repository"


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the description's own lines and show every default."""


def new_parser(doc: str | None) -> argparse.ArgumentParser:
    """Make a parser that shows its defaults and refuses shortened option names.

    Args:
        doc: The description, usually the entry point's own `__doc__`.
    """
    return argparse.ArgumentParser(description=doc, formatter_class=_HelpFormatter, allow_abbrev=False)


def add_conf_path(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the includes of `--config` are looked for."""
    text = "folders, separated by colons, where includes are looked for; empty: the YAML's own"
    parser.add_argument("--conf_path", default="", help=text)


def add_front_end(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a front end."""
    parser.add_argument("--frontend", default=DEFAULT_FRONT_END, help="what computes features: a name in FRONT_ENDS")
    parser.add_argument("--frontend_conf", type=mapping, default={}, help="its settings, a YAML or JSON mapping")


def str2bool(value: str) -> bool:
    """Read "true" or "false" of an option; to be used as argparse's `type`.

    Raises:
        argparse.ArgumentTypeError: It is neither (argparse turns this into a usage error).
    """
    lowered = value.strip().lower()
    if lowered in ("true", "yes", "1"):
        return True
    if lowered in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, found {value!r}")


def mapping(value: str) -> dict[str, Any]:
    """Read settings of an option, `'{"num_clusters": 500}'` or `'{num_clusters: 500}'`; argparse's `type`.

    Raises:
        argparse.ArgumentTypeError: It is no YAML mapping (argparse turns this into a usage error).
    """
    import yaml

    try:
        settings = yaml.safe_load(value)
    except yaml.YAMLError:
        settings = value
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise argparse.ArgumentTypeError(f"expected settings such as '{{\"key\": 5}}', found {value!r}")
    return settings


def pair_up(inputs: Sequence[str], outputs: Sequence[str], option: str) -> list[tuple[str, str]]:
    """Give each input its output.

    Args:
        inputs: Values of the option that names inputs.
        outputs: Values of the option that names outputs.
        option: That option, for the message.

    Raises:
        ValueError: They are not equally many.
    """
    if len(inputs) != len(outputs):
        raise InputError(f"{option}: {len(outputs)} given, expected one for each of {len(inputs)}: {' '.join(inputs)}")
    return list(zip(inputs, outputs, strict=True))


def run_main(main: Callable[[], Any]) -> None:
    """Run an entry point and end the process: 0 good, 1 failed (message on stderr), 2 wrong usage.

    A wrong input is the user's to repair: a message, no traceback. So is what the system refuses (a full disk, a file
    without permission). Anything else is a fault of ours or of a library: its traceback, and what to report.

    Args:
        main: The entry point; it returns None or an exit status.
    """
    try:
        status = main()
    except (InputError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            print("the disk or its quota is full; what is finished is kept: make room and start again", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        traceback.print_exc()
        print(describe_fault(error), file=sys.stderr)
        sys.exit(1)
    sys.exit(status or 0)


def describe_fault(error: Exception) -> str:
    """Say of an exception that is not ours whose fault it is, and what a report should hold."""
    versions = [f"python {platform.python_version()}"]
    for name in REPORTED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    message = " ".join(str(error).split())
    return (
        f"FAULT: {type(error).__name__}: {message}\n"
        "This is a fault of the program or of a library. Please report it with the traceback above, the command, and "
        f"these versions: {', '.join(versions)}"
    )
