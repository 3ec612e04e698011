"""Labels that a cross-validated linear probe and the trained model find unlikely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from reports import text
from reports.elements import FileName, Note, Section, Thumbnail, limited_table
from reports.review import Reviewing, review

SHOWN = 48
LISTED = 100
SEE = (
    "A linear model that was trained on other images only holds another class for at least 12 times as likely, and the "
    "trained network does not outweigh it: some are labelled wrongly, some show two classes, some are merely hard."
)
SEE_0_1 = "Each was judged by a linear model that was trained on other images only."
# of 1,000 images whose labels are all right, by a set that the bounds were not chosen on (docs/reports.md)
FALSE_ALARMS = 20


@dataclass(frozen=True)
class LabelIssue:
    """Doubted label; out-of-fold probabilities of it and of the predicted class."""

    path: str
    split: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float


def label_issues(doubted: pd.DataFrame) -> tuple[LabelIssue, ...]:
    """Label issues from insights/doubted.csv, most doubted first."""
    names = ("path", "split", "label", "predicted", "p_label", "p_predicted")
    return tuple(LabelIssue(*row) for row in zip(*(doubted[name].tolist() for name in names), strict=True))


def label_issues_section(
    issues: Sequence[LabelIssue],
    album: Mapping[str, bytes],
    missing: str = "",
    doubted: Mapping[str, int] | None = None,
    reviewing: Reviewing | None = None,
) -> Section:
    """Labels to review; `missing` says why none was judged, `doubted` how many were, and of how many images.

    Those that were reviewed before come last.
    """
    title = "Labels worth a second look"
    if not issues:
        return Section("doubts", title, (Note(missing, "missing") if missing else Note("No label is doubted."),))
    ordered = (reviewing or Reviewing()).unseen_first(issues, lambda issue: [issue.path])
    pictured = [issue for issue in ordered if issue.path in album][:SHOWN]
    shown = [(_thumbnail(issue, album), [(issue.path, issue.label)], issue.predicted) for issue in pictured]
    rows = tuple(
        (
            FileName(text.name(issue.path, 160)),
            issue.split,
            text.name(issue.label),
            text.name(issue.predicted),
            text.share(issue.p_label),
            text.share(issue.p_predicted),
        )
        for issue in issues
    )
    head = ("image", "split", "label", "predicted", "p(label)", "p(predicted)")
    table = limited_table("The list", head, rows, LISTED, "more are in insights/doubted.csv")
    see = SEE if doubted else SEE_0_1
    grid = review("doubted", "Most doubted", see, shown, album) if shown else Note(see)
    return Section("doubts", title, (grid, table), _lead(len(issues), doubted) if doubted else "")


def _lead(listed: int, doubted: Mapping[str, int]) -> str:
    total, judged = doubted["total"], doubted["judged"]
    cap = f", of which the {listed:,} least plausible are listed" if total > listed else ""
    expected = min(total, max(1, round(FALSE_ALARMS * judged / 1000)))
    are = "is" if total == 1 else "are"
    return (
        f"Of {judged:,} labels {total:,} {are} doubted{cap}. Where all labels are right, about {FALSE_ALARMS} of 1,000 "
        f"are: expect up to about {expected:,} of these to be right."
    )


def _thumbnail(issue: LabelIssue, album: Mapping[str, bytes]) -> Thumbnail:
    looks = f"predicted {text.name(issue.predicted, 32)} {text.share(issue.p_predicted)}"
    return Thumbnail(text.name(issue.path), album[issue.path], (f"label {text.name(issue.label, 32)}", looks))
