"""The development issuer on HTTP: OpenID Connect Discovery, RFC 6749, and App Service's managed identity."""

import base64
import binascii
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from mintmark.development_issuer import DevelopmentIssuer, TokenRefused, TokenRequest
from mintmark.service import Service
from mintmark.web.answer import NOT_KEPT, Answer, json_answer
from mintmark.web.call import Call

FORM = b"application/x-www-form-urlencoded"
IDENTITY_API_VERSION = "2019-08-01"
MAX_PARAMETERS = 50

_INVALID_CLIENT = "invalid_client"


class DevelopmentSignIn:
    """Handlers of the development issuer."""

    def __init__(self, issuer: DevelopmentIssuer) -> None:
        self._issuer = issuer

    async def discovery(self, _service: Service, _call: Call) -> Answer:
        """`GET /adfs/.well-known/openid-configuration`: where keys and tokens are."""
        return json_answer(self._issuer.discovery())

    async def keys(self, _service: Service, _call: Call) -> Answer:
        """`GET /adfs/discovery/keys`: the public keys that its tokens verify with; others after the next start."""
        return json_answer({"keys": self._issuer.public_jwks})

    async def token(self, _service: Service, call: Call) -> Answer:
        """`POST /adfs/oauth2/token`: a token for an application or a Teams user."""
        body = await call.body()
        try:
            return json_answer(self._issuer.grant(read_token_request(body, call.headers)))
        except TokenRefused as refused:
            return _refusal(refused, {"error": refused.error, "error_description": refused.message})

    async def managed_identity(self, _service: Service, call: Call) -> Answer:
        """`GET /adfs/msi/token`: a token for a program that believes it runs on App Service."""
        try:
            resource = read_resource(call.query)
            header = call.headers.get(b"x-identity-header", b"")
            return json_answer(self._issuer.grant_to_managed_identity(header, resource))
        except TokenRefused as refused:
            # The fields that azure-identity puts in its message.
            return _refusal(refused, {"statusCode": _status(refused), "message": refused.message})


def _status(refused: TokenRefused) -> int:
    return 401 if refused.error == _INVALID_CLIENT else 400


def _refusal(refused: TokenRefused, fields: dict[str, object]) -> Answer:
    # RFC 6749, section 5.2: 401 goes with the scheme that the client may use.
    headers = ((b"www-authenticate", b'Basic realm="mintmark"'),) if refused.error == _INVALID_CLIENT else ()
    note = f"{refused.error}: {refused.message}"
    return Answer(_status(refused), msgspec.json.encode(fields), headers=(*NOT_KEPT, *headers), note=note)


def read_token_request(body: bytes, headers: dict[bytes, bytes]) -> TokenRequest:
    """A request to the token endpoint, its client named in the form or in the header (RFC 6749, section 2.3.1).

    Raises:
        TokenRefused: it is no form, says something twice, or has a header that is not understood.
    """
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != FORM:
        raise TokenRefused("invalid_request", f"The Content-Type is {FORM.decode()}.")
    parameters = read_parameters(body)
    client_id, secret = parameters.get("client_id", ""), parameters.get("client_secret", "")
    authorization = headers.get(b"authorization")
    if authorization is None:
        return TokenRequest(parameters, client_id, secret.encode())
    in_header = _read_basic(authorization)
    if secret or client_id not in ("", in_header[0]):
        raise TokenRefused("invalid_request", "The client is named in the form or in Authorization, not in both.")
    return TokenRequest(parameters, in_header[0], in_header[1].encode())


def read_resource(query: bytes) -> str:
    """What a program asks App Service's managed identity for; which identity it names makes no difference.

    Source: learn.microsoft.com/azure/app-service/overview-managed-identity, REST endpoint reference.

    Raises:
        TokenRefused: the query is none of `read_parameters`, or of another api-version.
    """
    asked = read_parameters(query)
    if asked.get("api-version") != IDENTITY_API_VERSION:
        raise TokenRefused("invalid_request", f"The query's api-version is {IDENTITY_API_VERSION}.")
    return asked.get("resource", "")


def read_parameters(sent: bytes) -> dict[str, str]:
    """Parameters of a query or a form; one without a value counts as left out (RFC 6749, section 3.2).

    Raises:
        TokenRefused: they are no UTF-8, too many, or one of them is there twice.
    """
    try:
        pairs = parse_qsl(sent.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise TokenRefused(
            "invalid_request", f"The parameters are UTF-8, percent-encoded, and at most {MAX_PARAMETERS}."
        ) from error
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise TokenRefused("invalid_request", "No parameter is sent twice.")
    return {name: value for name, value in pairs if value}


def _read_basic(authorization: bytes) -> tuple[str, str]:
    """Client and secret of HTTP Basic, each percent-encoded before (RFC 6749, section 2.3.1)."""
    scheme, _, encoded = authorization.partition(b" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    name, colon, secret = decoded.partition(":")
    if scheme.lower() != b"basic" or not colon:
        raise TokenRefused(_INVALID_CLIENT, "Authorization is Basic with the client's id and secret, if it is sent.")
    return unquote_plus(name), unquote_plus(secret)
