"""What a notebook shows of a run or a study: each figure of its page by name, and a summary that needs no script."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import ConfigError
from kit.training.history import History
from reports import text
from reports.confusion import ConfusionFacts, confusion_facts
from reports.drawing import environment, kind_of, page_of
from reports.elements import Chart, ConfusionMatrix, ImageMap, MapPoint
from reports.run_page import PartialRun
from reports.summary import summary_box, summary_facts

if TYPE_CHECKING:
    import plotly.graph_objects as go

SMALL = 12  # classes in the confusion matrix of a summary; of more, the page has it
WIDTH, HEIGHT = 300, 120  # of the curves, in CSS pixels
_KINDS = ("-figure", "-matrix")  # that identities of elements end with


class Figures:
    """Figures of a record's page by name: `figures.curves()`, `figures["curves"]()`, `list(figures)`.

    Each gives a new plotly figure, or a list of them where several stand side by side. The page is read once.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def __getattr__(self, name: str) -> "Callable[[], go.Figure | list[go.Figure]]":
        if name.startswith("_"):  # asked by copy, pickle and notebooks
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> "Callable[[], go.Figure | list[go.Figure]]":
        if name not in self._elements:
            raise ConfigError(
                f"The page of {self._folder} has no figure {name!r}.", f"It has {', '.join(self._elements) or 'none'}."
            )
        return lambda: _figure_of(self._elements[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._elements)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._elements]

    def __repr__(self) -> str:
        return f"Figures of {self._folder}: {', '.join(self._elements) or 'none'}"

    @cached_property
    def _elements(self) -> dict[str, Chart | ConfusionMatrix | ImageMap]:
        elements = [element for section in page_of(self._folder).sections for element in section.elements]
        return {_name(one.id): one for one in elements if isinstance(one, Chart | ConfusionMatrix | ImageMap)}


def _name(identity: str) -> str:
    for kind in _KINDS:
        identity = identity.removesuffix(kind)
    return identity.replace("-", "_")


def _figure_of(element: Chart | ConfusionMatrix | ImageMap) -> "go.Figure | list[go.Figure]":
    import plotly.graph_objects as go

    if isinstance(element, ConfusionMatrix):
        return _matrix_figure(element)
    if isinstance(element, ImageMap):
        return _map_figure(element)
    # a page colours text and grid itself; a notebook needs a template that does, on whatever theme
    shown = [go.Figure(figure).update_layout(template="plotly_white") for _, figure in element.panels]
    return shown if isinstance(element.figure, tuple) else shown[0]


def _matrix_figure(matrix: ConfusionMatrix) -> "go.Figure":
    """Heat map of a confusion matrix, shaded by the share of each label's images."""
    import plotly.graph_objects as go

    names = [one.name for one in matrix.classes]
    shares = [
        [count / one.support if one.support else 0.0 for count in row]
        for one, row in zip(matrix.classes, matrix.counts, strict=True)
    ]
    heat = go.Heatmap(
        z=shares,
        x=names,
        y=names,
        text=matrix.counts,
        texttemplate="" if matrix.dense else "%{text}",
        colorscale="Blues",
        zmin=0,
        zmax=1,
        colorbar={"title": "share of<br>the label", "tickformat": ".0%"},
        hovertemplate="label %{y}<br>predicted %{x}<br>%{text} images, %{z:.1%} of the label<extra></extra>",
    )
    axis = {"type": "category", "dtick": 1}
    return go.Figure(heat).update_layout(
        template="plotly_white",
        xaxis={"title": "predicted", **axis},
        yaxis={"title": "label", "autorange": "reversed", **axis},
        height=max(320, 120 + 22 * len(names)),
    )


def _map_figure(drawn: ImageMap) -> "go.Figure":
    """Points of a map, a trace for each class of its legend, mistakes ringed."""
    import plotly.graph_objects as go

    from reports.charts import SYMBOLS, VERMILLION

    wrong = [point for point in drawn.points if point.wrong]
    ring = {"symbol": "circle-open", "size": 14, "color": VERMILLION, "line": {"width": 2}}
    figure = go.Figure(_places(wrong, name="mistakes", marker=ring, hoverinfo="skip"))
    for label in dict.fromkeys(point.label for point in drawn.points):
        points = [point for point in drawn.points if point.label == label]
        name = next((text.label(one.name) for one in drawn.classes if one.number == label), "")
        look = {"color": points[0].colour, "symbol": SYMBOLS[points[0].shape], "size": 8}
        figure.add_trace(_places(points, name=name, showlegend=bool(name), marker=look, hoverinfo="text"))
    figure.update_xaxes(visible=False).update_yaxes(visible=False, autorange="reversed", scaleanchor="x")
    return figure.update_layout(template="plotly_white", height=max(360, drawn.size[1] * 0.7))


def _places(points: Sequence[MapPoint], **look: Any) -> "go.Scatter":
    import plotly.graph_objects as go

    says = [text.label(point.says, 200) for point in points]
    return go.Scatter(
        x=[point.x for point in points], y=[point.y for point in points], mode="markers", hovertext=says, **look
    )


def summary_html(folder: Path) -> str:
    """Headline of a record's page as HTML without a script; of a run also its curves and small confusion matrix.

    Raises StorageError if the folder is no record, or damaged.
    """
    template, page = environment().get_template("notebook.html"), folder / "report.html"
    shown = {"folder": str(folder), "page": str(page) if page.exists() else "", "width": WIDTH, "height": HEIGHT}
    if kind_of(folder) != "run":
        return template.render(box=page_of(folder).summary_box, lines=(), confusion=None, **shown)
    run = PartialRun.open(folder)
    metrics, classes = run.metrics, run.manifest.get("classes", [])
    measured = summary_facts(metrics)
    matrix: ConfusionFacts | None = None
    if measured.split and len(classes) <= SMALL:
        matrix = confusion_facts(measured.split, metrics[measured.split], classes)
    return template.render(box=summary_box(measured), lines=curve_lines(run.history), confusion=matrix, **shown)


def curve_lines(history: History) -> tuple[tuple[str, str, str], ...]:
    """(name, points of an SVG polyline, last value as text) of training and validation accuracy."""
    lines = []
    for name, column in (("training", "accuracy"), ("validation", "val_accuracy")):
        values = [getattr(record, column) for record in history]
        if not values or values[-1] is None:
            continue
        step = WIDTH / max(len(values) - 1, 1)
        points = " ".join(f"{place * step:.1f},{HEIGHT * (1 - value):.1f}" for place, value in enumerate(values))
        lines.append((name, points, text.share(values[-1])))
    return tuple(lines)
