"""A real nginx in front of what a test serves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.servers import ask, ended
from tests.runtime.scenes import until

_NGINX: Final = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(_NGINX is None, reason="nginx is missing: apt-get install nginx-light")
_CONFIGURATION: Final = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    {servers}
}}
"""


@contextmanager
def nginx(servers: str, folder: Path, port: int) -> Iterator[None]:
    """From its start until it answers on that port, to its end.

    Args:
        servers: What stands in its block of http.
    """
    assert _NGINX is not None
    user = "user root;" if os.getuid() == 0 else ""  # or its workers do not reach the socket
    configuration, log = folder / "nginx.conf", folder / "nginx.log"
    configuration.write_text(_CONFIGURATION.format(folder=folder, user=user, servers=servers))
    command = [_NGINX, "-p", str(folder), "-c", str(configuration)]
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, start_new_session=True)
    with ended(process):
        until(lambda: _answers(process, port), "nginx answers")
        yield
        assert "[emerg]" not in log.read_text()


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None
    try:
        return ask(port, "/nobody/address").status < 500
    except OSError:
        return False
