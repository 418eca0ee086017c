"""Learning rates × batch sizes × seeds: a small network learns to read digits, until it gets no better."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import weft


@weft.step(("images", "labels", "new_images", "new_labels"))
def split():
    data, target = load_digits(return_X_y=True)
    data, known = (data / 16).astype("f4"), np.arange(len(target)) % 2 == 0
    return data[known], target[known], data[~known], target[~known]


@weft.step("weights")
def initial(seed: int):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.2, shape).astype("f4") for shape in ((64, 24), (24, 10))]


def read(weights, images):
    """What the hidden layer has, and the probability of each digit."""
    hidden = np.maximum(images @ weights[0], 0)
    score = np.exp(hidden @ weights[1])
    return hidden, score / score.sum(axis=1, keepdims=True)


@weft.step("trained")
def train(weights, images, labels, rate: float, batch: int, rng: np.random.Generator):
    """One epoch of stochastic gradient descent."""
    first, second = weights
    order = rng.permutation(len(labels))
    for low in range(0, len(order), batch):
        some = order[low : low + batch]
        hidden, error = read((first, second), images[some])
        error[np.arange(len(some)), labels[some]] -= 1
        back = (error @ second.T) * (hidden > 0)
        second = second - rate / len(some) * hidden.T @ error
        first = first - rate / len(some) * images[some].T @ back
    return [first, second]


@weft.step("loss")
def validate(trained, new_images, new_labels) -> float:
    return float(-np.log(read(trained, new_images)[1][np.arange(len(new_labels)), new_labels]).mean())


@weft.step(("lowest", "waited"))
def wait(loss, lowest: float = np.inf, waited: int = 0):
    return (loss, 0) if loss < lowest - 0.001 else (lowest, waited + 1)
