"""Linear probes: how much of a label can be read from latents, above chance."""

import numpy as np
from jaxtyping import Float, Int

from scident.metrics import _cells, _ridge

ITERATIONS = 2000
"""Far above the hundred or so that standardised latents take, so that the solver stops by its tolerance."""


TOLERANCE = 1e-6
"""On the gradient; the default 1e-4 stops while predictions of weakly separated classes still move."""


def predict_label(
    z_fit: Float[np.ndarray, "fit latents"], label: Int[np.ndarray, " fit"], z_score: Float[np.ndarray, "score latents"]
) -> Int[np.ndarray, " score"]:
    """Predict labels by multinomial logistic regression (ridge penalty C = 1) on latents standardised on `z_fit`."""
    from sklearn.linear_model import LogisticRegression

    x, x_new = _ridge.standardise(z_fit, z_score)
    return np.asarray(LogisticRegression(C=1.0, max_iter=ITERATIONS, tol=TOLERANCE).fit(x, label).predict(x_new))


def excess_accuracy(
    label: Int[np.ndarray, " cells"],
    predicted: Int[np.ndarray, " cells"],
    classes: int,
    weights: Float[np.ndarray, "draws cells"],
) -> Float[np.ndarray, " draws"]:
    """Balanced accuracy above chance, normalised: (a - c) / (1 - c) with c = 1 / classes.

    `a` is the mean over the classes present of the share recovered; `weights` count each cell (bootstrap draws).
    """
    found, code = np.unique(label, return_inverse=True)
    member = np.eye(len(found))[code]
    present = weights @ member
    recovered = weights @ (member * (predicted == label)[:, None])
    recall = np.divide(recovered, present, out=np.zeros_like(present), where=present > 0)
    balanced = recall.sum(axis=1) / np.maximum((present > 0).sum(axis=1), 1)
    return np.asarray((balanced - 1 / classes) / (1 - 1 / classes))


def probe(
    z_fit: Float[np.ndarray, "fit latents"],
    fit_label: Int[np.ndarray, " fit"],
    z_score: Float[np.ndarray, "score latents"],
    score_label: Int[np.ndarray, " score"],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the excess accuracy of a probe and its cell-bootstrap standard error; the probe stays as it is."""
    predicted = predict_label(z_fit, fit_label, z_score)
    weights = _cells.bootstrap_weights(len(score_label), rng)
    values = excess_accuracy(score_label, predicted, len(np.unique(fit_label)), weights)
    return float(values[0]), float(values[1:].std(ddof=1))
