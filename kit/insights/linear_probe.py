"""Linear probe of the pooled features: out-of-fold predictions, and a learning curve.

The features are the cached ones of the pretrained backbone, before fine-tuning. Principal components, then linear
discriminant analysis: closed form, so it cannot fail to converge. Everywhere `reduced` is float (n, components), labels
are class numbers, int (n,), and `seed` draws folds and subsets.
"""

from collections.abc import Sequence

import numpy as np

COMPONENTS = 128
IMAGES_PER_COMPONENT = 8  # fewer, and the covariance is mostly noise
FOLDS = 5
LARGEST_FIT = 20_000
DRAWS = 3
FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
BLOCK = 4096


def reduce(features, fit_on: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Principal components of features (n, channels), an array or a CachedArray read by blocks.

    Fitted on the images `fit_on`, LARGEST_FIT random ones at most. Returns float32 (n, components): at most COMPONENTS,
    and at most one for IMAGES_PER_COMPONENT images.
    """
    from sklearn.decomposition import PCA

    chosen = _at_most(fit_on, LARGEST_FIT, seed)
    read = features[chosen].astype(np.float32)
    if not np.ptp(read, axis=0).any():  # all images alike
        return np.zeros((len(features), 1), np.float32)
    count = max(1, min(COMPONENTS, read.shape[1], (len(chosen) - classes) // IMAGES_PER_COMPONENT))
    pca = PCA(count, svd_solver="covariance_eigh").fit(read)
    # components of no variance (all images alike) would make the discriminant analysis singular
    useful = pca.explained_variance_ > 1e-7 * max(float(pca.explained_variance_.sum()), 1e-12)
    blocks = [
        pca.transform(features[np.arange(start, min(start + BLOCK, len(features)))].astype(np.float32))[:, useful]
        for start in range(0, len(features), BLOCK)
    ]
    return np.concatenate(blocks).astype(np.float32)


def out_of_fold(reduced: np.ndarray, labels: np.ndarray, groups: Sequence[str], classes: int, seed: int) -> np.ndarray:
    """Out-of-fold probabilities, float32 (n, classes); 0 for a class that no other fold has.

    Images of one group (duplicates, near duplicates; groups: (n,)) share a fold. Where no other fold has the image's
    own class (one group may hold it all), nothing can be said of it: 1 / classes each.
    """
    fold = _folds(groups, seed)
    result = np.zeros((len(labels), classes), np.float32)
    for number in range(FOLDS):
        held, rest = fold == number, _at_most(np.flatnonzero(fold != number), LARGEST_FIT, seed)
        if held.any() and len(rest):
            result[held] = _probabilities(reduced[rest], labels[rest], reduced[held], classes)
        result[held & ~np.isin(labels, labels[rest])] = 1 / classes
    return result


def learning_curve(
    reduced: np.ndarray, labels: np.ndarray, train: np.ndarray, validation: np.ndarray, classes: int, seed: int
) -> list[tuple[int, int, float]]:
    """Validation accuracy by training set size: (images, draw, accuracy), DRAWS random subsets each.

    `train` and `validation` are indices of images.
    """
    curve = []
    for fraction in FRACTIONS:
        images = min(round(len(train) * fraction), LARGEST_FIT)
        if images < 2 * classes:
            continue
        for draw in range(DRAWS if images < len(train) else 1):
            subset = np.random.default_rng([seed, draw]).permutation(train)[:images]
            # small subsets support few components; the first ones carry most
            usable = max(1, min(reduced.shape[1], (images - classes) // IMAGES_PER_COMPONENT))
            predicted = _probabilities(
                reduced[subset, :usable], labels[subset], reduced[validation, :usable], classes
            ).argmax(axis=1)
            curve.append((images, draw, float((predicted == labels[validation]).mean())))
    return curve


def _probabilities(x: np.ndarray, labels: np.ndarray, queries: np.ndarray, classes: int) -> np.ndarray:
    """Linear discriminant analysis with a ridge on the within-class covariance; float32 (n, classes)."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    known = np.unique(labels)
    result = np.zeros((len(queries), classes), np.float32)
    if len(known) < 2 or len(labels) <= len(known) or not np.ptp(x, axis=0).any():
        result[:, known] = 1 / len(known)
        return result
    model = LinearDiscriminantAnalysis(solver="svd").fit(x, labels)
    result[:, model.classes_] = model.predict_proba(queries)
    return result


def _folds(groups: Sequence[str], seed: int) -> np.ndarray:
    """Fold of each image, int (n,): groups shuffled, then assigned in turn."""
    _, member_of = np.unique(np.array(groups, dtype=str), return_inverse=True)
    order = np.random.default_rng([seed, 0xF01D]).permutation(member_of.max(initial=-1) + 1)
    return order[member_of] % FOLDS


def _at_most(indices: np.ndarray, count: int, seed: int) -> np.ndarray:
    """All indices, or a random `count` of them in order."""
    if len(indices) <= count:
        return indices
    return np.sort(np.random.default_rng(seed).permutation(indices)[:count])
