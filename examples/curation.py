"""A thousand simulation files, one of them damaged: scaled, written anew, their statistics merged."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import weft

RAW, CLEAN, N_CASES = Path("data/raw"), Path("data/clean"), 1000


def simulate(case: int) -> None:
    rng = np.random.default_rng(case)
    np.savez(RAW / f"case-{case:04}.npz", velocity=rng.normal(10 + 5 * rng.random(), 2, (1000, 3)))


class Cases(weft.Source):
    def __len__(self):
        return N_CASES

    def __getitem__(self, index):
        yield np.load(RAW / f"case-{index:04}.npz")["velocity"]


class Moments(weft.Filter):  # number, sum and sum of squares of what passes
    sums = np.zeros(3)

    def __call__(self, items):
        for velocity in items:
            self.sums = np.add(self.sums, [velocity.size, velocity.sum(), (velocity**2).sum()])
            yield velocity

    def flush(self):
        return self.sums

    def merge(self, states):
        n, total, squares = sum(states)
        return f"{total / n:.2f} ± {np.sqrt(squares / n - (total / n) ** 2):.2f}"


def save(items, index):
    np.savez_compressed(CLEAN / f"case-{index:04}.npz", *((velocity / 10).astype("f4") for velocity in items))
    return [CLEAN / f"case-{index:04}.npz"]


if __name__ == "__main__":
    if not RAW.exists():
        RAW.mkdir(parents=True), CLEAN.mkdir(parents=True)
        [simulate(case) for case in range(N_CASES)]
        (RAW / "case-0041.npz").write_bytes(b"PK\x03\x04")
    curation = weft.stream(Cases(), "curation").filter(Moments()).write(save)
    run = curation.run(run_dir="runs/curation", on_error="continue")
    for error in run.errors:
        print(f"case {error.index['index']} is damaged ({error.message}); simulated again")
        simulate(error.index["index"])
    run = curation.run(run_dir="runs/curation")  # what failed, and the statistics; nothing else
    print(f"{len(run['paths'])} cases in {CLEAN}; velocity: {run['Moments']}")
    plt.hist(run["Moments_state"][:, 1] / run["Moments_state"][:, 0], 40)
    plt.xlabel("mean velocity of a case"), plt.savefig("curation.png", dpi=60)
