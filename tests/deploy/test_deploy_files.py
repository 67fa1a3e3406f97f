"""The files in deploy/ are valid for their tools, and only name existing settings."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from preloaded import ROOT
from required import skip_unless_required
from service import VERSION
from service.settings import Settings, load_settings

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
DEFAULTS = Settings.model_fields
OF_PYTHON = {"PYTHONUNBUFFERED"}


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_accepts_every_manifest(version: str) -> None:
    """Validated against the schemas that Kubernetes publishes; unknown fields are errors, too."""
    command = [str(Path(sys.executable).parent / "kubernetes-validate"), "--strict", "-k", version]
    done = subprocess.run([*command, str(DEPLOY / "kubernetes.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        skip_unless_required("systemd-analyze is not installed")
    unit = tmp_path / "chat.service"
    unit.write_text((DEPLOY / "chat.service").read_text().replace("/opt/chat/.venv/bin/python", sys.executable))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_never_gives_up_starting_the_service() -> None:
    """Without a database the service exits at once, and by default, five starts in ten seconds are the last."""
    general, service = (DEPLOY / "chat.service").read_text().split("[Service]\n")
    assert "\nRestart=always\n" in service
    assert "\nStartLimitIntervalSec=0\n" in general


def settings_of_the_files() -> Iterator[tuple[str, str]]:
    yield from ((name, "compose.yaml") for name in COMPOSE["x-chat"]["environment"])
    yield from ((name, "kubernetes.yaml") for name in KUBERNETES["ConfigMap"]["data"])
    for line in (DEPLOY / "chat.service").read_text().splitlines():
        if line.startswith("Environment="):
            pairs = line.removeprefix("Environment=").split()
            yield from ((pair.partition("=")[0], "chat.service") for pair in pairs)


@pytest.mark.parametrize(("name", "file"), list(settings_of_the_files()))
def test_every_variable_is_a_setting(name: str, file: str) -> None:
    assert name in OF_PYTHON or name.removesuffix("_FILE").lower() in DEFAULTS, file


def test_every_file_allows_more_time_to_stop_than_answers_have_to_finish() -> None:
    needed = DEFAULTS["drain_seconds"].default + DEFAULTS["shutdown_delay"].default
    assert seconds(COMPOSE["x-chat"]["stop_grace_period"]) > needed
    unit = (DEPLOY / "chat.service").read_text()
    assert float(unit.split("TimeoutStopSec=")[1].split()[0]) > needed
    pod, config = KUBERNETES["Deployment"]["spec"]["template"]["spec"], KUBERNETES["ConfigMap"]["data"]
    assert pod["terminationGracePeriodSeconds"] > float(config["DRAIN_SECONDS"]) + float(config["SHUTDOWN_DELAY"])


def test_the_composed_replicas_start_with_their_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image sets variables, too, and the service refuses a secret that is set twice."""
    (tmp_path / "database_url").write_text("postgresql://chat:secret@database/chat\n")
    image = re.findall(r"^(?:ENV)? +([A-Z_]+)=(\S+)(?: \\)?$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    variables = {name: value for name, value in image if name.lower() in DEFAULTS}
    assert variables.keys() >= {"HOST", "PORT", "DATABASE_URL"}
    variables |= COMPOSE["x-chat"]["environment"] | {"DATABASE_URL_FILE": str(tmp_path / "database_url")}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.database_url == "postgresql://chat:secret@database/chat"
    assert (settings.host, settings.log_format) == ("0.0.0.0", "json")


def test_no_container_has_more_privileges_than_it_needs() -> None:
    compose: dict[str, Any] = COMPOSE["x-chat"]
    assert (compose["read_only"], compose["cap_drop"]) == (True, ["ALL"])
    assert compose["security_opt"] == ["no-new-privileges:true"]
    pod = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
    allowed = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (allowed["readOnlyRootFilesystem"], allowed["allowPrivilegeEscalation"]) == (True, False)
    assert allowed["capabilities"] == {"drop": ["ALL"]}


def test_composes_replicas_are_nginxs_upstreams() -> None:
    ports = {service["ports"][0].split(":")[1] for name, service in COMPOSE["services"].items() if "chat" in name}
    configuration = (DEPLOY / "nginx.conf").read_text()
    assert {port for port in ports if f"server 127.0.0.1:{port} max_fails=0;" in configuration} == ports


def test_the_images_label_names_this_release() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*?)"', (ROOT / "Dockerfile").read_text()))
    assert labels["version"] == VERSION
    assert labels["title"] == "chatbot"


def test_the_image_build_is_skipped_without_its_tools(tmp_path: Path) -> None:
    """So the checks also pass on a bare machine."""
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    command = [str(tmp_path / "bash"), str(ROOT / ".ci/image")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "skipped: buildah is not installed\n")
