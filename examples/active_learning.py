"""Where a function is lowest, by a model that asks for a few points at a time.

Each round a Gaussian process learns from all that is known, and proposes a batch. Its points are evaluated
one by one, on all cores. The loop ends when little more can be hoped for.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

import weft

LOW, HIGH, BATCH = np.array([-5.0, 0.0]), np.array([10.0, 15.0]), 4


@weft.step(("point", "hope"), mapspec="... -> point[i], hope[i]", sizes={"i": BATCH})
def propose(known, rng: np.random.Generator):
    """Where surfaces that agree with what is known are lowest, and how far below the best they are there."""
    cloud = rng.uniform(LOW, HIGH, (300, 2))
    if not len(known):
        return cloud[:BATCH], np.full(BATCH, np.inf)
    best = known[known[:, 2].argmin()]
    cloud = np.vstack([cloud, np.clip(rng.normal(best[:2], 0.3, (100, 2)), LOW, HIGH)])
    model = GaussianProcessRegressor(Matern([3.0, 8.0], nu=2.5), optimizer=None, normalize_y=True)
    surfaces = model.fit(known[:, :2], known[:, 2]).sample_y(cloud, BATCH, int(rng.integers(2**32)))
    return cloud[surfaces.argmin(axis=0)], best[2] - surfaces.min(axis=0)


@weft.step("value", mapspec="point[i] -> value[i]")
def branin(point):
    x, y = point
    valley = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10


@weft.step(("learned", "converged"))
def learn(known, point, value, hope):
    return np.vstack([known, np.column_stack([point, value])]), bool(hope.max() < 0.01)


loop = weft.Loop([propose, branin, learn], 30, "round", until="converged", carry={"known": "learned"})
search = weft.Pipeline([loop], name="search")

if __name__ == "__main__":
    run = search.run({"known": np.empty((0, 3))}, run_dir="runs/search")
    *points, value = run.isel("learned", round=-1).T
    print(f"{len(value)} evaluations, the lowest {value.min():.4f}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    grid = np.meshgrid(np.linspace(-5, 10, 200), np.linspace(0, 15, 200))
    left.contourf(*grid, np.log(branin(grid)), 20, cmap="Greys")
    dots = left.scatter(*points, c=np.arange(len(value)) // BATCH, s=20, edgecolor="white", linewidth=0.5)
    figure.colorbar(dots, label="round")
    right.semilogy(run["hope"].max(axis=1), "o-", label="what was hoped for")
    right.semilogy(
        np.minimum.accumulate(run["value"].min(axis=1)) - 0.397887, "o-", label="what was left to find"
    )
    right.set(xlabel="round"), right.legend()
    figure.savefig("search.png", dpi=80)
