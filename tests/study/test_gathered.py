"""Numbers that are kept up with commits, while driver and workers are threads of one process."""

from __future__ import annotations

import threading
from typing import Any

import weft
from weft.study.gathered import Gathered


def test_who_looks_while_another_reads_sees_all_that_was_committed() -> None:
    step = weft.step("n", mapspec="x[i] -> n[i]", name="count")(lambda x: x)
    run = step.run({"x": range(5)}, progress=False)
    reading, go = threading.Event(), threading.Event()

    def read(column: Any) -> Any:
        reading.set()
        assert go.wait(30)
        return column.to_array()

    found = Gathered(run._study, "count", "n", read)
    seen: list[list[int]] = []
    looks = [threading.Thread(target=lambda: seen.append(found.numbers().tolist())) for _ in range(2)]
    looks[0].start()
    assert reading.wait(30)
    looks[1].start()
    looks[1].join(0.1)  # without a lock it has ended by now, and saw nothing
    go.set()
    for look in looks:
        look.join(30)
    assert seen == [[0, 1, 2, 3, 4]] * 2
