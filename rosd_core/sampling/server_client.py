"""HTTP to an OpenAI-compatible server: bounded concurrency, retries with growing pauses, and one
clear message for whatever goes wrong.
"""

import os
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from rosd_core.errors import RosdError
from rosd_core.sampling.engine import ServerSettings

BUSY = (429, 500, 502, 503, 504)  # answers after which a request is sent again
PAUSE = 0.5  # seconds before the second retry, doubled at each further one
KEY = "ROSD_API_KEY"  # environment variable: sent as the bearer token, where it is set


class Client:
    """A server at `settings.url`."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings, self.url = settings, settings.url.rstrip("/").removesuffix("/v1")
        self.session = requests.Session()
        retry = Retry(
            settings.retries, status_forcelist=BUSY, allowed_methods=None, backoff_factor=PAUSE,
            raise_on_status=False,
        )  # fmt: skip
        adapter = HTTPAdapter(pool_maxsize=settings.concurrency, max_retries=retry)
        # the first call finds out at once whether there is a server
        self.session.mount(f"{self.url}/v1/models", HTTPAdapter(max_retries=0))
        self.session.mount(self.url, adapter)
        if key := os.environ.get(KEY, "").strip():  # errors would print one with a line end
            self.session.headers["Authorization"] = f"Bearer {key}"

    def models(self) -> list[dict[str, Any]]:
        """The models that the server serves. Raises RosdError where there is no server."""
        found = self.call("GET", "/v1/models")
        if not isinstance(found, dict) or not isinstance(found.get("data"), list):
            raise RosdError(f"{self.url}: no OpenAI-compatible server: /v1/models lists no models.")
        return found["data"]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a request."""
        return self.call("POST", path, body)

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> Iterator[Any]:
        """The answers, in the order of the requests; at most `concurrency` are under way. The first
        error is raised at once, whichever request it answers; no further one is sent then.
        """

        def send(number: int) -> tuple[int, Any]:
            return number, self.post(path, bodies[number])

        waiting: dict[int, Any] = {}  # answers that came before those of earlier requests
        following = 0
        with ThreadPool(self.settings.concurrency) as pool:  # daemons: nobody waits for them
            for number, answer in pool.imap_unordered(send, range(len(bodies))):
                waiting[number] = answer
                while following in waiting:
                    yield waiting.pop(following)
                    following += 1

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request. Raises RosdError with the server's own words where it refuses."""
        s = self.settings
        try:
            answer = self.session.request(method, self.url + path, json=body, timeout=s.timeout)
        except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
            # where retries are used up, urllib3 wraps a timeout in a connection error
            slow = isinstance(error, requests.exceptions.Timeout)
            if slow or "timed out" in str(error).lower():
                raise RosdError(
                    f"{self.url}{path}: no answer within engine.server.timeout = {s.timeout:g} s"
                    f"{self._tried(method)}. Raise it, or lower engine.server.concurrency."
                ) from None
            raise RosdError(
                f"{self.url}: no server answers there{self._tried(method)}. Start it, for example "
                "with `rosd serve`, or set engine.server.url."
            ) from None
        except requests.exceptions.RequestException as error:
            raise RosdError(f"{self.url}{path}: {error}") from None
        if answer.status_code in BUSY:
            raise RosdError(
                f"{self.url}{path}: the server answers {answer.status_code}{self._tried(method)}: "
                f"{_words(answer)}"
            )
        if not answer.ok:
            raise RosdError(
                f"{self.url}{path}: the server refuses ({answer.status_code}): {_words(answer)}"
            )
        try:
            return answer.json()
        except requests.exceptions.JSONDecodeError:
            return answer.text

    def choice(self, answer: Any) -> dict[str, Any]:
        """The first choice of an answer. Raises RosdError where it is no completion."""
        try:
            return answer["choices"][0]
        except (KeyError, IndexError, TypeError):
            raise RosdError(
                f"{self.url}: the server's answer is no completion: {_one_line(answer)}"
            ) from None

    def _tried(self, method: str) -> str:
        retries = self.settings.retries
        return f" after {retries} retries" if method == "POST" and retries else ""


def _words(answer: requests.Response) -> str:
    """The server's message, on one line."""
    try:
        found = answer.json()
    except requests.exceptions.JSONDecodeError:
        found = answer.text
    if isinstance(found, dict):
        error = found.get("error", found)
        found = error.get("message", error) if isinstance(error, dict) else error
    return _one_line(found)


def _one_line(found: Any) -> str:
    return " ".join(str(found).split())[:500]
