"""The compared relays, each with one worker on the server's core, and the visitors' request for each."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from relays.load import NUMBER

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"
MOST_STREAMS = 4096
REQUIREMENTS = ROOT / "requirements.txt"
METRICS_TOKEN = "bench"
POSTGRESQL_URL = "BENCH_POSTGRESQL_URL"
QUESTION = f"Please count for me, stream {NUMBER}"


@dataclass(frozen=True)
class Target:
    """A running relay. `pid` is the ancestor of all its processes."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    request: bytes

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Setting:
    """The relays' environment: a temporary directory, the upstream's address, and their core."""

    directory: Path
    upstream: str
    core: int

    def folder(self, name: str) -> Path:
        folder = self.directory / name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        return folder

    def start(self, name: str, command: list[str], port: int, request: bytes, **environment: str) -> Target:
        """Raises RuntimeError with the end of the log if a relay doesn't start."""
        folder = self.folder(name)
        log = folder / "log"
        keep = {variable: os.environ[variable] for variable in ("PATH", "HOME", "LANG") if variable in os.environ}
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=keep | environment,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: os.sched_setaffinity(0, {self.core}),
            )
        target = Target(name, process, port, request)
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up and process.poll() is None:
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    return target
            time.sleep(0.1)
        target.stop()
        raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")

    def python(self, name: str, requirements: Path) -> str:
        """The interpreter of a virtual environment with only these requirements, created if necessary."""
        venv = self.directory / f"venv-{name}"
        python = venv / "bin/python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, "-r", str(requirements)], check=True)
        return str(python)


def free_port() -> int:
    """A free port below the kernel's ephemeral range."""
    for port in range(21_000, 32_000):
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) != 0:
                try:
                    trying.close()
                    with socket.create_server(("127.0.0.1", port)):
                        return port
                except OSError:
                    continue
    raise RuntimeError("no port is free")


def post(path: str, body: object, **headers: str) -> bytes:
    content = json.dumps(body).encode()
    fields = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (fields | headers).items()), "", ""]
    return "\r\n".join(lines).encode() + content


def service(setting: Setting, database: str | None = None) -> Target:
    return replicas(setting, 1, database)[0]


def service_alone(setting: Setting) -> Target:
    """The service with only its requirements, as in the image: httpx and httpcore use optional packages they find."""
    return replicas(setting, 1, None, python=setting.python("service", REQUIREMENTS))[0]


def service_on_postgresql(setting: Setting) -> Target:
    if POSTGRESQL_URL not in os.environ:
        raise RuntimeError(f"{POSTGRESQL_URL} names no database")
    python = setting.python("service", REQUIREMENTS)
    return replicas(setting, 1, os.environ[POSTGRESQL_URL], "on PostgreSQL", python)[0]


def replicas(
    setting: Setting, count: int, database: str | None, name: str = "this service", python: str = sys.executable
) -> list[Target]:
    """`count` replicas of the service on one database: a new SQLite file unless a URL is given."""
    folder = setting.folder(name)
    for left in folder.glob("chatbot.db*"):  # from an earlier run
        left.unlink()
    environment = {
        "HOST": "127.0.0.1",
        "OPENAI_API_KEY": "sk-bench",
        "OPENAI_BASE_URL": setting.upstream,
        "DATABASE_URL": database or f"sqlite:///{folder}/chatbot.db",
        "METRICS_TOKEN": METRICS_TOKEN,
        "MAX_STREAMS": str(MOST_STREAMS),
        "ANSWER_TIMEOUT": "3600",
        "RESUME_SECONDS": "0",  # by default, an answer continues for ten seconds without its reader
    } | {name: value for name, value in os.environ.items() if name.startswith("UPSTREAM_")}
    limits = ["--rate-per-minute", "0", "--visitor-rate-per-minute", "0", "--tokens-per-day", "0"]
    tenant = f"bench-{secrets.token_hex(4)}"  # unique, as a server may still have an earlier run's tenant
    add = [python, str(ROOT / "manage.py"), "tenant", "add", tenant, "--origin", "https://bench.test", "--json"]
    added = subprocess.run(
        [*add, *limits], cwd=folder, env=environment | {"PATH": os.environ["PATH"]}, check=True, capture_output=True
    )
    headers = {"X-API-Key": json.loads(added.stdout)["api_key"], "Origin": "https://bench.test"}
    request = post("/api/v1/chat", {"message": QUESTION}, **headers)
    started: list[Target] = []
    for number in range(1, count + 1):
        shown, port = name if count == 1 else f"replica {number}", free_port()
        command = [python, str(ROOT / "chatbot.py")]
        started.append(setting.start(shown, command, port, request, **environment, PORT=str(port)))
    return started


def fastapi(setting: Setting) -> Target:
    return _under_uvicorn(setting, "FastAPI + openai", "fastapi_openai")


def starlette(setting: Setting) -> Target:
    return _under_uvicorn(setting, "Starlette + httpx", "starlette_httpx")


def _under_uvicorn(setting: Setting, name: str, module: str) -> Target:
    port = free_port()
    serve = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    command = [
        setting.python("peers", BENCH / "requirements.txt"),
        "-m",
        "uvicorn",
        f"{module}:app",
        "--app-dir",
        str(BENCH / "relays"),
    ]
    quiet = ["--no-access-log", "--log-level", "warning"]
    request = post("/chat", {"message": QUESTION})
    return setting.start(name, [*command, *serve, *quiet], port, request, UPSTREAM=setting.upstream)


def litellm(setting: Setting) -> Target:
    python = Path(setting.python("litellm", BENCH / "requirements-litellm.txt"))
    port = free_port()
    model = {"model": "openai/gpt-4o-mini", "api_base": setting.upstream, "api_key": "sk-bench"}
    config = setting.directory / "litellm.json"  # JSON is valid YAML
    config.write_text(json.dumps({"model_list": [{"model_name": "gpt-4o-mini", "litellm_params": model}]}))
    command = [str(python.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_ADMIN_UI": "True"}
    request = post("/v1/chat/completions", _completion(), Authorization="Bearer sk-bench")
    return setting.start("LiteLLM's proxy", [*command, "--num_workers", "1"], port, request, **quiet)


def nginx(setting: Setting) -> Target:
    port = free_port()
    site = f"""
        upstream model {{ server {setting.upstream.split("/")[2]}; keepalive 100; }}
        server {{
            listen 127.0.0.1:{port} backlog=4096;
            location / {{
                proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
                proxy_buffering off; proxy_read_timeout 300s;
            }}
        }}
    """
    return start_nginx(setting, site, port, post("/v1/chat/completions", _completion()))


def start_nginx(setting: Setting, site: str, port: int, request: bytes) -> Target:
    """An nginx with `site` in its `http` block."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    folder = setting.folder("nginx")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"""
        worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_rlimit_nofile 20000;
        events {{ worker_connections 10000; }}
        http {{ access_log off; {temporary} include {folder}/site.conf; }}
    """)
    (folder / "site.conf").write_text(site)
    command = [program, "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    return setting.start("nginx", command, port, request)


def _completion() -> object:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": QUESTION}], "stream": True}


TARGETS: dict[str, Callable[[Setting], Target]] = {
    "nginx": nginx,
    "service": service_alone,
    "postgresql": service_on_postgresql,
    "starlette": starlette,
    "fastapi": fastapi,
    "litellm": litellm,
}
