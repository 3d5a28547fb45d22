"""This program calls Meta's URLs with requests. igproxy intercepts the calls."""

import requests
from intercepted import run

session = requests.Session()


def get(url, params):
    answer = session.get(url, params=params)
    answer.raise_for_status()
    return answer.json()


def post(url, data):
    answer = session.post(url, data=data)
    answer.raise_for_status()
    return answer.json()


run(get, post)
