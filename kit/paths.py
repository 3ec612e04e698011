"""Folders on this machine that outlive a run."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """TRANSFERKIT_CACHE, or the user's cache folder: stores, downloads, unpacked archives."""
    chosen = os.environ.get("TRANSFERKIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("transferkit", appauthor=False))


def heads_folder() -> Path:
    """Folder of trained heads that the trials of a study share."""
    return cache_folder() / "heads"
