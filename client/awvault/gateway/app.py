"""The gateway's routes, wired to the vault's holder."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from awserver.errors import OriginRefusedError
from awvault.gateway import (
    activity,
    buckets,
    events,
    info,
    preferences,
    query,
    transfer,
    webui,
)
from awvault.gateway.answers import text_answer
from awvault.gateway.guards import Guards
from awvault.gateway.holder import VaultHolder
from awvault.gateway.refusals import Refusal
from awvault.gateway.routes import Answer, Gateway, add_routes, guarded
from awvault.gateway.settings import GatewaySettings

# In a path, "%2F" is a character of a name and "/" ends it; so a bucket may be
# called "a/b".
_BUCKET: Final = "/api/0/buckets/{bucket_id:[^/]+}"


AddRoutes = Callable[[web.Application], None]


def create_gateway(
    holder: VaultHolder,
    settings: GatewaySettings,
    *,
    add_others: AddRoutes | None = None,
) -> web.Application:
    """Return the gateway as an application; serve it with `create_runner`.

    Requests that need the vault wait until `holder` has it. `add_others` adds
    routes that stand before the one that takes every address; each has to make
    the checks of `checks_for` itself.
    """
    app = web.Application()
    gateway = Gateway(holder=holder, settings=settings, guards=Guards(settings))
    # Of the routes that begin alike, the first that fits is taken: heartbeats
    # come most often.
    add_routes(app, gateway, f"{_BUCKET}/heartbeat", {"POST": events.heartbeat})
    add_routes(
        app,
        gateway,
        f"{_BUCKET}/events",
        {"GET": events.get_events, "POST": events.insert_events},
    )
    add_routes(app, gateway, f"{_BUCKET}/events/count", {"GET": events.count_events})
    add_routes(
        app,
        gateway,
        f"{_BUCKET}/events/{{event_id:[^/]+}}",
        {"GET": events.get_event, "DELETE": events.delete_event},
    )
    add_routes(
        app,
        gateway,
        _BUCKET,
        {
            "GET": buckets.get_bucket,
            "POST": buckets.create_bucket,
            "PUT": buckets.update_bucket,
            "DELETE": buckets.delete_bucket,
        },
    )
    add_routes(
        app, gateway, "/api/0/buckets", {"GET": buckets.list_buckets}, or_slash=True
    )
    add_routes(app, gateway, "/api/0/query", {"POST": query.query}, or_slash=True)
    add_routes(
        app,
        gateway,
        "/api/0/settings",
        {"GET": preferences.get_preferences, "POST": preferences.refuse_no_key},
        or_slash=True,
    )
    add_routes(
        app,
        gateway,
        "/api/0/settings/{key:[^/]+}",
        {
            "GET": preferences.get_preference,
            "POST": preferences.set_preference,
            "DELETE": preferences.delete_preference,
        },
    )
    add_routes(app, gateway, "/api/0/log", {"GET": info.get_log})
    add_routes(app, gateway, "/api/0/info", {"GET": info.get_info}, is_open=True)
    add_routes(app, gateway, f"{_BUCKET}/export", {"GET": transfer.export_bucket})
    add_routes(app, gateway, "/api/0/export", {"GET": transfer.export_all})
    add_routes(
        app,
        gateway,
        "/api/0/import",
        {"POST": transfer.import_files},
        check_body=transfer.check_import_headers,
    )
    add_routes(
        app,
        gateway,
        "/api/0/activity/{name:[^/]+}",
        {"GET": activity.get_activities, "POST": activity.post_activities},
        refusal=activity.IMMUTABLE,
    )
    if add_others is not None:
        add_others(app)
    if settings.webui is None:
        app.router.add_route("*", "/", guarded(gateway, _home))
    else:
        webui.add_interface(app, gateway, settings.webui, settings.webui_pages)
    app.router.add_route("*", "/{path:.*}", guarded(gateway, _unknown))
    return app


def checks_for(settings: GatewaySettings) -> Callable[[web.Request], None]:
    """Return the gateway's checks of a request, for routes that are not its own.

    They raise `OriginRefusedError` for a Host that is none of this machine's, and
    for a write by a web page of another site.
    """
    guards = Guards(settings)

    def check(request: web.Request) -> None:
        try:
            guards.check_host(request.headers)
            if request.method not in {"GET", "HEAD", "OPTIONS"}:
                guards.check_write(request.headers)
        except Refusal as refusal:
            raise OriginRefusedError(refusal.message) from None

    return check


async def _home(request: web.Request) -> Answer:
    if request.method not in {"GET", "HEAD", "OPTIONS"}:
        raise Refusal(405, "only GET is served here", headers={"Allow": "GET, HEAD"})
    return text_answer(info.HOME)


async def _unknown(_: web.Request) -> Answer:
    raise Refusal(404, "there is nothing at this address: see /")
