"""Which requests are taken at all: rules on a request's head that the parser under us leaves open.

A request that two programs in a row could read differently is refused, so that neither can be led to take a part of one
request's body for the next request (RFC 9112, section 11.2). The parser, llhttp in its strict mode, refuses most of
them: two lengths, a length beside chunks, bare line ends, folded lines, sizes that are no numbers. Here is the rest.
"""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

_SINGLE = (b"host", b"content-length", b"transfer-encoding")

# RFC 9110, section 7.2 with RFC 3986, section 3.2.2, but for the comma, by which proxies join fields that are repeated;
# and the port may be there twice, as JS common up to 2.4.0 sends it (contract section 3.3).
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]*)(:[0-9]*){0,2}")


class Refusal(Struct, frozen=True):
    """The answer to what is not handed to the application; the connection is closed after it.

    Attributes:
        status: HTTP status code.
        code: of the error, as in the envelope of all errors.
        message: what is allowed.
        retry_after: seconds; None for no such header.
    """

    status: int
    code: str
    message: str
    retry_after: int | None = None


class HeadRefused(Exception):  # noqa: N818  as all refusals
    """A request's head or trailer breaks a rule of this file; `refusal` is the answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def bad_request(message: str) -> HeadRefused:
    """A refusal with status 400."""
    return HeadRefused(Refusal(400, "BadRequest", message))


TRAILER = bad_request("Trailer fields are not taken.").refusal  # RFC 9110, section 6.5.1: none may be merged


def check_head(
    version: str,
    method: str,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    fields: Mapping[bytes, bytes],
    *,
    upgrades: bool,
) -> None:
    """Checks what the parser leaves open.

    Args:
        version: as 1.1.
        method: as sent.
        target: as sent.
        headers: names in lower case, and values without white space around them.
        fields: the same as a dictionary.
        upgrades: whether the parser takes what follows for another protocol.

    Raises:
        HeadRefused: by RFC 9112, sections 2.3, 3.2, 3.2.2 and 6.1, or RFC 9110, sections 7.2, 7.8 and 9.3.6.
    """
    if version not in ("1.0", "1.1"):
        raise bad_request("The version has to be HTTP/1.1 or HTTP/1.0.")
    if len(fields) != len(headers):
        _check_single([name for name, _ in headers])
    _check_host(version, target, fields.get(b"host"), is_options=method == "OPTIONS")
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None:
        _check_coding(version, coding, length)
    if method == "CONNECT":
        raise bad_request("CONNECT is not served.")
    # The parser leaves out the body of a request that asks for another protocol, and would read it as the next request.
    if upgrades and (coding is not None or (length or b"0").strip(b"0")):
        raise bad_request("A request with a body cannot ask for an upgrade.")


def _check_single(names: Sequence[bytes]) -> None:
    for name in _SINGLE:
        if names.count(name) > 1:
            raise bad_request(f"The field {name.decode()} may be there once only.")


def _check_coding(version: str, coding: bytes, length: bytes | None) -> None:
    # RFC 9112, section 6.1 would have 501 for a coding that is not known; what matters is that it is not taken.
    if coding.lower() != b"chunked":
        raise bad_request("Transfer-Encoding may be chunked only.")
    if length is not None or version == "1.0":
        raise bad_request("Transfer-Encoding goes neither with Content-Length nor with HTTP/1.0.")


def _check_host(version: str, target: bytes, host: bytes | None, *, is_options: bool) -> None:
    if host is None:
        if version != "1.0":
            raise bad_request("Host is missing.")
    elif not _HOST.fullmatch(host):
        raise bad_request("Host has to be one name or address, with or without a port.")
    if not target.startswith(b"/") and not (is_options and target == b"*"):
        _check_absolute(target, host)


def _check_absolute(target: bytes, host: bytes | None) -> None:
    """The absolute form has to name the host of the Host field: only that one is looked at."""
    scheme, found, rest = target.partition(b"://")
    authority = re.split(rb"[/?#]", rest, maxsplit=1)[0]
    if not found or scheme.lower() not in (b"http", b"https") or authority.lower() != (host or b"").lower():
        raise bad_request("The target has to be a path, or an address with the host that Host names.")
