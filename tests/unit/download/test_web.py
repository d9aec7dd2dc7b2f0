"""Proxies and tokens come from the environment, and go nowhere else."""

from datetime import UTC, datetime

import pytest

from _server import BODY, good, redirect, serving, status
from scident.download import Patience, fetch
from scident.download.trouble import retry_after
from scident.download.web import shown
from scident.errors import ConfigError, DataError
from scident.info import File

SECRET = "s3cr3t"


def test_a_proxy_of_the_environment_is_used(cache, waits, monkeypatch):
    with serving(file=good(BODY)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:{SECRET}@127.0.0.1:{proxy.port}")
        file = File("cells.bin", ("http://data.example/file",))
        assert fetch(file, cache, patience=waits.patience()).read_bytes() == BODY
        assert proxy.asked[0].path == "http://data.example/file"


def test_no_proxy_is_obeyed(cache, waits, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(file=good(BODY)) as server:
        fetch(File("cells.bin", (server.url("file"),)), cache, patience=waits.patience())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_password_of_a_broken_proxy_is_not_repeated(scheme, cache, waits, monkeypatch, caplog):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:9")
    with pytest.raises(DataError, match="through the proxy that the environment names") as found:
        fetch(File("cells.bin", (f"{scheme}://data.example/file",)), cache, patience=waits.patience())
    assert SECRET not in f"{found.value!r} {found.value.__context__!r} {caplog.text}"


def test_a_token_goes_to_its_host_and_no_other(cache, waits, monkeypatch, caplog):
    monkeypatch.setenv("SCIDENT_TOKENS", f"elsewhere.org=x LOCALHOST={SECRET}")
    with serving(end=good(BODY)) as other, serving(file=redirect(f"http://127.0.0.1:{other.port}/end")) as server:
        with caplog.at_level("DEBUG", "scident"):
            fetch(File("cells.bin", (server.url("file", "localhost"),)), cache, patience=waits.patience())
        assert server.asked[0].headers["Authorization"] == f"Bearer {SECRET}"
        assert "Authorization" not in other.asked[0].headers
    assert SECRET not in caplog.text
    assert SECRET not in (cache / "cells.bin.record.json").read_text()


def test_a_token_goes_over_no_open_line(cache, waits, monkeypatch):
    monkeypatch.setenv("SCIDENT_TOKENS", f"data.example={SECRET}")
    with serving(file=good(BODY)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        fetch(File("cells.bin", ("http://data.example/file",)), cache, patience=waits.patience())
        assert "Authorization" not in proxy.asked[0].headers


@pytest.mark.parametrize("value", [SECRET, f"={SECRET}", "secret.example="])
def test_malformed_tokens_are_refused_and_not_repeated(value, cache, monkeypatch):
    monkeypatch.setenv("SCIDENT_TOKENS", value)
    with serving(file=good(BODY)) as server, pytest.raises(ConfigError, match="must hold host=token pairs") as found:
        fetch(File("cells.bin", (server.url("file"),)), cache)
    assert value not in str(found.value)


def test_names_and_passwords_of_files_and_addresses_are_not_used(cache, waits, monkeypatch, tmp_path, caplog):
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(file=[status(404), good(BODY)]) as server:
        url = server.url("file").replace("//", f"//me:{SECRET}@") + f"?access_token={SECRET}"
        with caplog.at_level("INFO", "scident"):
            fetch(File("cells.bin", (url,)), cache, patience=waits.patience())
        assert "Authorization" not in server.asked[0].headers
    assert SECRET not in caplog.text
    assert SECRET not in (cache / "cells.bin.record.json").read_text()


def test_a_signed_address_behind_a_redirect_is_not_repeated(cache, waits, caplog):
    signed = f"http://127.0.0.1:9/x?Signature={SECRET}"
    with serving(file=redirect(signed)) as server, pytest.raises(DataError, match="cannot be reached") as found:
        fetch(File("cells.bin", (server.url("file"),)), cache, patience=waits.patience())
    assert SECRET not in f"{found.value!r} {found.value.__context__!r} {caplog.text}"


def test_a_file_as_it_is_is_asked_for(cache, waits):
    with serving(file=good(BODY)) as server:
        fetch(File("cells.bin", (server.url("file"),)), cache, patience=waits.patience())
        assert server.asked[0].headers["Accept-Encoding"] == "identity"
        assert server.asked[0].headers["User-Agent"].startswith("scident/")


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        (
            "https://zenodo.org/records/1/files/a.h5ad?download=1",
            "https://zenodo.org/records/1/files/a.h5ad?download=1",
        ),
        ("https://x.org/?acc=G1&format=file&file=a%2Fb", "https://x.org/?acc=G1&format=file&file=a%2Fb"),
        ("https://me:pw@x.org:8/a?X-Amz-Signature=q&flag", "https://x.org:8/a?X-Amz-Signature=***&flag"),
        ("http://[half/", "a malformed address"),
    ],
)
def test_addresses_are_shown_without_secrets(url, seen):
    assert shown(url) == seen


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 12:01:30 -0000", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after(header, NOW) == seconds


def test_waits_double_up_to_a_limit():
    patience = Patience(first_wait_s=2.0, longest_wait_s=10.0)
    assert [patience.wait_s(n) for n in (1, 2, 3, 4, 100)] == [2.0, 4.0, 8.0, 10.0, 10.0]
