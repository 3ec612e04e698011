"""Audit findings: duplicates side by side, unreadable files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import text
from reports.elements import (
    FileName,
    Note,
    Review,
    Section,
    Table,
    Thumbnail,
    ThumbnailGrid,
    limited_table,
    missing_section,
)
from reports.review import Reviewing, review

PER_FINDING = 4
LISTED = 20
# Kinds of kit.data.audit in words; others are shown as they are.
TITLES = {
    "conflict": "One image, two labels",
    "near-conflict": "Nearly one image, two labels",
    "leak": "One image, two splits",
    "near-leak": "Nearly one image, two splits",
    "duplicate": "Copies",
    "near-duplicate": "Near copies",
    "unreadable": "Unreadable files",
    "not-an-image": "Files that are no images",
    "truncated": "Truncated images",
    "empty": "Empty files",
    "bomb": "Images too large to open",
    "extreme-size": "Unusual sizes",
    "blurred": "Blurred images",
    "dark": "Dark images",
    "bright": "Bright images",
    "low-information": "Images that show next to nothing",
    "grey": "Grey images among images in colour",
    "odd-aspect": "Images of an odd shape",
    "odd-size": "Images of an odd size",
    "bit-depth": "More than 8 bits a value",
    "colour-profile": "Colour profiles",
}
_OF_MANY = frozenset({"bit-depth", "colour-profile"})  # one finding names all such images: no set to judge
_GRAVITY = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one kind, as (message, paths); `severity` is `error`, `warning` or `note`."""

    kind: str
    severity: str
    found: tuple[tuple[str, tuple[str, ...]], ...]


def findings_facts(findings: Sequence[Mapping[str, Any]]) -> tuple[FindingGroup, ...]:
    """Group findings (kind, severity, paths, message) by kind, gravest first."""
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for finding in findings:
        kinds.setdefault((finding["kind"], finding["severity"]), []).append(finding)
    ordered = sorted(kinds.items(), key=lambda item: (_GRAVITY.get(item[0][1], 3), item[0][0]))
    return tuple(
        FindingGroup(kind, severity, tuple((one["message"], tuple(one["paths"])) for one in found))
        for (kind, severity), found in ordered
    )


def findings_section(
    groups: Sequence[FindingGroup] | None, album: Mapping[str, bytes], reviewing: Reviewing
) -> Section:
    """Images to review where there are some, else a list; `groups` is None where none were recorded."""
    title = "What the audit found"
    if groups is None:
        return missing_section("findings", title, "The findings of the audit were not recorded.")
    elements = tuple(_group(place, group, album, reviewing) for place, group in enumerate(groups))
    return Section("findings", title, elements or (Note("Nothing odd was found."),))


def _group(
    place: int, group: FindingGroup, album: Mapping[str, bytes], reviewing: Reviewing
) -> Review | ThumbnailGrid | Table:
    title = TITLES.get(group.kind, text.name(group.kind))
    counted = text.count(len(group.found), group.severity)
    if not any(path in album for _, paths in group.found[:LISTED] for path in paths):
        rows = tuple((_files(paths), text.name(message, 200)) for message, paths in group.found)
        head = ("file", "what was found")
        return limited_table(f"{title}: {counted}", head, rows, LISTED, "more are in findings.json")
    found = reviewing.unseen_first(group.found, lambda one: one[1])[: reviewing.shown]
    images = tuple(_thumbnail(message, paths, album) for message, paths in found)
    see = f"{counted}, of which the first {len(images)} are shown." if len(group.found) > len(images) else f"{counted}."
    labels = reviewing.labels
    if group.kind in _OF_MANY or not all(path in labels for _, paths in found for path in paths):
        return ThumbnailGrid(f"finding-{place}", title, see, images, wide=True)
    items = [
        (image, [(path, labels[path]) for path in paths], _other_label([labels[path] for path in paths]))
        for image, (_, paths) in zip(images, found, strict=True)
    ]
    return review(f"finding-{place}", title, see, items, album, pictured=PER_FINDING, wide=True)


def _other_label(labels: Sequence[str]) -> str:
    """First label that differs from that of a set's first image; empty where there is none."""
    return next((label for label in labels if label != labels[0]), "")


def _files(paths: tuple[str, ...]) -> str:
    return FileName(text.name(paths[0], 160)) if len(paths) == 1 else text.name(", ".join(paths), 120)


def _thumbnail(message: str, paths: tuple[str, ...], album: Mapping[str, bytes]) -> Thumbnail:
    first, *rest = paths[:PER_FINDING]
    others = tuple((text.name(path, 40), album[path]) for path in rest if path in album)
    return Thumbnail("", album.get(first), (text.name(message, 300),), "", others, caption=text.name(first, 40))
