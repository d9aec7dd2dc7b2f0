"""Clusters of latents, without labels: k-means, and communities of the graph of nearest neighbours."""

import random

import numpy as np
from jaxtyping import Float, Int

from scident.metrics._memory import remembered

SEED = 0
"""Of every start, so that all metrics speak of the same clusters."""

NEIGHBOURS = 15
STARTS = 10
RESOLUTIONS = (0.25, 0.5, 1.0, 2.0)

Partition = Int[np.ndarray, " cells"]


@remembered
def kmeans(z: Float[np.ndarray, "cells columns"], clusters: int) -> Partition:
    """Return the best of ten k-means partitions; where fewer points differ than that, each is its own cluster."""
    from sklearn.cluster import KMeans

    points, which = np.unique(z, axis=0, return_inverse=True)
    if len(points) <= clusters:
        return np.asarray(which, dtype=np.int64)
    return np.asarray(KMeans(clusters, n_init=STARTS, random_state=SEED).fit_predict(z), dtype=np.int64)


@remembered
def leiden(z: Float[np.ndarray, "cells columns"]) -> dict[float, Partition]:
    """Return communities of large modularity in the graph that joins each cell to its 15 nearest, per resolution.

    References
    ----------
    Traag, Waltman & van Eck (2019), From Louvain to Leiden: guaranteeing well-connected communities.
    """
    import igraph

    graph = igraph.Graph(len(z), _edges(z).tolist())
    found = {}
    try:
        for resolution in RESOLUTIONS:
            igraph.set_random_number_generator(random.Random(SEED))
            communities = graph.community_leiden(objective_function="modularity", resolution=resolution)
            found[resolution] = np.asarray(communities.membership, dtype=np.int64)
    finally:
        igraph.set_random_number_generator(random)
    return found


def _edges(z: Float[np.ndarray, "cells columns"]) -> Int[np.ndarray, "edges 2"]:
    """Return each pair of cells of which one is among the nearest of the other, once."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(z) - 1)).fit(z).kneighbors(return_distance=False)
    pairs = np.stack([np.repeat(np.arange(len(z)), near.shape[1]), near.ravel()], axis=1)
    return np.asarray(np.unique(np.sort(pairs, axis=1), axis=0))
