"""`transferkit benchmark`: a run's model in all formats that this machine can run."""

import json
from typing import Annotated, Any

import typer

from kit.commands import AsJson, FinishedRun, Quiet
from kit.commands.finished_run import Moved, open_run


def benchmark(
    run: FinishedRun,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="This format; may be repeated.", show_default="all")
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option("--precision", help="float32, float16 or int8; may be repeated.", show_default="all"),
    ] = None,
    moved: Moved = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measures a run's model in each format: size, time, accuracy.

    The run keeps the result as benchmark.json, and its page shows it. Nothing is exported.
    """
    from kit import progress
    from kit.export import benchmark_run
    from kit.export.formats import PRECISIONS
    from kit.report_hook import draw_page

    progress.set_quiet(quiet or as_json)
    folder = open_run(run)
    record = benchmark_run(folder, formats or (), precisions or PRECISIONS, moved=moved)
    page = draw_page(folder.path) if folder.report_path.exists() else None
    if as_json:
        print(json.dumps({"run": str(folder.path), "page": None if page is None else str(page), **record}))
        return
    left_out = [f"left out: {name}: {why}" for name, why in record["left_out"].items()]
    print("\n".join([*_table(record["formats"]), *left_out]))
    if page is not None:
        print(f"Page: {page}")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    from kit.progress import mebibytes

    batches = list(rows[0]["latency_ms"])
    head = ("format", "numbers", "size", *(f"batch of {n}, ms" for n in batches), "p95 of 1, ms", "images/s", "memory")
    cells = [(*head, "same class", "accuracy")]
    for one in rows:
        gate, latency = one["gate"], one["latency_ms"]
        cells.append((
            one["format"],
            one["precision"],
            mebibytes(one["bytes"]),
            *(f"{latency[n]['median']:.1f}" for n in batches),
            f"{latency[batches[0]]['p95']:.1f}",
            f"{one['images_per_second']:.0f}",
            "" if one["peak_memory"] is None else mebibytes(one["peak_memory"]),
            f"{gate['agreement']:.1%}",
            f"{gate['accuracy']:.3f}",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
