"""Studies without photos, for tests in which keras is not the point."""

from pathlib import Path

from kit.config import RunConfig
from search.records import StudyRecord
from search.space import load_space
from search.storage import Address
from search.study import Study, config_tree, open_study

# A worker whose parent is a test is taken for dead after this, by those on other machines.
OPENED: list[Study] = []  # closed when the test ends
QUICK_HEART = {"heartbeat": 1, "grace": 4}


def asked(path: Path, address: Address | None = None, **changes) -> StudyRecord:
    """The question of a study on photos that nobody has."""
    space = load_space(RunConfig())
    fields = {
        "path": path,
        "name": "test",
        "created": "2026-01-01T00:00:00+00:00",
        "objectives": ("accuracy",),
        "sampler": "random",
        "pruner": "none",
        "seed": 0,
        "storage": str(address or Address.of_folder(path)),
        "data": {"name": "photos", "fingerprint": "0" * 64, "weights": ""},
        "space": space.describe(),
        "config": config_tree(space.own),
    }
    return StudyRecord(**{**fields, **changes})


def make(path: Path, address: Address | None = None, **changes) -> Study:
    """A study, open."""
    address = address or Address.of_folder(path)
    record = asked(path, address, **changes)
    OPENED.append(open_study(record, address, load_space(RunConfig()).own_params()))
    return OPENED[-1]
