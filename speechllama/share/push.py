"""Put a trained system onto a page of the Hugging Face hub.

exp/<system>/ -> the folder of `write_page` -> organisation/name on the hub

huggingface_hub does the work: pages, commits, large files, tags. Its ModelHubMixin is not used: it is for a class that
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
from speechllama.share.package import PackOptions, write_page


@dataclass(frozen=True)
class Page:
    """A page of the hub.

    Attributes:
        name: "organisation/name" or "user/name"; made if it is not there.
        is_private: Whether a new one is seen by its owners only.
        tag: A name for what it holds now, which stays when it changes; "" for none.
    """

    name: str
    is_private: bool = False
    tag: str = ""


def push(exp_dir: str | Path, page: Page, options: PackOptions) -> str:
    """Put a system onto its page; what was there before and is no part of it now goes.

    Args:
        exp_dir: As for `write_page`.
        page: Where.
        options: What goes there besides the system.

    Returns:
        The commit.

    Raises:
        FileNotFoundError, ValueError: As `write_page`; no page can have that name; no licence is known;
            or the hub refuses it.
    """
    from huggingface_hub import HfApi

    if not HUB_ID.fullmatch(page.name):
        raise InputError(f"--push {page.name!r}: expected ORGANISATION/NAME or USER/NAME")
    if not collect_facts(exp_dir, page.name, options.licence).licence:
        raise InputError(
            f"{exp_dir}: no licence is given, and its LLM names none; give --license, such "
            "as apache-2.0 or cc-by-4.0, as the licences of the LLM and of the training data allow"
        )
    hub = HfApi(library_name="speechllama")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "page")
        write_page(exp_dir, folder, page.name, options)
        try:
            hub.create_repo(page.name, private=page.is_private, exist_ok=True)
            if page.tag in {ref.name for ref in hub.list_repo_refs(page.name).tags}:
                raise InputError(f"it has a tag {page.tag} already, which stays where it is; give another --tag")
            message = f"Upload {Path(exp_dir).resolve().name} with speechllama"
            commit = hub.upload_folder(
                repo_id=page.name, folder_path=folder, commit_message=message, delete_patterns="*"
            ).oid
            if page.tag:
                hub.create_tag(page.name, tag=page.tag)
        except Exception as error:  # of the network and of the hub: many kinds
            raise InputError(f"{page.name}: {_explain(error)}") from error
    logging.info("%s: commit %s%s", page.name, commit, f", tag {page.tag}" if page.tag else "")
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
