"""Nothing but the seam writes, renames, links, syncs or removes a file of a run: audit events tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.crash

ROOT = Path(__file__).resolve().parents[2]

WATCHER = """
import json, os, sys

FOLDER = os.path.realpath(sys.argv[1])
SEAM = os.path.join("weft", "store", "fs.py")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {
    "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 1,
    "os.truncate": 1, "os.chmod": 1, "os.utime": 1,
    "shutil.rmtree": 1, "shutil.move": 2, "shutil.copyfile": 2,
}
seen = {}

def caller():
    frame = sys._getframe(2)
    while frame is not None and "contextlib" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame.f_code.co_filename

def audit(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if not flags & WRITES:
            return
        paths = [path]
    elif event in PATHS:
        paths = arguments[: PATHS[event]]
    else:
        return
    for path in paths:
        if isinstance(path, (str, bytes, os.PathLike)):
            whole = os.path.abspath(os.fsdecode(path))
            if whole == FOLDER or whole.startswith(FOLDER + os.sep):
                who = caller()
                kind = "seam" if who.endswith(SEAM) else f"{event} of {whole} by {who}"
                seen[kind] = seen.get(kind, 0) + 1

sys.addaudithook(audit)

# A sync is no audit event: the function itself is watched, by what its handle points to.
fsync = os.fsync
def watched(handle):
    whole = os.path.realpath(f"/proc/self/fd/{handle}")
    if whole == FOLDER or whole.startswith(FOLDER + os.sep):
        who = caller()
        kind = "seam" if who.endswith(SEAM) else f"fsync of {whole} by {who}"
        seen[kind] = seen.get(kind, 0) + 1
    fsync(handle)
os.fsync = watched

import weft

BROKEN = FOLDER + ".broken"

@weft.step("y", mapspec="x[i] -> y[i]", version="1")
def fails_at_first(x):
    if x == 3 and os.path.exists(BROKEN):
        raise ValueError("three")
    return 10 * x

@weft.step("s", version="1")
def total(y):
    return int(y.sum())

def study(x, **options):
    pipe = weft.Pipeline([fails_at_first, total], name="seam")
    return pipe.run({"x": x}, run_dir=FOLDER, progress=False, **options)

if __name__ == "__main__":
    for backend in sys.argv[2].split(","):
        open(BROKEN, "w").close()
        study([1, 2, 3, 4], force="all", backend=backend, n_jobs=2, on_error="continue", block_size=2)
        os.remove(BROKEN)
        run = weft.open_run(FOLDER)
        run.retry(progress=False)
        study([0, 1, 2, 3, 4, 5], backend=backend, n_jobs=2, force="total")
        run = weft.open_run(FOLDER)
        run.reset("y", i=0)
        run.resume(progress=False)
        assert run["y"].tolist() == [0, 10, 20, 30, 40, 50] and run["s"] == 150
        run.verify(repair=True)
        run.gc()
    print(json.dumps(seen))
"""


def test_every_change_of_a_run_goes_through_the_seam(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, str(tmp_path / "run"), "sequential,thread_pool"],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("seam") > 100
    assert not seen, "\n".join(seen)


def test_the_watch_sees_what_goes_past_the_seam(tmp_path: Path) -> None:
    """The test above would notice a stray write, rename, sync or removal."""
    stray = """
path = os.path.join(FOLDER, "stray")
os.mkdir(FOLDER)
with open(path, "w") as file:
    file.write("x")
    os.fsync(file.fileno())
os.rename(path, path + "2")
os.link(path + "2", path)
os.remove(path)
print(json.dumps(seen))
"""
    code = WATCHER[: WATCHER.index("import weft")] + stray
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert {kind.split()[0] for kind in seen} == {
        "os.mkdir",
        "open",
        "fsync",
        "os.rename",
        "os.link",
        "os.remove",
    }
