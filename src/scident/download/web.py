"""One request: redirects, proxies and tokens of the environment, and addresses as they may be shown."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError, MaxRetryError

from scident import __version__
from scident.download.patience import Patience
from scident.download.trouble import Trouble
from scident.errors import ConfigError

REDIRECTS = 10
"""Most redirects from one address; a circle of cookies is legitimate, so addresses may repeat."""
TOKENS = "SCIDENT_TOKENS"
"""Environment variable with the tokens: ``host=token`` pairs, separated by spaces."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
HEADERS = {"User-Agent": f"scident/{__version__}", "Accept-Encoding": "identity"}
"""The bytes of the file itself are wanted: part of a compressed answer could not be resumed."""


class _Session(requests.Session):
    """Proxies and certificates of the environment, but no redirects: requests reads the body of each, however long."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return nothing; `opened` follows."""
        del resp
        return None


@contextmanager
def opened(url: str, headers: Mapping[str, str], patience: Patience) -> Iterator[requests.Response]:
    """Yield the answer to a GET request whose body has not been read yet, after redirects.

    Raises
    ------
    Trouble
        There is no answer. Its words never hold what a library says: that may quote tokens, signed addresses or the
        name and password of a proxy.
    """
    with _Session() as session:
        for _ in range(REDIRECTS + 1):
            response = _asked(session, url, headers, patience)
            with response:
                if not response.is_redirect:
                    yield response
                    return
                try:
                    url = urljoin(url, response.headers["Location"])
                except ValueError:
                    raise Trouble("redirects to a malformed address", "later") from None
        raise Trouble(f"redirects more than {REDIRECTS} times", "later")


def _asked(session: requests.Session, url: str, headers: Mapping[str, str], patience: Patience) -> requests.Response:
    try:
        return session.get(
            url,
            headers={**HEADERS, **headers, **_authorisation(url)},
            auth=_no_netrc,
            timeout=(patience.connect_s, patience.read_s),
            allow_redirects=False,
            stream=True,
        )
    except (requests.exceptions.RequestException, HTTPError, ValueError) as error:
        trouble = _meaning(error, patience)
    raise trouble  # out here, so that what the library says, and the connection it holds, go


def _meaning(error: Exception, patience: Patience) -> Trouble:
    """Say in our words why there is no answer."""
    if isinstance(error, requests.exceptions.SSLError):
        return Trouble("has a certificate that cannot be verified", "never")
    if isinstance(error, requests.exceptions.ProxyError):
        return Trouble("cannot be reached through the proxy that the environment names", "later")
    if isinstance(error, requests.exceptions.ReadTimeout):
        return Trouble(f"does not answer for {patience.read_s:g} s", "now")
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.MissingSchema):
        return Trouble("leads to no http or https address", "never")
    if isinstance(error, requests.exceptions.ConnectionError):
        unreachable = bool(error.args) and isinstance(error.args[0], MaxRetryError)
        return Trouble("cannot be reached", "later") if unreachable else Trouble("hangs up before it answers", "now")
    return Trouble(f"cannot be asked ({type(error).__name__})", "never")


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand in for requests' own choice, which would read names and passwords from a file or the address."""
    return request


def _authorisation(url: str) -> dict[str, str]:
    """Return the header with the token of a host, which goes to no other host and over no open line."""
    parts = urlsplit(url)
    token = _tokens().get(parts.hostname or "")
    safe = parts.scheme == "https" or parts.hostname in LOOPBACK
    return {"Authorization": f"Bearer {token}"} if token and safe else {}


def _tokens() -> dict[str, str]:
    pairs = [pair.partition("=") for pair in os.environ.get(TOKENS, "").split()]
    if not all(host and token for host, _, token in pairs):
        raise ConfigError(
            f"{TOKENS}: must hold host=token pairs separated by spaces, as in `zenodo.org=…`; "
            "found another form, which is not repeated here"
        )
    return {host.lower(): token for host, _, token in pairs}


SECRET = re.compile(r"token|key|sig|pass|secret|credential|auth", re.IGNORECASE)


def shown(url: str) -> str:
    """Return an address as messages may show it: no name or password, no value of a query that looks secret.

    >>> shown("https://me:pw@example.org/f.h5ad?download=1&access_token=abc")
    'https://example.org/f.h5ad?download=1&access_token=***'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed address"
    query = [pair.partition("=") for pair in parts.query.split("&")]
    kept = "&".join(f"{k}=***" if SECRET.search(k) else f"{k}{eq}{value}" for k, eq, value in query)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, kept, ""))
