"""Where a function is lowest, by a model that asks for a few points at a time.

Each round a Gaussian process learns from all that is known and proposes a batch; its points are evaluated one
by one, on all cores, and added to what is known. It ends when little more can be hoped for.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

import weft

LOW, HIGH, BATCH = np.array([-5.0, 0.0]), np.array([10.0, 15.0]), 4


@weft.step(("point", "hope"), mapspec="... -> point[i], hope[i]", sizes={"i": BATCH})
def propose(known, rng: np.random.Generator):
    """Points where the model's lower bound is lowest, and how much better than the best that would be."""
    cloud = rng.uniform(LOW, HIGH, (1000, 2))
    if not len(known):
        return cloud[:BATCH], np.full(BATCH, np.inf)
    best = known[known[:, 2].argmin()]
    cloud = np.vstack([cloud, np.clip(rng.normal(best[:2], 0.5, (1000, 2)), LOW, HIGH)])
    model = GaussianProcessRegressor(100 * Matern([5.0, 5.0], (0.5, 100), nu=2.5), 1e-6).fit(known[:, :2], known[:, 2])
    model.set_params(kernel=model.kernel_, optimizer=None)
    points, hopes = [], []
    for _ in range(BATCH):
        mean, deviation = model.predict(cloud, return_std=True)
        place = (mean - 2 * deviation).argmin()
        points.append(cloud[place]), hopes.append(best[2] - mean[place] + 2 * deviation[place])
        known = np.vstack([known, [*cloud[place], mean[place]]])  # as if it were known already
        model.fit(known[:, :2], known[:, 2])
    return points, hopes


@weft.step("value", mapspec="point[i] -> value[i]")
def branin(point) -> float:
    x, y = point
    valley = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return float(valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)


@weft.step("learned")
def learn(known, point, value):
    return np.vstack([known, np.column_stack([point, value])])


@weft.step("converged")
def little_hope(hope) -> bool:
    return bool(hope.max() < 0.01)


body = [propose, branin, learn, little_hope]
search = weft.Pipeline([weft.Loop(body, 30, name="round", until="converged", carry={"known": "learned"})], "search")

if __name__ == "__main__":
    run = search.run({"known": np.empty((0, 3))}, run_dir="runs/search")
