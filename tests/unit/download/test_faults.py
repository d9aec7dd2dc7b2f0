"""Whatever a server does, the right file comes or one sentence: no wrong or partial file gets its name in the cache."""

import gzip
import hashlib

import pytest

from _server import (
    BODY,
    announcing,
    chunked,
    coded,
    dripping,
    garbled,
    good,
    gzipped,
    ignoring_range,
    mute,
    page,
    redirect,
    serving,
    silent,
    stalling,
    status,
    until_closed,
    wrong_part,
)
from scident.download import fetch
from scident.errors import DataError
from scident.info import File

N = len(BODY)
WRONG = bytes(N)
"""Another file of the same size."""
HTML = b"<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head>" + b" " * 600
SIZE, MD5, SHA = {"bytes": N}, {"md5": hashlib.md5(BODY).hexdigest()}, {"sha256": hashlib.sha256(BODY).hexdigest()}
ALL = SIZE | MD5 | SHA


def kept(cache):
    """What lies in the cache under a name of its own."""
    return {path.name for path in cache.glob("[!.]*")} if cache.exists() else set()


def check_right(path, cache):
    assert path == cache / "cells.bin"
    assert path.read_bytes() == BODY
    assert kept(cache) == {"cells.bin", "cells.bin.record.json"}
    assert not list(cache.glob(".*.part*"))


def check_refused(cache, file, patience, sentence):
    with pytest.raises(DataError, match=sentence) as found:
        fetch(file, cache, patience=patience)
    assert str(found.value).startswith("cells.bin: ")
    assert "\n" not in str(found.value)
    assert kept(cache) <= {"cells.bin.record.json"}


def cut_and_whole(upto, **how):
    return [good(BODY, upto=upto, **how), good(BODY)]


MENDED = {
    "sound": (good(BODY), ALL),
    "sound, nothing known": (good(BODY), {}),
    "sound, md5 in capitals": (good(BODY), {"md5": MD5["md5"].upper()}),
    **{f"cut at {n}": (cut_and_whole(n), ALL) for n in (0, 1, 2, 511, 512, 513, 4095, 4096, 9_999, N - 1)},
    "cut, nothing known": (cut_and_whole(700), {}),
    "cut, nothing known, no validator": ([good(BODY, etag="", upto=700), good(BODY, etag="")], {}),
    "death within the body": ([good(BODY, upto=9_000, hard=True), good(BODY)], ALL),
    "cut, then it ignores Range": ([good(BODY, upto=9_000), ignoring_range(BODY)], ALL),
    "cut, then another part": ([good(BODY, upto=9_000), wrong_part(BODY, 100), good(BODY)], ALL),
    "cut, then the whole as a part": ([good(BODY, upto=9_000), wrong_part(BODY, N), good(BODY)], ALL),
    "cut, then a changed file": ([good(WRONG, etag='"old"', upto=9_000), good(BODY)], ALL),
    "cut, then a changed file, nothing known": ([good(WRONG, etag='"old"', upto=9_000), good(BODY)], {}),
    "cut, then 416": ([good(BODY, upto=9_000), status(416), good(BODY)], ALL),
    "cut without a size": ([chunked(BODY, upto=9_000), chunked(BODY)], ALL),
    "cut without a size, nothing known": ([chunked(BODY, upto=9_000), chunked(BODY)], {}),
    "closed early without a size": ([until_closed(BODY[:9_000]), until_closed(BODY)], ALL),
    "chunked": (chunked(BODY), ALL),
    "stall": ([stalling(BODY, 9_000), good(BODY)], ALL),
    "stall before the first byte": ([stalling(BODY, 0), good(BODY)], ALL),
    "no answer": ([mute, good(BODY)], ALL),
    "hangs up": ([silent, silent, good(BODY)], ALL),
    "403 once": ([status(403), good(BODY)], ALL),
    "404 once": ([status(404), good(BODY)], ALL),
    "429 twice": ([status(429), status(429), good(BODY)], ALL),
    "503 four times": ([*[status(503)] * 4, good(BODY)], ALL),
    "500, 502, 504, 408": ([*map(status, (500, 502, 504, 408)), good(BODY)], ALL),
    "202 and nothing, as firewalls do": ([status(202), good(BODY)], ALL),
    "empty page once": ([page(b""), good(BODY)], ALL),
    "web page once": ([page(HTML), good(BODY)], ALL),
    "web page once, nothing known": ([page(HTML), good(BODY)], {}),
    "web page as a file": ([page(HTML, "application/octet-stream"), good(BODY)], SHA),
    "file as text/html": (page(BODY), SHA),
    "size too large, hash right": (announcing(N + 500, BODY), SHA),
    "size is no number": (announcing("many", BODY), ALL),
    "redirects": ([redirect("/file?1"), redirect("file?2", 301), redirect("/file", 307), good(BODY)], ALL),
    "redirects nowhere once": ([redirect("http://[half/"), good(BODY)], ALL),
    "gzip": (gzipped(BODY), ALL),
    "gzip, nothing known": (gzipped(BODY), {}),
    "gzip cut": ([gzipped(BODY, upto=9_000), gzipped(BODY)], ALL),
    "gzip cut, then a file": ([gzipped(BODY, upto=9_000), good(BODY)], ALL),
    "gzip cut, nothing known": ([gzipped(BODY, upto=9_000), gzipped(BODY)], {}),
    "gzip part of a cut file": ([good(BODY, upto=9_000), gzipped(BODY), good(BODY)], ALL),
    "gzip part of a file without a size": ([chunked(BODY, upto=9_000), gzipped(BODY)], ALL),
    "gzip in two parts": (coded(gzip.compress(BODY[:7_000]) + gzip.compress(BODY[7_000:])), ALL),
    "broken gzip once": ([coded(BODY), good(BODY)], {}),
    "another code once": ([coded(BODY, "br"), good(BODY)], ALL),
}


def short_waits(fault):
    """Time-outs are short where they are the fault, else long, so that a busy machine adds none."""
    return {"read_s": 0.3} if "stall" in fault or "no answer" in fault else {}


@pytest.mark.parametrize("fault", MENDED)
def test_a_fault_that_passes_ends_in_the_right_file(fault, cache, waits):
    answers, known = MENDED[fault]
    with serving(file=answers) as server:
        file = File("cells.bin", (server.url("file"),), **known)
        path = fetch(file, cache, patience=waits.patience(**short_waits(fault)))
    check_right(path, cache)


REFUSED = {
    "always cut at 700": (good(BODY, upto=0), ALL, "breaks off"),
    "always cut at the same byte": (
        [good(BODY, upto=9_000)],
        ALL,
        "breaks off; try again later .what has come is continued",
    ),
    "always cut, nothing known": ([good(BODY, upto=9_000, etag="")], {}, "breaks off"),
    "chunked and cut, nothing known": (chunked(BODY, upto=9_000), {}, "breaks off"),
    "closed early without a size": (until_closed(BODY[:9_000]), ALL, "breaks off after 9,000 of 20,000 bytes"),
    "stall": (stalling(BODY, 9_000), ALL, "(stops sending|does not answer) for 0.3 s"),
    "slow drip": (dripping(BODY), ALL, r"sends only \d+ bytes per second"),
    "slow drip, nothing known": (dripping(BODY), {}, r"sends only \d+ bytes per second"),
    "no answer": (mute, ALL, "does not answer for 0.3 s"),
    "hangs up": (silent, ALL, "hangs up before it answers"),
    "not HTTP": (garbled, ALL, "hangs up before it answers"),
    "wrong hash": (good(WRONG), ALL, f"has sha256 .* instead of {SHA['sha256']}"),
    "wrong md5": (good(WRONG), MD5, f"has md5 .* instead of {MD5['md5']}"),
    "right md5, wrong sha256": (good(BODY), MD5 | {"sha256": "0" * 64}, "has sha256"),
    "wrong size": (good(BODY + b"more"), ALL, "has a file of 20,004 bytes instead of 20,000"),
    "too few bytes": (good(BODY[:-1]), ALL, "has a file of 19,999 bytes instead of 20,000"),
    "too few bytes, said to be all": (announcing(N, BODY[:-1]), ALL, "breaks off"),
    "announced size too small": (announcing(N - 1, BODY), SHA, "has sha256"),
    "announced size too large": (announcing(N + 1, BODY), SIZE, "has a file of 20,001 bytes"),
    "announced size too large, nothing known": (announcing(N + 1, BODY), {}, "breaks off"),
    "two announced sizes": (announcing(f"{N}, 5", BODY), ALL, "cannot be asked"),
    "more than all, without a size": (chunked(BODY + b"more"), ALL, "sends more than 20,000 bytes"),
    "part of another file": ([good(BODY, upto=9_000), good(BODY + b"more", upto=0)], MD5, "has another file than when"),
    "empty page": (page(b""), ALL, "gives an empty page"),
    "empty page, nothing known": (page(b"", "application/octet-stream"), {}, "gives an empty page"),
    "empty page without a size": (until_closed(b""), SHA, "gives an empty page"),
    "file without a size, nothing known": (until_closed(BODY), {}, "does not say how long the file is"),
    "web page": (page(HTML), ALL, "gives a web page"),
    "web page, nothing known": (page(HTML), {}, "gives a web page"),
    "small web page as a file": (page(b"\n <html>", "application/octet-stream"), {}, "gives a web page"),
    "web page as a file": (page(HTML, "application/octet-stream"), {}, "gives a web page"),
    "web page of the right size": (page(HTML + bytes(N - len(HTML)), "binary/x"), SIZE, "gives a web page"),
    "gzipped web page": (gzipped(HTML), {}, "gives a web page"),
    "anything as text/html, nothing known": (page(BODY), {}, "gives a web page"),
    "204": (status(204), ALL, "status 204"),
    "206 without being asked": (status(206), ALL, "sends another part"),
    "401": (status(401), ALL, "status 401 .*SCIDENT_TOKENS"),
    "403": (status(403), ALL, "status 403"),
    "404": (status(404), ALL, "status 404 .no such file."),
    "410": (status(410), ALL, "status 410"),
    "416": (status(416), ALL, "status 416"),
    "429": (status(429), ALL, "status 429 .asked too often."),
    "503": (status(503), ALL, "status 503"),
    "come back tomorrow": (status(503, retry_after="86400"), ALL, "status 503 and asks to wait 86400 s"),
    "redirect to itself": (redirect("/file"), ALL, "redirects more than 10 times"),
    "redirect to a file": (redirect("file:///etc/hostname"), ALL, "leads to no http or https address"),
    "redirect to nothing": (redirect("http://127.0.0.1:9/"), ALL, "cannot be reached"),
    "redirect to a malformed address": (redirect("http://[half/"), ALL, "redirects to a malformed address"),
    "broken gzip": (coded(BODY), ALL, "sends broken gzip"),
    "gzip, always cut": (gzipped(BODY, upto=9_000), ALL, "breaks off"),
    "gzip of a wrong file": (gzipped(WRONG), ALL, "has sha256"),
    "gzip of a larger file": (gzipped(BODY + b"more"), ALL, "sends more than 20,000 bytes"),
    "another code": (coded(BODY, "br"), ALL, "in the code 'br'"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_that_stays_ends_in_one_sentence(fault, cache, waits):
    answers, known, sentence = REFUSED[fault]
    with serving(file=answers) as server:
        file = File("cells.bin", (server.url("file"),), **known)
        check_refused(cache, file, waits.patience(attempts=2, rounds=1, **short_waits(fault)), sentence)


@pytest.mark.parametrize("fault", REFUSED)
def test_behind_every_fault_the_next_address_gives_the_right_file(fault, cache, waits):
    answers, _, _ = REFUSED[fault]
    with serving(file=answers, mirror=good(BODY)) as server:
        urls = (server.url("file"), server.url("mirror"))
        patience = waits.patience(attempts=2, **short_waits(fault))
        path = fetch(File("cells.bin", urls, **ALL), cache, patience=patience)
    check_right(path, cache)


def test_an_address_without_a_server_is_left_for_the_next_at_once(cache, waits):
    with serving(file=good(BODY)) as server:
        urls = ("http://127.0.0.1:9/file", "s3://bucket/file", server.url("file"))
        check_right(fetch(File("cells.bin", urls, **ALL), cache, patience=waits.patience()), cache)
    assert waits.seconds == []


def test_addresses_are_asked_in_order_and_the_first_that_gives_the_file_is_the_last(cache, waits):
    with serving(a=status(404), b=good(BODY), c=good(BODY)) as server:
        fetch(File("cells.bin", tuple(map(server.url, "abc")), **ALL), cache, patience=waits.patience())
        assert [asked.path for asked in server.asked] == ["/a", "/b"]


def test_every_address_is_named_with_its_own_reason(cache, waits):
    with serving(a=status(404), b=page(HTML), c=good(WRONG)) as server:
        urls = tuple(map(server.url, "abc"))
        sentence = f"{urls[0]} answers with status 404.*; {urls[1]} gives a web page.*; {urls[2]} gives a file that has"
        check_refused(cache, File("cells.bin", urls, **ALL), waits.patience(), sentence)


def test_a_wrong_file_is_not_asked_for_again(cache, waits):
    with serving(file=good(WRONG)) as server:
        check_refused(cache, File("cells.bin", (server.url("file"),), **ALL), waits.patience(), "has sha256")
        assert server.sent == N


def test_a_file_that_does_not_begin_like_its_ending_says(cache, waits):
    with serving(file=page(b'{"message": "rate limit"}', "application/json")) as server:
        file = File("cells.h5ad", (server.url("file"),))
        with pytest.raises(DataError, match=r"does not begin like a \.h5ad file"):
            fetch(file, cache, patience=waits.patience())
    assert kept(cache) == set()


def test_a_gzip_file_that_is_labelled_as_coded_stays_as_it_is(cache, waits):
    with serving(file=gzipped(BODY)) as server:
        file = File(
            "cells.mtx.gz", (server.url("file"),), sha256=hashlib.sha256(gzip.compress(BODY, mtime=0)).hexdigest()
        )
        path = fetch(file, cache, patience=waits.patience())
    assert gzip.decompress(path.read_bytes()) == BODY


def test_waits_double_and_a_server_that_names_its_own_is_obeyed(cache, waits):
    answers = [status(503), status(503), status(429, retry_after="7"), status(503), good(BODY)]
    with serving(file=answers) as server:
        fetch(File("cells.bin", (server.url("file"),), **ALL), cache, patience=waits.patience())
    assert waits.seconds == [1.0, 2.0, 7.0, 8.0]


def test_a_line_that_often_breaks_is_not_given_up_while_something_comes(cache, waits):
    with serving(file=[good(BODY, upto=n) for n in range(1_000, N + 1, 1_000)]) as server:
        file = File("cells.bin", (server.url("file"),), **ALL)
        check_right(fetch(file, cache, patience=waits.patience(attempts=3)), cache)
        assert server.sent == N
    assert waits.seconds == [1.0] * 19
