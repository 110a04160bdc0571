"""The manifests in deploy/: they build, Kubernetes would take them, and a platform engineer too."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from streetseg import __version__
from streetseg.core.provenance import REPOSITORY
from tests.support.cluster_policy import NAMESPACE, RULES, Object, containers, named, of_kind, pods

DEPLOY = REPOSITORY / "deploy"
MANUAL = (DEPLOY / "README.md").read_text()
OVERLAYS = ("laptop", "cloud", "own")
"""Those in deploy/overlays, and the one that deploy/README.md tells users to write, on GPUs."""
OLDEST = "1.30"
"""The oldest Kubernetes that deploy/README.md promises."""
OUTDATED = {
    "bases",
    "commonLabels",
    "patchesStrategicMerge",
    "patchesJson6902",
    "vars",
    "imageTags",
}

SERVICE_MONITOR = {
    "type": "object",
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "ServiceMonitor"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "properties": {
                "selector": {
                    "type": "object",
                    "properties": {"matchLabels": {"additionalProperties": {"type": "string"}}},
                    "additionalProperties": False,
                },
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string"},
                            "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                        },
                        "additionalProperties": False,
                    },
                },
            },
            "required": ["selector", "endpoints"],
            "additionalProperties": False,
        },
    },
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
}
RULE = {
    "type": "object",
    "properties": {
        "alert": {"type": "string"},
        "expr": {"type": "string"},
        "for": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["alert", "expr"],
    "additionalProperties": False,
}
GROUP = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "rules": {"type": "array", "items": RULE}},
    "required": ["name", "rules"],
    "additionalProperties": False,
}
PROMETHEUS_RULE = {
    "type": "object",
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PrometheusRule"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "properties": {"groups": {"type": "array", "items": GROUP}},
            "required": ["groups"],
            "additionalProperties": False,
        },
    },
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
}
OPERATOR = {"ServiceMonitor": SERVICE_MONITOR, "PrometheusRule": PROMETHEUS_RULE}
"""The fields that ours have, of those that the Prometheus Operator defines."""


@pytest.fixture(scope="module")
def kubectl() -> str:
    """The command; the test is skipped where it is not installed.

    With ``STREETSEG_REQUIRE_KUBECTL=1`` in the environment it fails instead.
    """
    if program := shutil.which("kubectl"):
        return program
    missing = "kubectl is not installed: it builds the overlays in deploy/"
    if os.environ.get("STREETSEG_REQUIRE_KUBECTL") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def build(kubectl: str, folder: Path) -> list[Object]:
    """The objects of a kustomization; a warning of kustomize fails the test."""
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def overlays(kubectl: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """The objects of each overlay."""
    own = tmp_path_factory.mktemp("own").resolve()
    (block,) = re.findall(r"```yaml\n(# kustomization.yaml\n.*?)```", MANUAL, re.DOTALL)
    kustomization = yaml.safe_load(block.replace("../streetseg", os.path.relpath(REPOSITORY, own)))
    kustomization["components"].append(os.path.relpath(DEPLOY / "components" / "gpu", own))
    text = yaml.safe_dump(kustomization).replace("YOUR-HOST", "streets.example.org")
    (own / "kustomization.yaml").write_text(text.replace("YOUR-REGISTRY", "images.example.org"))
    folders = {"laptop": DEPLOY / "overlays/laptop", "cloud": DEPLOY / "overlays/cloud", "own": own}
    return {name: build(kubectl, folder) for name, folder in folders.items()}


def loose_files() -> list[Object]:
    """The objects that are applied without kustomize."""
    return [each for path in DEPLOY.glob("*.yaml") for each in yaml.safe_load_all(path.read_text())]


def refusal(thing: Object, version: str) -> str:
    """What Kubernetes' own schema says against an object, unknown fields included; or nothing."""
    try:
        if schema := OPERATOR.get(thing["kind"]):
            jsonschema.validate(thing, schema)
        else:
            kubernetes_validate.validate(thing, version, strict=True)
    except jsonschema.ValidationError as error:
        return f"{thing['kind']} {error.json_path}: {error.message}"
    return ""


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", OVERLAYS)
def test_kubernetes_knows_every_field(
    overlays: dict[str, list[Object]], name: str, version: str
) -> None:
    refused = [refusal(each, version) for each in [*overlays[name], *loose_files()]]
    assert [line for line in refused if line] == []


def test_the_oldest_version_is_the_one_that_the_manual_names() -> None:
    assert f"Kubernetes {OLDEST} or newer" in MANUAL


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_keeps_the_rules(
    overlays: dict[str, list[Object]], name: str, rule: str
) -> None:
    assert RULES[rule](overlays[name]) == []


def test_the_loose_files_grant_no_more_than_the_code_asks_for() -> None:
    objects = loose_files()
    assert {each["kind"] for each in objects} == {"Namespace", "Role", "RoleBinding"}
    assert RULES["grants_no_more_than_the_code_asks_for"](objects) == []


def test_the_namespace_refuses_pods_that_are_not_restricted() -> None:
    namespace = named(loose_files(), "Namespace", NAMESPACE)
    assert namespace
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_overlays_differ_where_they_should(overlays: dict[str, list[Object]]) -> None:
    kinds = {name: {each["kind"] for each in objects} for name, objects in overlays.items()}
    scaling = {"HorizontalPodAutoscaler", "PodDisruptionBudget", "Ingress"}
    assert kinds["cloud"] - kinds["laptop"] == scaling
    assert kinds["laptop"] - kinds["cloud"] == {"PersistentVolumeClaim"}
    assert kinds["own"] - kinds["cloud"] == {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    limits = {name: container(objects)["resources"]["limits"] for name, objects in overlays.items()}
    assert [name for name in limits if "nvidia.com/gpu" in limits[name]] == ["own"]


def test_an_own_overlay_names_its_registry_and_its_host(overlays: dict[str, list[Object]]) -> None:
    images = {each["image"] for _, _, each in containers(overlays["own"])}
    assert images == {
        f"images.example.org/streetseg-mlflow:{__version__}",
        f"images.example.org/streetseg-serve:{__version__}",
    }
    (ingress,) = of_kind(overlays["own"], "Ingress")
    assert ingress["spec"]["rules"][0]["host"] == "streets.example.org"


def test_kustomize_files_use_nothing_outdated() -> None:
    files = sorted(DEPLOY.rglob("kustomization.yaml"))
    assert len(files) >= 6
    for path in files:
        assert OUTDATED.isdisjoint(yaml.safe_load(path.read_text())), path


def test_the_manual_names_files_that_exist() -> None:
    named_paths = set(re.findall(r"deploy/[\w./-]*\w", MANUAL))
    assert {"deploy/overlays/laptop", "deploy/namespace.yaml"} <= named_paths
    for path in named_paths:
        assert (REPOSITORY / path).exists(), path
    for target in re.findall(r"\]\(([^)#]+)", MANUAL):
        assert (DEPLOY / target).exists(), target


Change = Callable[[Any], object]


def of(kind: str, name: str) -> Callable[[list[Object]], Any]:
    """A way to an object."""

    def find(objects: list[Object]) -> Any:
        match = named(objects, kind, name)
        assert match, f"no {kind}/{name} to change"
        return match

    return find


def pod(objects: list[Object]) -> Any:
    """The pods of the service."""
    return next(spec for path, _, spec in pods(objects) if path.endswith("/streetseg-serve"))


def container(objects: list[Object]) -> Any:
    """The container of the service."""
    return pod(objects)["containers"][0]


def mlflow(objects: list[Object]) -> Any:
    """The container of MLflow."""
    return next(c for path, _, c in containers(objects) if path.endswith("/mlflow"))


def everything(objects: list[Object]) -> Any:
    """The list itself."""
    return objects


DEPLOYMENT = of("Deployment", "streetseg-serve")
SERVICE = of("Service", "streetseg-serve")
INGRESS = of("Ingress", "streetseg-serve")
POLICY = of("NetworkPolicy", "streetseg-serve")
SECURITY = "securityContext"

FAULTS: list[tuple[str, str, Callable[[list[Object]], Any], Change]] = [
    ("lives_in_our_namespace", "default", SERVICE, lambda s: s["metadata"].pop("namespace")),
    ("meets_the_restricted_standard", "root", pod, lambda p: p[SECURITY].pop("runAsNonRoot")),
    ("meets_the_restricted_standard", "user 0", pod, lambda p: p[SECURITY].update(runAsUser=0)),
    ("meets_the_restricted_standard", "seccomp", pod, lambda p: p[SECURITY].pop("seccompProfile")),
    ("meets_the_restricted_standard", "network", pod, lambda p: p.update(hostNetwork=True)),
    (
        "meets_the_restricted_standard",
        "host path",
        pod,
        lambda p: p["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    ),
    (
        "meets_the_restricted_standard",
        "escalation",
        container,
        lambda c: c[SECURITY].pop("allowPrivilegeEscalation"),
    ),
    (
        "meets_the_restricted_standard",
        "privileged",
        container,
        lambda c: c[SECURITY].update(privileged=True),
    ),
    (
        "meets_the_restricted_standard",
        "capabilities",
        container,
        lambda c: c[SECURITY]["capabilities"].update(add=["NET_ADMIN"]),
    ),
    (
        "meets_the_restricted_standard",
        "host port",
        container,
        lambda c: c["ports"][0].update(hostPort=80),
    ),
    (
        "writes_only_to_volumes",
        "root file system",
        container,
        lambda c: c[SECURITY].pop("readOnlyRootFilesystem"),
    ),
    ("writes_only_to_volumes", "no /tmp", container, lambda c: c["volumeMounts"].clear()),
    ("writes_only_to_volumes", "no volume", pod, lambda p: p["volumes"].clear()),
    (
        "writes_only_to_volumes",
        "no limit",
        pod,
        lambda p: p["volumes"][0]["emptyDir"].pop("sizeLimit"),
    ),
    (
        "writes_only_to_volumes",
        "home",
        container,
        lambda c: c["env"].append({"name": "HOME", "value": "/home/user"}),
    ),
    (
        "says_what_it_needs",
        "cpu",
        container,
        lambda c: c["resources"]["requests"].pop("cpu"),
    ),
    (
        "says_what_it_needs",
        "memory",
        container,
        lambda c: c["resources"]["limits"].pop("memory"),
    ),
    ("is_probed", "readiness", container, lambda c: c.pop("readinessProbe")),
    (
        "is_probed",
        "port",
        container,
        lambda c: c["livenessProbe"]["httpGet"].update(port="admin"),
    ),
    (
        "listens_where_its_port_is",
        "loopback",
        container,
        lambda c: c.update(args=["--host", "127.0.0.1", "--port", "3000"]),
    ),
    (
        "listens_where_its_port_is",
        "port",
        container,
        lambda c: c["ports"][0].update(containerPort=8080),
    ),
    ("listens_where_its_port_is", "links", pod, lambda p: p.pop("enableServiceLinks")),
    ("pins_its_images", "latest", container, lambda c: c.update(image="streetseg-serve:latest")),
    ("pins_its_images", "none", container, lambda c: c.update(image="host:5000/streetseg-serve")),
    ("pins_its_images", "pull", container, lambda c: c.update(imagePullPolicy="Always")),
    (
        "holds_no_secrets",
        "object",
        everything,
        lambda o: o.append({"kind": "Secret", "metadata": {"name": "mlflow-store"}}),
    ),
    (
        "holds_no_secrets",
        "variable",
        mlflow,
        lambda c: c["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "abc"}),
    ),
    (
        "holds_no_secrets",
        "address",
        mlflow,
        lambda c: c["env"].append({"name": "STORE", "value": "postgresql://me:pw@db/mlflow"}),
    ),
    (
        "holds_no_secrets",
        "argument",
        mlflow,
        lambda c: c["args"].append("--backend-store-uri=postgresql://me:pw@db/mlflow"),
    ),
    ("calls_nobody_home", "mlflow", mlflow, lambda c: c["env"].clear()),
    ("calls_nobody_home", "service", container, lambda c: c["env"].clear()),
    ("has_a_token_only_for_a_role", "default", pod, lambda p: p.pop("serviceAccountName")),
    (
        "has_a_token_only_for_a_role",
        "pod",
        pod,
        lambda p: p.update(automountServiceAccountToken=True),
    ),
    (
        "has_a_token_only_for_a_role",
        "account",
        of("ServiceAccount", "mlflow"),
        lambda a: a.pop("automountServiceAccountToken"),
    ),
    (
        "selects_pods_that_exist",
        "deployment",
        DEPLOYMENT,
        lambda d: d["spec"]["selector"]["matchLabels"].update(tier="web"),
    ),
    (
        "selects_pods_that_exist",
        "service",
        SERVICE,
        lambda s: s["spec"]["selector"].update(tier="web"),
    ),
    (
        "selects_pods_that_exist",
        "both workloads",
        SERVICE,
        lambda s: s["spec"]["selector"].pop("app.kubernetes.io/component"),
    ),
    (
        "selects_pods_that_exist",
        "port",
        SERVICE,
        lambda s: s["spec"]["ports"][0].update(targetPort="admin"),
    ),
    (
        "selects_pods_that_exist",
        "number",
        SERVICE,
        lambda s: s["spec"]["ports"][0].update(targetPort=3000),
    ),
    (
        "selects_pods_that_exist",
        "budget",
        of("PodDisruptionBudget", "streetseg-serve"),
        lambda b: b["spec"]["selector"]["matchLabels"].update(tier="web"),
    ),
    (
        "selects_pods_that_exist",
        "scaler",
        of("HorizontalPodAutoscaler", "streetseg-serve"),
        lambda h: h["spec"]["scaleTargetRef"].update(name="other"),
    ),
    ("selects_pods_that_exist", "replicas", DEPLOYMENT, lambda d: d["spec"].update(replicas=2)),
    ("leads_to_services_that_exist", "tls", INGRESS, lambda i: i["spec"].pop("tls")),
    (
        "leads_to_services_that_exist",
        "backend",
        INGRESS,
        lambda i: i["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(name="x"),
    ),
    (
        "leads_to_services_that_exist",
        "monitor",
        of("ServiceMonitor", "streetseg-serve"),
        lambda m: m["spec"]["endpoints"][0].update(port="metrics"),
    ),
    (
        "leads_to_services_that_exist",
        "monitor's service",
        of("ServiceMonitor", "streetseg-serve"),
        lambda m: m["spec"]["selector"]["matchLabels"].update(tier="web"),
    ),
    (
        "leads_to_services_that_exist",
        "tracking",
        container,
        lambda c: c["env"][0].update(value="http://mlflow:80"),
    ),
    (
        "leads_to_services_that_exist",
        "hosts",
        mlflow,
        lambda c: c.update(args=["--host=0.0.0.0", "--allowed-hosts=localhost:5000"]),
    ),
    (
        "leads_to_services_that_exist",
        "any host",
        mlflow,
        lambda c: c.update(args=[f"{a},*" for a in c["args"] if "hosts" in a]),
    ),
    (
        "leads_to_services_that_exist",
        "no hosts",
        mlflow,
        lambda c: c.update(args=["--host=0.0.0.0"]),
    ),
    (
        "denies_the_network_by_default",
        "no denial",
        of("NetworkPolicy", "default-deny"),
        lambda p: p["spec"].update(policyTypes=["Ingress"]),
    ),
    (
        "denies_the_network_by_default",
        "nobody's",
        POLICY,
        lambda p: p["spec"]["podSelector"]["matchLabels"].update(tier="web"),
    ),
    (
        "denies_the_network_by_default",
        "everybody",
        POLICY,
        lambda p: p["spec"]["ingress"][0].pop("from"),
    ),
    (
        "denies_the_network_by_default",
        "every port",
        POLICY,
        lambda p: p["spec"]["egress"][0].pop("ports"),
    ),
    (
        "denies_the_network_by_default",
        "every namespace",
        POLICY,
        lambda p: p["spec"]["ingress"][0]["from"].append({"namespaceSelector": {}}),
    ),
    (
        "denies_the_network_by_default",
        "stranger",
        POLICY,
        lambda p: p["spec"]["egress"][0]["to"][0]["podSelector"]["matchLabels"].update(tier="db"),
    ),
    (
        "denies_the_network_by_default",
        "port",
        POLICY,
        lambda p: p["spec"]["egress"][0]["ports"][0].update(port="admin"),
    ),
    (
        "refers_to_what_exists",
        "secret",
        mlflow,
        lambda c: c["envFrom"][0]["secretRef"].update(name="forgotten"),
    ),
    (
        "refers_to_what_exists",
        "key",
        mlflow,
        lambda c: c["env"].append(
            {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "forgotten", "key": "x"}}}
        ),
    ),
    (
        "refers_to_what_exists",
        "claim",
        pod,
        lambda p: p["volumes"].append(
            {"name": "x", "persistentVolumeClaim": {"claimName": "forgotten"}}
        ),
    ),
    (
        "refers_to_what_exists",
        "certificate",
        INGRESS,
        lambda i: i["spec"]["tls"][0].update(secretName="forgotten"),
    ),
    (
        "is_replaced_without_losing_requests",
        "rolling",
        DEPLOYMENT,
        lambda d: d["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
    ),
    (
        "is_replaced_without_losing_requests",
        "grace",
        pod,
        lambda p: p.update(terminationGracePeriodSeconds=70),
    ),
    ("is_replaced_without_losing_requests", "pause", container, lambda c: c.pop("lifecycle")),
    (
        "shares_no_database_file",
        "claim",
        of("Deployment", "mlflow"),
        lambda d: d["spec"]["template"]["spec"]["volumes"].append(
            {"name": "store", "persistentVolumeClaim": {"claimName": "mlflow"}}
        ),
    ),
    (
        "grants_no_more_than_the_code_asks_for",
        "wildcard",
        everything,
        lambda o: o.append(role("Role", "trainer.kubeflow.org", "trainjobs", "*")),
    ),
    (
        "grants_no_more_than_the_code_asks_for",
        "verb",
        everything,
        lambda o: o.append(role("Role", "", "pods", "delete")),
    ),
    (
        "grants_no_more_than_the_code_asks_for",
        "cluster",
        everything,
        lambda o: o.append(role("ClusterRole", "", "pods", "get")),
    ),
]
"""The rule that must catch it, its name, the object, and what is done to it."""


def role(kind: str, group: str, resource: str, verb: str) -> Object:
    """A role of one rule."""
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": [verb]}]
    return {"kind": kind, "metadata": {"name": "more"}, "rules": rules}


@pytest.mark.parametrize(
    ("rule", "select", "change"),
    [
        pytest.param(rule, select, change, id=f"{rule}-{name}")
        for rule, name, select, change in FAULTS
    ],
)
def test_the_rule_catches_it(
    overlays: dict[str, list[Object]],
    rule: str,
    select: Callable[[list[Object]], Any],
    change: Change,
) -> None:
    objects = copy.deepcopy(overlays["own"])
    change(select(objects))
    assert RULES[rule](objects) != []


def test_every_rule_is_seen_to_catch_something() -> None:
    assert {rule for rule, *_ in FAULTS} == set(RULES)


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize(
    ("select", "change"),
    [
        (DEPLOYMENT, lambda d: d["spec"].update(replica=2)),
        (container, lambda c: c.update(readynessProbe={})),
        (container, lambda c: c["resources"].update(limit={})),
        (container, lambda c: c["ports"][0].update(containerPort="3000")),
        (pod, lambda p: p.pop("containers")),
        (SERVICE, lambda s: s["spec"]["ports"][0].update(target="http")),
        (INGRESS, lambda i: i["spec"]["rules"][0]["http"]["paths"][0].pop("pathType")),
        (POLICY, lambda p: p["spec"].update(policyType=["Ingress"])),
        (of("HorizontalPodAutoscaler", "streetseg-serve"), lambda h: h["spec"].pop("maxReplicas")),
        (of("ServiceMonitor", "streetseg-serve"), lambda m: m["spec"].update(endpoint=[])),
        (
            of("PrometheusRule", "streetseg-serve"),
            lambda r: r["spec"]["groups"][0]["rules"][0].update(labels={"severity": 1}),
        ),
    ],
)
def test_the_schema_catches_it(
    overlays: dict[str, list[Object]],
    version: str,
    select: Callable[[list[Object]], Any],
    change: Change,
) -> None:
    objects = copy.deepcopy(overlays["own"])
    change(select(objects))
    (changed,) = (each for each in objects if each not in overlays["own"])
    assert refusal(changed, version)
