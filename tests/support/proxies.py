"""A plain nginx in front of services, which distributes requests in turn and can remove a path prefix."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from processes import free_port
from required import skip_unless_required

CONFIGURATION = """
daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {0}/a; proxy_temp_path {0}/b;
    fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;
    upstream releases {{ {1} }}
    server {{
        listen 127.0.0.1:{2};
        location {3} {{
            proxy_pass http://releases/; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $http_host; proxy_buffering off;
        }}
    }}
}}
"""


@contextmanager
def in_turn(directory: Path, urls: Sequence[str], prefix: str = "/") -> Iterator[str]:
    """The address of an nginx that sends requests to these services in turn, and removes its own prefix."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        skip_unless_required("nginx is not installed")
    port, file = free_port(), directory / "nginx.conf"
    servers = " ".join(f"server {urlsplit(url).netloc};" for url in urls)
    file.write_text(CONFIGURATION.format(directory, servers, port, prefix))
    process = subprocess.Popen([nginx, "-e", str(directory / "error.log"), "-c", str(file)])
    try:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}{prefix}api/v1/health")
                break
            except httpx.TransportError:
                assert process.poll() is None, (directory / "error.log").read_text()
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}{prefix}".rstrip("/")
    finally:
        process.terminate()
        process.wait(timeout=60)
