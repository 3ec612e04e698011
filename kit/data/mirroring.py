"""Classes that mirroring turns into one another, such as arrows to the left and to the right."""

from collections.abc import Sequence

import numpy as np

LEAST_IMAGES, MOST_IMAGES = 8, 4096
MIRRORED_SHARE, PLAIN_SHARE = 0.5, 0.2
# Mirroring an image changes the sign of its odd horizontal frequencies: every other of the 8 x 8 bits of its hash.
_ODD = np.uint64(0x5555_5555_5555_5555)


def mirrored_classes(hashes: Sequence[int], labels: Sequence[str], groups: Sequence[str], seed: int = 0) -> list[str]:
    """Sentences, one for each two classes of which each looks like the other when mirrored.

    That is so where the nearest image, by the hashes of kit.data.facts, of half the mirrored ones is of the other
    class, but of a fifth at most of the plain ones. Images of one group do not count as near to each other.
    """
    usable = np.flatnonzero(np.array(hashes, np.uint64))
    usable = np.sort(np.random.default_rng(seed).permutation(usable)[:MOST_IMAGES])
    names, of_image = np.unique(np.array(labels, dtype=str)[usable], return_inverse=True)
    known = np.array(hashes, np.uint64)[usable]
    _, group = np.unique(np.array(groups, dtype=str)[usable], return_inverse=True)
    of_image, group = of_image.reshape(-1), group.reshape(-1)
    shares = []
    for asked in (known ^ _ODD, known):
        turned = np.zeros((len(names), len(names)))
        for place, one in enumerate(asked):
            distance = np.where(group == group[place], 65, np.bitwise_count(known ^ one))
            turned[of_image[place], of_image[distance.argmin()]] += 1
        shares.append(turned / np.maximum(turned.sum(axis=1, keepdims=True), 1))
    mirrored, plain = shares
    enough = np.bincount(of_image, minlength=len(names)) >= LEAST_IMAGES
    found = (mirrored >= MIRRORED_SHARE) & (plain <= PLAIN_SHARE) & enough[:, None] & enough
    return [
        f"Mirrored images of {names[first]} look like {names[second]}, and the other way round: "
        "`transferkit train --set views.flip=false` trains without mirrored views."
        for first, second in np.argwhere(np.triu(found & found.T, 1))
    ]
