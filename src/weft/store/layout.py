"""Names and places of the files of a run directory."""

from __future__ import annotations

import hashlib
import re

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}")

RUN = "run.json"
CHANGES = "changes"
INPUTS = "inputs"
CODE = "code"
RESULTS = "results"
EVENTS = "events"
JOBS = "jobs"
LOGS = "logs"
SCRATCH = "scratch"
ARTIFACTS = "artifacts"
LEASE = "lease.json"
FORMAT = 1


def safe_name(name: str) -> str:
    """A name as part of a path: itself if it is plain, else a readable part and a digest of the whole."""
    if _PLAIN.fullmatch(name) and not name.endswith(".damaged"):
        return name
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:40] or "name"
    return f"{readable}-{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def results_folder(step: str, identity: str) -> str:
    """Where the results of a step's identity lie, relative to the run directory."""
    return f"{RESULTS}/{safe_name(step)}/{identity}"
