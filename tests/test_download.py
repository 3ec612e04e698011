"""Downloads come whole, resume only the same file, and are refused with one message."""

import hashlib
import tarfile
import threading
from contextlib import contextmanager
from unittest.mock import create_autospec

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doubles import swap
from image_files import make_images
from kit import progress
from kit.data import download, sources
from kit.data.download import DownloadError, fetch
from kit.errors import StorageError

CONTENT = bytes(range(256)) * 4000  # about a megabyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(download, "WAITS", (0.0, 0.001, 0.001, 0.001))


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_arrives_whole_and_alone(web, tmp_path):
    web.content = CONTENT
    target = fetch(web.url(), tmp_path / "new" / "file.bin", size=len(CONTENT), sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["file.bin"]


def test_a_broken_connection_is_taken_up_where_it_broke(web, tmp_path):
    web.content, web.cuts = CONTENT, [400_000, 300_000]
    assert fetch(web.url(), tmp_path / "file.bin").read_bytes() == CONTENT
    assert web.ranges_asked() == [None, "bytes=400000-", "bytes=700000-"]
    assert web.requests[1][1]["If-Range"] == web.etag


def test_a_server_without_ranges_is_asked_for_the_whole_file_again(web, tmp_path):
    web.content, web.cuts, web.ranges = CONTENT, [400_000], False
    assert fetch(web.url(), tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT
    assert len(web.requests) == 2


def test_the_next_call_goes_on_from_what_was_kept(web, tmp_path):
    web.content, web.cuts = CONTENT, [400_000, *[0] * 10]
    with pytest.raises(DownloadError, match="400,000 bytes that came are kept"):
        fetch(web.url(), tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()
    web.cuts, web.requests = [], []
    assert fetch(web.url(), tmp_path / "file.bin").read_bytes() == CONTENT
    assert web.ranges_asked() == ["bytes=400000-"]


@pytest.mark.parametrize(
    ("etag", "sha256", "resumed"),
    [
        ('"1"', None, True),
        ('W/"1"', None, False),  # a weak ETag does not promise the same bytes
        (None, None, False),
        (None, SHA256, True),  # nothing names the version, but the digest will tell
    ],
)
def test_only_what_can_be_told_to_be_the_same_version_is_resumed(web, tmp_path, etag, sha256, resumed):
    web.content, web.cuts, web.etag = CONTENT, [400_000], etag
    assert fetch(web.url(), tmp_path / "file.bin", sha256=sha256).read_bytes() == CONTENT
    assert web.ranges_asked() == [None, "bytes=400000-" if resumed else None]


def test_a_file_that_changed_meanwhile_is_fetched_anew(web, tmp_path):
    web.content, web.cuts = CONTENT, [400_000, *[0] * 10]
    with pytest.raises(DownloadError):
        fetch(web.url(), tmp_path / "file.bin")
    web.content, web.etag, web.cuts = b"another file" * 50_000, '"2"', []
    assert fetch(web.url(), tmp_path / "file.bin").read_bytes() == web.content


@given(cuts=st.lists(st.integers(1, len(CONTENT)), max_size=4), ranges=st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_the_connection_breaks_the_file_is_whole(web, tmp_path_factory, cuts, ranges):
    web.content, web.cuts, web.ranges = CONTENT, list(cuts), ranges
    target = tmp_path_factory.mktemp("any") / "file.bin"
    assert fetch(web.url(), target).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("checks", "fault"),
    [
        ({"size": 5}, "1,024,000 bytes, not 5"),
        ({"sha256": "0" * 64}, f"SHA-256 is {SHA256}"),
    ],
)
def test_a_wrong_file_is_refused_and_does_not_stay(web, tmp_path, checks, fault):
    web.content = CONTENT
    with pytest.raises(DownloadError, match=fault):
        fetch(web.url(), tmp_path / "file.bin", **checks)
    assert left_in(tmp_path) == []
    assert fetch(web.url(), tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_fetched_again_unless_it_is_wrong(web, tmp_path):
    web.content, target = CONTENT, tmp_path / "file.bin"
    target.write_bytes(CONTENT)
    fetch(web.url(), target, size=len(CONTENT), sha256=SHA256)
    assert web.requests == []
    target.write_bytes(CONTENT[:-1])
    assert fetch(web.url(), target, size=len(CONTENT)).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(web, tmp_path):
    web.content, web.statuses = CONTENT, [503]
    assert fetch(web.url(), tmp_path / "file.bin").read_bytes() == CONTENT
    web.statuses, web.requests = [404], []
    with pytest.raises(DownloadError, match="404"):
        fetch(web.url(), tmp_path / "other.bin")
    assert len(web.requests) == 1


def test_redirects_are_followed_within_the_web_and_not_for_ever(web, tmp_path):
    web.content = CONTENT
    web.redirects = {"/a": web.url("b"), "/b": "/file.bin", "/out": "file:///etc/hostname", "/loop": "/loop"}
    assert fetch(web.url("a"), tmp_path / "file.bin").read_bytes() == CONTENT
    with pytest.raises(DownloadError):
        fetch(web.url("out"), tmp_path / "out.bin")
    with pytest.raises(DownloadError):
        fetch(web.url("loop"), tmp_path / "loop.bin")
    assert left_in(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/x", "photos.zip"])
def test_only_web_addresses_are_fetched(tmp_path, url):
    with pytest.raises(DownloadError, match="http"):
        fetch(url, tmp_path / "file.bin")


def test_a_server_that_cannot_be_reached_is_one_message(web, tmp_path):
    address = web.url()
    web.__exit__()
    with pytest.raises(DownloadError, match="could not be downloaded") as caught:
        fetch(address, tmp_path / "file.bin")
    web.__enter__()
    assert address in caught.value.what
    assert "network" in caught.value.hint


def test_a_full_disk_is_one_message_and_keeps_nothing_half(web, tmp_path, monkeypatch):
    web.content = CONTENT
    swap(monkeypatch, "kit.files", "free_bytes", lambda path: 1000)
    with pytest.raises(StorageError, match="1,024,000 bytes are needed"):
        fetch(web.url(), tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


def test_two_who_fetch_the_same_file_take_turns(web, tmp_path):
    web.content = CONTENT
    fetches = [threading.Thread(target=fetch, args=(web.url(), tmp_path / "file.bin")) for _ in range(4)]
    for thread in fetches:
        thread.start()
    for thread in fetches:
        thread.join()
    assert len(web.requests) == 1
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("kept", [0, 1, 1999, 400_000])
def test_progress_counts_every_kilobyte(web, tmp_path, monkeypatch, kept):
    web.content, target = CONTENT, tmp_path / "file.bin"
    if kept:
        web.cuts = [kept, *[0] * 10]
        with pytest.raises(DownloadError):
            fetch(web.url(), target)
        web.cuts = []
    shown = []

    @contextmanager
    def track(label, total, unit="images"):
        assert (label, total, unit) == ("file.bin", 1024, "kB")
        yield shown.append

    monkeypatch.setattr(download, "track", create_autospec(progress.track, side_effect=track))
    monkeypatch.setattr(download, "CHUNK", 777)
    fetch(web.url(), target)
    assert sum(shown) == len(CONTENT) // 1000


def test_flowers_are_downloaded_checked_and_unpacked(web, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    make_images(tmp_path / "flower_photos", ["daisy", "roses"], 2)
    with tarfile.open(tmp_path / "flowers.tgz", "w:gz") as archive:
        archive.add(tmp_path / "flower_photos", "flower_photos")
    web.content = (tmp_path / "flowers.tgz").read_bytes()
    monkeypatch.setattr(sources, "FLOWERS", web.url("flowers.tgz"))
    monkeypatch.setattr(sources, "FLOWERS_SIZE", len(web.content))
    monkeypatch.setattr(sources, "FLOWERS_SHA256", hashlib.sha256(web.content).hexdigest())
    folder = sources.load_samples("flowers").root
    assert len(list(folder.rglob("*.jpg"))) == 4
    assert sources.load_samples("flowers").root == folder
    assert len(web.requests) == 1
