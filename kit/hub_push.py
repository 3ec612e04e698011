"""A run's model on the Hugging Face Hub: an export's folder, its model card as the page of the repository."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import progress
from kit.errors import ConfigError, ExportError, StorageError, UserError
from kit.export import export_run
from kit.export.formats import find_format
from kit.export.package import RECORD
from kit.files import read_json
from kit.machine import install_command
from kit.run import Name, Run

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# What the Hub takes for a name, as in its own message.
_REPOSITORY = re.compile(
    r"(?=.{3,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9](?!.*(--|\.\.))[\w.-]*(?<![.-])(?<!\.git)", re.ASCII
)


def push(source: Name | Run, repository: str, *, format_name: str = "", private: bool = False) -> str:
    """Upload a run's model with its card to the Hugging Face Hub; returns the address of the page there.

    Args:
        source: A finished run, or the folder of an export.
        repository: `user/name`, or `organisation/name`; made where there is none.
        format_name: As of `export_run`; `keras` unless given. An export that lies in the run's folder is taken, or one
            is written there. Of an export's folder it is left out.
        private: Make a repository that only its owner sees; one that is there stays as it is.

    Only what the export lists goes up: the model, its labels and preprocessing, the card. Files that are in the
    repository already stay, unless they have the same name.

    Raises:
        ConfigError: If the repository has no such name, there is no token, or the Hub refuses it.
        ExportError: If huggingface_hub is not installed, the Hub cannot be reached, or the model cannot be exported.
        StorageError: If `source` is neither a finished run nor an export.
    """
    if not isinstance(repository, str) or not _REPOSITORY.fullmatch(repository):
        raise ConfigError(
            f"A repository of the Hub is named user/name, not {repository!r}.",
            "Letters, digits and . - _ are allowed, at most 96 of them.",
        )
    chosen = find_format(format_name).name if format_name else ""
    exported, run = _source(source, chosen)
    api = _client()
    with _one_message(repository):
        api.whoami()  # a token that is refused is told before an export takes minutes
    if exported is None:
        assert run is not None
        exported = _export(run, chosen or "keras")
    files = [RECORD, *read_json(exported / RECORD)["files"]]
    progress.say(f"Uploading {exported} to {repository}")
    with _one_message(repository), _no_bars():
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=exported, allow_patterns=files,
            commit_message="Model and card, by transferkit",
        )  # fmt: skip
    return str(address)


def is_export(path: Path) -> bool:
    """Whether a folder is that of an export."""
    return (path / RECORD).is_file() and not (path / "manifest.json").exists()


def _source(source: Name | Run, format_name: str) -> tuple[Path | None, Run | None]:
    """Folder of an export, or the run to export."""
    if not isinstance(source, Run):
        folder = Path(source)
        if is_export(folder):
            if format_name:
                raise ConfigError(f"{folder} is an export already: it takes no format.", "Leave the format out.")
            return folder, None
        source = Run.open(folder)
    source.require_finished()
    return None, source


def _export(run: Run, format_name: str) -> Path:
    folder = run.path / "exports" / format_name
    if is_export(folder):
        progress.say(f"The export in {folder} is taken.")
        return folder
    return export_run(run, format_name).path


def _client() -> "HfApi":
    try:
        import huggingface_hub
    except ImportError as error:
        raise ExportError(f"huggingface_hub is not installed: {error}.", f"Run `{install_command('push')}`.") from error
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise ConfigError("HF_HUB_OFFLINE keeps huggingface_hub from the network.", "Unset it to push.")
    if not huggingface_hub.get_token():
        raise ConfigError(
            "There is no token of the Hugging Face Hub.",
            "Make one that may write (https://huggingface.co/settings/tokens), then `hf auth login`, or set HF_TOKEN.",
        )
    return huggingface_hub.HfApi(library_name="transferkit")


@contextmanager
def _one_message(repository: str) -> Iterator[None]:
    """Turn whatever the client raises into one message."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (UserError, StorageError):
        raise
    except Exception as raised:  # the client and its transport raise many kinds
        # of a large file the client says only that it failed
        error = raised.__cause__ if type(raised) is RuntimeError and raised.__cause__ else raised
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status == 401:
            raise ConfigError(
                "The Hugging Face Hub refuses the token.", "Log in again: `hf auth login`, or set HF_TOKEN."
            ) from raised
        if status == 403:
            raise ConfigError(
                f"The token may not write to {repository}.",
                "Take a token of its owner that may write: https://huggingface.co/settings/tokens.",
            ) from raised
        what = f"did not take {repository}" if isinstance(error, HfHubHTTPError) else "cannot be reached"
        raise ExportError(f"The Hugging Face Hub {what}: {_first(error)}.", _AGAIN) from raised


_AGAIN = "Try again when the network is there; the export is kept, and pushed without being written anew."


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the client's progress bars, which go round our own, from the screen."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before: Any = are_progress_bars_disabled()
    if not before:
        disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()
