"""Class names of ImageNet's ids (`n01440764`), from the file of names that lies with the images."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from kit.data import Source

# As Kaggle, Caffe, WordNet (Tiny ImageNet) and Keras call theirs.
FILES = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt", "imagenet_class_index.json")
_ID = re.compile(r"n\d{8}")
_ABOVE = 4  # levels from ILSVRC/Data/CLS-LOC/train up to LOC_synset_mapping.txt


def with_names(source: Source) -> Source:
    """Source whose classes have names, where all its labels are ids and a file of names lies there or above it."""
    if not source.samples or not all(_ID.fullmatch(label) for label in source.classes):
        return source
    folders = (source.root, *source.root.parents)[: _ABOVE + 1]
    file = next((folder / name for folder in folders for name in FILES if (folder / name).is_file()), None)
    words = {} if file is None else _words(file)
    named = {label: words[label] for label in source.classes if label in words}
    if file is None or not named:
        return source
    first = {label: name.split(",")[0].strip() for label, name in named.items()}
    times = Counter(first.values())
    names = {label: name if times[name] == 1 else f"{name} ({label})" for label, name in first.items()}
    label, name = next(iter(names.items()))
    line = f"{file.name}: names of {len(names):,} of {len(source.classes):,} classes ({label} = {name}, ...)"
    samples = tuple(replace(one, label=names.get(one.label, one.label)) for one in source.samples)
    return replace(source, samples=samples, tree=(*source.tree, line))


def _words(file: Path) -> dict[str, str]:
    """Id -> its words; empty where the file is of something else."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            return {str(identity): str(name) for identity, name in json.loads(text).values()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    pairs = (line.split(maxsplit=1) for line in text.splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2 and _ID.fullmatch(pair[0])}
