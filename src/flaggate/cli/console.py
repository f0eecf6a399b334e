"""console: the product manager's pages, in a process of its own."""

from __future__ import annotations

import secrets
from ipaddress import ip_address
from typing import Any

import click

from flaggate.cli.options import acting_name, store_option
from flaggate.cli.render import line
from flaggate.errors import SettingError
from flaggate.runtime.rights import Right
from flaggate.stores.base import Store

__all__ = ["console"]


@click.command(
    help="Serve the pages from which a rollout is run, until Ctrl-C. Prints a link that signs you in, once; or believes a "
    "reverse proxy that says who is there."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8766, show_default=True, help="0 = any that is free.")
@click.option("--header", metavar="NAME", help="The header in which a reverse proxy says who is there.")
@click.option(
    "--proxy", "proxies", multiple=True, metavar="ADDRESS", help="An address or network whose --header is believed."
)
@click.option(
    "--right",
    "rights",
    multiple=True,
    type=click.Choice([*Right]),
    help="What those whom --header names may do; may be said several times; everything if it is not said.",
)
@click.option("--root-path", default="", metavar="PATH", help="Below which a reverse proxy serves it: /flags.")
@click.option("--https", "is_https", is_flag=True, help="Browsers come by TLS, which a reverse proxy ends.")
@click.option("--read-only", "is_read_only", is_flag=True, help="Nobody may change anything.")
@click.option(
    "--hook-token", envvar="FLAGGATE_HOOK_TOKEN", show_envvar=True, metavar="TOKEN",
    help="Who brings it may roll back, by POST to /hooks/rollback/FLAG, and nothing else.",
)  # fmt: skip
@acting_name
@store_option
def console(
    host: str,
    port: int,
    header: str | None,
    proxies: tuple[str, ...],
    rights: tuple[Right, ...],
    root_path: str,
    is_https: bool,
    is_read_only: bool,
    hook_token: str | None,
    actor: str,
    store: Store,
) -> None:
    """Serve it."""
    try:
        import uvicorn

        from flaggate.console import Person, create_console
        from flaggate.console.people import by_header
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing: pip install 'flaggate[console]'") from error
    if (header is None) != (not proxies):
        raise click.UsageError("--header and --proxy belong together: whose header is believed?")
    if hook_token is not None and len(hook_token) < 16:
        raise click.UsageError("the hook's token is too short to be one: at least 16 characters")
    if header is None and not _is_local(host):
        raise click.UsageError(
            f"{host} is no address of this machine alone: say --header and --proxy, so that a reverse proxy with TLS says "
            "who is there, or leave --host out"
        )
    if is_read_only and hook_token is not None:
        raise click.UsageError(
            "--read-only and --hook-token contradict each other: who brings the token changes something"
        )
    store.revision()  # one that is not there is wrong input
    try:
        who = None if header is None else by_header(header, proxies, rights or tuple(Right))
    except SettingError as error:
        raise click.BadParameter(f"{error.value}; allowed: {error.allowed}", param_hint="--proxy") from error
    app = create_console(
        store,
        secret_key=secrets.token_urlsafe(32),
        who=who,
        hook_token=hook_token,
        is_read_only=is_read_only,
        is_https=is_https,
    )

    sessions = app.state.sessions

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            places = [_place(socket) for server in (self.servers if self.started else ()) for socket in server.sockets]

            def show(_used_by: Person | None = None) -> None:
                """Where it is; and a link for whoever comes next."""
                for place in places:
                    token = "" if who is not None else f"sign-in?token={sessions.link(Person(actor))}"
                    line(f"{place}/{token}")

            show()
            sessions.on_used = show

    config = uvicorn.Config(
        app,
        root_path=root_path.rstrip("/"),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    Server(config).run()


def _place(socket: Any) -> str:
    at, bound = socket.getsockname()[:2]
    return f"http://[{at}]:{bound}" if ":" in at else f"http://{at}:{bound}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
