"""Page of an inspection."""

from collections import Counter
from pathlib import Path

from kit.csv_tables import read_table
from kit.errors import StorageError
from kit.files import read_json
from kit.insights import Insights
from reports import text
from reports.dataset import DatasetFacts, dataset_facts, dataset_sections
from reports.elements import Code, Metric, Note, Page, Section, SummaryBox
from reports.review import Reviewing, corrections_of, page_data

SHOWN = 40  # findings of a kind, to be reviewed
COLUMNS = ("path", "label", "split", "width", "height", "mean_r", "mean_g", "mean_b")


def data_page(folder: Path) -> Page:
    """Page of what `transferkit inspect` recorded; StorageError if that is damaged."""
    manifest = read_json(folder / "manifest.json")
    summary, insights = manifest.get("summary", {}), Insights(folder)
    if not (folder / "samples.csv").exists():
        raise StorageError(f"{folder} holds no samples.csv: the inspection did not end.", "Inspect the images again.")
    samples = read_table(folder / "samples.csv", COLUMNS)
    # an inspection assigns a split to readable images only
    used = samples[samples["split"].notna()]
    album = insights.album("thumbnails")
    images = used[used["width"].notna()]
    classes = [entry["label"] for entry in summary.get("classes", [])] or sorted(set(samples["label"]))
    facts = dataset_facts(used, len(samples) - len(used), images, insights.findings, classes, album)
    earlier = corrections_of(folder)
    labels = dict(zip(samples["path"].tolist(), samples["label"].tolist(), strict=True))
    reviewing = Reviewing(labels, frozenset(row.path for row in earlier), SHOWN)
    name = text.name(summary.get("name") or manifest.get("data") or folder.resolve().name)
    notes = [Note(text.name(warning, 300), "warning") for warning in summary.get("warnings", [])[:5]]
    if manifest.get("status") != "finished":
        notes.insert(0, Note("The inspection did not end: the page shows what is recorded.", "warning"))
    if summary.get("training_refuses"):
        refusal = text.name(summary["training_refuses"], 400)
        notes.append(Note(f"Training would refuse these data as they are: {refusal}", "warning"))
    return Page(
        title=f"{name}: what is in the data",
        subtitle=f"{text.name(folder.resolve().name)} · {manifest.get('created', '')[:10]}",
        summary_box=_summary_box(facts),
        sections=(_layout_section(summary.get("tree", [])), *dataset_sections(facts, album, reviewing)),
        notes=tuple(notes),
        review=page_data((manifest.get("created"), manifest.get("data_fingerprint")), classes, earlier),
    )


def _layout_section(tree: list[str]) -> Section:
    """Folders or columns as `inspect` understood them, a line a level; without elements where it recorded none."""
    lead = "Is each folder or column what you meant? Classes and splits come from here."
    lines = "\n".join(text.name(line, 300) for line in tree)
    return Section("layout", "How it was read", (Code("What was found", lines),) if lines else (), lead)


def _summary_box(facts: DatasetFacts) -> SummaryBox:
    splits = {name: sum(getattr(one, name) for one in facts.classes) for name in ("train", "validation", "test")}
    found = Counter({"note": 0})
    for group in facts.findings or ():
        found[group.severity] += len(group.found)
    notes = found.pop("note")
    metrics = (
        Metric("Classes", f"{len(facts.classes):,}", ""),
        Metric(
            "Largest to smallest class",
            "–" if facts.imbalance is None else f"{facts.imbalance:.1f} : 1",
            "At least one class has no image." if facts.imbalance is None else "",
        ),
        Metric("Left out", f"{facts.left_out:,}", "Unreadable files."),
        Metric("Findings", f"{found.total():,}", f"Errors and warnings of the audit; {text.count(notes, 'note')}."),
    )
    says = f"As training would split them: {', '.join(f'{count:,} {split}' for split, count in splits.items())}."
    return SummaryBox("Images", f"{facts.images:,}", says, metrics)
