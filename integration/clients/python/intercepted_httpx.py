"""This program calls Meta's URLs with httpx. igproxy intercepts the calls."""

import os

import httpx
from intercepted import run

client = httpx.Client(http2=os.environ.get("HTTP2") == "1")
protocol = None


def read(answer):
    global protocol
    answer.raise_for_status()
    protocol = answer.http_version
    return answer.json()


run(
    lambda url, params: read(client.get(url, params=params)),
    lambda url, data: read(client.post(url, data=data)),
    lambda: protocol,
)
