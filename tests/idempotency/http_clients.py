"""The clients of HTTP: each posts one charge."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import anthropic
import botocore.config
import botocore.session
import docker
import httpx
import httpx2
import openai
import requests
import requests.adapters
import urllib3
from tests.idempotency.counting import DONE
from tests.idempotency.matrix import Client, Held, Setting, Work
from tests.servers.proxy import Fault


__all__ = ["CHARGE", "HTTP", "HTTP_RETRYING", "HTTP_TWICE", "SDKS", "url"]

CHARGE = b"charge 300"


def url(port: int) -> str:
    """Where charges are posted."""
    return f"http://127.0.0.1:{port}/charge"


def by_urllib(at: Setting) -> Iterator[Work]:
    def charge() -> None:
        try:
            with urllib.request.urlopen(url(at.port), data=CHARGE, timeout=at.patience) as answer:
                assert answer.read() == DONE.encode()
        except urllib.error.HTTPError as error:
            error.close()
            raise

    yield charge


def by_http_client(at: Setting) -> Iterator[Work]:
    held = Held[http.client.HTTPConnection](
        lambda: http.client.HTTPConnection("127.0.0.1", at.port, timeout=at.patience), http.client.HTTPConnection.close
    )

    def charge() -> None:
        with held.use() as connection:
            connection.request("POST", "/charge", CHARGE)
            assert connection.getresponse().read() == DONE.encode()

    yield charge
    held.drop()


def by_httpx(at: Setting) -> Iterator[Work]:
    with httpx.Client(timeout=at.patience) as client:
        yield lambda: client.post(url(at.port), content=CHARGE).raise_for_status()


async def by_httpx_async(at: Setting) -> AsyncIterator[Work]:
    async with httpx.AsyncClient(timeout=at.patience) as client:

        async def charge() -> None:
            (await client.post(url(at.port), content=CHARGE)).raise_for_status()

        yield charge


def by_httpx2(at: Setting) -> Iterator[Work]:
    with httpx2.Client(timeout=at.patience) as client:
        yield lambda: client.post(url(at.port), content=CHARGE).raise_for_status()


async def by_httpx2_async(at: Setting) -> AsyncIterator[Work]:
    async with httpx2.AsyncClient(timeout=at.patience) as client:

        async def charge() -> None:
            (await client.post(url(at.port), content=CHARGE)).raise_for_status()

        yield charge


def by_requests(at: Setting) -> Iterator[Work]:
    with requests.Session() as session:
        yield lambda: session.post(url(at.port), data=CHARGE, timeout=at.patience).raise_for_status()


def by_requests_retrying(at: Setting) -> Iterator[Work]:
    """With a `Retry` of urllib3 mounted, as many programs do."""
    retries = urllib3.Retry(2, allowed_methods=None) if at.own_retries else 0
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        yield lambda: session.post(url(at.port), data=CHARGE, timeout=at.patience).raise_for_status()


def _by_urllib3(method: str, at: Setting) -> Iterator[Work]:
    with urllib3.PoolManager(timeout=at.patience) as pool:

        def charge() -> None:
            answer = pool.request(method, url(at.port), body=CHARGE, retries=None if at.own_retries else False)
            assert answer.data == DONE.encode()

        yield charge


def by_urllib3(at: Setting) -> Iterator[Work]:
    yield from _by_urllib3("POST", at)


def by_urllib3_put(at: Setting) -> Iterator[Work]:
    yield from _by_urllib3("PUT", at)


async def by_aiohttp(at: Setting) -> AsyncIterator[Work]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(at.patience), raise_for_status=True) as session:

        async def charge() -> None:
            async with session.post(url(at.port), data=CHARGE) as answer:
                assert await answer.read() == DONE.encode()

        yield charge


async def by_aiohttp_put(at: Setting) -> AsyncIterator[Work]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(at.patience)) as session:
        session._retry_connection = at.own_retries  # there is no public way

        async def charge() -> None:
            async with session.put(url(at.port), data=CHARGE) as answer:
                assert await answer.read() == DONE.encode()

        yield charge


def by_docker(at: Setting) -> Iterator[Work]:
    client = docker.DockerClient(f"tcp://127.0.0.1:{at.port}", version="1.44", timeout=at.patience)
    yield lambda: client.api.create_container("image")
    client.close()


def by_botocore(at: Setting) -> Iterator[Work]:
    client = botocore.session.Session().create_client(
        "sqs",
        region_name="eu-central-1",
        endpoint_url=f"http://127.0.0.1:{at.port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=botocore.config.Config(
            connect_timeout=at.patience,
            read_timeout=at.patience,
            retries=None if at.own_retries else {"total_max_attempts": 1},
        ),
    )
    yield lambda: client.send_message(QueueUrl=f"http://127.0.0.1:{at.port}/queue", MessageBody="charge 300")
    client.close()


def by_docker_containers(at: Setting) -> Iterator[Work]:
    client = docker.DockerClient(f"tcp://127.0.0.1:{at.port}", version="1.44", timeout=at.patience)
    yield lambda: client.containers.create("image")
    client.close()


_SAID: Any = [{"role": "user", "content": "charge 300"}]


def by_openai(at: Setting) -> Iterator[Work]:
    options: Any = {} if at.own_retries else {"max_retries": 0}
    with openai.OpenAI(
        api_key="key", base_url=f"http://127.0.0.1:{at.port}/v1", timeout=at.patience, **options
    ) as client:
        yield lambda: client.chat.completions.create(model="m", messages=_SAID)


def by_openai_polling(at: Setting) -> Iterator[Work]:
    with openai.OpenAI(
        api_key="key", base_url=f"http://127.0.0.1:{at.port}/v1", timeout=at.patience, max_retries=0
    ) as client:
        yield lambda: client.vector_stores.files.create_and_poll("file", vector_store_id="shop")


async def by_openai_async(at: Setting) -> AsyncIterator[Work]:
    options: Any = {} if at.own_retries else {"max_retries": 0}
    url = f"http://127.0.0.1:{at.port}/v1"
    async with openai.AsyncOpenAI(api_key="key", base_url=url, timeout=at.patience, **options) as client:
        yield lambda: client.chat.completions.create(model="m", messages=_SAID)


def by_anthropic(at: Setting) -> Iterator[Work]:
    options: Any = {} if at.own_retries else {"max_retries": 0}
    with anthropic.Anthropic(
        api_key="key", base_url=f"http://127.0.0.1:{at.port}", timeout=at.patience, **options
    ) as client:
        yield lambda: client.messages.create(model="m", max_tokens=9, messages=_SAID)


async def by_anthropic_async(at: Setting) -> AsyncIterator[Work]:
    options: Any = {} if at.own_retries else {"max_retries": 0}
    url = f"http://127.0.0.1:{at.port}"
    async with anthropic.AsyncAnthropic(api_key="key", base_url=url, timeout=at.patience, **options) as client:
        yield lambda: client.messages.create(model="m", max_tokens=9, messages=_SAID)


HTTP = (
    Client("urllib.request", "http_server", by_urllib),
    Client("http.client", "http_server", by_http_client),
    Client("httpx", "http_server", by_httpx),
    Client("httpx, async", "http_server", by_httpx_async),
    Client("httpx2", "http_server", by_httpx2),
    Client("httpx2, async", "http_server", by_httpx2_async),
    Client("requests", "http_server", by_requests),
    Client("urllib3", "http_server", by_urllib3, own=1),
    Client("aiohttp", "http_server", by_aiohttp, own=1),
)
SDKS = (
    Client("docker", "http_server", by_docker),
    # botocore takes an answer that broke off for one that says nothing.
    Client("botocore", "http_server", by_botocore, own=2, others={Fault.CUT_REPLY: (1, 1)}),
    Client("openai", "http_server", by_openai, own=2),
    Client("openai, async", "http_server", by_openai_async, own=2),
    Client("anthropic", "http_server", by_anthropic, own=2),
    Client("anthropic, async", "http_server", by_anthropic_async, own=2),
)
#: What they try again by themselves only if asked, or for methods that are idempotent by definition.
HTTP_RETRYING = (
    Client("requests, a Retry mounted", "http_server", by_requests_retrying, own=2),
    Client("urllib3, a PUT", "http_server", by_urllib3_put, own=2),
    Client("aiohttp, a PUT", "http_server", by_aiohttp_put, own=2),
)
#: What is one call, and two requests.
HTTP_TWICE = (
    Client("docker, containers.create", "http_server", by_docker_containers),
    Client("openai, create_and_poll", "http_server", by_openai_polling),
)
