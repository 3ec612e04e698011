"""Review of labels and findings: images are kept, relabelled or dropped on the page, and corrections.csv downloaded."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.data.corrections import FILE, Correction, read_corrections
from kit.errors import DataError
from kit.files import fingerprint
from reports import text
from reports.elements import Review, Thumbnail

DOWNLOAD = "corrections.csv"
COMMAND = f"transferkit train DATA --corrections {DOWNLOAD}"


@dataclass(frozen=True)
class Reviewing:
    """What findings need to be reviewed: labels by recorded path, paths judged before, how many of a kind are shown."""

    labels: Mapping[str, str] = field(default_factory=dict)
    before: frozenset[str] = frozenset()
    shown: int = 8

    def unseen_first(self, found: Sequence[Any], paths: Callable[[Any], Iterable[str]]) -> list[Any]:
        """What is found, in its order, but behind the rest what was judged before."""
        return sorted(found, key=lambda one: self.before.issuperset(paths(one)))


def corrections_of(folder: Path) -> tuple[Correction, ...]:
    """Corrections that a run or an inspection was made with; none where its copy is gone or damaged."""
    try:
        return read_corrections(folder / FILE)
    except DataError:
        return ()


def page_data(identity: Sequence[Any], classes: Sequence[str], earlier: Sequence[Correction]) -> dict[str, Any]:
    """What all reviews of a page share: class names, corrections made before, and what its browser storage is kept by.

    `identity` tells records apart, whenever and wherever their pages are drawn.
    """
    return {
        "key": f"transferkit corrections {fingerprint(list(identity))[:32]}",
        "file": DOWNLOAD,
        "classes": list(classes),
        "names": [text.name(label, 48) for label in classes],
        "earlier": [[row.path, row.label, row.action, row.new_label] for row in earlier],
    }


def review(
    id: str,
    title: str,
    see: str,
    items: Sequence[tuple[Thumbnail, Sequence[tuple[str, str]], str]],
    album: Mapping[str, bytes],
    *,
    pictured: int = 1,
    wide: bool = False,
) -> Review:
    """Thumbnails to judge, each with its images as (recorded path, label), and the class proposed for them or "".

    Of a set the first `pictured` images stand in the thumbnail, those of them that the album has.
    """
    data = []
    for one, images, proposed in items:
        pictures, rows = 0, []
        for place, (path, label) in enumerate(images):
            has_picture = path in album and place < pictured
            rows.append([path, label, text.name(path, 160), pictures if has_picture else -1])
            pictures += has_picture
        data.append({"images": rows, "says": one.lines[-1] if one.lines else "", "proposed": proposed})
    return Review(id, title, see, tuple(one for one, _, _ in items), data, COMMAND, wide)
