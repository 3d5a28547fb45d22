"""requests-oauthlib: every URL is an argument. For plain HTTP the library needs OAUTHLIB_INSECURE_TRANSPORT."""

import json
import os

import oauthlib.oauth2
from requests_oauthlib import OAuth2Session
from requests_oauthlib.compliance_fixes import instagram_compliance_fix

base = os.environ["IGPROXY"]
app = dict(client_id=os.environ["CLIENT_ID"], redirect_uri=os.environ["REDIRECT_URI"])

# The library's own fix for Instagram puts the token into the query.
session = instagram_compliance_fix(OAuth2Session(**app))
short = session.fetch_token(base + "/oauth/access_token", code=os.environ["CODE"])
long = session.get(base + "/access_token", params={"grant_type": "ig_exchange_token"}).json()

session = OAuth2Session(app["client_id"], token=long)  # without the fix, the token goes into a Bearer header
me = session.get(base + "/me", params={"fields": "id,username"}).json()

try:
    OAuth2Session(**app).fetch_token(base + "/oauth/access_token", code=os.environ["BAD_CODE"])
    raise SystemExit("the call did not fail")
except oauthlib.oauth2.OAuth2Error as error:
    code_error = f"{type(error).__name__} {error}"

expired = OAuth2Session(app["client_id"], token={"access_token": os.environ["BAD_TOKEN"], "token_type": "bearer"})
answer = expired.get(base + "/access_token", params={"grant_type": "ig_exchange_token"})
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
