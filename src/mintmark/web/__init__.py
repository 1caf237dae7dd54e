"""The two applications: what each listener answers, every route inside a named guard."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct
from starlette.routing import Route, Router

from mintmark.faults import Faults
from mintmark.limits import Limiter
from mintmark.service import Service
from mintmark.sources import Sources
from mintmark.web import identities, public, teams
from mintmark.web.adfs import DevelopmentSignIn
from mintmark.web.admin import AdminApi
from mintmark.web.auth import Keyed, Local, Open, OpenHandler, Signed, SignedHandler
from mintmark.web.call import Receive, Scope, Send
from mintmark.web.dev import DevelopmentControls
from mintmark.web.endpoint import Cors, Edge, Endpoint, Guarded, Reply, RequestLog
from mintmark.web.faulty import Faulty
from mintmark.web.metrics import MetricsPage
from mintmark.web.openapi import ContractPages
from mintmark.web.probes import Probes
from mintmark.web.signing_keys import SigningKeyApi
from mintmark.web.start_page import StartPage
from mintmark.web.wire import CREATE, DELETE, EXCHANGE, GET, ISSUE, REVOKE, VERSIONS

_IDENTITY = "/identities/{id}"

Routes = Sequence[tuple[str, Mapping[str, Guarded]]]


class Application:
    """An ASGI application: the paths that are asked for again and again by a look-up, others by Starlette's router.

    Attributes:
        routes: all paths.
    """

    def __init__(self, edge: Edge, routes: Routes) -> None:
        endpoints = [(path, Endpoint(edge, methods, path)) for path, methods in routes]
        self._fixed = {path: endpoint for path, endpoint in endpoints if "{" not in path}
        self._of_identity = {
            path.removeprefix(_IDENTITY): endpoint for path, endpoint in endpoints if path.startswith(_IDENTITY)
        }
        # No slash redirect: a redirected signed request can only fail.
        self.routes = [Route(path, endpoint) for path, endpoint in endpoints]
        self._unknown = Endpoint(edge, {})
        self._router = Router(self.routes, redirect_slashes=False, default=self._unknown)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answers one request."""
        return (self._look_up(scope) or self._router)(scope, receive, send)

    def refuse_late(self, scope: Scope) -> Reply:
        """The answer to a request that has waited too long for its turn: 503, which is logged and counted."""
        return (self._look_up(scope) or self._unknown).refuse_late(scope)

    def _look_up(self, scope: Scope) -> Endpoint | None:
        path: str = scope["path"]
        endpoint = self._fixed.get(path)
        if endpoint is None and path.startswith("/identities/"):
            identity_id, slash, rest = path.removeprefix("/identities/").partition("/")
            endpoint = self._of_identity.get(slash + rest) if identity_id else None
            scope["path_params"] = {"id": identity_id}
        return endpoint


def build_public_app(
    service: Service,
    sources: Sources,
    *,
    cors: Cors | None = None,
    strict_versions: bool = False,
    limiter: Limiter | None = None,
    faults: Faults | None = None,
    sign_in: DevelopmentSignIn | None = None,
    logs: Sequence[RequestLog] = (),
) -> Application:
    """What SDKs and relying parties reach: the ACS surface, kept clean. Faults and signing in are for development."""
    guard = Signed(service, sources, strict_versions=strict_versions, limiter=limiter)
    signed: Callable[[str, SignedHandler], Guarded] = guard if faults is None else Faulty(guard, faults)
    open_to_all = Open(service)
    routes: Routes = [
        ("/identities", {"POST": signed(CREATE, identities.create)}),
        ("/identities/{id}/:issueAccessToken", {"POST": signed(ISSUE, identities.issue)}),
        ("/identities/{id}/:revokeAccessTokens", {"POST": signed(REVOKE, identities.revoke)}),
        ("/identities/{id}", {"GET": signed(GET, identities.get), "DELETE": signed(DELETE, identities.delete)}),
        ("/teamsUser/:exchangeAccessToken", {"POST": signed(EXCHANGE, teams.exchange)}),
        ("/.well-known/jwks.json", {"GET": open_to_all(public.key_set)}),
        ("/.well-known/openid-configuration", {"GET": open_to_all(public.discovery)}),
    ]
    if sign_in is not None:
        routes = [
            *routes,
            ("/adfs/.well-known/openid-configuration", {"GET": open_to_all(sign_in.discovery)}),
            ("/adfs/discovery/keys", {"GET": open_to_all(sign_in.keys)}),
            ("/adfs/oauth2/token", {"POST": open_to_all(sign_in.token)}),
            ("/adfs/oauth2/v2.0/token", {"POST": open_to_all(sign_in.token)}),
            ("/adfs/msi/token", {"GET": open_to_all(sign_in.managed_identity)}),
        ]
    return Application(Edge(sources, logs, ", ".join(VERSIONS), cors), routes)


class AdminPages(Struct, frozen=True, kw_only=True):
    """The handlers of an admin listener; controls and the start page are for development."""

    api: AdminApi
    signing_keys: SigningKeyApi
    contract: ContractPages
    metrics: MetricsPage
    probes: Probes
    controls: DevelopmentControls | None = None
    start: StartPage | None = None


def build_admin_app(
    service: Service, sources: Sources, pages: AdminPages, guard: Local | Keyed, logs: Sequence[RequestLog] = ()
) -> Application:
    """What the command line, probes and a person's browser reach: all that ACS does not have.

    Where the guard asks for a key, probes are open nevertheless.
    """
    api, signing_keys, contract, metrics = pages.api, pages.signing_keys, pages.contract, pages.metrics
    probes, controls, start = pages.probes, pages.controls, pages.start
    ours: Callable[[OpenHandler], Guarded] = guard
    probe: Callable[[OpenHandler], Guarded] = guard if isinstance(guard, Local) else Open(service)
    identity, resource, key = (f"/_mintmark/{name}/{{id}}" for name in ("identities", "resources", "signing-keys"))
    routes: Routes = [
        ("/_mintmark/live", {"GET": probe(probes.live)}),
        ("/_mintmark/ready", {"GET": probe(probes.ready)}),
        ("/_mintmark/startup", {"GET": probe(probes.startup)}),
        ("/_mintmark/metrics", {"GET": ours(metrics.show)}),
        ("/_mintmark/identities", {"GET": ours(api.list_identities), "POST": ours(api.create_identity)}),
        (identity, {"GET": ours(api.show_identity), "DELETE": ours(api.delete_identity)}),
        (f"{identity}/:issueAccessToken", {"POST": ours(api.issue_token)}),
        (f"{identity}/:revokeAccessTokens", {"POST": ours(api.revoke_tokens)}),
        ("/_mintmark/openapi.json", {"GET": ours(contract.show_json)}),
        ("/_mintmark/openapi", {"GET": ours(contract.show_page)}),
        ("/_mintmark/introspect", {"POST": ours(api.introspect)}),
        ("/_mintmark/resources", {"GET": ours(api.list_resources), "POST": ours(api.add_resource)}),
        (resource, {"GET": ours(api.show_resource), "DELETE": ours(api.remove_resource)}),
        (f"{resource}/access-keys", {"GET": ours(api.list_access_keys)}),
        (f"{resource}/access-keys/{{slot}}/:regenerate", {"POST": ours(api.regenerate_access_key)}),
        ("/_mintmark/signing-keys", {"GET": ours(signing_keys.show)}),
        ("/_mintmark/signing-keys/:rotate", {"POST": ours(signing_keys.rotate)}),
        (key, {"DELETE": ours(signing_keys.remove)}),
        ("/_mintmark/key-encryption-keys", {"GET": ours(signing_keys.show_key_encryption_keys)}),
    ]
    if controls is not None:
        faults = {"GET": controls.list_faults, "POST": controls.add_fault, "DELETE": controls.clear_faults}
        routes = [
            *routes,
            ("/_mintmark/clock", {"GET": ours(controls.show_clock), "POST": ours(controls.move_clock)}),
            ("/_mintmark/faults", {method: ours(handler) for method, handler in faults.items()}),
        ]
    if start is not None:
        routes = [("/", {"GET": ours(start.show)}), *routes]
    return Application(Edge(sources, logs), routes)
