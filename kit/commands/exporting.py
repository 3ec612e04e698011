"""`transferkit export`: a run's model in another format, after a parity check."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.options import AsJson, FinishedRun, Quiet

if TYPE_CHECKING:
    from kit.export.package import Export

_FORMAT = "keras, saved_model, onnx, litert or keras-hub."
_OUT = "The folder to be; an earlier export there is replaced."


def export(
    run: FinishedRun,
    format_name: Annotated[str, typer.Option("--format", help=_FORMAT, show_default=False)],
    out: Annotated[Path | None, typer.Option(help=_OUT, show_default="RUN/exports/FORMAT")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Writes a run's model in another format, runs it there on the test images, and hands it over if it answers alike.

    The folder holds the model, its labels, how an image becomes its input, and a model card with an example.
    """
    from kit import progress
    from kit.export import export_run
    from kit.report_hook import draw_page
    from kit.run import Run

    progress.set_quiet(quiet or as_json)
    folder = Run.open(run)
    done = export_run(folder, format_name, out)
    if folder.report_path.exists() and done.path.resolve().is_relative_to(folder.path.resolve()):
        draw_page(folder.path)  # the page lists the exports in the run folder
    if as_json:
        print(json.dumps({"export": str(done.path), **done.record}))
    else:
        print("\n".join(_lines(done)))


def _lines(done: "Export") -> list[str]:
    from kit.progress import mebibytes

    record, gate = done.record, done.record["gate"]
    latency, original = record["latency_ms"], record["original"]
    rows = [
        ("", "original", record["format"]),
        ("runtime", original["runtime"], record["runtime"]),
        ("size", mebibytes(original["bytes"]), mebibytes(record["bytes"])),
        (f"accuracy ({gate['split']})", f"{gate['original_accuracy']:.3f}", f"{gate['accuracy']:.3f}"),
        *((f"batch of {n}", "", f"{milliseconds:.1f} ms") for n, milliseconds in latency.items()),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    table = [f"{name:<{widths[0]}}  {old:<{widths[1]}}  {new}".rstrip() for name, old, new in rows]
    return [
        *table,
        f"Of {gate['photos']:,} {gate['split']} images {gate['agreement']:.1%} get the same class; no probability is "
        f"off by more than {gate['greatest_difference']:.1e} (allowed: {gate['tolerance']:.0e}).",
        f"Export: {done.path}",
    ]
