"""What is installed under our three import names is ours, and pyproject.toml lists all of it."""

import tomllib
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
IMPORT_NAMES = ("kit", "search", "reports")


@pytest.fixture
def _installed():
    try:
        version("transferkit")
    except PackageNotFoundError:
        pytest.skip("transferkit runs from its source here and is not installed")


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("name", IMPORT_NAMES)
def test_the_import_name_is_ours_alone(name):
    assert set(packages_distributions()[name]) == {"transferkit"}


@pytest.mark.usefixtures("_installed")
def test_every_command_listed_can_be_loaded():
    listed = PROJECT["project"]["entry-points"]["transferkit.commands"]
    found = {point.name: point for point in entry_points(group="transferkit.commands")}
    assert set(listed) <= set(found)
    assert all(callable(found[name].load()) for name in listed)


def test_every_package_is_listed():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for name in IMPORT_NAMES for path in (ROOT / name).rglob("*.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders


def test_a_source_distribution_has_every_folder_of_code():
    lines = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    taken = {line.removeprefix("graft ") for line in lines if line.startswith("graft ")}
    assert {path.parent.name for path in ROOT.glob("*/*.py")} <= taken | set(IMPORT_NAMES)
    assert taken <= {path.name for path in ROOT.iterdir()}


@pytest.mark.parametrize("name", IMPORT_NAMES)
def test_type_checkers_of_users_read_our_types(name):
    """PEP 561: without the marker they take the whole package for untyped."""
    assert (Path(import_module(name).__path__[0]) / "py.typed").is_file()


def test_what_the_project_file_names_exists():
    assert (ROOT / PROJECT["project"]["readme"]).is_file()
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("floor", ["keras>=3.15.1", "pillow>=12.3"])
def test_versions_with_known_holes_are_excluded(floor):
    assert floor in PROJECT["project"]["dependencies"]
