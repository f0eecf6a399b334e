"""The manifests of docs/kubernetes: Kubernetes takes them, they fit together, and what they run is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import pytest

from flaggate.cli.main import cli
from flaggate.flags.document import parse
from tests.e2e.servers import ended
from tests.runtime.scenes import ROOT, until

yaml: Any = pytest.importorskip("yaml", reason="pip install kubernetes-validate")
kubernetes_validate: Any = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")

FOLDER: Final = ROOT / "docs" / "kubernetes"
PAGE: Final = ROOT / "docs" / "kubernetes.md"
EXAMPLE: Final = ROOT / "example_apps" / "starlette_invoicing"
FILES: Final = sorted(FOLDER.glob("*.yaml"))
OBJECTS: Final = [(path.name, each) for path in FILES for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
VERSIONS: Final = "1.28", kubernetes_validate.latest_version()


def of_kind(kind: str) -> dict[str, Any]:
    """By name."""
    return {each["metadata"]["name"]: each for _, each in OBJECTS if each["kind"] == kind}


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each Deployment's name, its pods' specification, and the one container of it."""
    for name, deployment in of_kind("Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        yield name, spec, container


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in container["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("file", "object_"), OBJECTS, ids=[f"{each['kind']} {each['metadata']['name']}" for _, each in OBJECTS]
)
def test_kubernetes_takes_them(file: str, object_: Any, version: str) -> None:
    kubernetes_validate.validate(object_, version, strict=True)


def test_what_they_name_is_there() -> None:
    secrets, maps = of_kind("Secret"), of_kind("ConfigMap")
    for _, spec, container in pods():
        assert container["image"].startswith("your-registry/")
        for each in container["env"]:
            if (asked := each.get("valueFrom", {}).get("secretKeyRef")) is not None:
                assert asked["key"] in secrets[asked["name"]]["stringData"]
        volumes = {each["name"]: each for each in spec.get("volumes", [])}
        mounts = {each["name"] for each in container.get("volumeMounts", [])}
        assert mounts == set(volumes)
        assert all(each["configMap"]["name"] in maps for each in volumes.values() if "configMap" in each)
        ports = {each["name"] for each in container.get("ports", [])}
        for probe in ("readinessProbe", "livenessProbe"):
            for how in ("httpGet", "tcpSocket"):
                assert {each["port"] for each in [container.get(probe, {}).get(how)] if each} <= ports


def test_they_choose_each_others_pods() -> None:
    labels = {name: each["spec"]["template"]["metadata"]["labels"] for name, each in of_kind("Deployment").items()}
    ports = {name: {each["name"] for each in container.get("ports", [])} for name, _, container in pods()}
    for name, each in of_kind("Deployment").items():
        assert each["spec"]["selector"]["matchLabels"] == labels[name]
    for name, each in of_kind("Service").items():
        assert each["spec"]["selector"] == labels[name]
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports[name]
    for name, each in of_kind("PodDisruptionBudget").items():
        assert each["spec"]["selector"]["matchLabels"] == labels[name]
        assert each["spec"]["minAvailable"] < of_kind("Deployment")[name]["spec"]["replicas"]
    for name, each in of_kind("NetworkPolicy").items():
        assert each["spec"]["podSelector"]["matchLabels"] == labels[name]


def test_the_plan_is_the_examples() -> None:
    text = of_kind("ConfigMap")["flags"]["data"]["flags.toml"]
    assert text == (ROOT / "example_apps" / "flask_invoicing" / "flags.toml").read_text(encoding="utf-8")
    assert parse(text).flags


@pytest.mark.parametrize("name", [name for name, _, container in pods() if container["command"][0] == "flaggate"])
def test_the_commands_line_knows_these_words(name: str) -> None:
    container = next(container for found, _, container in pods() if found == name)
    _, word, *given = container["command"]
    command = cli.commands[word]
    assert isinstance(command, click.Command)
    known = {option: each for each in command.params for option in each.opts}
    options = [each.partition("=")[0] for each in given if each.startswith("--")]
    assert set(options) <= set(known)
    variables = {str(each.envvar) for each in command.params if each.envvar}
    assert set(environment(container)) <= variables


def test_the_example_reads_these_settings() -> None:
    container = next(container for name, _, container in pods() if name == "invoices")
    source = (EXAMPLE / "app.py").read_text(encoding="utf-8")
    assert all(f'"{name}"' in source for name in environment(container))


def test_the_page_names_every_file_and_no_other() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"kubectl apply -f (\S+)", page)) == {str(path.relative_to(ROOT)) for path in FILES}
    assert set(re.findall(r"\(kubernetes/(\S+?)\)", page)) == {path.name for path in FILES}
    for words in re.findall(r"-- flaggate (\w+)((?: --[\w-]+)*)", page):
        options = {option for each in cli.commands[words[0]].params for option in each.opts}
        assert set(words[1].split()) <= options
    assert "/var/lib/flaggate/off" in page
    mounts = next(container for name, _, container in pods() if name == "invoices")["volumeMounts"]
    assert "/var/lib/flaggate" in {each["mountPath"] for each in mounts}


# --- run as they stand, on a store in a file ------------------------------------------------


class Cluster:
    """Containers as processes: with their commands and settings, but for the store, the folders and the port."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        for name, each in of_kind("ConfigMap").items():
            (folder / "etc" / name).mkdir(parents=True)
            for file, text in each["data"].items():
                (folder / "etc" / name / file).write_text(text)

    def start(self, name: str) -> Path:
        """Returns where it writes what it says."""
        _, spec, container = next(pod for pod in pods() if pod[0] == name)
        places = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        volumes = {each["name"]: each for each in spec["volumes"]}
        moved = {
            places[volume]: self.folder / "etc" / each["configMap"]["name"]
            if "configMap" in each
            else self.folder / name / volume
            for volume, each in volumes.items()
        }

        def here(words: str) -> str:
            words = re.sub("|".join(map(re.escape, moved)), lambda found: str(moved[found.group()]), words)  # each once
            return re.sub(r"^--port=\d+$", "--port=0", words).replace("--host=0.0.0.0", "--host=127.0.0.1")

        settings = {each: here(word["value"]) for each, word in environment(container).items() if "value" in word}
        settings |= {"FLAGGATE_STORE": f"sqlite:///{self.folder}/flags.db", "SECRET_KEY": "a key"}
        program, *words = map(here, container["command"])
        command = ["-m", "flaggate", *words] if program == "flaggate" else words
        log = self.folder / f"{name}.log"
        known = {each: value for each, value in os.environ.items() if not each.startswith(("FLAGGATE_", "PYTEST_"))}
        with log.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=EXAMPLE, env=known | settings | {"PYTHONUNBUFFERED": "1"},
                stdout=written, stderr=written, start_new_session=True,
            )  # fmt: skip
        self._stack.enter_context(ended(process))
        return log


def get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_the_pods_as_they_stand(tmp_path: Path) -> None:
    """Not ready before the plan is there; then ready, live, and scraped where the annotations say."""
    container = next(container for name, _, container in pods() if name == "invoices")
    ready, live = (container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe"))
    annotations = of_kind("Deployment")["invoices"]["spec"]["template"]["metadata"]["annotations"]
    with ExitStack() as stack:
        cluster = Cluster(tmp_path, stack)
        log = cluster.start("invoices")
        until(lambda: re.search(r"running on http://127.0.0.1:\d+", log.read_text()), "the app listens")
        port = urlsplit(re.findall(r"http://\S+", log.read_text())[-1]).port or 0
        assert (get(port, ready)[0], get(port, live)[0]) == (503, 200)
        told = cluster.start("flaggate-run")
        until(lambda: get(port, ready)[0] == 200, "it is ready")
        assert json.loads(get(port, ready)[1])["revision"] == 1
        assert '"verb": "apply"' in told.read_text()
        status, metrics = get(port, annotations["prometheus.io/path"])
        assert (status, "flaggate_up 1.0" in metrics, 'flaggate_killed{flag="new-invoicing"} 0.0' in metrics) == (
            200,
            True,
            True,
        )
        until((tmp_path / "invoices" / "flaggate" / "snapshot.db").exists, "it keeps a copy")
    assert str(container["ports"][0]["containerPort"]) == annotations["prometheus.io/port"]
