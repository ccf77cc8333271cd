"""Put a trained system into a repository on the Hugging Face hub.

exp/<system>/ -> the folder of `write_repository` -> organisation/name on the hub

huggingface_hub does the work: commits, large files, tags. Its ModelHubMixin is not used: it is for a class that
saves itself from memory, and would add a config.json of constructor arguments; ours is a folder with several models in
it, made from the files of an experiment, and `Speech2Text.from_pretrained` has arguments of its own.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from speechllama.decode.packed import HUB_ID
from speechllama.faults import InputError
from speechllama.hub import explain_hub_error
from speechllama.share.facts import collect_facts
from speechllama.share.package import PackOptions, write_repository


@dataclass(frozen=True)
class Repository:
    """A repository on the hub.

    Attributes:
        name: "organisation/name" or "user/name"; made if it is not there.
        is_private: Whether a new one is seen by its owners only.
        tag: A name for what it holds now, which stays when it changes; "" for none.
    """

    name: str
    is_private: bool = False
    tag: str = ""


def push(exp_dir: str | Path, repository: Repository, options: PackOptions) -> str:
    """Put a system into its repository; what was there before and is no part of it now goes.

    Args:
        exp_dir: As for `write_repository`.
        repository: Where.
        options: What goes there besides the system.

    Returns:
        The commit.

    Raises:
        FileNotFoundError, ValueError: As `write_repository`; no repository can have that name; no licence is known;
            or the hub refuses it.
    """
    from huggingface_hub import HfApi

    if not HUB_ID.fullmatch(repository.name):
        raise InputError(f"--push {repository.name!r}: expected ORGANISATION/NAME or USER/NAME")
    if not collect_facts(exp_dir, repository.name, options.licence).licence:
        raise InputError(
            f"{exp_dir}: no licence is given, and its LLM names none; give --license, such "
            "as apache-2.0 or cc-by-4.0, as the licences of the LLM and of the training data allow"
        )
    hub = HfApi(library_name="speechllama")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "page")
        write_repository(exp_dir, folder, repository.name, options)
        try:
            hub.create_repo(repository.name, private=repository.is_private, exist_ok=True)
            if repository.tag in {ref.name for ref in hub.list_repo_refs(repository.name).tags}:
                raise InputError(f"it has a tag {repository.tag} already, which stays where it is; give another --tag")
            message = f"Upload {Path(exp_dir).resolve().name} with speechllama"
            commit = hub.upload_folder(
                repo_id=repository.name, folder_path=folder, commit_message=message, delete_patterns="*"
            ).oid
            if repository.tag:
                hub.create_tag(repository.name, tag=repository.tag)
        except Exception as error:  # of the network and of the hub: many kinds
            raise InputError(f"{repository.name}: {_explain(error)}") from error
    logging.info("%s: commit %s%s", repository.name, commit, f", tag {repository.tag}" if repository.tag else "")
    return str(commit)


def _explain(error: Exception) -> str:
    """Say what to do where the hub refuses to be written to."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return (
            "the hub takes nothing from you there: give a token with write access, in HF_TOKEN or a file for "
            "--token_file (https://huggingface.co/settings/tokens), and check that you may write to that organisation"
        )
    if isinstance(error, InputError):
        return str(error)
    return explain_hub_error(error) or f"not put onto the hub: {error}"
