"""Patterns of Gray–Scott reaction–diffusion over (feed, kill), as in Pearson, Science 261, 189 (1993)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

import weft

FEED, KILL = np.linspace(0.014, 0.056, 8), np.linspace(0.049, 0.066, 8)


def start(rng: np.random.Generator, size: int) -> np.ndarray:
    """Chemicals u and v: u everywhere, a few drops of v at random places."""
    u, v = np.ones((size, size), np.float32), np.zeros((size, size), np.float32)
    for x, y in rng.integers(0, size - 6, (8, 2)):
        u[x : x + 6, y : y + 6], v[x : x + 6, y : y + 6] = 0.5, 0.25
    return np.stack([u, v])


def grow(uv: np.ndarray, feed, kill, n_steps: int) -> np.ndarray:
    """Chemical v after so many steps; the fields are the last two dimensions."""
    u, v = uv
    for _ in range(n_steps):
        reaction = u * v * v
        u = u + (0.16 * laplacian(u) - reaction + feed * (1 - u))
        v = v + (0.08 * laplacian(v) + reaction - (feed + kill) * v)
    return v


def laplacian(a: np.ndarray) -> np.ndarray:
    return np.roll(a, 1, -1) + np.roll(a, -1, -1) + np.roll(a, 1, -2) + np.roll(a, -1, -2) - 4 * a


@weft.step("pattern", mapspec="feed[f], kill[k] -> pattern[f, k]")
def simulate(feed: float, kill: float, n_steps: int, size: int, rng: np.random.Generator) -> np.ndarray:
    return grow(start(rng, size), np.float32(feed), np.float32(kill), n_steps)


@weft.step("pattern", mapspec="feed[f], kill[k] -> pattern[f, k]", batch=True, name="simulate")
def simulate_many(feed, kill, n_steps: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """The same for many elements at once: `feed` and `kill` are arrays, `rng` a list."""
    uv = np.stack([start(r, size) for r in rng], axis=1)
    return grow(uv, np.float32(feed)[:, None, None], np.float32(kill)[:, None, None], n_steps)


if __name__ == "__main__":
    settings = {"feed": FEED, "kill": KILL, "n_steps": 5000, "size": 64}
    patterns = simulate.run(settings, run_dir="runs/gray-scott")["pattern"]
    figure, axes = plt.subplots(len(FEED), len(KILL), figsize=(8, 8.4))
    for (f, k), ax in np.ndenumerate(axes[::-1]):
        ax.imshow(patterns[f, k], cmap="magma", vmin=0, vmax=0.4)
        ax.set(xticks=[], yticks=[], xlabel=f"{KILL[k]:.3f}" * (f == 0), ylabel=f"{FEED[f]:.3f}" * (k == 0))
    figure.supxlabel("kill"), figure.supylabel("feed"), figure.tight_layout(pad=0.6)
    figure.savefig("gray-scott.png", dpi=100)
