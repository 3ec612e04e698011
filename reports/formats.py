"""The model in each export format: time, size, memory and accuracy, as `transferkit benchmark` measured them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from kit.files import read_json
from reports import text
from reports.charts import BLUE, VERMILLION, bar, bars_figure
from reports.elements import Chart, Section, Table

TITLE = "Formats"
SHORTEST = "1"  # batch of the figure


def read_benchmark(run: Path) -> dict[str, Any] | None:
    """Content of a run's benchmark.json; None without one. StorageError if it is damaged."""
    path = run / "benchmark.json"
    return read_json(path) if path.exists() else None


def formats_section(record: Mapping[str, Any] | None) -> Section:
    """Section of the formats; no elements where nothing was measured."""
    if record is None:
        return Section("formats", TITLE, ())
    rows = sorted(record["formats"], key=lambda one: one["latency_ms"][SHORTEST]["median"])
    quickest, machine = rows[0], record["machine"]
    see = (
        f"One image takes {text.name(named(quickest))} {text.milliseconds(_ms(quickest, SHORTEST))}, the least of "
        f"{text.count(len(rows), 'form')} of the model."
    )
    batches = list(quickest["latency_ms"])
    head = (
        "format",
        "size",
        *(f"{text.count(int(n), 'image')} at once" for n in batches),
        "95% within",
        "images/s",
        "memory",
        "same prediction",
        "accuracy",
    )
    note = (
        f"Medians on {text.name(machine['processor'])}, {text.count(machine['threads'], 'thread')}. 95% of the passes "
        "of one image end within the time beside; images a second are of the largest batch, memory is the process's."
    )
    if left_out := record["left_out"]:
        note += f" Not measured: {text.joined([text.name(name) for name in left_out])}."
    cells = tuple(_row(one, batches) for one in rows)
    table = Table("Forms of the model", head, cells, note)
    return Section(
        "formats", TITLE, (Chart("formats-figure", "Time of one image", see, formats_figure(record), table),)
    )


def formats_figure(record: Mapping[str, Any]) -> go.Figure:
    """Milliseconds of one image by format, the quickest first: the median, and how much longer one of twenty takes."""
    rows = sorted(record["formats"], key=lambda one: one["latency_ms"][SHORTEST]["median"])
    names = [text.label(named(one)) for one in rows]
    medians = [_ms(one, SHORTEST) for one in rows]
    slow = [max(0.0, one["latency_ms"][SHORTEST]["p95"] - ms) for one, ms in zip(rows, medians, strict=True)]
    figure = bars_figure(len(rows), xaxis={"title": "milliseconds", "rangemode": "tozero"}, barmode="stack")
    for heading, values, look in (("median", medians, bar(BLUE)), ("95% within", slow, bar(VERMILLION, "/"))):
        total = medians if heading == "median" else [ms + more for ms, more in zip(medians, slow, strict=True)]
        shown = [text.milliseconds(value) for value in total]
        figure.add_bar(
            x=values, y=names, name=heading, orientation="h", marker=look, customdata=shown,
            hovertemplate="%{y}: %{customdata}",
        )  # fmt: skip
    return figure


def named(one: Mapping[str, Any]) -> str:
    """Format, and its precision where that is not the original's."""
    return one["format"] if one["precision"] == "float32" else f"{one['format']}, {one['precision']}"


def _ms(one: Mapping[str, Any], batch: str) -> float:
    return one["latency_ms"][batch]["median"]


def _row(one: Mapping[str, Any], batches: list[str]) -> tuple[str, ...]:
    gate = one["gate"]
    return (
        text.name(named(one)),
        text.size(one["bytes"]),
        *(text.milliseconds(_ms(one, batch)) for batch in batches),
        text.milliseconds(one["latency_ms"][SHORTEST]["p95"]),
        f"{one['images_per_second']:,.0f}",
        text.size(one["peak_memory"]),
        f"{gate['agreement']:.2%}",
        text.share(gate["accuracy"], gate["photos"]),
    )
