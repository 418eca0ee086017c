"""Learning rates × batch sizes × seeds: networks that learn to read digits, each until it gets no better."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from sklearn.datasets import load_digits

import weft


@weft.step(("images", "labels", "new_images", "new_labels"))
def split():
    data, target = load_digits(return_X_y=True)
    data, new = data.astype("f4") / 16, np.arange(len(data)) % 3 == 0
    return data[~new], target[~new], data[new], target[new]


def read(net, images):  # the hidden layer, and the probabilities of the digits
    hidden = np.maximum(images @ net[0], 0)
    odds = np.exp(hidden @ net[1])
    return hidden, odds / odds.sum(axis=1, keepdims=True)


@weft.step("net")
def train(images, labels, rate: float, size: int, seed: int, rng: np.random.Generator, net=None):
    """An epoch of stochastic gradient descent; each `seed` has other random numbers."""
    one, two = net or [rng.normal(0, 0.2, shape).astype("f4") for shape in [(64, 16), (16, 10)]]
    for some in np.array_split(rng.permutation(len(labels)), len(labels) // size):
        hidden, slope = read((one, two), images[some])
        slope[np.arange(len(some)), labels[some]] -= 1
        back = (slope @ two.T) * (hidden > 0)
        two, one = two - rate / size * hidden.T @ slope, one - rate / size * images[some].T @ back
    return [one, two]


@weft.step(("loss", "lowest", "waited", "stalled"))
def validate(net, new_images, new_labels, lowest=np.inf, waited=0):
    loss = -np.log(read(net, new_images)[1][np.arange(len(new_labels)), new_labels] + 1e-9).mean()
    waited = 0 if loss < lowest - 0.001 else waited + 1
    return loss, min(loss, lowest), waited, waited == 5


@weft.step("setting", reduce="all")
def choose(loss: xr.DataArray) -> tuple:
    return loss.min("epoch").mean("seed").stack(setting=["rate", "size"]).idxmin().item()


epochs = weft.Loop([train, validate], 100, "epoch", until="stalled", collect="loss")
study = weft.Pipeline([split, epochs, choose], name="training")

if __name__ == "__main__":
    rates, sizes = [0.03, 0.1, 0.3, 1.0], [16, 64]
    run = study.run(sweep=weft.grid(rate=rates, size=sizes, seed=range(3)), run_dir="runs/training")
    loss = np.ma.asarray(run["loss"])  # rate, size, seed, epoch; masked behind the end of each
    print(f"best: {run['setting']}; {loss.count()} epochs in all")
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
    for r, s, k in np.ndindex(loss.shape[:3]):
        axes[s].semilogy(loss[r, s, k].compressed(), f"C{r}o-", markevery=[-1], markersize=4, linewidth=1)
        axes[s].set(title=f"batches of {sizes[s]}", xlabel="epoch", ylabel="loss on new digits")
    axes[1].legend(axes[1].lines[::3], rates, title="rate"), figure.savefig("training.png", dpi=70)
