"""The processes of a session, and the end of them all.

session -> process ids
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path


def session_members(session: int) -> list[int]:
    """The processes of a session, its leader first; jobs have process groups of their own, so a group is not enough."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state parent group session ...; a name may hold spaces and brackets
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(int(path.parent.name))
    return sorted(members)


def kill_session(session: int, known: Sequence[int] = ()) -> None:
    """Kill every process of a session with SIGKILL: those known first, then whatever they have started."""
    members = list(known)
    while members:
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        members = session_members(session)
