"""Drivers made to be killed: the end of the test, which kills, and that of the script, which forks them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.phases import Control, PhasedDisk, alive

import weft.store.fs

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30.0


class Drivers:
    """Starts drivers of a study one by one, kills them, and waits until nothing of them is left.

    Parameters
    ----------
    module
        Where the script's ``main`` is, see `serve`.
    environment
        More variables for the script.
    """

    def __init__(self, folder: Path, module: str, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        # Short: a process pool keeps a socket there, whose path has room for some hundred characters.
        self.pids, self.temporary = folder / "pids", tempfile.mkdtemp(prefix="kill-")
        self.pids.mkdir()
        self.control = Control(folder / "control")
        self.ended: set[int] = set()
        given = {
            **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1", "TMPDIR": self.temporary, "WEFT_TEST_PIDS": str(self.pids),
            "WEFT_TEST_CONTROL": str(folder / "control"), **(environment or {}),
        }  # fmt: skip
        self.stderr = open(folder / "stderr", "w")  # noqa: SIM115 - it is closed in close()
        self.script = subprocess.Popen(
            [sys.executable, "-c", f"from {module} import main; main()"],
            cwd=ROOT, env=given, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.stderr,
        )  # fmt: skip

    def close(self) -> None:
        assert self.script.stdin is not None
        self.script.stdin.close()
        self.script.wait(DEADLINE)
        self.stderr.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
        for pid in self.ended:  # what a killed group could not give back itself
            for left in [*Path("/dev/shm").glob(f"*loky-{pid}-*"), *Path("/dev/shm").glob(f"*.weft-{pid}-*")]:
                with contextlib.suppress(OSError):
                    left.unlink()

    def start(self, **order: Any) -> int:
        """Start a driver, with the arguments of the study's ``drive``."""
        assert self.script.stdin is not None
        self.script.stdin.write(json.dumps(order) + "\n")
        self.script.stdin.flush()
        return self._told()["pid"]

    def status(self) -> int:
        """How the driver ends that is at work."""
        return os.waitstatus_to_exitcode(self._told()["status"])

    def check_success(self) -> None:
        """Wait for the driver that is at work, which must come to its end."""
        assert self.status() == 0, self.errors()

    def errors(self) -> str:
        return (self.folder / "stderr").read_text()[-3000:]

    def reach(self, reached: Callable[[], Any], what: Any) -> bool:
        """Wait for a moment; False if the run came to its end without it."""
        over = time.monotonic() + DEADLINE
        while not reached():
            if select.select([self.script.stdout], [], [], 0.001)[0]:
                self.check_success()
                return False
            assert time.monotonic() < over, (what, self.control.phases())
        return True

    def kill(self, driver: int, group: bool) -> None:
        """Kill a driver, or it and its workers."""
        if group:
            os.killpg(driver, signal.SIGKILL)
        else:
            os.kill(driver, signal.SIGKILL)
        self.status()
        self.ended.add(driver)

    def wait_for_workers(self) -> None:
        """Wait until those end whose driver is gone."""
        over = time.monotonic() + DEADLINE
        while left := [pid for pid in self.workers() if alive(pid)]:
            if time.monotonic() > over:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"worker(s) {left} did not end after their driver was killed")
            time.sleep(0.005)
        for path in self.pids.iterdir():
            path.unlink()

    def workers(self) -> list[int]:
        return [int(path.name) for path in self.pids.iterdir()]

    def _told(self) -> dict[str, int]:
        assert self.script.stdout is not None
        assert select.select([self.script.stdout], [], [], DEADLINE)[0], "the script does not answer"
        line = self.script.stdout.readline()
        assert line, self.errors()
        told: dict[str, int] = json.loads(line)
        return told


def install() -> None:
    """Watch the disk in this process, and tell the test that it is there."""
    Path(os.environ["WEFT_TEST_PIDS"], str(os.getpid())).touch()
    weft.store.fs._current = weft.store.fs.FileSystem(
        PhasedDisk(Control(Path(os.environ["WEFT_TEST_CONTROL"])))
    )


def serve(drive: Callable[..., None]) -> None:
    """For each order on standard input fork a driver, say its number, and then how it ended."""
    import cloudpickle  # noqa: F401 - once, for all drivers
    import loky  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            os.dup2(2, 1)  # the answers of this script stand alone on its output
            try:
                os.setsid()
                os.environ["WEFT_TEST_DRIVER"] = str(os.getpid())
                install()
                drive(**order)
                status = 0
            finally:
                sys.stderr.flush()
                if status:
                    import traceback

                    traceback.print_exc()
                os._exit(status)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": status}), flush=True)
