"""Packages of npm at pinned versions, for a user who may have no npm: files of theirs, verified by SHA-256.

Nothing of them is part of transferkit. They come from a folder that the user names, the cache, `npm` where it is
installed (with its registry, proxy and credentials), or else by HTTP from the registry that `npm_config_registry`
names: docs/decisions/0015-web-runtime.md.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.data.download import fetch
from kit.errors import ExportError, UserError
from kit.files import sha256_file
from kit.machine import cache_folder
from kit.progress import say

_SECONDS = 300


@dataclass(frozen=True)
class NpmPackage:
    """A package at one version.

    Attributes:
        name: Such as `@tensorflow/tfjs-core`.
        sha256: Of the tarball that the registry has, 64 hex digits.
        files: Path in the package -> SHA-256, of the files that are used.
    """

    name: str
    version: str
    sha256: str
    files: dict[str, str]

    @property
    def archive(self) -> str:
        """File name that `npm pack` gives the tarball."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


def package_files(packages: Sequence[NpmPackage], folder: Path | str | None = None) -> dict[str, bytes]:
    """Content of the files of some packages, by their names without folders.

    Args:
        packages: All at once, so that a hint can name all.
        folder: Where the packages are installed (it holds `node_modules`), or the tarballs lie; no network then.

    Raises:
        ExportError: If a package can be had nowhere, or is another version.
    """
    found: dict[str, bytes] = {}
    for package in packages:
        for name, digest in package.files.items():
            content = _from_folder(Path(folder), package, name) if folder else _from_archive(_archive(package), name)
            if content is None or hashlib.sha256(content).hexdigest() != digest:
                place = folder or _archive(package)
                what = "does not hold" if content is None else "holds another version of"
                raise ExportError(f"{place} {what} {name} of {package.name} {package.version}.", _hint(packages))
            found[Path(name).name] = content
    return found


def require_packages(packages: Sequence[NpmPackage], folder: Path | str | None = None) -> None:
    """Raise ExportError unless `package_files` can give them: fetch what is missing before a long task."""
    try:
        package_files(packages, folder)
    except UserError as error:
        raise ExportError(error.what, _hint(packages)) from None


def _hint(packages: Sequence[NpmPackage]) -> str:
    wanted = " ".join(f"{one.name}@{one.version}" for one in packages)
    return (
        "Install npm (Node.js), or let npm_config_registry name a registry; once is enough, for it is kept in the "
        "cache. Without a network here, run this where there is one, and name the folder by --runtime: npm install "
        f"--prefix FOLDER {wanted}"
    )


def _from_folder(folder: Path, package: NpmPackage, name: str) -> bytes | None:
    if (tarball := folder / package.archive).is_file():
        return _from_archive(tarball, name)
    file = folder / "node_modules" / package.name / name
    return file.read_bytes() if file.is_file() else None


def _from_archive(tarball: Path, name: str) -> bytes | None:
    try:
        with tarfile.open(tarball) as archive:
            file = archive.extractfile(f"package/{name}")
            return file.read() if file else None
    except (KeyError, tarfile.TarError, EOFError, OSError):
        return None


def _archive(package: NpmPackage) -> Path:
    """Tarball of a package in the cache, fetched if missing."""
    target = cache_folder() / "npm" / package.archive
    if target.is_file() and sha256_file(target) == package.sha256:
        return target
    program = shutil.which("npm")
    if program is None:
        # npm reads its settings from the environment in any case; its own documentation writes them small
        named = (value for name, value in os.environ.items() if name.lower() == "npm_config_registry" and value)
        registry = next(named, "")
        if not registry:
            what = f"{package.name} {package.version} comes from npm's registry, and npm is not installed here."
            raise ExportError(what, _hint([package]))
        address = f"{registry.rstrip('/')}/{package.name}/-/{package.name.rpartition('/')[2]}-{package.version}.tgz"
        return fetch(address, target, sha256=package.sha256, label=f"{package.name} {package.version}")
    say(f"Downloading {package.name} {package.version} by npm")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tmp-npm-") as folder:
        command = [program, "pack", "--silent", "--pack-destination", folder, f"{package.name}@{package.version}"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False, errors="replace",
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            said = next(
                (line for line in reversed(done.stderr.splitlines()) if line.strip()), f"status {done.returncode}"
            )
        except subprocess.TimeoutExpired:
            said = f"no answer within {_SECONDS} seconds"
        made = Path(folder) / package.archive
        if not made.is_file():
            raise ExportError(f"npm could not download {package.name} {package.version} ({said[:200]}).")
        if sha256_file(made) != package.sha256:
            raise ExportError(
                f"npm's {package.name} {package.version} is not the package that it should be: another SHA-256."
            )
        os.replace(made, target)
    return target
