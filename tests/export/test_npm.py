"""Packages of npm: from a folder, from the cache, from a registry; never another version than the pinned one."""

import hashlib
import io
import shutil
import tarfile

import pytest

from doubles import swap
from kit.errors import DataError, ExportError
from kit.export import npm
from kit.export.npm import NpmPackage, package_files, require_packages
from kit.machine import cache_folder

CONTENT = b"globalThis.library = 1;\n"


def tarball(content: bytes = CONTENT) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/dist/library.js")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


TARBALL = tarball()
PACKAGE = NpmPackage(
    "@scope/library",
    "1.2.3",
    hashlib.sha256(TARBALL).hexdigest(),
    {"dist/library.js": hashlib.sha256(CONTENT).hexdigest()},
)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def without_npm(monkeypatch):
    swap(monkeypatch, shutil, "which", lambda cmd, mode=0, path=None: None)


def test_a_folder_of_npm_install_gives_the_files(tmp_path):
    place = tmp_path / "node_modules" / "@scope" / "library" / "dist"
    place.mkdir(parents=True)
    (place / "library.js").write_bytes(CONTENT)
    assert package_files([PACKAGE], tmp_path) == {"library.js": CONTENT}


def test_a_folder_of_tarballs_gives_the_files(tmp_path):
    (tmp_path / "scope-library-1.2.3.tgz").write_bytes(TARBALL)
    assert package_files([PACKAGE], tmp_path) == {"library.js": CONTENT}


@pytest.mark.parametrize("there", ["nothing", "another version", "no tarball"])
def test_a_folder_that_lacks_them_is_told_with_the_command_that_makes_one(tmp_path, there):
    if there == "another version":
        (tmp_path / "scope-library-1.2.3.tgz").write_bytes(tarball(b"another"))
    elif there == "no tarball":
        (tmp_path / "scope-library-1.2.3.tgz").write_bytes(b"<html>not found</html>")
    with pytest.raises(ExportError) as told:
        package_files([PACKAGE], tmp_path)
    assert "dist/library.js of @scope/library 1.2.3" in told.value.what
    assert ("another version" in told.value.what) == (there == "another version")
    assert "npm install --prefix FOLDER @scope/library@1.2.3" in told.value.hint


def test_without_npm_it_comes_from_the_registry_that_npm_would_ask_and_then_from_the_cache(
    web, without_npm, monkeypatch
):
    web.content = TARBALL
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", web.url("").rstrip("/"))
    for _ in ("first", "second"):
        assert package_files([PACKAGE]) == {"library.js": CONTENT}
    assert [path for path, _ in web.requests] == ["/@scope/library/-/library-1.2.3.tgz"]
    assert (cache_folder() / "npm" / "scope-library-1.2.3.tgz").read_bytes() == TARBALL


def test_what_a_registry_sends_instead_is_refused(web, without_npm, monkeypatch):
    web.content = tarball(b"another")
    monkeypatch.setenv("npm_config_registry", web.url("").rstrip("/"))
    with pytest.raises(ExportError, match="is not the file it should be") as told:
        require_packages([PACKAGE])
    assert "--runtime" in told.value.hint


def test_no_network_is_told_with_a_way_round_it(without_npm, monkeypatch):
    def unreachable(url, target, *, size=None, sha256=None, label=""):
        raise DataError("It could not be downloaded.", "Check the network.")

    swap(monkeypatch, npm, "fetch", unreachable)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match=r"It could not be downloaded\.") as told:
        require_packages([PACKAGE])
    assert "npm install --prefix FOLDER" in told.value.hint


def test_without_npm_and_a_registry_it_is_told_what_to_do(without_npm, monkeypatch):
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ExportError, match="npm is not installed here") as told:
        require_packages([PACKAGE])
    assert told.value.hint.startswith("Install npm")
    assert "--runtime: npm install --prefix FOLDER @scope/library@1.2.3" in told.value.hint


@pytest.mark.parametrize("does", ["packs", "packs another", "fails"])
def test_where_npm_is_installed_it_fetches(tmp_path, monkeypatch, does):
    """A program in its place: npm's own settings, proxy and credentials are its business."""
    (tmp_path / "made.tgz").write_bytes(TARBALL if does == "packs" else tarball(b"another"))
    program = tmp_path / "npm"
    copies = f'cp {tmp_path}/made.tgz "$4/scope-library-1.2.3.tgz"'
    program.write_text(f"#!/bin/sh\n{'echo no such host >&2; exit 1' if does == 'fails' else copies}\n")
    program.chmod(0o755)
    swap(monkeypatch, shutil, "which", lambda cmd, mode=0, path=None: str(program))
    if does == "packs":
        assert package_files([PACKAGE]) == {"library.js": CONTENT}
        return
    with pytest.raises(ExportError, match="no such host" if does == "fails" else "another SHA-256") as told:
        require_packages([PACKAGE])
    assert "npm install --prefix FOLDER" in told.value.hint
