"""The lines in fluidml: a task for each element, by grid expansion."""

from __future__ import annotations

import logging

from fluidml import Flow, Task, TaskSpec
from fluidml.storage import InMemoryStore, LocalFileStore

from benchmarks.peers.timing import answer, clocked, files_in

logging.disable(logging.WARNING)


class AddOne(Task):
    """The element's work, and its result saved."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def run(self):
        self.save(self.x + 1, "y", type_="json")


def ran(n, store, workers=1):
    flow = Flow([TaskSpec(AddOne, config={"x": list(range(n))}, expand="product")])
    flow.run(num_workers=workers, project_name="bench", run_name="run", results_store=store)


def memory(n, folder):
    return {"seconds": clocked(lambda: ran(n, InMemoryStore()))}


def persisted(n, folder):
    seconds = clocked(lambda: ran(n, LocalFileStore(base_dir=folder)))
    return {"seconds": seconds, "files": files_in(folder)}


def processes(n, folder):
    return {"seconds": clocked(lambda: ran(n, LocalFileStore(base_dir=folder), 2))}


def again(n, folder):
    ran(n, LocalFileStore(base_dir=folder))
    return {"seconds": clocked(lambda: ran(n, LocalFileStore(base_dir=folder)))}


if __name__ == "__main__":
    answer({"memory": memory, "persisted": persisted, "processes": processes, "again": again})
