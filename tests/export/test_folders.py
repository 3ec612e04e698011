"""An export's folder appears whole or not at all, and never in place of what no export wrote."""

import pytest

from kit.errors import StorageError
from kit.export.package import RECORD, replaced_folder
from kit.files import write_json


def left_in(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def earlier(tmp_path):
    """The folder of an earlier export."""
    target = tmp_path / "out"
    (target / "model").mkdir(parents=True)
    (target / "model" / "weights").write_text("old")
    write_json(target / RECORD, {"kind": "export", "files": {"model/weights": {}}})
    return target


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_a_new_folder_appears_with_all_that_was_written(tmp_path, there):
    target = tmp_path / "deep" / "out"
    if there == "an empty folder":
        target.mkdir(parents=True)
    with replaced_folder(target) as folder:
        (folder / "model").write_text("new")
        assert not target.exists() or not list(target.iterdir())
    assert left_in(tmp_path) == {"deep", "deep/out", "deep/out/model"}


def test_an_earlier_export_is_replaced(earlier, tmp_path):
    with replaced_folder(earlier) as folder:
        (folder / "other").write_text("new")
        assert (earlier / "model" / "weights").read_text() == "old"
    assert left_in(tmp_path) == {"out", "out/other"}


def test_a_failure_leaves_nothing_and_an_earlier_export_as_it_was(earlier, tmp_path):
    before = left_in(tmp_path)

    def interrupted(target):
        with replaced_folder(target) as folder:
            (folder / "model").write_text("half")
            raise KeyboardInterrupt

    for target in (earlier, tmp_path / "another"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(target)
    assert left_in(tmp_path) == before


@pytest.mark.parametrize("record", [None, {"kind": "run"}, {"kind": "export", "files": {}}, []])
def test_a_folder_that_holds_anything_else_is_refused(tmp_path, record):
    target = tmp_path / "out"
    target.mkdir()
    (target / "letter.txt").write_text("mine")
    if record is not None:
        write_json(target / RECORD, record)
    with pytest.raises(StorageError, match="is not empty and holds more than an export"), replaced_folder(target):
        pytest.fail("the body must not run")
    assert (target / "letter.txt").read_text() == "mine"


def test_something_put_there_meanwhile_is_kept(tmp_path):
    target = tmp_path / "out"

    def late():
        with replaced_folder(target) as folder:
            (folder / "model").write_text("new")
            target.mkdir()
            (target / "letter.txt").write_text("mine")

    with pytest.raises(StorageError, match="holds more than an export"):
        late()
    assert left_in(tmp_path) == {"out", "out/letter.txt"}


def test_a_file_in_its_place_is_kept(tmp_path):
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(StorageError, match="cannot be a folder: a file is in its place"),
        replaced_folder(tmp_path / "out"),
    ):
        pytest.fail("the body must not run")
    assert (tmp_path / "out").read_text() == "mine"
