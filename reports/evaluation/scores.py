"""Summary of an evaluation, and the recall of each class beside the run's own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go

from reports import text
from reports.charts import BLUE, GREY, bars_figure, between, share_axis
from reports.elements import Chart, Metric, Section, SummaryBox, Table, limited_table, missing_section
from reports.evaluation.facts import OWN, ClassBeside, EvaluationFacts
from reports.predictions import NEW
from reports.summary import CALIBRATION, copies_note

DRAWN = 25  # classes in the figure; more are illegible
LISTED = 100
WIDE = 0.2  # width of an interval of the difference that leaves much open
MIX = 0.01  # difference of accuracies from which another mix of classes is worth a word


def evaluation_box(facts: EvaluationFacts) -> SummaryBox:
    """Box with the accuracy of new images, its interval, and the difference from the run's own."""
    scores, n = facts.scores, facts.scores["n"]
    what = "accuracy" if facts.alone is None else "recall"
    kept = "all new to the run" if facts.shown == NEW else "none of them new to the run"
    low, high = scores["accuracy_interval"]
    says = f"{round(scores['accuracy'] * n):,} of {n:,} right, {kept}."
    if facts.shown == NEW:
        says += (
            f" With 95% confidence the {what} on such images lies between {text.share(low, n)} and "
            f"{text.share(high, n)}.{copies_note(n, scores['n_effective'])}"
        )
    name = "Accuracy" if facts.alone is None else f"Recall of {text.name(facts.alone)}"
    metrics = (_beside(facts, what), _mix(facts), _calibration(facts), _confidence(facts), _loss(facts))
    kept_metrics = tuple(metric for metric in metrics if metric is not None)
    return SummaryBox(f"{name} on {facts.shown}", text.share(scores["accuracy"], n), says, kept_metrics)


def _beside(facts: EvaluationFacts, what: str) -> Metric | None:
    if facts.shown != NEW:
        return None
    if facts.difference is None or facts.difference_interval is None:
        of = "images" if facts.alone is None else f"images of {text.name(facts.alone)}"
        return Metric(
            "Beside the run's own", "–", f"The run kept no {of} for a test: there is nothing to compare with."
        )
    own = OWN[facts.own]
    low, high = facts.difference_interval
    measured = (
        f"Its own {own} gave {text.share(facts.own_accuracy, facts.own_n)} on "
        f"{text.count(facts.own_n, 'image')} ({text.interval(facts.own_interval, facts.own_n)})"
    )
    between = f"95% interval of the difference {text.points(low, 0)} to {text.points(high, 0)}"
    if facts.chance:
        few = ", but so few images may hide one that matters" if high - low > WIDE else ""
        verdict = f"the difference is within chance{few}"
    elif facts.difference < 0:
        verdict = "the new images are harder for it, by more than chance explains"
    else:
        verdict = "the new images are easier for it, by more than chance explains"
    smaller = min(facts.own_n, facts.scores["n"])
    value = text.points(facts.difference, smaller)
    return Metric(f"Beside {own}", value, f"{measured}: {verdict} ({between}).")


def _mix(facts: EvaluationFacts) -> Metric | None:
    """Own accuracy at the mix of the new images, where that tells something."""
    if facts.expected is None or facts.own_accuracy is None or abs(facts.expected - facts.own_accuracy) < MIX:
        return None
    says = (
        f"What its {OWN[facts.own]} would have given, {text.share(facts.own_accuracy, facts.own_n)} as it was, with as "
        "many images of each class as there are here: so much lies in which classes were given."
    )
    return Metric("At the same mix of classes", text.share(facts.expected, facts.own_n), says)


def _like(facts: EvaluationFacts) -> Mapping[str, Any]:
    """Own scores that compare with those of the new images; none where these are of one class."""
    return facts.own_scores if facts.alone is None else {}


def _calibration(facts: EvaluationFacts) -> Metric:
    n = facts.scores["n"]
    own = _like(facts).get("calibration_error")
    beside = f" On {OWN[facts.own]}: {text.share(own, facts.own_scores['n'])}." if own is not None else ""
    says = f"How far confidence and accuracy lie apart, on average.{beside}"
    return Metric(CALIBRATION, text.share(facts.scores["calibration_error"], n), says)


def _confidence(facts: EvaluationFacts) -> Metric | None:
    if facts.confidence is None or facts.alone is not None:
        return None
    own, new = facts.confidence
    return Metric("Median confidence", text.share(new), f"On {OWN[facts.own]}: {text.share(own)}.")


def _loss(facts: EvaluationFacts) -> Metric:
    scores, own = facts.scores, _like(facts)
    loss = f"{abs(scores['log_loss']):.3f}"
    beside = f" On {OWN[facts.own]}: {{}}." if own else ""
    if scores["macro_f1"] is None:
        return Metric("Log loss", loss, "In nats: how surprised it is by the labels.")
    both = f"{_three(own.get('macro_f1'))}, {_three(own.get('log_loss'))} nats"
    says = f"Every class weighing the same. Log loss {loss} nats.{beside.format(both)}"
    return Metric("Macro F1", f"{scores['macro_f1']:.3f}", says)


def _three(value: float | None) -> str:
    return "–" if value is None else f"{abs(value):.3f}"


# === Classes ===


def recall_figure(facts: EvaluationFacts) -> go.Figure:
    """Recall of each class with its 95% interval, on new images and on the run's own."""
    shown = [row for row in facts.classes if row.recall is not None][:DRAWN]
    names = text.labels([row.label for row in shown])
    figure = bars_figure(2 * len(shown), 30, xaxis=share_axis("recall"), scattermode="group", scattergap=0.5)
    own = [(name, row.own_recall, row.own_interval, row.own_n) for name, row in zip(names, shown, strict=True)]
    new = [(name, row.recall, row.interval, row.n) for name, row in zip(names, shown, strict=True)]
    sets = [(NEW, new, BLUE, "circle")]
    if facts.own:
        sets.insert(0, (OWN[facts.own], own, GREY, "diamond"))
    for place, (title, rows, colour, symbol) in enumerate(sets):
        points = [(name, recall, interval, n) for name, recall, interval, n in rows if recall is not None and interval]
        figure.add_scatter(
            x=[recall for _, recall, _, _ in points],
            y=[name for name, _, _, _ in points],
            name=title,
            offsetgroup=str(place),
            orientation="h",
            error_x={**between([(low, recall, high) for _, recall, (low, high), _ in points]), "color": colour},
            mode="markers",
            marker={"color": colour, "size": 9, "symbol": symbol},
            customdata=[(f"{low:.1%}", f"{high:.1%}", f"{n:,}") for _, _, (low, high), n in points],
            hovertemplate=(
                "%{y}: %{x:.1%} of %{customdata[2]} images<br>%{customdata[0]} to %{customdata[1]}"
                f"<extra>{title}</extra>"
            ),
        )
    return figure


def recall_section(facts: EvaluationFacts) -> Section:
    """Recall and precision of each class, new beside the run's own."""
    title = f"Each class, beside {OWN[facts.own]}" if facts.own else "Each class"
    if facts.shown != NEW:
        return missing_section("recall", title, "None of the images is new: there is nothing to compare.")
    chart = Chart(
        "recall-figure", "Recall, with its 95% interval", _see(facts), recall_figure(facts), _intervals(facts)
    )
    return Section("recall", title, (chart, _class_table(facts)))


def _see(facts: EvaluationFacts) -> str:
    given = [row for row in facts.classes if row.recall is not None]
    more = f" Shown are {DRAWN} of {len(given)} classes, those that lost most." if len(given) > DRAWN else ""
    compared = [row for row in given if row.difference is not None]
    if not compared:
        return f"Recall is the share of a class's images that the model finds; the run has no such figure.{more}"
    adjusted = f"adjusted for {len(compared)} classes" if len(compared) > 1 else "at 95%"
    lower = [_change(row) for row in compared if row.clear and (row.difference or 0) < 0]
    higher = [_change(row) for row in compared if row.clear and (row.difference or 0) > 0]
    if not lower and not higher:
        return f"No class's recall differs from {OWN[facts.own]} by more than chance explains ({adjusted}).{more}"
    parts = [f"{word}: {text.joined(rows)}" for word, rows in (("lower", lower), ("higher", higher)) if rows]
    return f"By more than chance explains ({adjusted}), recall is {'; '.join(parts)}.{more}"


def _change(row: ClassBeside) -> str:
    recalls = f"{text.share(row.recall, row.n)}, was {text.share(row.own_recall, row.own_n)}"
    return f"{text.name(row.label, 32)} ({recalls})"


def _intervals(facts: EvaluationFacts) -> Table:
    head: tuple[str, ...] = ("class", NEW)
    rows: list[tuple[str, ...]] = [(text.name(row.label), text.interval(row.interval, row.n)) for row in facts.classes]
    if facts.own:
        head += (OWN[facts.own],)
        own_fewest = min(filter(None, (row.own_n for row in facts.classes)), default=0)
        own = (text.interval(row.own_interval, own_fewest) for row in facts.classes)
        rows = [(*cells, interval) for cells, interval in zip(rows, own, strict=True)]
    return limited_table("95% intervals of the recall", head, rows, LISTED, "classes are left out")


def _class_table(facts: EvaluationFacts) -> Table:
    head: tuple[str, ...] = ("class", NEW, "recall", "precision")
    rows = _class_cells(facts.classes)
    rest, notes = "classes are left out; metrics.json has them", []
    if facts.own:
        own = OWN[facts.own]
        head += (f"{own} images", f"recall on {own}", f"precision on {own}", "difference")
        rows = [(*cells, *own) for cells, own in zip(rows, _own_cells(facts.classes), strict=True)]
        rest = "classes, which lost less, are left out; metrics.json has them"
    if facts.alone is not None:
        notes = ["A precision takes images of other classes."]
    elif facts.own:
        notes = ["Precision also depends on how many images there are of each class."]
    table = limited_table("Recall and precision of each class", head, rows, LISTED, rest)
    return replace(table, note=" ".join(filter(None, (table.note, *notes))))


def _class_cells(rows: Sequence[ClassBeside]) -> list[tuple[str, ...]]:
    recalls = text.shares([row.recall for row in rows], [row.n for row in rows])
    precisions = text.shares([row.precision for row in rows], [row.predicted for row in rows])
    counts = ((text.name(row.label), f"{row.n:,}") for row in rows)
    return [(*count, *shares) for count, *shares in zip(counts, recalls, precisions, strict=True)]


def _own_cells(rows: Sequence[ClassBeside]) -> list[tuple[str, ...]]:
    recalls = text.shares([row.own_recall for row in rows], [row.own_n for row in rows])
    precisions = text.shares([row.own_precision for row in rows], [row.own_predicted for row in rows])
    counts, verdicts = [f"{row.own_n:,}" for row in rows], map(_verdict, rows)
    return list(zip(counts, recalls, precisions, verdicts, strict=True))


def _verdict(row: ClassBeside) -> str:
    if row.difference is None:
        return "–"
    if not row.clear:
        return "within chance"
    return "lower" if row.difference < 0 else "higher"
