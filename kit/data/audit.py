"""Audit of a source: facts of every file, findings, and samples that training leaves out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kit.config import DataConfig
from kit.data import SPLITS, Sample, Source
from kit.data.decoding import usual_range
from kit.data.duplicates import LARGEST_SHARE, Clusters, LookAlikes, look_alikes, same_bytes, split_groups
from kit.data.facts import ImageFacts, grey_range_of, read_facts, read_thumbnails
from kit.data.name_groups import groups_by, propose
from kit.data.quality import odd_images
from kit.errors import DataError
from kit.files import fingerprint
from kit.machine import available_threads
from kit.progress import some

SMALLEST_SIDE = 32
LARGEST_PIXELS = 50_000_000


@dataclass(frozen=True)
class Finding:
    """Problem or peculiarity of one or several files.

    Attributes:
        kind: `unreadable`, `not-an-image`, `truncated`, `empty`, `bomb`, `extreme-size`, `duplicate`, `near-duplicate`,
            `conflict`, `near-conflict`, `leak`, `near-leak`, `bit-depth`, `colour-profile`, or of an image that is odd
            in its set (kit.data.quality): `dark`, `bright`, `low-information`, `blurred`, `grey`, `odd-aspect`,
            `odd-size`.
        severity: `error` (training refuses or leaves the file out), `warning` or `note`.
        paths: Recorded paths, sorted.
    """

    kind: str
    severity: str
    paths: tuple[str, ...]
    message: str


def find(samples: Sequence[Sample], facts: Sequence[ImageFacts], exact: Clusters, alike: Clusters) -> list[Finding]:
    """All findings: of single files, then of sets of equal files, then of sets of look-alikes."""
    single = [
        finding
        for sample, fact in zip(samples, facts, strict=True)
        if (finding := _file_finding(sample.path, fact)) is not None
    ]
    # A set of look-alikes that are all equal files is reported once, as equal files.
    distinct = (members for members in alike.members() if len({facts[index].sha256 for index in members}) > 1)
    return [*single, *_set_findings(samples, exact.members(), near=False), *_set_findings(samples, distinct, near=True)]


def _file_finding(path: str, fact: ImageFacts) -> Finding | None:
    if fact.problem:
        return Finding(fact.problem, "error", (path,), f"{path} is left out: {fact.problem} ({fact.detail}).")
    short, long = sorted((fact.width, fact.height))
    if short < SMALLEST_SIDE:
        rule, severity = f"its shorter side has fewer than {SMALLEST_SIDE} pixels", "warning"
    elif short * long > LARGEST_PIXELS:
        rule, severity = f"more than {LARGEST_PIXELS // 10**6} million pixels", "note"
    else:
        return None
    return Finding("extreme-size", severity, (path,), f"{path} is {fact.width} x {fact.height}: {rule}.")


def quality_findings(samples: Sequence[Sample], facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    """Findings of images that are odd in their set, the oddest of each kind first."""
    for kind, index, says in odd_images(facts):
        path = samples[index].path
        # what shows nothing teaches nothing; what else is odd may be all there is of it
        severity = "warning" if kind == "low-information" else "note"
        if kind != "odd-size" or _file_finding(path, facts[index]) is None:
            yield Finding(kind, severity, (path,), f"{path} {says}.")


def decoding_findings(
    samples: Sequence[Sample], facts: Sequence[ImageFacts], grey_range: tuple[int, ...]
) -> Iterator[Finding]:
    """Findings of bit depths and colour profiles; `grey_range` as in DataConfig."""

    def finding(kind: str, severity: str, chosen: list[int], what: str) -> Finding:
        paths = tuple(sorted(samples[index].path for index in chosen))
        return Finding(kind, severity, paths, f"{_count(len(paths), 'image')} {what}")

    known = [(index, fact, fact.values) for index, fact in enumerate(facts) if fact.values is not None]
    if deep := [(index, *values) for index, fact, values in known if fact.is_deep_grey]:
        top, (black, white) = max(high for _, _, high in deep), grey_range or grey_range_of(facts)
        what = f"of 16 or 32 bits, values to {top:,}: {black:,} to {white:,} become 0 to 255 in all (data.grey_range)."
        yield finding("bit-depth", "note", [index for index, _, _ in deep], what)
        if dark := [index for index, _, high in deep if 16 * (high - black) <= white - black]:
            what = f"of 16 or 32 bits, values below a sixteenth of {white:,}: nearly black, or of another bit depth."
            yield finding("bit-depth", "warning", dark, what)
    if coloured := [(index, high) for index, fact, (_, high) in known if not fact.is_deep_grey and high < 2**14]:
        white = usual_range(0, max(high for _, high in coloured))[1]
        what = (
            f"of 16 bits a channel, values to {white:,} at most: the upper 8 bits are read, {(white + 1) // 256} "
            f"of 256 levels. Scale them, 0 to {white:,} becoming 0 to 255, and save 8 bits a channel."
        )
        yield finding("bit-depth", "warning", [index for index, _ in coloured], what)
    if unusable := [index for index, fact in enumerate(facts) if fact.profile == "unusable"]:
        what = "with a colour profile that is ignored: it is damaged, or of another kind of image."
        yield finding("colour-profile", "warning", unusable, what)
    if converted := [index for index, fact in enumerate(facts) if fact.profile == "converted"]:
        what = "with a colour profile other than sRGB: converted to sRGB (data.colour_profiles)."
        yield finding("colour-profile", "note", converted, what)


def _set_findings(samples: Sequence[Sample], sets: Iterable[list[int]], near: bool) -> Iterator[Finding]:
    grave, prefix = ("warning", "near-") if near else ("error", "")
    what = "look nearly the same" if near else "are the same file"
    for members in sets:
        paths = tuple(sorted(samples[index].path for index in members))
        labels = sorted({samples[index].label for index in members})
        splits = sorted({split for index in members if (split := samples[index].split)})
        begin = f"{len(paths)} images {what}"
        if len(labels) > 1:
            yield Finding(f"{prefix}conflict", grave, paths, f"{begin}, and are labelled {', '.join(labels)}.")
        if len(splits) > 1:
            yield Finding(f"{prefix}leak", grave, paths, f"{begin}, and are in {', '.join(splits)}.")
        if len(labels) == 1 and len(splits) < 2:
            yield Finding(f"{prefix}duplicate", "warning", paths, f"{begin}; they stay in one split.")


@dataclass(frozen=True)
class Audit:
    """Facts, findings and groups of a source.

    `facts` and `groups` have one entry per sample, in order; samples of one group must share a split. A group is named
    `group:` and its given name, or else by the smallest SHA-256 among its members. `warnings` are sentences about them.
    """

    facts: tuple[ImageFacts, ...]
    findings: tuple[Finding, ...]
    groups: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def audit(source: Source, config: DataConfig, threads: int = 0, facts: Sequence[ImageFacts] = ()) -> Audit:
    """Read every file, decode new ones, and compare them all; `threads` 0 uses all CPU threads.

    Files are not read again whose `facts`, one of each sample, are given.
    """
    samples, threads = source.samples, threads or available_threads()
    named, warnings = groups_by(config.group_by, samples)
    facts = facts or read_facts([sample.file for sample in samples], config.background, threads)

    def thumbnails(indices: list[int]) -> np.ndarray:
        files, wanted = [samples[k].file for k in indices], [facts[k] for k in indices]
        return read_thumbnails(files, wanted, config.background, threads)

    exact = same_bytes(facts)
    if config.near_duplicates == "on":
        alike = look_alikes(facts, [sample.label for sample in samples], thumbnails, config.near_duplicate_bits)
    else:
        alike = LookAlikes(exact)
    identities = [fact.sha256 or f"path:{sample.path}" for sample, fact in zip(samples, facts, strict=True)]
    groups = split_groups([sample.group for sample in samples], named, identities, alike.clusters)
    ungrouped = (scene for scene in alike.scenes if not all(samples[k].group or named[k] for k in scene))
    warnings += [_scene_warning([samples[k] for k in scene], samples) for scene in ungrouped]
    if not any(named) and not any(sample.group for sample in samples) and (proposal := propose(samples, facts, groups)):
        warnings.append(proposal)
    findings = (
        *find(samples, facts, exact, alike.clusters),
        *quality_findings(samples, facts),
        *decoding_findings(samples, facts, config.grey_range),
    )
    return Audit(tuple(facts), findings, tuple(groups), tuple(warnings))


def _scene_warning(scene: Sequence[Sample], samples: Sequence[Sample]) -> str:
    where, alike, of = "", len(scene), len(samples)
    if alike <= LARGEST_SHARE * of:  # large within a class only
        label, alike = Counter(sample.label for sample in scene).most_common(1)[0]
        where, of = f" of {label}", sum(sample.label == label for sample in samples)
    return (
        f"{alike:,} of {of:,} images{where} look nearly the same, such as {scene[0].path} and {scene[-1].path}: "
        "too many to keep in one split. They are taken for different images of one scene. If they are frames or "
        "copies, say what belongs together by --group-by or a column `group`; --near-duplicates off compares no images."
    )


def exclude(source: Source, audit: Audit, config: DataConfig) -> dict[str, str]:
    """Recorded path -> kind of finding of each sample that training leaves out.

    Raises:
        DataError: If an image is unreadable and `config.strict`; if the same bytes have two labels or lie in two given
            splits and `config.conflicts` or `config.leaks` refuses that; if a class has no image left.
    """
    problems = {sample.path: fact for sample, fact in zip(source.samples, audit.facts, strict=True) if fact.problem}
    if problems and config.strict:
        named = [f"{path} ({fact.problem})" for path, fact in problems.items()]
        raise DataError(
            f"{_count(len(named), 'file')} cannot be read as an image: {some(named)}.",
            "Mend or remove them, or train without --strict, which leaves them out.",
        )
    dropped = {path: fact.problem for path, fact in problems.items()}
    dropped |= _conflicts(audit, config)
    dropped |= _leaks(source, audit, config, dropped)
    left = {sample.label for sample in source.samples if sample.path not in dropped}
    if lost := [label for label in source.classes if label not in left]:
        reasons = sorted({dropped[sample.path] for sample in source.samples if sample.label in lost})
        raise DataError(
            f"No usable image is left of {some(lost)}: all were left out ({', '.join(reasons)}).",
            "Mend the files, or remove the class; `transferkit inspect` lists what is wrong with each.",
        )
    return dropped


def data_fingerprint(samples: Sequence[Sample], facts: Sequence[ImageFacts]) -> str:
    """SHA-256 (64 hex digits) over path, label, split, group and bytes of every sample, in any order."""
    rows = [
        [sample.path, sample.label, sample.split or "", sample.group or "", fact.sha256]
        for sample, fact in zip(samples, facts, strict=True)
    ]
    return fingerprint(sorted(rows))


def _conflicts(audit: Audit, config: DataConfig) -> dict[str, str]:
    conflicts = [finding.paths for finding in audit.findings if finding.kind == "conflict"]
    if conflicts and config.conflicts == "refuse":
        raise DataError(
            f"Copies of {_count(len(conflicts), 'image')} lie under two labels: {some(_joined(conflicts))}.",
            "Remove the wrong copies; or say on the page of `transferkit inspect DATA` which are right, for "
            "`transferkit train DATA --corrections FILE`; or leave all of them out with `--conflicts drop`.",
        )
    return {path: "conflict" for paths in conflicts for path in paths}


def _leaks(source: Source, audit: Audit, config: DataConfig, dropped: dict[str, str]) -> dict[str, str]:
    """Copies of evaluated images that would be trained on; sets left out as conflicts cannot leak."""
    leaks = [f.paths for f in audit.findings if f.kind == "leak" and f.paths[0] not in dropped]
    if leaks and config.leaks == "refuse":
        raise DataError(
            f"Copies of {_count(len(leaks), 'image')} lie in two given splits: {some(_joined(leaks))}.",
            "Remove the copies, or leave out those that would be trained on with `--leaks drop`.",
        )
    split_of = {sample.path: sample.split for sample in source.samples}
    left_out: dict[str, str] = {}
    for paths in leaks:
        measured = max(SPLITS.index(split) for path in paths if (split := split_of[path]))
        left_out |= {path: "leak" for path in paths if split_of[path] not in (None, SPLITS[measured])}
    return left_out


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _joined(sets: Sequence[tuple[str, ...]]) -> list[str]:
    return [" = ".join(paths) for paths in sets]
