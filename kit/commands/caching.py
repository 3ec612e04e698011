"""`transferkit cache`: list, prune and verify the cache."""

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from kit.commands import AsJson, parse_duration
from kit.errors import ConfigError

if TYPE_CHECKING:
    from kit.cache.inventory import StoreInfo

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

_BYTES = {f"{p}b": 1000**i for i, p in enumerate(["", *"kmgt"])} | {f"{p}ib": 1024**i for i, p in enumerate("kmgt", 1)}


@app.callback()
def cache() -> None:
    """Lists, prunes and verifies what runs keep for later runs.

    They lie in the folder TRANSFERKIT_CACHE, or in the user's cache folder. Whatever is removed is computed again when
    needed, but for what a program gave in memory (kind given), where its runs look it up.
    """


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """Shows what the cache holds, the last used first."""
    from kit.cache.inventory import list_given, list_stores, other_folders
    from kit.machine import cache_folder

    stores, others = list_stores() + list_given(), other_folders()
    total = sum(info.bytes for info in stores) + sum(others.values())
    if as_json:
        other_records = [{"path": str(path), "bytes": size} for path, size in others.items()]
        _print_json(
            cache=str(cache_folder()), bytes=total, stores=[_record(info) for info in stores], others=other_records
        )
        return
    print(f"{cache_folder()}: {_readable(total)}")
    if stores:
        print(f"\n{'kind':<10} {'rows':>9} {'size':>10}  {'last used':<16}  store")
    for info in stores:
        used = datetime.fromtimestamp(info.last_used).strftime("%Y-%m-%d %H:%M")
        print(f"{info.kind:<10} {info.rows:>9,} {_readable(info.bytes):>10}  {used:<16}  {info.path.name}")
        print(f"{'':<10} {info.about or '(its recipe.json cannot be read)'}")
    if others:
        print()
    for path, size in others.items():
        print(f"{path.name:<10} {'':>9} {_readable(size):>10}  {path}")


@app.command("prune")
def prune_command(
    older_than: str = typer.Option(
        "", metavar="AGE", help="Not used for this long: 45m, 12h, 30d or 2w.", show_default="any"
    ),
    kind: str = typer.Option(
        "", metavar="KIND", help="Only of this kind: pixels, features, heads or given.", show_default="any"
    ),
    max_size: str = typer.Option(
        "", metavar="SIZE", help="The least recently used, until at most 500MB, 10GB, ... are left.", show_default="any"
    ),
    everything: bool = typer.Option(False, "--all", help="Every store."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be removed."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object; needs --yes or --dry-run."),
) -> None:
    """Removes stores. At least one of --older-than, --kind, --max-size and --all says which.

    With --kind, the others consider that kind alone; --max-size comes after --older-than. A store that another process
    is building is left alone. Downloads, unpacked archives and audit facts stay, and so does what a program gave in
    memory, unless --kind given names it: its runs find their images there, and nothing computes those again.
    """
    from kit.cache.inventory import GIVEN, choose_stores, list_given, list_stores, remove_store

    if not (older_than or kind or max_size or everything):
        raise ConfigError(
            "`cache prune` needs to be told which stores: --older-than AGE, --kind KIND, --max-size SIZE or --all.",
            "`transferkit cache list` shows them; --dry-run shows what would go.",
        )
    if everything and (older_than or kind or max_size):
        raise ConfigError("`cache prune --all` removes every store: it cannot be combined with the other criteria.")
    age = parse_duration(older_than, "--older-than") if older_than else None
    most = parse_size(max_size) if max_size else None
    stores = list_given() if kind == GIVEN else list_stores()
    kinds = sorted({"pixels", "features", "heads", GIVEN} | {info.kind for info in stores})
    if kind and kind not in kinds:
        raise ConfigError(f"--kind must be one of {', '.join(kinds)}, not {kind!r}.")
    chosen = choose_stores(stores, time.time(), age, kind or None, most)
    if chosen and not dry_run and not yes:
        _ask(chosen, as_json)
    removed = [info for info in chosen if dry_run or remove_store(info)]
    locked = [info for info in chosen if info not in removed]
    freed = sum(info.bytes for info in removed)
    if as_json:
        names = {"removed": [_record(info) for info in removed], "locked": [info.path.name for info in locked]}
        _print_json(dry_run=dry_run, bytes=freed, **names)
        return
    for info in removed:
        print(f"{'would remove' if dry_run else 'removed'} {info.path.name}  {_readable(info.bytes)}  {info.about}")
    for info in locked:
        print(f"left {info.path.name}: another process is building it")
    print(f"{'Would free' if dry_run else 'Freed'} {_readable(freed)}: {_counted(removed)}.")


@app.command("verify")
def verify_command(
    repair: bool = typer.Option(
        False, "--repair", help="Drop damaged files, so that the next run computes them again."
    ),
    as_json: AsJson = False,
) -> None:
    """Reads every store and compares checksums. Exit status 1 if damage was found and not repaired."""
    from kit.cache.inventory import chunk_files, damaged_files, drop, list_stores
    from kit.progress import track

    stores = list_stores()
    checked, damaged = 0, []
    with track("verifying", sum(len(chunk_files(info.path)) + 1 for info in stores), "files") as advance:
        for info in stores:
            for path, bad in damaged_files(info.path):
                checked += 1
                advance(1)
                if bad:
                    damaged.append(path)
                if bad and repair:
                    drop(path)
    if as_json:
        _print_json(checked=checked, damaged=[str(path) for path in damaged], repaired=repair and bool(damaged))
    else:
        print("\n".join(_verified_lines(checked, [str(path) for path in damaged], repair)))
    if damaged and not repair:
        raise typer.Exit(1)


def parse_size(text: str) -> int:
    """Bytes of `500MB`, `10GB`, `1.5GiB` or `0` (GB is 10^9, GiB 2^30); else ConfigError."""
    if text.strip() == "0":
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if not match or match[2] not in _BYTES:
        raise ConfigError(f"--max-size must be a number and KB, MB, GB or TB (or KiB ...), as in 10GB, not {text!r}.")
    return int(float(match[1]) * _BYTES[match[2]])


def _ask(chosen: Sequence["StoreInfo"], as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise ConfigError("`cache prune` asks before it removes anything, and nobody can answer here.", "Add --yes.")
    for info in chosen:
        print(f"{info.path.name}  {_readable(info.bytes)}  {info.about}")
    typer.confirm(f"Remove {_counted(chosen)}?", abort=True)


def _verified_lines(checked: int, damaged: list[str], repaired: bool) -> list[str]:
    if not damaged:
        return [f"{checked:,} files checked: all as written."]
    if repaired:
        return [
            *(f"dropped {path}" for path in damaged),
            f"{checked:,} files checked: the next run replaces {len(damaged)}.",
        ]
    advice = "`transferkit cache verify --repair` drops them, and the next run computes what they held."
    return [*(f"damaged {path}" for path in damaged), f"{checked:,} files checked, {len(damaged)} damaged.", advice]


def _record(info: "StoreInfo") -> dict[str, Any]:
    used = datetime.fromtimestamp(info.last_used, UTC).isoformat(timespec="seconds")
    return {"name": info.path.name} | asdict(info) | {"path": str(info.path), "last_used": used}


def _print_json(**content: Any) -> None:
    print(json.dumps(content, indent=2))


def _counted(stores: Sequence["StoreInfo"]) -> str:
    return f"{len(stores)} store{'' if len(stores) == 1 else 's'}, {_readable(sum(info.bytes for info in stores))}"


def _readable(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
