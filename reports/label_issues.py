"""Labels that a cross-validated linear probe finds unlikely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from reports import text
from reports.elements import Note, Section, Thumbnail, ThumbnailGrid, limited_table

SHOWN = 24
LISTED = 100
SEE = (
    "Each was judged by a linear model that was trained on other photos only: some are labelled wrongly, some show "
    "two classes, some are merely hard."
)


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


def label_issues_section(issues: Sequence[LabelIssue], album: Mapping[str, bytes], missing: str = "") -> Section:
    """Labels to review; `missing` says why none was judged."""
    title = "Labels worth a second look"
    if not issues:
        return Section("doubts", title, (Note(missing, "missing") if missing else Note("No label is doubted."),))
    shown = tuple(_thumbnail(issue, album) for issue in issues[:SHOWN] if issue.path in album)
    rows = tuple(
        (
            text.name(issue.path, 80),
            issue.split,
            text.name(issue.label),
            text.name(issue.predicted),
            text.share(issue.p_label, 99),
            text.share(issue.p_predicted, 99),
        )
        for issue in issues
    )
    head = ("photo", "split", "label", "looks like", "p(label)", "p(looks like)")
    table = limited_table("The list", head, rows, LISTED, "more are in insights/doubted.csv")
    return Section(
        "doubts", title, (ThumbnailGrid("doubted", "Most doubted", SEE, shown) if shown else Note(SEE), table)
    )


def _thumbnail(issue: LabelIssue, album: Mapping[str, bytes]) -> Thumbnail:
    looks = f"looks like {text.name(issue.predicted, 32)} {issue.p_predicted:.0%}"
    return Thumbnail(text.name(issue.path), album[issue.path], (f"called {text.name(issue.label, 32)}", looks))
