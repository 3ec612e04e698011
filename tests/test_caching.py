"""`transferkit cache`: what it lists is there, what it prunes is gone, what it verifies is read."""

import json
import os
import time

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kit.cache import Store, chunks, inventory, writing
from kit.cache.inventory import StoreInfo, choose_stores, in_words
from kit.commands import parse_duration
from kit.commands.caching import app, parse_size
from kit.data.given import keep, root_of
from kit.errors import ConfigError

DAY = 86400.0


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill(kind: str, number: int, rows: int = 3, days_ago: float = 0.0) -> Store:
    store = Store(kind, {"image_size": 224, "view": number}, (4,), "uint8", chunk_bytes=4)
    with writing([store], [f"{i:064x}" for i in range(rows)]) as writer:
        for key in writer.missing:
            writer.write([key], [np.full((1, 4), number, "uint8")])
    used = time.time() - days_ago * DAY
    os.utime(store.folder / "recipe.json", (used, used))
    return store


def cache_command(*arguments: str):
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_an_empty_cache_lists_verifies_and_prunes_to_nothing(cache):
    assert json.loads(cache_command("list", "--json").stdout) == {
        "cache": str(cache),
        "bytes": 0,
        "stores": [],
        "others": [],
    }
    assert "0 files checked: all as written." in cache_command("verify").stdout
    assert "Freed 0 B: 0 stores" in cache_command("prune", "--all", "--yes").stdout


def test_list_says_what_each_store_is_and_what_else_there_is(cache):
    older, newer = fill("pixels", 1, rows=3, days_ago=2), fill("features", 2, rows=5)
    (cache / "downloads").mkdir()
    (cache / "downloads" / "flowers.tgz").write_bytes(b"x" * 1500)
    report = json.loads(cache_command("list", "--json").stdout)
    assert [(each["name"], each["kind"], each["rows"]) for each in report["stores"]] == [
        (newer.name, "features", 5),
        (older.name, "pixels", 3),
    ]
    assert report["stores"][1]["bytes"] == sum(path.stat().st_size for path in older.folder.iterdir())
    assert report["others"] == [{"path": str(cache / "downloads"), "bytes": 1500}]
    assert report["bytes"] == sum(each["bytes"] for each in report["stores"]) + 1500
    text = cache_command("list").stdout
    assert "image_size 224, view 1" in text
    assert "1.5 KB" in text
    assert older.name in text


def test_using_a_store_makes_it_the_last_used():
    first, second = fill("pixels", 1, days_ago=5), fill("pixels", 2, days_ago=1)
    assert [info.path for info in inventory.list_stores()] == [second.folder, first.folder]
    first.read([f"{0:064x}"])
    assert [info.path for info in inventory.list_stores()] == [first.folder, second.folder]


# === Prune ===


def test_what_a_program_gave_goes_when_it_is_named_and_only_then(cache):
    """Runs find their images there: nothing would compute them again."""
    fill("pixels", 1)
    pixels = np.arange(3 * 48, dtype=np.uint8).reshape(3, 4, 4, 3)
    table = keep(pixels, [0, 1, 1])
    found = json.loads(cache_command("list", "--json").stdout)["stores"]
    assert [(each["kind"], each["about"], each["rows"]) for each in found if each["kind"] == "given"] == [
        ("given", table.stem, 3)
    ]
    cache_command("prune", "--all", "--yes")
    cache_command("prune", "--max-size", "0", "--yes")
    assert inventory.list_stores() == []
    assert len(list(table.parent.iterdir())) == 4
    old = time.time() - 40 * DAY
    for use in (lambda: root_of(table), lambda: keep(pixels, [0, 1, 1])):  # a run reads it; it is given again
        os.utime(table.parent, (old, old))
        assert "would remove" in cache_command("prune", "--kind", "given", "--older-than", "30d", "--dry-run").stdout
        use()
        assert "Would free 0 B" in cache_command("prune", "--kind", "given", "--older-than", "30d", "--dry-run").stdout
    assert "would remove" in cache_command("prune", "--kind", "given", "--dry-run").stdout
    assert table.exists()
    with FileLock(inventory.lock_path(table.parent.parent)):  # another program is giving some
        assert "left" in cache_command("prune", "--kind", "given", "--yes").stdout
    assert table.exists()
    (table.parent.parent / ".tmp-left").mkdir()  # by a killed process
    cache_command("prune", "--kind", "given", "--yes")
    assert list(table.parent.parent.iterdir()) == inventory.list_given() == []
    assert keep(pixels, [0, 1, 1]).exists(), "given again, kept again"


SIZES = [("pixels", 40.0, 10), ("features", 20.0, 500), ("pixels", 5.0, 100), ("features", 1.0, 200)]


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"kind": "pixels"}, [0, 2]),
        ({"older_than": 10 * DAY}, [0, 1]),
        ({"older_than": 10 * DAY, "kind": "features"}, [1]),
        ({"most": 10_000}, []),
        ({"most": 300}, [0, 1]),  # 10 + 500 go, 100 + 200 are left
        ({"most": 299}, [0, 1, 2]),
        ({"most": 0}, [0, 1, 2, 3]),
        ({"most": 100, "kind": "pixels"}, [0]),
        ({"most": 250, "older_than": 30 * DAY}, [0, 1, 2]),
    ],
)
def test_what_is_pruned(tmp_path, criteria, expected):
    now = 1e9
    stores = [
        StoreInfo(tmp_path / str(number), kind, "", 1, size, now - days * DAY)
        for number, (kind, days, size) in enumerate(SIZES)
    ]
    assert [int(info.path.name) for info in choose_stores(stores[::-1], now, **criteria)] == expected


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 1000)), max_size=12), st.integers(0, 5000))
def test_max_size_leaves_at_most_that_and_removes_no_store_too_many(stores, most):
    infos = [StoreInfo(inventory.Path(str(i)), "pixels", "", 0, size, used) for i, (used, size) in enumerate(stores)]
    chosen = choose_stores(infos, now=1000.0, most=most)
    left = sum(info.bytes for info in infos if info not in chosen)
    assert left <= most
    if chosen:
        assert left + chosen[-1].bytes > most
        assert max(info.last_used for info in chosen) <= min(
            (info.last_used for info in infos if info not in chosen), default=1000.0
        )


def test_prune_removes_what_it_says_and_nothing_else():
    old, new = fill("pixels", 1, days_ago=40), fill("pixels", 2)
    said = cache_command("prune", "--older-than", "30d", "--dry-run").stdout
    assert f"would remove {old.name}" in said
    assert old.folder.exists()
    report = json.loads(cache_command("prune", "--older-than", "30d", "--yes", "--json").stdout)
    assert [each["name"] for each in report["removed"]] == [old.name]
    assert report["bytes"] == report["removed"][0]["bytes"] > 0
    assert not old.folder.exists()
    assert new.folder.exists()
    assert fill("pixels", 1).missing([f"{0:064x}"]) == []  # and it can be built again


def test_shared_heads_are_listed_verified_and_pruned_as_one_store(cache):
    fill("features", 1)
    (cache / "heads").mkdir()
    for number in range(2):
        (cache / "heads" / f"{number}.npz").write_bytes(b"x" * 700)
    listed = json.loads(cache_command("list", "--json").stdout)
    (heads,) = [store for store in listed["stores"] if store["kind"] == "heads"]
    assert (heads["rows"], heads["bytes"], listed["others"]) == (2, 1400, [])
    assert "all as written" in cache_command("verify").stdout
    assert "1 store, 1.4 KB" in cache_command("prune", "--kind", "heads", "--yes").stdout
    assert not (cache / "heads").exists()
    assert [info.kind for info in inventory.list_stores()] == ["features"]


def test_prune_leaves_a_store_that_another_process_builds():
    store = fill("pixels", 1)
    with FileLock(inventory.lock_path(store.folder)):
        said = cache_command("prune", "--all", "--yes").stdout
    assert f"left {store.name}: another process is building it" in said
    assert store.folder.exists()
    cache_command("prune", "--all", "--yes")
    assert not store.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--older-than AGE, --kind KIND, --max-size SIZE or --all"),
        (["--all", "--kind", "pixels"], "cannot be combined"),
        (["--kind", "pixel"], "must be one of features, given, heads, pixels, not 'pixel'"),
        (["--older-than", "30"], "30d or 1h30m, not '30'"),
        (["--max-size", "ten"], "as in 10GB, not 'ten'"),
        (["--all"], "nobody can answer here"),
    ],
)
def test_prune_says_what_it_needs(arguments, message):
    store = fill("pixels", 1)
    with pytest.raises(ConfigError) as error:
        cache_command("prune", *arguments)
    assert message in str(error.value)
    assert store.folder.exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500_000_000), ("10 gb", 10**10), ("1.5GiB", 3 * 2**29), ("7B", 7), ("0", 0), ("2TB", 2 * 10**12)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("45m", 2700), ("12h", 43200), ("30d", 30 * DAY), ("1.5W", 10.5 * DAY)])
def test_ages(text, seconds):
    assert parse_duration(text, "--older-than") == seconds


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "10", "10XB", "1e3MB", "nan", "inf"])
def test_what_is_no_size_or_age(text):
    with pytest.raises(ConfigError):
        parse_size(text)
    with pytest.raises(ConfigError):
        parse_duration(text, "--older-than")


# === Verify ===


def flip(path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    chunks._verified.clear()


def test_verify_names_damage_and_repair_drops_it():
    store, sound = fill("pixels", 1, rows=3), fill("pixels", 2, rows=2)
    bad = store.folder / "000002.chunk"
    flip(bad, 0)
    result = cache_command("verify")
    assert result.exit_code == 1
    assert f"damaged {bad}" in result.stdout
    assert "--repair" in result.stdout
    report = cache_command("verify", "--json")
    assert (report.exit_code, json.loads(report.stdout)) == (
        1,
        {"checked": 7, "damaged": [str(bad)], "repaired": False},
    )
    repaired = cache_command("verify", "--repair")
    assert (repaired.exit_code, bad.exists()) == (0, False)
    assert f"dropped {bad}" in repaired.stdout
    assert cache_command("verify").exit_code == 0
    assert store.missing([f"{i:064x}" for i in range(3)]) == [f"{1:064x}"]
    assert sound.missing([f"{i:064x}" for i in range(2)]) == []


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"kind": "pixels"}', b"\xff"])
def test_a_recipe_that_does_not_fit_its_store_is_damage_and_comes_back(content):
    store = fill("pixels", 1)
    recipe = store.folder / "recipe.json"
    whole = recipe.read_bytes()
    recipe.write_bytes(content)
    assert f"damaged {recipe}" in cache_command("verify").stdout
    assert store.name in cache_command("list").stdout
    cache_command("verify", "--repair")
    store.read([f"{0:064x}"])
    assert recipe.read_bytes() == whole
    assert cache_command("verify").exit_code == 0


def test_a_recipe_in_words_leaves_out_versions_and_checksums():
    recipe = {
        "weights": "ab" * 32,
        "keras": "3.15.1",
        "decoder": 1,
        "cut": "block_13",
        "pixels": {"view": 2, "flip": True, "box": [1, 2]},
    }
    assert in_words(recipe) == "cut block_13, view 2, flip yes, box 1 2"
    assert len(in_words({f"setting{i}": i for i in range(99)})) == 100
    assert in_words("nothing") == ""


def test_from_the_command_line(run_cli, cache):
    store = fill("pixels", 1)
    environment = {"TRANSFERKIT_CACHE": cache}
    assert store.name in run_cli("cache", "list", env=environment).stdout
    result = run_cli("cache", "prune", env=environment)
    assert result.returncode == 2
    assert result.stderr.startswith("error: `cache prune` needs to be told which stores")
    flip(store.folder / "000001.chunk", 3)
    assert run_cli("cache", "verify", env=environment).returncode == 1
