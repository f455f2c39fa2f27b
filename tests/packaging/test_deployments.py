"""What is in deploy/: read by the programs that it is for where they are here, and checked by rules of our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from disco.settings import Settings
from tests.packaging.dockerfile import stages

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCHEMAS: dict[str, Any] = json.loads((Path(__file__).parent / "schemas.json").read_text("utf-8"))


def documents(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((DEPLOY / name).read_text("utf-8")) if document]


def problems(document: object, schema: str) -> list[str]:
    validator = Draft202012Validator({**SCHEMAS[schema], "$defs": SCHEMAS["$defs"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_the_compose_file_has_its_schema() -> None:
    (compose,) = documents("compose.yaml")
    assert problems(compose, "compose") == []


@pytest.mark.parametrize("document", documents("kubernetes.yaml"), ids=lambda document: document["kind"])
def test_each_manifest_has_its_schema(document: dict[str, Any]) -> None:
    assert problems(document, document["kind"]) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replicas"), "1"),
        (("spec", "template", "spec", "containers", 0, "image"), "disco-server:latest"),
        (("spec", "template", "spec", "containers", 0, "imagePullSecret"), "misplaced"),
        (("spec", "template", "spec", "securityContext", "runAsUser"), "disco"),
    ],
)
def test_a_mistake_in_a_manifest_is_found(path: tuple[Any, ...], value: object) -> None:
    _, broken = documents("kubernetes.yaml")
    place: Any = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert problems(broken, "StatefulSet") != []


def test_every_file_that_compose_mounts_is_there() -> None:
    (compose,) = documents("compose.yaml")
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            else:
                assert source in compose["volumes"]


def test_images_are_pinned_but_for_our_own() -> None:
    (compose,) = documents("compose.yaml")
    for service in compose["services"].values():
        if "build" not in service:
            assert ":" in service["image"]
            assert not service["image"].endswith(":latest")


def test_one_volume_is_where_the_image_keeps_its_data() -> None:
    volume = stages((ROOT / "Dockerfile").read_text("utf-8"))[-1].last("VOLUME")
    assert volume is not None
    (compose,) = documents("compose.yaml")
    assert f"data:{volume.rest}" in compose["services"]["disco"]["volumes"]
    _, stateful = documents("kubernetes.yaml")
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    assert {"name": "data", "mountPath": volume.rest} in container["volumeMounts"]


def test_kubernetes_runs_one_replica_as_the_images_user() -> None:
    _, stateful = documents("kubernetes.yaml")
    pod = stateful["spec"]["template"]["spec"]
    assert stateful["spec"]["replicas"] == 1
    assert f"--uid {pod['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_service_finds_the_pods() -> None:
    service, stateful = documents("kubernetes.yaml")
    assert service["spec"]["selector"] == stateful["spec"]["template"]["metadata"]["labels"]
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"]


def test_prometheus_scrapes_the_service_of_compose() -> None:
    (compose,), (prometheus,) = documents("compose.yaml"), documents("prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target.split(":")[0] in compose["services"]


def unit() -> dict[str, list[str]]:
    """Read the systemd unit: each key's values over all sections."""
    values: dict[str, list[str]] = {}
    for line in (DEPLOY / "disco.service").read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            values.setdefault(key, []).append(value)
    return values


def test_the_units_variables_are_settings() -> None:
    given = dict(word.split("=", 1) for word in unit()["Environment"][0].split())
    settings = Settings.load(environ=given)
    assert str(settings.data_dir) == f"/var/lib/{unit()['StateDirectory'][0]}"


@pytest.fixture
def unit_here(tmp_path: Path) -> Path:
    """The unit with a program that is on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    text = (DEPLOY / "disco.service").read_text("utf-8")
    copy = tmp_path / "disco.service"
    copy.write_text(text.replace("/opt/disco/bin/disco", f"{sys.executable} -m disco"))
    return copy


def test_systemd_finds_no_fault_in_the_unit(unit_here: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit_here)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "disco" in line]
    assert (done.returncode, ours) == (0, [])


def test_the_unit_is_confined(unit_here: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(unit_here)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr
