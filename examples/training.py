"""Learning rates × batch sizes × seeds: networks that learn to read digits, each until it gets no better."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import weft

RATES, SIZES, SEEDS = [0.03, 0.1, 0.3, 1.0], [16, 64], range(3)


@weft.step(("images", "labels", "new_images", "new_labels"))
def split():
    data, target = load_digits(return_X_y=True)
    data, new = data.astype("f4") / 16, np.arange(len(data)) % 3 == 0
    return data[~new], target[~new], data[new], target[new]


@weft.step("start")
def initial(seed: int):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.2, shape).astype("f4") for shape in [(64, 16), (16, 10)]]


def read(net, images):
    """What the hidden layer has, and the probabilities of the digits."""
    hidden = np.maximum(images @ net[0], 0)
    odds = np.exp(hidden @ net[1])
    return hidden, odds / odds.sum(axis=1, keepdims=True)


@weft.step("net")
def train(start, images, labels, rate: float, size: int, rng: np.random.Generator):
    """An epoch of stochastic gradient descent."""
    one, two = start
    for some in np.array_split(rng.permutation(len(labels)), len(labels) // size):
        hidden, slope = read((one, two), images[some])
        slope[np.arange(len(some)), labels[some]] -= 1
        back = (slope @ two.T) * (hidden > 0)
        two, one = two - rate / size * hidden.T @ slope, one - rate / size * images[some].T @ back
    return [one, two]


@weft.step("loss")
def validate(net, new_images, new_labels) -> float:
    return float(-np.log(read(net, new_images)[1][np.arange(len(new_labels)), new_labels] + 1e-9).mean())


@weft.step(("best", "waited", "stalled"))
def patience(loss, best=np.inf, waited=0):
    best, waited = (loss, 0) if loss < best - 0.001 else (best, waited + 1)
    return best, waited, waited == 5


@weft.step("average", reduce="seed")
def average(loss) -> float:
    """The lowest loss of each seed, on average; its histories are masked where they ended."""
    return float(loss.min(axis=-1).mean())


@weft.step("setting", reduce="all")
def choose(average: list[weft.Labelled]):
    return min(average, key=lambda found: found.value).coords


epochs = weft.Loop(
    [train, validate, patience], 100, "epoch", until="stalled", carry={"start": "net"}, collect=["loss"]
)
study = weft.Pipeline([split, initial, epochs, average, choose], name="training")

if __name__ == "__main__":
    run = study.run(sweep=weft.grid(rate=RATES, size=SIZES, seed=SEEDS), run_dir="runs/training")
    print(f"{run['setting']}: {run['average'].min():.3f}, after {run['loss'].count()} epochs in all")
    figure, axes = plt.subplots(1, len(SIZES), figsize=(8, 3.2), sharey=True, layout="constrained")
    for (r, s, k), _ in np.ndenumerate(run["loss"].any(axis=-1)):
        losses, color = run["loss"][r, s, k].compressed(), f"C{r}"
        axes[s].semilogy(losses, color=color, linewidth=1, label=f"rate {RATES[r]}" if k == 0 else None)
        axes[s].plot(len(losses) - 1, losses[-1], "o", color=color, markersize=4)
        axes[s].set(title=f"batches of {SIZES[s]}", xlabel="epoch")
    axes[0].set(ylabel="loss on new digits", ylim=(0.09, 3)), axes[1].legend()
    figure.savefig("training.png", dpi=80)
