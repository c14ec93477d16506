"""The files of infra/: each against its schema, all against each other and against the tools they call."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import Draft7Validator

from jobs.cli import parse
from jobs.metrics import FIGURES
from tests.conftest import REPOSITORY
from tests.infra.schemas import COMPOSE, KINDS, PROMETHEUS, Schema

INFRA = REPOSITORY / "infra"
README = (INFRA / "README.md").read_text()
DOCKERFILE = (INFRA / "Dockerfile").read_text()
PINS = dict(
    line.split("==")
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if "==" in line
)
KUBERNETES = sorted([*INFRA.glob("kuberay/*.yaml"), INFRA / "mlflow" / "kubernetes.yaml"])
COMPOSE_FILE = INFRA / "mlflow" / "compose.yaml"
RAY_UP = INFRA / "ray-up.yaml"
PROMETHEUS_FILE = INFRA / "monitoring" / "prometheus.yaml"
DASHBOARD = json.loads((INFRA / "monitoring" / "grafana-dashboard.json").read_text())


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


OBJECTS = [document for path in KUBERNETES for document in documents(path)]


def named(kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in OBJECTS if each["kind"] == kind}


def ray_clusters() -> Iterator[dict[str, Any]]:
    for each in OBJECTS:
        if each["kind"] == "RayCluster":
            yield each["spec"]
        elif each["kind"] == "RayJob":
            yield each["spec"]["rayClusterSpec"]


def groups() -> list[dict[str, Any]]:
    return [
        g for spec in ray_clusters() for g in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    ]


def pods() -> list[dict[str, Any]]:
    templates = [g["template"] for g in groups()]
    templates += [
        each["spec"]["template"] for each in OBJECTS if "template" in each.get("spec", {})
    ]
    return [template["spec"] for template in templates]


def containers() -> list[dict[str, Any]]:
    return [container for pod in pods() for container in pod["containers"]]


def values(tree: Any, key: str) -> Iterator[Any]:
    """Everything that is called `key`, anywhere."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from values(value, key)


def problems(schema: Schema, document: Any) -> list[str]:
    found = Draft7Validator(schema).iter_errors(document)
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in found]


def test_every_file_is_known_and_fits_its_schema() -> None:
    ray_schema = json.loads(
        (Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text()
    )
    schemas = {COMPOSE_FILE: COMPOSE, RAY_UP: ray_schema, PROMETHEUS_FILE: PROMETHEUS}
    for path in INFRA.rglob("*.yaml"):
        for document in documents(path):
            schema = schemas[path] if path in schemas else KINDS[document["kind"]]
            assert problems(schema, document) == [], path


@pytest.mark.parametrize(
    ("name", "value"), [("authOptions", {"mode": "disabled"}), ("rayVerson", "2.60.0")]
)
def test_the_schema_refuses(name: str, value: Any) -> None:
    (cluster,) = (each for each in OBJECTS if each["kind"] == "RayCluster")
    changed = cluster | {"spec": cluster["spec"] | {name: value}}
    assert problems(KINDS["RayCluster"], changed) != []


def test_both_kinds_of_ray_object_describe_the_same_cluster() -> None:
    first, second = ray_clusters()
    assert first == second
    assert first["rayVersion"] == PINS["ray"]
    assert [group["groupName"] for group in first["workerGroupSpecs"]] == ["decode", "gpu"]
    assert first["autoscalerOptions"]["version"] == "v2"


def test_images_are_those_that_the_dockerfile_builds() -> None:
    built = dict(re.findall(r"--target (\S+) +-t (\S+)", DOCKERFILE))
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert built == {
        "cpu": f"huetrack:{version}-cpu",
        "cuda": f"huetrack:{version}-cuda",
        "mlflow": f"huetrack-mlflow:{PINS['mlflow']}",
    }
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert set(built) <= stages
    compose, ray_up = documents(COMPOSE_FILE)[0], documents(RAY_UP)[0]
    used = {container["image"] for container in containers()}
    used |= {service["image"] for service in compose["services"].values()}
    used |= {ray_up["docker"]["image"], *values(ray_up, "worker_image")}
    others = {image for image in used if not image.startswith("huetrack")}
    assert others == {"postgres:17.2-bookworm"}
    assert used - others == set(built.values())
    assert compose["services"]["mlflow"]["build"]["target"] == "mlflow"
    for base in re.findall(r"^FROM (\S+) AS", DOCKERFILE, re.MULTILINE):
        assert base in stages or re.fullmatch(r"\S+:\d+\.\d+\.\d+-\S+", base), base
    for target in built:
        stage = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
        (text,) = (part for part in stage if part.splitlines()[0].endswith(f"AS {target}"))
        assert "USER 1000" in text
        assert "--constraint constraints.txt" in text
    for copied in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in copied.split():
            assert (REPOSITORY / name).exists()
            assert f"!{name}" in (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    assert {"psycopg", "psycopg-binary", "boto3"} <= set(PINS)


def test_secrets_and_settings_that_are_used_are_there() -> None:
    made = {
        name: set(re.findall(r"--from-(?:literal|file)=(\w+)", rest))
        for name, rest in re.findall(r"create secret generic (\S+)((?: \\\n.+| --\S+)*)", README)
    }
    keys = {(ref["name"], ref["key"]) for ref in values(OBJECTS, "secretKeyRef")}
    whole = {ref["name"] for ref in values(OBJECTS, "secretRef")}
    tokens = set(values(OBJECTS, "secretName"))
    assert {name for name, _ in keys} | whole | tokens == set(made)
    assert all(key in made[name] for name, key in keys)
    assert all("auth_token" in made[name] for name in tokens)
    assert {ref["name"] for ref in values(OBJECTS, "configMapRef")} == named("ConfigMap")
    assert not named("Secret")


def test_volumes_ports_and_addresses_fit_together() -> None:
    for pod in pods():
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            mounts = {
                mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])
            }
            claimed = set() if volumes else {"data"}
            assert set(mounts) == (volumes or claimed & set(mounts))
    for group in groups():
        (container,) = group["template"]["spec"]["containers"]
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert group["rayStartParams"]["object-spilling-directory"] in mounted
        assert {"name": "metrics", "containerPort": 8080} in container["ports"]
    services = {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == "Service"}
    labelled = {
        tuple(each["spec"]["template"]["metadata"]["labels"].items()): each["spec"]["template"]
        for each in OBJECTS
        if each["kind"] in ("Deployment", "StatefulSet")
    }
    for service in services.values():
        template = labelled[tuple(service["spec"]["selector"].items())]
        names = {p["name"] for c in template["spec"]["containers"] for p in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    (settings,) = (each["data"] for each in OBJECTS if each["kind"] == "ConfigMap")
    host, port = settings["MLFLOW_TRACKING_URI"].removeprefix("http://").split(":")
    assert int(port) == services[host]["spec"]["ports"][0]["port"]
    (server,) = (c for c in containers() if c["name"] == "mlflow")
    assert f"{host}:{port}" in server["args"][-1]
    assert "@huetrack-postgres/" in " ".join(server["args"])
    assert "huetrack-postgres" in services
    compose = documents(COMPOSE_FILE)[0]["services"]
    assert "@postgres/" in " ".join(compose["mlflow"]["command"])
    metrics_sd = yaml.safe_load(PROMETHEUS_FILE.read_text())["scrape_configs"][0]["relabel_configs"]
    assert {"metrics", "huetrack.*"} <= {rule.get("regex") for rule in metrics_sd}


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # Ray Serve's own, which Ray's command line loads
def test_commands_are_those_that_the_tools_take() -> None:
    from mlflow.cli import server
    from ray.scripts.scripts import cli

    def flags(command: Any) -> set[str]:
        return {option for parameter in command.params for option in parameter.opts}

    ray_start = flags(cli.commands["start"])
    for group in groups():
        assert {f"--{name}" for name in group["rayStartParams"]} <= ray_start
    ray_up = documents(RAY_UP)[0]
    for command in ray_up["head_start_ray_commands"] + ray_up["worker_start_ray_commands"]:
        assert set(re.findall(r"--[a-z-]+", command)) <= ray_start
    (hook,) = {
        c["lifecycle"]["preStop"]["exec"]["command"][-1] for c in containers() if "lifecycle" in c
    }
    drain, _, wait = hook.partition(";")
    assert set(re.findall(r"--[a-z-]+", drain)) <= flags(cli.commands["drain-node"])
    gpu = next(group for group in groups() if group.get("groupName") == "gpu")["template"]["spec"]
    assert int(wait.split()[-1]) < gpu["terminationGracePeriodSeconds"]
    services = documents(COMPOSE_FILE)[0]["services"]
    commands = [services["mlflow"]["command"], *(c["args"] for c in containers() if "args" in c)]
    for command in commands:
        given = {word.partition("=")[0] for word in command if word.startswith("--")}
        assert given <= flags(server)
        assert {"--allowed-hosts", "--serve-artifacts", "--artifacts-destination"} <= given
        assert any(word.startswith("--backend-store-uri=postgresql+psycopg://") for word in command)


def test_jobs_are_steered_by_labels_that_groups_have() -> None:
    labels = {f"{key}={value}" for group in groups() for key, value in group["labels"].items()}
    ray_up = documents(RAY_UP)[0]["available_node_types"].values()
    assert {f"{k}={v}" for kind in ray_up for k, v in kind["labels"].items()} == labels
    texts = [path.read_text() for path in (*KUBERNETES, REPOSITORY / "docs" / "cluster.md")]
    selected = {
        found for text in texts for found in re.findall(r"--label-selector (\S+=[\w-]+)", text)
    }
    assert selected == {"huetrack/group=decode", "huetrack/group=gpu"}
    assert selected <= labels
    (entrypoint,) = values(OBJECTS, "entrypoint")
    program, *arguments = shlex.split(entrypoint)
    assert program == "huetrack"
    (options,) = parse(arguments).options
    assert options.label_selector == ("huetrack/group=decode",)


def test_the_dashboard_shows_exactly_our_figures() -> None:
    expressions = " ".join(values(DASHBOARD, "expr"))
    shown = set(re.findall(r"ray_huetrack_\w+", expressions))
    assert shown == {figure.exported for figure in FIGURES}
    labels = {label for figure in FIGURES for label in figure.labels}
    used = {
        label
        for found in re.findall(r"by \(([^)]*)\) \((?:rate\()?ray_huetrack", expressions)
        for label in found.split(", ")
    }
    assert used <= labels


def shipped_texts() -> Iterator[tuple[str, str]]:
    paths = [p for p in INFRA.rglob("*") if p.is_file()]
    paths += [*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*.md")]
    for path in paths:
        yield (
            str(path.relative_to(REPOSITORY)),
            path.read_text(encoding="utf-8").replace("\\\n", " "),
        )


def test_no_shipped_file_opens_ray_to_everybody() -> None:
    starts = 0
    for name, text in shipped_texts():
        joined = re.sub(r"\n\s+(?=--)", " ", text)
        for line in joined.splitlines():
            if re.search(r"\bray start --(?:head|address)", line):
                starts += 1
                assert "RAY_AUTH_MODE=token" in line, (name, line)
            assert not re.search(r"--dashboard-host[= ](?!127\.0\.0\.1)", line), (name, line)
            if name.startswith("infra"):
                assert not re.search(r"RAY_AUTH_MODE[=: ]+disabled", line), (name, line)
    assert starts >= 2
    assert "RAY_AUTH_MODE=token" in DOCKERFILE
    assert all(spec["authOptions"]["mode"] == "token" for spec in ray_clusters())
