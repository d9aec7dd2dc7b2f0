"""What has come stays, whoever dies; what is missing comes once, however many ask."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import time

import pytest

import _clients
from _server import BODY, ETAG, good, holding, serving, status
from scident.download import fetch
from scident.download.partial import Origin, Partial
from scident.info import File

LARGE = random.Random(1).randbytes(2**20)
STEP = 2**14
MOMENTS = random.Random(2).sample(range(1, len(LARGE) - STEP), 10)
"""Bytes that have come when the process is killed, at the least."""


def known(body):
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scident.download"])  # imported once
    return context


@pytest.fixture
def client(processes):
    """Start a process that fetches a file."""
    started = []

    def start(file, cache):
        process = processes.Process(target=_clients.download, args=(file, cache), daemon=True)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()
        process.close()


def wait_until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.001)


def size(path):
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_kill_only_what_is_missing_comes(moment, client, cache, waits):
    part = cache / ".cells.bin.part"
    with serving(file=[holding(LARGE, lambda: False, STEP), good(LARGE)]) as server:
        file = File("cells.bin", (server.url("file"),), **known(LARGE))
        process = client(file, cache)
        wait_until(lambda: size(part) >= moment)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        came = size(part)
        assert moment <= came <= len(LARGE) - STEP
        assert not (cache / "cells.bin").exists()
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == LARGE
        _, again = server.asked
        assert again.headers["Range"] == f"bytes={came}-"
        assert again.sent == len(LARGE) - came


def test_two_jobs_fetch_once(client, cache, waits, caplog):
    waiting = "cells.bin: another job is downloading it; waiting"
    answer = holding(LARGE, lambda: waiting in caplog.messages)
    with serving(file=answer) as server, caplog.at_level("INFO", "scident"):
        file = File("cells.bin", (server.url("file"),), **known(LARGE))
        client(file, cache)
        wait_until(lambda: server.asked)
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == LARGE
        assert len(server.asked) == 1
    assert waiting in caplog.messages


def test_a_file_in_the_cache_is_not_asked_for_again(cache, waits):
    with serving(file=good(BODY)) as server:
        file = File("cells.bin", (server.url("file"),), **known(BODY))
        assert fetch(file, cache, patience=waits.patience()) == fetch(file, cache, patience=waits.patience())
        assert len(server.asked) == 1


def test_a_download_goes_on_at_the_next_address(cache, waits):
    with serving(a=[good(BODY, upto=9_000), status(404)], b=good(BODY, etag='"another server"')) as server:
        file = File("cells.bin", (server.url("a"), server.url("b")), **known(BODY))
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY
        assert [asked.sent for asked in server.asked] == [9_000, 0, len(BODY) - 9_000]


def test_an_address_with_another_file_spoils_nothing(cache, waits):
    with serving(a=[good(BODY, upto=9_000), status(404), good(BODY)], b=good(BODY + b"more")) as server:
        file = File("cells.bin", (server.url("a"), server.url("b")), **known(BODY))
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY
        assert server.asked[-1].sent == len(BODY) - 9_000


def test_a_part_of_a_file_of_unknown_size_is_not_continued(cache, waits):
    def part(handler):
        start = handler.wanted(BODY)
        handler.start(206, 100, content_range=f"bytes {start}-{start + 99}/*", etag=ETAG)
        handler.put(BODY[start : start + 100])

    with serving(file=[good(BODY, upto=9_000), part, good(BODY)]) as server:
        assert fetch(File("cells.bin", (server.url("file"),)), cache, patience=waits.patience()).read_bytes() == BODY


def test_without_a_hash_no_other_address_goes_on(cache, waits):
    other = bytes(len(BODY))
    with serving(a=[good(other, upto=9_000), status(404)], b=good(BODY)) as server:
        file = File("cells.bin", (server.url("a"), server.url("b")))
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY


def test_a_first_part_that_does_not_fit_is_replaced(cache, waits):
    cache.mkdir()
    (cache / ".cells.bin.part").write_bytes(bytes(9_000))
    with serving(file=good(BODY)) as server:
        file = File("cells.bin", (server.url("file"),), **known(BODY))
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY
        assert [asked.sent for asked in server.asked] == [len(BODY) - 9_000, len(BODY)]


@pytest.mark.parametrize(("part", "sent"), [(BODY, 0), (BODY + b"more", len(BODY)), (bytes(len(BODY)), len(BODY))])
def test_a_part_that_is_long_enough_gets_its_name_or_is_replaced(part, sent, cache, waits):
    cache.mkdir()
    (cache / ".cells.bin.part").write_bytes(part)
    with serving(file=good(BODY)) as server:
        file = File("cells.bin", (server.url("file"),), **known(BODY))
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY
        assert server.sent == sent


def test_a_part_longer_than_the_file_is_replaced_even_if_only_the_server_knows_the_size(cache, waits):
    cache.mkdir()
    (cache / ".cells.bin.part").write_bytes(BODY + b"more")
    with serving(file=good(BODY)) as server:
        file = File("cells.bin", (server.url("file"),), sha256=known(BODY)["sha256"])
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 1, "size": 2}'])
def test_a_part_of_unknown_origin_is_not_continued_without_a_hash(note, cache, waits):
    cache.mkdir()
    (cache / ".cells.bin.part").write_bytes(bytes(9_000))
    (cache / ".cells.bin.part.json").write_text(note)
    with serving(file=good(BODY)) as server:
        assert fetch(File("cells.bin", (server.url("file"),)), cache, patience=waits.patience()).read_bytes() == BODY


def test_without_a_hash_the_same_address_goes_on_if_it_vouches_for_the_file(cache, waits):
    cache.mkdir()
    with serving(file=good(BODY)) as server:
        (cache / ".cells.bin.part").write_bytes(BODY[:9_000])
        (cache / ".cells.bin.part.json").write_text(json.dumps({"url": server.url("file"), "etag": '"one"'}))
        assert fetch(File("cells.bin", (server.url("file"),)), cache, patience=waits.patience()).read_bytes() == BODY
        assert server.asked[0].headers["If-Range"] == '"one"'
        assert server.sent == len(BODY) - 9_000


@pytest.mark.parametrize(
    ("origin", "validator"),
    [
        (Origin("u", etag='"a"', modified="Mon"), '"a"'),
        (Origin("u", etag='W/"a"', modified="Mon"), "Mon"),
        (Origin("u", etag='W/"a"'), ""),
    ],
)
def test_a_weak_etag_vouches_for_nothing(origin, validator):
    assert origin.validator == validator


def test_a_part_counts_what_lies_on_the_disk(tmp_path):
    partial = Partial(tmp_path / "cells.bin")
    partial.begin(Origin("u"))
    with partial.growing() as add:
        add(BODY[:5])
        add(BODY[5:])
    for part in (partial, Partial(tmp_path / "cells.bin")):
        assert (part.size, part.head) == (len(BODY), BODY[:512])
        assert part.sha256 == hashlib.sha256(BODY).hexdigest()
        assert part.md5 == hashlib.md5(BODY).hexdigest()
    assert not partial.mixed
