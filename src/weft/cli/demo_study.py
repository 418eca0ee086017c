"""The study of ``weft demo``: the support vector machine that reads handwriting best.

Its functions are as a user would write them, but for `tally`: there each fit leaves a line, so that the demo
can count what really ran. It reaches the function and is no part of what identifies a result (``ignore``).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from weft.pipeline import Pipeline, step
from weft.run.run import Run

COSTS, GAMMAS, N_FOLDS = np.logspace(-1, 3, 13), np.logspace(-3, 0.5, 11), 5
N_FITS = len(COSTS) * len(GAMMAS) * N_FOLDS
RUN, TALLY = "run", "executions.txt"


def line(C: float, gamma: float, fold: int) -> str:
    """What a fit leaves in the tally."""
    return f"C={C:.6g} gamma={gamma:.6g} fold={fold}"


def fit(C: float, gamma: float, images: Any, labels: Any) -> Any:
    """A fitted classifier."""
    from sklearn.svm import SVC

    return SVC(C=C, gamma=gamma).fit(images, labels)


@step(("images", "labels", "new_images", "new_labels"))
def split() -> tuple[Any, Any, Any, Any]:
    """The digits to learn from, and the half held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data, target = load_digits(return_X_y=True)
    images, new_images, labels, new_labels = train_test_split(
        data / 16, target, test_size=0.5, stratify=target, random_state=0
    )
    return images, labels, new_images, new_labels


@step("score", mapspec="C[c], gamma[g], fold[k] -> score[c, g, k]", ignore=("tally",))
def validate(images: Any, labels: Any, C: float, gamma: float, fold: int, tally: str) -> float:
    """The share of a fold that is read right after learning from the other folds."""
    with open(tally, "a") as file:
        file.write(f"{line(C, gamma, fold)}\n")
    inside = np.arange(len(labels)) % N_FOLDS == fold
    return float(fit(C, gamma, images[~inside], labels[~inside]).score(images[inside], labels[inside]))


@step("accuracy", mapspec="score[c, g, :] -> accuracy[c, g]")
def average(score: np.ndarray[Any, Any]) -> float:
    """The mean across folds."""
    return float(score.mean())


@step(("best", "read"))
def judge(
    images: Any, labels: Any, new_images: Any, accuracy: np.ndarray[Any, Any], C: np.ndarray[Any, Any],
    gamma: np.ndarray[Any, Any],
) -> tuple[dict[str, float], Any]:  # fmt: skip
    """The best settings, and what a classifier with them reads in the digits held out."""
    c, g = np.unravel_index(accuracy.argmax(), accuracy.shape)
    best = {"C": float(C[c]), "gamma": float(gamma[g]), "accuracy": float(accuracy[c, g])}
    return best, fit(best["C"], best["gamma"], images, labels).predict(new_images)


study = Pipeline([split, validate, average, judge], name="digits")


def drive(directory: str) -> None:
    """Run the study, or go on with it: this is what is killed and started again."""
    study.run(
        {"C": COSTS, "gamma": GAMMAS, "fold": range(N_FOLDS), "tally": os.path.join(directory, TALLY)},
        run_dir=os.path.join(directory, RUN),
        backend="loky",
        n_jobs=2,
        block_size=N_FOLDS,
        progress=False,
    )


def write_table(run: Run, path: str) -> None:
    """Accuracy of each setting as CSV."""
    run.to_dataframe("accuracy").to_csv(path, index=False)


def draw_accuracy(run: Run, path: str) -> None:
    """The map of accuracy over both settings, the best one marked."""
    from matplotlib.figure import Figure

    best, accuracy = run["best"], 100 * run["accuracy"]
    at = best["gamma"], best["C"]
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    ax = figure.subplots()
    cells: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.5}
    colours = ax.pcolormesh(_edges(GAMMAS), _edges(COSTS), accuracy, vmin=94, vmax=99, **cells)
    ax.plot(*at, marker="*", markersize=17, color="white", markeredgecolor="black")
    above: dict[str, Any] = {"xytext": (0, 13), "textcoords": "offset points", "ha": "center"}
    ax.annotate(f"{best['accuracy']:.1%}", at, weight="bold", **above)
    ax.set(xscale="log", yscale="log", xlabel="gamma", ylabel="C")
    ax.set_title(f"Reading handwritten digits: accuracy across {N_FOLDS} folds", fontsize=11)
    figure.colorbar(colours, label="read right (%)", extend="min")
    figure.savefig(path, dpi=120)


def _edges(centres: Any) -> Any:
    """Edges of cells that lie evenly around `centres` on a logarithmic axis."""
    half = np.sqrt(centres[1] / centres[0])
    return np.append(centres / half, centres[-1] * half)


def draw_mistakes(run: Run, path: str, columns: int = 5) -> None:
    """The held-out digits that the best classifier gets wrong."""
    from matplotlib.figure import Figure

    images, labels, read = run["new_images"], run["new_labels"], run["read"]
    wrong = np.flatnonzero(read != labels)
    columns = min(columns, max(2, len(wrong)))
    rows = max(1, -(-len(wrong) // columns))
    figure = Figure(figsize=(1.5 * columns, 1.75 * rows + 0.4), layout="constrained")
    figure.suptitle(f"{len(wrong)} of {len(labels)} held-out digits are read wrong", fontsize=11)
    for place, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        ax.set(xticks=[], yticks=[], visible=place < len(wrong))
        if place < len(wrong):
            number = wrong[place]
            ax.imshow(images[number].reshape(8, 8), cmap="gray_r")
            ax.set_title(f"a {labels[number]}, read as {read[number]}", fontsize=9)
    figure.savefig(path, dpi=120)
