"""The document of an api-version as a running server serves it, and requests signed for schemathesis."""

from typing import Any
from urllib.parse import urlsplit

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.schemas import OpenApiSchema

from builders import signed_headers
from calls import ask
from mintmark.sources import system
from running import RunningServer


class Signature(AuthBase):
    """Signs what is about to be sent, byte for byte."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Requests calls this last, when method, target and body are as they will go out."""
        body = request.body or b""
        assert isinstance(body, str | bytes)
        signed = signed_headers(
            str(request.method),
            request.path_url,
            body if isinstance(body, bytes) else body.encode(),
            now=system().now(),
            host=urlsplit(str(request.url)).netloc,
            content_type=None,  # The generated one stays, fitting or not.
        )
        for name, value in signed:
            if name not in (b"host", b"content-length"):  # The client's own affair.
                request.headers[name.decode()] = value.decode()
        return request


def document(server: RunningServer, version: str) -> dict[str, Any]:
    """What the server says of an api-version."""
    answer = ask(server.admin_endpoint, f"/_mintmark/openapi.json?api-version={version}")
    assert 200 == answer.status
    described: dict[str, Any] = answer.json
    return described


def load(server: RunningServer, described: dict[str, Any], **config: Any) -> OpenApiSchema:
    """A document for schemathesis, whose requests go signed to plain HTTP; `config` is as in schemathesis.toml."""
    settings = SchemathesisConfig.from_dict({"base-url": server.http_endpoint, **config})
    schema = schemathesis.openapi.from_dict(described, config=settings)
    schema.auth.set_from_requests(Signature())
    return schema
