"""What a platform engineer would refuse: rules over the objects of a built overlay.

A rule takes all objects of an overlay and returns a line for each fault; none means it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from streetseg.config.params import load_params
from streetseg.core.provenance import REPOSITORY

Object = dict[str, Any]
Rule = Callable[[list[Object]], list[str]]

NAMESPACE = "streetseg"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
EVERY_ADDRESS = {"0.0.0.0", "::"}
RULES: dict[str, Rule] = {}


def rule(check: Callable[[list[Object]], Iterator[str]]) -> Rule:
    """Make a generator of faults a rule, and list it in ``RULES``."""

    def listed(objects: list[Object]) -> list[str]:
        return list(check(objects))

    RULES[check.__name__] = listed
    return listed


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """The objects of some kinds."""
    return [each for each in objects if each["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object | None:
    """The object of this kind and name, if there is one."""
    return next((o for o in of_kind(objects, kind) if o["metadata"]["name"] == name), None)


def label(thing: Object) -> str:
    """How a fault names an object."""
    return f"{thing['kind']}/{thing['metadata']['name']}"


def pods(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Name of the workload, metadata and specification of its pods."""
    for workload in of_kind(objects, *WORKLOADS):
        template = workload["spec"]["template"]
        yield label(workload), template["metadata"], template["spec"]


def containers(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Name, specification of the pod, and container."""
    for name, _, pod in pods(objects):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}/{container['name']}", pod, container


def matches(labels: Mapping[str, str], selector: Mapping[str, Any]) -> bool:
    """Whether labels fit a selector; only ``matchLabels`` is known."""
    assert set(selector) <= {"matchLabels"}, f"a selector this test does not know: {selector}"
    return selector.get("matchLabels", {}).items() <= labels.items()


def selected(objects: list[Object], selector: Mapping[str, Any]) -> list[Object]:
    """The specifications of the pods that a selector finds."""
    return [pod for _, metadata, pod in pods(objects) if matches(metadata["labels"], selector)]


def port_names(pod: Object) -> set[Any]:
    """Names and numbers of the ports of a pod."""
    ports = [port for container in pod["containers"] for port in container.get("ports", [])]
    return {port[key] for port in ports for key in ("name", "containerPort") if key in port}


def literals(container: Object) -> dict[str, str]:
    """The variables whose values stand in the manifest."""
    return {e["name"]: e["value"] for e in container.get("env", []) if "value" in e}


def options(container: Object) -> dict[str, str]:
    """The options of the command line, written ``--name value`` or ``--name=value``."""
    words = [part for word in container.get("args", []) for part in word.split("=", 1)]
    return dict(zip(words[::2], words[1::2], strict=True))


@rule
def lives_in_our_namespace(objects: list[Object]) -> Iterator[str]:
    for each in objects:
        if each["metadata"].get("namespace") != NAMESPACE:
            yield f"{label(each)} is not in {NAMESPACE}"


@rule
def meets_the_restricted_standard(objects: list[Object]) -> Iterator[str]:
    for name, _, pod in pods(objects):
        security = pod.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{name} may run as root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} has no seccomp profile"
        if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name} shares a namespace of its host"
        if any("hostPath" in volume for volume in pod.get("volumes", [])):
            yield f"{name} mounts a folder of its host"
    for name, _, container in containers(objects):
        security = container.get("securityContext", {})
        if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
            yield f"{name} may gain privileges"
        if security.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name} keeps capabilities"
        if security.get("runAsNonRoot") is False or security.get("runAsUser") == 0:
            yield f"{name} may run as root"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name} takes a port of its host"


@rule
def writes_only_to_volumes(objects: list[Object]) -> Iterator[str]:
    for name, pod, container in containers(objects):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{name} may write to its root file system"
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
        known = {volume["name"]: volume for volume in pod.get("volumes", [])}
        if "/tmp" not in mounts:
            yield f"{name} has no /tmp"
        for path, volume in mounts.items():
            if volume not in known:
                yield f"{name} mounts {volume}, which is not there"
            elif "sizeLimit" not in known[volume].get("emptyDir", {"sizeLimit": "none needed"}):
                yield f"{name} may fill its node through {path}"
        for variable in ("HOME", "BENTOML_HOME", "MLFLOW_ARTIFACTS_DESTINATION"):
            place = literals(container).get(variable, "/tmp")
            if not any(f"{place}/".startswith(f"{path}/") for path in mounts):
                yield f"{name}: {variable}={place} cannot be written"


@rule
def says_what_it_needs(objects: list[Object]) -> Iterator[str]:
    for name, _, container in containers(objects):
        resources = container.get("resources", {})
        for kind, what in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if what not in resources.get(kind, {}):
                yield f"{name} has no {kind} of {what}"


@rule
def is_probed(objects: list[Object]) -> Iterator[str]:
    for name, _, container in containers(objects):
        if not container.get("ports"):
            continue
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port not in port_names({"containers": [container]}):
                yield f"{name} has no {probe} on a port of its own"


@rule
def listens_where_its_port_is(objects: list[Object]) -> Iterator[str]:
    for name, pod, container in containers(objects):
        given, numbers = options(container), port_names({"containers": [container]})
        if given.get("--host") not in EVERY_ADDRESS:
            yield f"{name} cannot be reached from outside its pod"
        if int(given.get("--port", 0)) not in numbers:
            yield f"{name} listens on another port than it names"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name} takes variables such as MLFLOW_PORT from Services"


@rule
def pins_its_images(objects: list[Object]) -> Iterator[str]:
    for name, _, container in containers(objects):
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            yield f"{name} runs {container['image']}, whatever that is today"
        if container.get("imagePullPolicy") != "IfNotPresent":
            yield f"{name} is pulled again although its tag says which it is"


@rule
def holds_no_secrets(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "Secret"):
        yield f"{label(each)} stands in the manifests"
    for name, _, container in containers(objects):
        for variable, value in literals(container).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", variable) or urlsplit(value).password:
                yield f"{name}: {variable} holds a secret"
        if any(urlsplit(word.partition("=")[2]).password for word in container.get("args", [])):
            yield f"{name} is started with a secret"


@rule
def calls_nobody_home(objects: list[Object]) -> Iterator[str]:
    wanted = {
        "mlflow": {"MLFLOW_DISABLE_TELEMETRY"},
        "bentoml": {"MLFLOW_DISABLE_TELEMETRY", "BENTOML_DO_NOT_TRACK", "ORT_DISABLE_TELEMETRY"},
    }
    for name, _, container in containers(objects):
        for missing in wanted[container["command"][0]] - set(literals(container)):
            yield f"{name} does not set {missing}"


@rule
def has_a_token_only_for_a_role(objects: list[Object]) -> Iterator[str]:
    bound = {
        subject["name"]
        for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding")
        for subject in binding["subjects"]
    }
    for name, _, pod in pods(objects):
        account = named(objects, "ServiceAccount", pod.get("serviceAccountName", "default"))
        if account is None:
            yield f"{name} runs as an account that is not its own"
        elif account["metadata"]["name"] not in bound:
            for holder in (account, pod):
                if holder.get("automountServiceAccountToken") is not False:
                    yield f"{name} is given a token that it has no use for"


@rule
def selects_pods_that_exist(objects: list[Object]) -> Iterator[str]:
    for workload in of_kind(objects, *WORKLOADS):
        if not matches(
            workload["spec"]["template"]["metadata"]["labels"], workload["spec"]["selector"]
        ):
            yield f"{label(workload)} does not select its own pods"
    for service in of_kind(objects, "Service"):
        found = selected(objects, {"matchLabels": service["spec"]["selector"]})
        if len(found) != 1:
            yield f"{label(service)} selects the pods of {len(found)} workloads"
        for port, pod in ((p, pod) for p in service["spec"]["ports"] for pod in found):
            if not isinstance(port.get("targetPort"), str):
                yield f"{label(service)} names no port of its pods"
            elif port["targetPort"] not in port_names(pod):
                yield f"{label(service)}: its pods have no port {port['targetPort']}"
    for budget in of_kind(objects, "PodDisruptionBudget"):
        if len(selected(objects, budget["spec"]["selector"])) != 1:
            yield f"{label(budget)} does not select the pods of one workload"
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        scaled = named(objects, target["kind"], target["name"])
        if scaled is None:
            yield f"{label(scaler)} scales nothing"
        elif "replicas" in scaled["spec"]:
            yield f"{label(scaler)} is undone by the replicas of {label(scaled)}"


@rule
def leads_to_services_that_exist(objects: list[Object]) -> Iterator[str]:
    for ingress in of_kind(objects, "Ingress"):
        covered = {host for tls in ingress["spec"].get("tls", []) for host in tls["hosts"]}
        for each in ingress["spec"]["rules"]:
            if each.get("host") not in covered:
                yield f"{label(ingress)} has no TLS for {each.get('host')}"
            for backend in (path["backend"]["service"] for path in each["http"]["paths"]):
                target = named(objects, "Service", backend["name"])
                ports = target["spec"]["ports"] if target else []
                if backend["port"].get("name") not in {port["name"] for port in ports}:
                    yield f"{label(ingress)}: no such service or port: {backend}"
    for monitor in of_kind(objects, "ServiceMonitor"):
        found = [
            service
            for service in of_kind(objects, "Service")
            if matches(service["metadata"].get("labels", {}), monitor["spec"]["selector"])
        ]
        names = {port["name"] for service in found for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            if len(found) != 1 or endpoint["port"] not in names:
                yield f"{label(monitor)} scrapes no port of one service"
    for name, _, container in containers(objects):
        if uri := literals(container).get("MLFLOW_TRACKING_URI"):
            address = urlsplit(uri)
            server = named(objects, "Service", address.hostname or "")
            if not server or address.port not in {p["port"] for p in server["spec"]["ports"]}:
                yield f"{name} looks for MLflow where it is not: {uri}"
    for name, _, container in containers(objects):
        if "--allowed-hosts" in options(container):
            allowed = options(container)["--allowed-hosts"].split(",")
            for host in ("mlflow", f"mlflow.{NAMESPACE}", "localhost"):
                if f"{host}:5000" not in allowed:
                    yield f"{name} turns away those who call it {host}:5000"
            if any("*" in host for host in allowed):
                yield f"{name} answers to any name"
        elif container["command"][0] == "mlflow":
            yield f"{name} names no hosts"


@rule
def denies_the_network_by_default(objects: list[Object]) -> Iterator[str]:
    policies = of_kind(objects, "NetworkPolicy")
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if everything not in [policy["spec"] for policy in policies]:
        yield "no policy denies what is not allowed"
    for policy in policies:
        spec = policy["spec"]
        own = selected(objects, spec["podSelector"])
        if not own:
            yield f"{label(policy)} selects no pods"
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for entry in spec.get(direction, []):
                if not entry.get(side) or not entry.get("ports"):
                    yield f"{label(policy)} opens {direction} to everybody or on every port"
                for peer in entry.get(side, []):
                    if peer.get("namespaceSelector") == {}:
                        yield f"{label(policy)} opens {direction} to every namespace"
                    inside = "podSelector" in peer and "namespaceSelector" not in peer
                    reached = selected(objects, peer["podSelector"]) if inside else []
                    if inside and not reached:
                        yield f"{label(policy)} names pods that are not there"
                    for port in (each["port"] for each in entry.get("ports", [])):
                        receivers = own if direction == "ingress" else reached
                        if any(port not in port_names(pod) for pod in receivers):
                            yield f"{label(policy)}: there is no port {port}"


@rule
def refers_to_what_exists(objects: list[Object]) -> Iterator[str]:
    readme = (REPOSITORY / "deploy" / "README.md").read_text()
    users = set(re.findall(r"^\| (\w+) `([\w-]+)` \|", readme, re.MULTILINE))
    for name, kind, target in references(objects):
        if named(objects, kind, target) is None and (kind, target) not in users:
            yield f"{name}: {kind} {target} is neither here nor in deploy/README.md"


def references(objects: list[Object]) -> Iterator[tuple[str, str, str]]:
    """Who refers to a Secret, a ConfigMap or a PersistentVolumeClaim, its kind and its name."""
    for ingress in of_kind(objects, "Ingress"):
        for tls in ingress["spec"].get("tls", []):
            yield label(ingress), "Secret", tls["secretName"]
    for name, _, pod in pods(objects):
        for volume in pod.get("volumes", []):
            if "secret" in volume:
                yield name, "Secret", volume["secret"]["secretName"]
            if "configMap" in volume:
                yield name, "ConfigMap", volume["configMap"]["name"]
            if "persistentVolumeClaim" in volume:
                yield name, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        for secret in pod.get("imagePullSecrets", []):
            yield name, "Secret", secret["name"]
    for name, _, container in containers(objects):
        sources = [
            *container.get("envFrom", []),
            *(entry.get("valueFrom", {}) for entry in container.get("env", [])),
        ]
        for source in sources:
            for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
                for suffix in ("Ref", "KeyRef"):
                    if reference := source.get(f"{key}{suffix}"):
                        yield name, kind, reference["name"]


@rule
def is_replaced_without_losing_requests(objects: list[Object]) -> Iterator[str]:
    longest = 2 * load_params(REPOSITORY / "params.yaml").serve.timeout  # to arrive, to be answered
    service = named(objects, "Deployment", "streetseg-serve")
    assert service, "the overlay has no service"
    if service["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0:
        yield f"{label(service)} stops a pod before another is ready"
    pod = service["spec"]["template"]["spec"]
    pause = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})
    if not pause:
        yield f"{label(service)} stops while requests are still sent to it"
    if pod.get("terminationGracePeriodSeconds", 30) <= pause.get("seconds", 0) + longest:
        yield f"{label(service)} is killed before its requests are answered"


@rule
def shares_no_database_file(objects: list[Object]) -> Iterator[str]:
    for workload in of_kind(objects, "Deployment"):
        spec = workload["spec"]
        volumes = spec["template"]["spec"].get("volumes", [])
        if not any("persistentVolumeClaim" in volume for volume in volumes):
            continue
        if spec.get("replicas") != 1 or spec.get("strategy", {}).get("type") != "Recreate":
            yield f"{label(workload)}: two pods may write to one volume"


@rule
def grants_no_more_than_the_code_asks_for(objects: list[Object]) -> Iterator[str]:
    asked = api_calls()
    for role in of_kind(objects, "Role", "ClusterRole"):
        if role["kind"] == "ClusterRole":
            yield f"{label(role)} reaches beyond its namespace"
        for entry in role["rules"]:
            for group, resource, verb in (
                (group, resource, verb)
                for group in entry["apiGroups"]
                for resource in entry["resources"]
                for verb in entry["verbs"]
            ):
                if (group, resource, verb) not in asked:
                    yield f"{label(role)} grants {verb} {resource} of '{group}'"
    for binding in of_kind(objects, "ClusterRoleBinding"):
        yield f"{label(binding)} reaches beyond its namespace"


def api_calls() -> set[tuple[str, str, str]]:
    """Group, resource and verb of every call in components/trainjob/api.py."""
    text = (REPOSITORY / "components/trainjob/api.py").read_text()
    trainjobs = re.findall(r"\.(\w+)_namespaced_custom_object\b", text)
    core = re.findall(r"\.(\w+)_namespaced_(\w+)", text)
    return {("trainer.kubeflow.org", "trainjobs", verb) for verb in trainjobs} | {
        ("", f"{resource}s", {"read": "get"}.get(verb, verb))
        for verb, resource in core
        if resource != "custom_object"
    }
