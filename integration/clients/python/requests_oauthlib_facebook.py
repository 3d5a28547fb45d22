"""requests-oauthlib with its fix for Facebook: every URL is an argument, as in requests_oauthlib_login.py."""

import json
import os

import oauthlib.oauth2
from requests_oauthlib import OAuth2Session
from requests_oauthlib.compliance_fixes import facebook_compliance_fix

base = os.environ["IGPROXY"]
app = dict(client_id=os.environ["CLIENT_ID"], redirect_uri=os.environ["REDIRECT_URI"])
token_url = base + "/oauth/access_token"


def exchange(session, token):
    params = {"grant_type": "fb_exchange_token", "client_id": app["client_id"], "fb_exchange_token": token}
    return session.get(token_url, params=params)


session = facebook_compliance_fix(OAuth2Session(**app))
short = session.fetch_token(token_url, code=os.environ["CODE"], client_secret="none", include_client_id=True)
long = exchange(session, short["access_token"]).json()

me = OAuth2Session(app["client_id"], token=long).get(base + "/v23.0/me", params={"fields": "id,name"}).json()

try:
    facebook_compliance_fix(OAuth2Session(**app)).fetch_token(token_url, code=os.environ["BAD_CODE"])
    raise SystemExit("the call did not fail")
except oauthlib.oauth2.OAuth2Error as error:
    code_error = f"{type(error).__name__} {error}"

answer = exchange(session, os.environ["BAD_TOKEN"])
error = answer.json()["error"]

print(
    json.dumps(
        {
            "short": short["access_token"],
            "long": long["access_token"],
            "expires_in": long["expires_in"],
            "user_id": me["id"],
            "code_error": code_error,
            "token_error": f"{answer.status_code} {error['code']} {error['error_subcode']}",
        }
    )
)
