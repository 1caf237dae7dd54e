"""The two applications: what each listener answers, every route inside a named guard."""

from collections.abc import Mapping, Sequence

from starlette.routing import Route, Router

from mintmark.service import Service
from mintmark.sources import Sources
from mintmark.web import admin, identities, public
from mintmark.web.auth import Local, Open, Signed
from mintmark.web.endpoint import Edge, Endpoint, Guarded, RequestLog
from mintmark.web.start_page import StartPage
from mintmark.web.wire import VERSIONS

Routes = Sequence[tuple[str, Mapping[str, Guarded]]]


def build_public_app(service: Service, sources: Sources, *, cors: bool, log: RequestLog | None) -> Router:
    """What SDKs and relying parties reach: the ACS surface, kept clean."""
    signed, open_to_all = Signed(service), Open(service)
    routes: Routes = [
        ("/identities", {"POST": signed(identities.create)}),
        ("/.well-known/jwks.json", {"GET": open_to_all(public.key_set)}),
        ("/.well-known/openid-configuration", {"GET": open_to_all(public.discovery)}),
    ]
    return _router(Edge(sources, ", ".join(VERSIONS), cors=cors, log=log), routes)


def build_admin_app(
    service: Service, sources: Sources, start: StartPage, host_names: frozenset[str], log: RequestLog | None
) -> Router:
    """What the command line, probes and a person's browser reach: all that ACS does not have."""
    local = Local(service, host_names)
    routes: Routes = [
        ("/", {"GET": local(start.show)}),
        ("/_mintmark/live", {"GET": local(admin.live)}),
        ("/_mintmark/ready", {"GET": local(admin.ready)}),
        ("/_mintmark/identities", {"POST": local(admin.create_identity)}),
        ("/_mintmark/introspect", {"POST": local(admin.introspect)}),
    ]
    return _router(Edge(sources, log=log), routes)


def _router(edge: Edge, routes: Routes) -> Router:
    # No slash redirect: a redirected signed request can only fail.
    return Router(
        [Route(path, Endpoint(edge, methods)) for path, methods in routes],
        redirect_slashes=False,
        default=Endpoint(edge, {}),
    )
