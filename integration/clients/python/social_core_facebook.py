"""social-auth-core: the URLs are attributes of the library's class for Facebook. A subclass can set them.

The library adds an appsecret_proof to its call for the user's data. It makes this proof with the placeholder in
SOCIAL_AUTH_FACEBOOK_SECRET, so igproxy replaces the proof.
"""

import json
import os

import requests
from social_core.backends.facebook import FacebookOAuth2
from social_core.exceptions import AuthCanceled
from social_core.strategy import BaseStrategy

base = os.environ["IGPROXY"]


class Facebook(FacebookOAuth2):
    ACCESS_TOKEN_URL = base + "/v{version}/oauth/access_token"
    USER_DATA_URL = base + "/v{version}/me"
    REFRESH_TOKEN_METHOD = "GET"
    STATE_PARAMETER = False


class Strategy(BaseStrategy):
    """The part of a web framework that the library needs. authenticate returns the user's data."""

    settings = {"SOCIAL_AUTH_FACEBOOK_KEY": os.environ["CLIENT_ID"], "SOCIAL_AUTH_FACEBOOK_SECRET": "none"}

    def __init__(self, code):
        super().__init__()
        self.code = code

    def get_setting(self, name):
        return self.settings[name]

    def request_data(self, merge=True):
        return {"code": self.code}

    def absolute_uri(self, path=None):
        return path

    def session_get(self, name, default=None):
        return default

    def authenticate(self, backend, *args, **kwargs):
        return kwargs["response"]


def backend(code=""):
    return Facebook(Strategy(code), redirect_uri=os.environ["REDIRECT_URI"])


user = backend(os.environ["CODE"]).auth_complete()
long = backend().refresh_token(user["access_token"])

try:
    backend(os.environ["BAD_CODE"]).auth_complete()
    raise SystemExit("the call did not fail")
except AuthCanceled as refused:
    error = refused.response.json()["error"]
    code_error = f"{type(refused).__name__} {error['code']} {error['error_subcode']}"

try:
    backend().refresh_token(os.environ["BAD_TOKEN"])
    raise SystemExit("the call did not fail")
except requests.HTTPError as refused:
    error = refused.response.json()["error"]
    token_error = f"{type(refused).__name__} {error['code']} {error['error_subcode']}"

print(
    json.dumps(
        {
            "short": user["access_token"],
            "long": long["access_token"],
            "expires_in": long["expires_in"],
            "user_id": user["id"],
            "code_error": code_error,
            "token_error": token_error,
        }
    )
)
