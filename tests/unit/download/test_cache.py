"""What the cache holds, remembers and says."""

import dataclasses
import errno
import hashlib
import json
import resource
import shutil
from collections import namedtuple
from contextlib import contextmanager

import pytest

from _server import BODY, chunked, good, serving
from scident import log as logs
from scident.download import checksum, fetch, record, reject
from scident.errors import DataError
from scident.info import File

SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = bytes(len(BODY))


@pytest.fixture
def server():
    with serving(file=good(BODY), other=good(OTHER)) as running:
        yield running


@pytest.fixture
def file(server):
    return File("cells.bin", (server.url("file"),), len(BODY), sha256=SHA256)


def test_offline_says_what_is_missing_and_how_to_fetch_it(file, server, cache, monkeypatch):
    monkeypatch.setenv("SCIDENT_OFFLINE", "1")
    with pytest.raises(DataError) as found:
        fetch(file, cache)
    assert str(found.value) == (
        f"cells.bin: is not in '{cache}' and SCIDENT_OFFLINE forbids downloads; run `curl -L -o cells.bin "
        f"{file.urls[0]}` where there is a network and put the file (20.0 kB) into '{cache}' or unset SCIDENT_OFFLINE"
    )
    assert not server.asked
    assert not cache.exists()


@pytest.mark.parametrize("value", ["", "0", "False", "no"])
def test_offline_can_be_said_to_be_off(value, file, cache, waits, monkeypatch):
    monkeypatch.setenv("SCIDENT_OFFLINE", value)
    assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY


def test_offline_takes_what_somebody_put_there(file, cache, monkeypatch):
    monkeypatch.setenv("SCIDENT_OFFLINE", "1")
    cache.mkdir()
    (cache / "cells.bin").write_bytes(BODY)
    assert fetch(file, cache) == cache / "cells.bin"
    assert record.read(cache / "cells.bin").sha256 == SHA256


def test_offline_refuses_another_file_that_somebody_put_there(file, cache, monkeypatch):
    monkeypatch.setenv("SCIDENT_OFFLINE", "1")
    cache.mkdir()
    (cache / "cells.bin").write_bytes(OTHER)
    with pytest.raises(DataError, match=rf"cells.bin' has sha256 .* instead of {SHA256} and SCIDENT_OFFLINE"):
        fetch(file, cache)


@pytest.mark.parametrize("content", [OTHER, BODY[:-1], b""])
def test_a_wrong_file_in_the_cache_is_replaced(content, file, cache, waits, caplog):
    cache.mkdir()
    (cache / "cells.bin").write_bytes(content)
    assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY
    assert "what lies in the cache has" in caplog.text


def test_a_wrong_file_in_the_cache_goes_even_if_the_right_one_cannot_be_had(file, cache, waits):
    cache.mkdir()
    (cache / "cells.bin").write_bytes(OTHER)
    nowhere = dataclasses.replace(file, urls=("http://127.0.0.1:9/file",))
    with pytest.raises(DataError, match="cannot be reached"):
        fetch(nowhere, cache, patience=waits.patience())
    assert not (cache / "cells.bin").exists()


def test_a_file_that_was_checked_is_hashed_again_only_if_it_was_touched(file, cache, waits, monkeypatch):
    place = fetch(file, cache, patience=waits.patience())
    monkeypatch.setattr(record, "_hashes", lambda place: pytest.fail("hashed"))
    fetch(file, cache)
    monkeypatch.undo()
    place.write_bytes(OTHER)
    assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY


def test_a_new_checksum_in_the_registry_is_seen(file, cache, waits, server):
    fetch(file, cache, patience=waits.patience())
    new = File("cells.bin", (server.url("other"),), sha256=hashlib.sha256(OTHER).hexdigest())
    assert fetch(new, cache, patience=waits.patience()).read_bytes() == OTHER


def test_the_first_download_of_an_unhashed_source_is_recorded_shown_and_pinned(server, cache, waits, caplog):
    file = File("cells.bin", (server.url("file"),))
    assert checksum(file, cache) == "no checksum published"
    with caplog.at_level("INFO", "scident"):
        place = fetch(file, cache, patience=waits.patience())
    note = cache / "cells.bin.record.json"
    assert f"sha256 {SHA256}" in caplog.text
    assert f"cells.bin: its source publishes no hash; this one is recorded in {note}" in caplog.messages
    assert json.loads(note.read_text())["source"] == file.urls[0]
    assert checksum(file, cache) == f"first download {SHA256}"
    place.unlink()
    with pytest.raises(DataError, match=f"has sha256 .* the first download had another hash.*delete '{note}'"):
        fetch(dataclasses.replace(file, urls=(server.url("other"),)), cache, patience=waits.patience())
    assert not place.exists()
    assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY


def test_a_pinned_file_that_was_changed_in_the_cache_is_replaced(server, cache, waits):
    file = File("cells.bin", (server.url("file"),))
    fetch(file, cache, patience=waits.patience()).write_bytes(OTHER)
    assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"sha256": "ab", "md5": "cd"}, "sha256 ab"),
        ({"md5": "cd"}, "md5 cd"),
        ({"md5": "cd", "verified": False}, "md5 cd (unverified)"),
    ],
)
def test_checksum_says_what_bytes_are_compared_with(known, words, cache):
    assert checksum(File("cells.bin", (), **known), cache) == words


def test_a_checksum_that_nobody_confirmed_is_named_as_a_suspect(file, server, cache, waits):
    doubtful = dataclasses.replace(file, urls=(server.url("other"),), verified=False)
    with pytest.raises(DataError, match="the registry marks size or checksum as unverified"):
        fetch(doubtful, cache, patience=waits.patience())


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("known", [{"bytes": len(BODY)}, {}])
def test_a_disk_without_room_is_seen_before_the_transfer(known, server, cache, waits, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 10**6, 19_999))
    with pytest.raises(
        DataError, match=r"cells.bin: needs 20.0 kB more in .*, found 20.0 kB free; make room or set SC"
    ):
        fetch(File("cells.bin", (server.url("file"),), **known), cache, patience=waits.patience())
    assert len(server.asked) == (0 if known else 1)


def test_room_for_what_is_missing_is_enough(file, cache, waits, monkeypatch):
    cache.mkdir()
    (cache / ".cells.bin.part").write_bytes(BODY[:-9])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 10**6, 9))
    assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY


@contextmanager
def small_disk():
    """Let no file of this process become larger than 8192 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_becomes_full_ends_in_one_sentence_and_keeps_what_has_come(file, cache, waits, server):
    with pytest.raises(DataError, match=r"cells.bin: the disk of .* is full .*; make room .*: what has"), small_disk():
        fetch(file, cache, patience=waits.patience())
    assert (cache / ".cells.bin.part").stat().st_size == 8192
    assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY
    assert server.asked[-1].sent == len(BODY) - 8192


def test_an_endless_answer_leaves_no_full_disk_behind(cache, waits):
    with serving(file=chunked(BODY)) as server, pytest.raises(DataError, match="is full"), small_disk():
        fetch(File("cells.bin", (server.url("file"),)), cache, patience=waits.patience())
    assert not (cache / ".cells.bin.part").exists()


def test_a_cache_that_is_no_folder_ends_in_one_sentence(file, cache):
    cache.write_text("a file")
    with pytest.raises(DataError, match=r"cells.bin: cannot use .* set SCIDENT_CACHE to a folder you can write to"):
        fetch(file, cache)


def test_another_failure_of_the_disk_ends_in_one_sentence(file, cache, monkeypatch):
    def broken(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("scident.download.transfer.pieces", broken)
    monkeypatch.setattr("scident.download.transfer._grow", broken)
    with pytest.raises(DataError, match=r"cannot use .* \(Input/output error\)"):
        fetch(file, cache)


@pytest.mark.parametrize("name", ["", "a/b.h5ad", "../b.h5ad", ".hidden", "/etc/b.h5ad"])
def test_a_name_leads_nowhere_else(name, cache):
    with pytest.raises(DataError, match="cannot be the name of a file in the cache"):
        fetch(File(name, ()), cache)


def test_a_file_without_an_address_is_asked_of_the_user(cache):
    with pytest.raises(DataError, match="no address is known; put the file at"):
        fetch(File("cells.bin", ()), cache)


@pytest.mark.parametrize("size", [True, False])
def test_progress_is_a_line_in_megabytes(size, cache, waits, monkeypatch, caplog):
    monkeypatch.setattr(logs, "EVERY_S", 0.0)
    body = bytes(3_000_000)
    with serving(file=good(body) if size else chunked(body)) as server, caplog.at_level("INFO", "scident"):
        fetch(File("cells.bin", (server.url("file"),)), cache, patience=waits.patience())
    assert any(m.startswith(f"cells.bin MB 3/{'3' if size else '?'} ") and m.endswith("/s") for m in caplog.messages)


@pytest.mark.parametrize("known", [{}, {"bytes": len(BODY)}, {"sha256": SHA256}])
def test_a_file_that_turns_out_wrong_leaves_the_cache_unless_a_published_hash_says_that_it_is_right(
    known, server, cache, waits
):
    file = File("cells.bin", (server.url("file"),), **known)
    place = fetch(file, cache, patience=waits.patience())
    assert reject(file, cache) == ("sha256" not in known)
    assert place.exists() == record.record_of(place).exists() == ("sha256" in known)
