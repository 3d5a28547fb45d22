"""The function run makes the calls of a program whose URLs cannot be changed."""

import concurrent.futures
import json
import os

graph = "https://graph.instagram.com"


def run(get, post, protocol=lambda: None):
    login = {
        "client_id": os.environ["CLIENT_ID"],
        "client_secret": "none",
        "grant_type": "authorization_code",
        "redirect_uri": os.environ["REDIRECT_URI"],
        "code": os.environ["CODE"],
    }
    short = post("https://api.instagram.com/oauth/access_token", login)["access_token"]
    exchange = {"grant_type": "ig_exchange_token", "client_secret": "none", "access_token": short}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        long = [answer["access_token"] for answer in pool.map(lambda _: get(graph + "/access_token", exchange), range(2))]
    refresh = {"grant_type": "ig_refresh_token", "access_token": os.environ["REFRESH"]}
    refreshed = get(graph + "/refresh_access_token", refresh)["access_token"]
    me = get(graph + "/me", {"fields": "id,username", "access_token": long[0]})
    print(json.dumps({"short": short, "long": long, "refreshed": refreshed, "user_id": me["id"], "protocol": protocol()}))
