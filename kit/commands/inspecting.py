"""`transferkit inspect`: what is in the data, before training."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.commands import AsJson, Quiet
from kit.errors import ConfigError
from kit.progress import aligned, printable

if TYPE_CHECKING:
    from kit.data.audit import Finding
    from kit.inspection import Inspection

_SHOWN = 5
_EXPLAINED = ("bit-depth", "colour-profile")  # kinds whose message says more than the paths
_MEASURED = ("blurred", "dark", "bright", "low-information", "grey", "odd-aspect", "odd-size")  # message names the path
_SPLITS = ("train", "validation", "test")


def inspect(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A folder, table or archive of images, or `flowers`.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The output folder.", show_default="inspections/NAME-TIME; with --json or --csv nowhere"),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Record, and draw no page.")] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One row for each image on standard output.")] = False,
    split_seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the split shown.")] = 0,
    near_duplicate_bits: Annotated[
        int, typer.Option(min=0, max=16, help="Bits in which hashes of near duplicates may differ.")
    ] = 8,
    near_duplicates: Annotated[str, typer.Option(help="Look for near copies: on or off.")] = "on",
    group_by: Annotated[
        str,
        typer.Option(
            help="Regular expression on paths: images with the same match belong together.", show_default="none"
        ),
    ] = "",
    columns: Annotated[
        str, typer.Option(help="Columns of a table: path=NAME,label=NAME.", show_default="by their names")
    ] = "",
    corrections: Annotated[
        str, typer.Option(help="File of labels that were reviewed, as pages download it.", show_default="none")
    ] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads to use; 0 means all.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Shows what is in the data: classes, sizes, faults, copies."""
    from kit import progress
    from kit.config import DataConfig
    from kit.inspection import look, refuse_other_content, summarise, table_text, write_record
    from kit.report_hook import draw_page
    from kit.run import default_run_path

    if as_json and as_csv:
        raise ConfigError("--json and --csv were both given.", "Give one of them.")
    progress.set_quiet(quiet or as_json)
    if out is not None:
        refuse_other_content(out)
    config = DataConfig(
        path=data,
        columns=columns,
        corrections=corrections,
        near_duplicate_bits=near_duplicate_bits,
        near_duplicates=near_duplicates,
        group_by=group_by,
    )
    inspection = look(config, split_seed, threads)
    summary = summarise(inspection)
    folder, page = out, None
    if folder is None and not (as_json or as_csv):
        folder = default_run_path(inspection.samples.name, Path("inspections"))
    if folder is not None:
        write_record(folder, data, split_seed, inspection, summary)
        page = None if no_report else draw_page(folder)
    if as_json:
        findings = [asdict(finding) for finding in inspection.findings]
        places = {name: place and str(place) for name, place in (("record", folder), ("page", page))}
        print(json.dumps({**places, "data": data, **summary, "findings": findings}))
        return
    if as_csv:
        print(table_text(inspection), end="")
    else:
        _print_summary(inspection, summary)
        print()
    show = progress.say if as_csv else print  # standard output is the table's
    for name, place in (("Page", page), ("Record", folder)):
        if place is not None:
            show(f"{name}: {printable(str(place))}")


def _print_summary(inspection: "Inspection", summary: dict[str, Any]) -> None:
    imbalance = f", largest class {summary['imbalance']:.2f} x the smallest" if summary["imbalance"] else ""
    formats = ", ".join(f"{count} {name}" for name, count in summary["formats"].items())
    print("\n".join(summary["tree"]), end="\n\n")
    print(f"{printable(summary['name'])}: {summary['images']} images in {len(summary['classes'])} classes{imbalance}")
    print(f"formats: {formats or 'none'}; unreadable files: {summary['files'] - summary['images']}\n")
    classes = [
        [entry["label"], entry["images"], f"{entry['share']:.1%}", *(entry[split] for split in _SPLITS)]
        for entry in summary["classes"]
    ]
    total = ["all", summary["images"], "", *(summary["splits"][split] for split in _SPLITS)]
    _print_table(["class", "images", "share", *_SPLITS], *classes, total)
    sizes = (
        [name, *(f"{value:,.0f}" for value in quantiles.values())]
        for name, quantiles in summary["sizes"].items()
        if quantiles
    )
    print()
    _print_table(["", "smallest", "10%", "median", "90%", "largest"], *sizes)
    if (groups := summary["groups"])["count"]:
        several = "1 group stays" if groups["count"] == 1 else f"{groups['count']:,} groups stay"
        print(f"\n{several} in one split: {groups['images']:,} images, at most {groups['largest']:,} in a group")
    for warning in summary["warnings"]:
        print(f"\nwarning: {warning}")
    _print_findings(inspection)
    if inspection.refusal:
        print(f"\nTraining would refuse these data as they are: {printable(inspection.refusal)}")


def _print_findings(inspection: "Inspection") -> None:
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in inspection.findings:
        groups.setdefault((finding.kind, finding.severity), []).append(finding)
    if not groups and not inspection.warnings:
        print("\nNothing odd was found.")
    for (kind, severity), findings in groups.items():
        print(f"\n{severity}: {kind} ({len(findings)})")
        for finding in findings[:_SHOWN]:
            if kind in (*_EXPLAINED, *_MEASURED):
                print(f"  {printable(finding.message)}")
            if kind in _MEASURED:
                continue
            more = f" and {len(finding.paths) - _SHOWN} more" if len(finding.paths) > _SHOWN else ""
            print(f"  {printable(', '.join(finding.paths[:_SHOWN]))}{more}")
        if len(findings) > _SHOWN:
            print(f"  ... and {len(findings) - _SHOWN} more")


def _print_table(*rows: list[Any]) -> None:
    for line in aligned([[printable(str(cell)) for cell in row] for row in rows]):
        print(line.rstrip())
