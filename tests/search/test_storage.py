"""Addresses without passwords, and one message for whatever a storage refuses."""

import os
import sqlite3
import threading

import optuna
import pytest
from objectives import ran
from studies import asked, make, run_here

from doubles import swap
from kit.errors import ConfigError, StorageError
from search import storage
from search.storage import Address, exclusive, network_drive, open_storage
from search.study import ATTRIBUTE, fixed_settings, open_study


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("what is this", "not a URL"),
        ("mysql://kit:s3cret@host/db", "of the kind 'mysql'"),
        ("postgresql+psycopg2://kit:s3cret@host/db", r"psycopg2'"),
        ("postgresql://kit:s3cret@host:many/db", "not a URL"),
        ("postgresql://kit:s3cret@word/s3cret@host/db", "its password has characters"),
        ("postgresql://kit@host/db?password=s3cret", "cannot have 'password' after the question mark"),
        ("postgresql://kit@host/db?sslmode=require&sslpassword=s3cret", "cannot have 'sslpassword'"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_an_address_that_will_not_do(url, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Address.parse(url)
    assert "s3cret" not in str(caught.value)


def test_a_password_is_never_shown():
    pytest.importorskip("psycopg")
    address = Address.parse("postgres://kit:s3cret@host:5432/studies")
    assert str(address) == repr(address) == "postgresql+psycopg://kit:***@host:5432/studies"
    assert "s3cret" in address.secret


def test_a_server_that_is_not_there():
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        open_storage(Address.parse("postgresql://kit:s3cret@127.0.0.1:1/studies"))
    assert "s3cret" not in str(caught.value)
    assert "\n" not in caught.value.what


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(ConfigError, match="needs the package psycopg"):
        Address.parse("postgresql://kit@host/studies")


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "optuna.db").write_text("these are not the tables you are looking for" * 99)
    with pytest.raises(StorageError, match="not a SQLite database"):
        open_storage(Address.of_folder(tmp_path))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="no folder"):
        open_storage(Address.parse(f"sqlite:///{tmp_path}/nowhere/optuna.db"))


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(StorageError, match="is a folder"):
        open_storage(Address.parse(f"sqlite:///{tmp_path}"))


def test_a_file_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = Address.parse("sqlite:///optuna.db")
    monkeypatch.chdir("/")
    assert address.file == tmp_path / "optuna.db"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file(tmp_path):
    make(tmp_path)
    (tmp_path / "optuna.db").chmod(0o444)
    with pytest.raises(StorageError, match="is read-only"):
        open_storage(Address.of_folder(tmp_path))


def test_a_database_that_says_it_is_read_only(tmp_path):
    error = sqlite3.OperationalError("attempt to write a readonly database")
    with pytest.raises(StorageError, match="is read-only"), storage.storage_errors(Address.of_folder(tmp_path)):
        raise storage.DBAPIError("INSERT", {}, error)


def test_a_file_that_another_program_has_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "SQLITE_TIMEOUT", 0.1)
    make(tmp_path)
    holder = sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked by another program"):
            open_storage(Address.of_folder(tmp_path))
    finally:
        holder.close()


def test_a_network_drive_is_warned_of(tmp_path, monkeypatch, capsys):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/home {tmp_path / 'far'} nfs4 rw 0 0\n")
    (tmp_path / "far").mkdir()
    (tmp_path / "farther").mkdir()
    assert network_drive(tmp_path / "far" / "study", mounts) == "nfs4"
    assert network_drive(tmp_path / "farther", mounts) is None
    swap(monkeypatch, storage, "network_drive", lambda path: network_drive(path, mounts))
    open_storage(Address.of_folder(tmp_path / "far")).engine.dispose()
    assert "network drive (nfs4)" in capsys.readouterr().err


def test_the_tables_are_made_once_however_many_come_at_once(tmp_path):
    address, failed = Address.of_folder(tmp_path), []

    def open_and_close():
        try:
            open_storage(address).engine.dispose()
        except StorageError as error:
            failed.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_lock_lets_one_in_at_a_time(tmp_path):
    address, inside, most = Address.of_folder(tmp_path), [], []

    def enter():
        with exclusive(address, "a study") as held:
            inside.append(1)
            most.append(len(inside))
            assert held
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_optuna_reads_the_storage_as_it_is(tmp_path):
    run_here(make(tmp_path), 3)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    study = optuna.load_study(study_name="test", storage=storage)
    assert [trial.number for trial in study.trials] == ran(tmp_path) == [0, 1, 2]
    assert study.best_value == max(trial.value for trial in study.trials)
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"name": "photos", "fingerprint": "1" * 64, "weights": ""}}, "begun on other images"),
        ({"objectives": ("log_loss",)}, r"objectives.0 = accuracy, not log_loss"),
        ({"sampler": "tpe"}, "sampler = random, not tpe"),
        ({"seed": 3}, "seed = 0, not 3"),
        ({"data": {"name": "photos", "fingerprint": "0" * 64, "weights": "ab"}}, "weights = "),
    ],
)
def test_a_study_refuses_to_go_on_as_another(tmp_path, change, said):
    make(tmp_path)
    with pytest.raises(ConfigError, match=said):
        make(tmp_path, **change)


def test_a_study_refuses_another_space_and_configuration(tmp_path):
    record = make(tmp_path).record
    space = {**record.space, "model.head_units": {"low": 32, "high": 512, "log": True}}
    with pytest.raises(ConfigError, match=r"space.model.head_units.high = 1024, not 512"):
        make(tmp_path, space=space)
    config = {**record.config, "phases": [record.config["phases"][0], {**record.config["phases"][1], "epochs": 3}]}
    with pytest.raises(ConfigError, match=r"phases.1.epochs = 10, not 3"):
        make(tmp_path, config=config)
    # what belongs to one machine may change
    elsewhere = {**record.config, "threads": 1, "data": {**record.config["data"], "path": "/elsewhere"}}
    assert make(tmp_path, config=elsewhere).record.created == record.created


def test_a_folder_is_one_studys(tmp_path):
    record = make(tmp_path).record
    with pytest.raises(ConfigError, match="holds the study test, not other"):
        make(tmp_path, name="other")
    record_file = (tmp_path / "study.toml").read_text()
    kept_elsewhere = record_file.replace(record.storage, "postgresql+psycopg://kit:***@host/studies")
    (tmp_path / "study.toml").write_text(kept_elsewhere)
    with pytest.raises(ConfigError, match=r"is kept in postgresql\+psycopg://kit:\*\*\*@host/studies, not in sqlite"):
        make(tmp_path)
    assert (tmp_path / "study.toml").read_text() == kept_elsewhere


def test_a_study_that_is_not_ours_is_left_alone(tmp_path):
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    optuna.create_study(study_name="test", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    with pytest.raises(ConfigError, match="transferkit has not made"):
        make(tmp_path)


def test_a_study_older_than_a_setting_goes_on(tmp_path):
    """Whatever it was begun without has its default; what it was begun with still has to agree."""
    study = make(tmp_path)
    settings = fixed_settings(study.record)
    del settings["config"]["data"]["grey_range"], settings["config"]["data"]["colour_profiles"]
    del settings["config"]["phases"][0]["warmup_epochs"]
    study.optuna.set_user_attr(ATTRIBUTE, settings)
    assert make(tmp_path).record.name == "test"
    other = asked(tmp_path)
    other.config["data"]["colour_profiles"] = False
    with pytest.raises(ConfigError, match=r"was begun with data\.colour_profiles = True, not False"):
        open_study(other, Address.of_folder(tmp_path), {})
