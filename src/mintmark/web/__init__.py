"""The two applications: what each listener answers, every route inside a named guard."""

from collections.abc import Callable, Mapping, Sequence

from starlette.routing import Route, Router

from mintmark.faults import Faults
from mintmark.service import Service
from mintmark.sources import Sources
from mintmark.web import identities, probes, public
from mintmark.web.admin import AdminApi
from mintmark.web.auth import Local, Open, Signed, SignedHandler
from mintmark.web.dev import DevelopmentControls
from mintmark.web.endpoint import Edge, Endpoint, Guarded, RequestLog
from mintmark.web.faulty import Faulty
from mintmark.web.openapi import ContractPages
from mintmark.web.start_page import StartPage
from mintmark.web.wire import CREATE, DELETE, GET, ISSUE, REVOKE, VERSIONS

Routes = Sequence[tuple[str, Mapping[str, Guarded]]]


def build_public_app(
    service: Service,
    sources: Sources,
    *,
    cors: bool,
    strict_versions: bool = False,
    faults: Faults | None = None,
    log: RequestLog | None = None,
) -> Router:
    """What SDKs and relying parties reach: the ACS surface, kept clean."""
    guard = Signed(service, strict_versions=strict_versions)
    signed: Callable[[str, SignedHandler], Guarded] = guard if faults is None else Faulty(guard, faults)
    open_to_all = Open(service)
    routes: Routes = [
        ("/identities", {"POST": signed(CREATE, identities.create)}),
        ("/identities/{id}/:issueAccessToken", {"POST": signed(ISSUE, identities.issue)}),
        ("/identities/{id}/:revokeAccessTokens", {"POST": signed(REVOKE, identities.revoke)}),
        ("/identities/{id}", {"GET": signed(GET, identities.get), "DELETE": signed(DELETE, identities.delete)}),
        ("/.well-known/jwks.json", {"GET": open_to_all(public.key_set)}),
        ("/.well-known/openid-configuration", {"GET": open_to_all(public.discovery)}),
    ]
    return _router(Edge(sources, ", ".join(VERSIONS), cors=cors, log=log), routes)


def build_admin_app(
    service: Service,
    sources: Sources,
    api: AdminApi,
    controls: DevelopmentControls,
    contract: ContractPages,
    start: StartPage,
    host_names: frozenset[str],
    log: RequestLog | None = None,
) -> Router:
    """What the command line, probes and a person's browser reach: all that ACS does not have."""
    local = Local(service, host_names)
    identity, resource = "/_mintmark/identities/{id}", "/_mintmark/resources/{id}"
    routes: Routes = [
        ("/", {"GET": local(start.show)}),
        ("/_mintmark/live", {"GET": local(probes.live)}),
        ("/_mintmark/ready", {"GET": local(probes.ready)}),
        ("/_mintmark/identities", {"GET": local(api.list_identities), "POST": local(api.create_identity)}),
        (identity, {"GET": local(api.show_identity), "DELETE": local(api.delete_identity)}),
        (f"{identity}/:issueAccessToken", {"POST": local(api.issue_token)}),
        (f"{identity}/:revokeAccessTokens", {"POST": local(api.revoke_tokens)}),
        ("/_mintmark/openapi.json", {"GET": local(contract.show_json)}),
        ("/_mintmark/openapi", {"GET": local(contract.show_page)}),
        ("/_mintmark/introspect", {"POST": local(api.introspect)}),
        ("/_mintmark/resources", {"GET": local(api.list_resources), "POST": local(api.add_resource)}),
        (resource, {"GET": local(api.show_resource), "DELETE": local(api.remove_resource)}),
        (f"{resource}/access-keys", {"GET": local(api.list_access_keys)}),
        (f"{resource}/access-keys/{{slot}}/:regenerate", {"POST": local(api.regenerate_access_key)}),
        ("/_mintmark/clock", {"GET": local(controls.show_clock), "POST": local(controls.move_clock)}),
        (
            "/_mintmark/faults",
            {
                "GET": local(controls.list_faults),
                "POST": local(controls.add_fault),
                "DELETE": local(controls.clear_faults),
            },
        ),
    ]
    return _router(Edge(sources, log=log), routes)


def _router(edge: Edge, routes: Routes) -> Router:
    # No slash redirect: a redirected signed request can only fail.
    return Router(
        [Route(path, Endpoint(edge, methods)) for path, methods in routes],
        redirect_slashes=False,
        default=Endpoint(edge, {}),
    )
