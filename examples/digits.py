"""The support vector machine that reads handwriting best: settings × folds, judged on digits held out.

Run it, stop it with Ctrl-C, run it again: it goes on where it was.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

import weft

N_FOLDS = 5


@weft.step(("images", "labels", "new_images", "new_labels"))
def split():
    data, target = load_digits(return_X_y=True)
    images, new, labels, new_labels = train_test_split(data / 16, target, test_size=0.5, random_state=0)
    return images, labels, new, new_labels


@weft.step("score", mapspec="C[c], gamma[g], fold[k] -> score[c, g, k]")
def validate(images, labels, C: float, gamma: float, fold: int) -> float:
    inside = np.arange(len(labels)) % N_FOLDS == fold
    return SVC(C=C, gamma=gamma).fit(images[~inside], labels[~inside]).score(images[inside], labels[inside])


@weft.step("accuracy", mapspec="score[c, g, :] -> accuracy[c, g]")
def average(score) -> float:
    return float(score.mean())


@weft.step("read")
def judge(images, labels, new_images, accuracy, C, gamma):
    c, g = np.unravel_index(accuracy.argmax(), accuracy.shape)
    return SVC(C=C[c], gamma=gamma[g]).fit(images, labels).predict(new_images)


study = weft.Pipeline([split, validate, average, judge], name="digits")

if __name__ == "__main__":
    grid = {"C": np.logspace(-1, 3, 9), "gamma": np.logspace(-3, 0.5, 8), "fold": range(N_FOLDS)}
    run = study.run(grid, run_dir="runs/digits")
    run.to_dataframe("accuracy").to_csv("digits.csv", index=False)

    plt.pcolormesh(np.log10(grid["gamma"]), np.log10(grid["C"]), run["accuracy"], vmin=0.94)
    plt.gca().set(xlabel="log10 of gamma", ylabel="log10 of C", title="Accuracy across folds")
    plt.colorbar()
    plt.savefig("digits-accuracy.png", dpi=150)

    wrong = np.flatnonzero(run["read"] != run["new_labels"])
    figure, axes = plt.subplots(1, len(wrong), figsize=(len(wrong), 1.4), squeeze=False, layout="constrained")
    for ax, i in zip(axes[0], wrong):
        ax.imshow(run["new_images"][i].reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[], title=f"{run['new_labels'][i]} → {run['read'][i]}")
    figure.savefig("digits-wrong.png", dpi=150)
