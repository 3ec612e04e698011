"""Two-dimensional map of images: those whose features are alike lie near each other.

At most 50 principal components of the pretrained features (`kit.insights.linear_probe.reduce`), then UMAP where the
package umap-learn is installed, else scikit-learn's t-SNE. Seeded, in one thread: the same features, the same map.
"""

from importlib.util import find_spec

import numpy as np

COMPONENTS = 50
MAPPED = 500  # images: t-SNE of them takes a second or two
FEWEST = 4  # t-SNE's perplexity is 1 then
NEIGHBOURS = 30  # t-SNE's perplexity; at most a third of the images
STEPS = 500
UMAP_NEIGHBOURS = 15


def map_images(features: np.ndarray, seed: int) -> tuple[str, np.ndarray]:
    """Name of the method and places, float32 (n, 2), from 0 to 1 along the longer side; n from FEWEST to MAPPED.

    `features` are float (n, components), by falling variance. Without any variance all images lie in one place.
    """
    from threadpoolctl import threadpool_limits

    read = np.ascontiguousarray(features[:, :COMPONENTS], np.float32)
    if not np.ptp(read, axis=0).any():
        return "PCA", np.full((len(read), 2), 0.5, np.float32)
    # in several threads sums are added up in any order, and a map that differs in the last bit soon differs in all
    with threadpool_limits(1):
        name, places = ("UMAP", _umap(read, seed)) if find_spec("umap") else ("t-SNE", _tsne(read, seed))
    places = places - places.min(axis=0)
    return name, (places / max(float(places.max()), 1e-12)).astype(np.float32)


def _tsne(features: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    start = np.zeros((len(features), 2), np.float32)
    first = features[:, :2] - features[:, :2].mean(axis=0)
    start[:, : first.shape[1]] = 1e-4 * first / max(float(first[:, 0].std()), 1e-12)  # as TSNE's own init="pca"
    perplexity = min(NEIGHBOURS, (len(features) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init=start, max_iter=STEPS, random_state=seed).fit_transform(features)


def _umap(features: np.ndarray, seed: int) -> np.ndarray:
    from umap import UMAP  # an optional package

    neighbours = min(UMAP_NEIGHBOURS, len(features) - 1)
    return np.asarray(UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(features))
