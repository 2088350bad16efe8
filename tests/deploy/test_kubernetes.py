"""The manifests: whole, valid against Kubernetes' schemas, restricted, and with settings that Farthing accepts."""

import json
import os
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from farthing import config
from farthing.process.exits import EXIT_TIMEOUT_S

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
KUSTOMIZATIONS = sorted([*KUBERNETES.rglob("kustomization.yaml"), DEPLOY / "grafana" / "kustomization.yaml"])
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
CUSTOM = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule"}
POD_NAME, POD_IP = "farthing-worker-3", "10.1.2.3"


def named_files(path):
    """Give the files and folders that a kustomization names."""
    made = yaml.safe_load(path.read_text())
    names = [*made.get("resources", []), *made.get("components", [])]
    names += [patch["path"] for patch in made.get("patches", []) if "path" in patch]
    names += [file for maps in made.get("configMapGenerator", []) for file in maps["files"]]
    return [path.parent / name for name in names]


@pytest.fixture(scope="module")
def built():
    """Every overlay as kustomize makes it."""
    for client in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(client[0]):
            break
    else:
        pytest.skip("neither kubectl nor kustomize is on this machine")
    out = {}
    for name in OVERLAYS:
        done = subprocess.run(
            [*client, str(KUBERNETES / "overlays" / name)], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        out[name] = list(yaml.safe_load_all(done.stdout))
    return out


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def workloads(documents):
    return [*of_kind(documents, "StatefulSet"), *of_kind(documents, "Deployment")]


def pod(workload):
    return workload["spec"]["template"]["spec"]


def test_what_a_kustomization_names_is_there_and_nothing_lies_about():
    named = set()
    for path in KUSTOMIZATIONS:
        for file in named_files(path):
            assert file.exists(), f"{path}: {file}"
            assert file.is_file() or (file / "kustomization.yaml").is_file()
            named.add(file.resolve())
    there = {path for path in KUBERNETES.rglob("*") if path.is_file() and path.name != "kustomization.yaml"}
    assert there <= named, there - named
    assert {"development", "production", "production-without-keda"} == set(OVERLAYS)


def test_manifests_follow_the_schemas(built):
    validate = pytest.importorskip("kubernetes_validate", reason="Kubernetes' schemas come with the extra test")
    version = validate.latest_version()
    for documents in built.values():
        for document in documents:
            if document["kind"] not in CUSTOM:
                validate.validate(document, version, strict=True)
    worker = json.loads(json.dumps(of_kind(built["production"], "StatefulSet")[0]))
    pod(worker)["containers"][0]["readinessProb"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(worker, version, strict=True)


def test_objects_of_operators_have_the_fields_that_those_require(built):
    (scaled,) = of_kind(built["production"], "ScaledObject")
    rate, lag = scaled["spec"]["triggers"]
    assert (rate["type"], lag["type"]) == ("prometheus", "kafka")
    assert {"serverAddress", "query", "threshold"} <= set(rate["metadata"])
    assert {"bootstrapServers", "consumerGroup", "topic", "lagThreshold"} <= set(lag["metadata"])
    assert all(isinstance(value, str) for trigger in (rate, lag) for value in trigger["metadata"].values())
    (authentication,) = of_kind(built["production"], "TriggerAuthentication")
    assert lag["authenticationRef"]["name"] == authentication["metadata"]["name"]
    services = of_kind(built["production"], "Service")
    for monitor in of_kind(built["production"], "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        assert service["metadata"]["name"] == monitor["metadata"]["name"]  # it becomes the label job
        assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_names_agree(built):
    for documents in built.values():
        assert {d["metadata"]["namespace"] for d in documents if d["kind"] != "Namespace"} == {"farthing"}
        names = {(d["kind"], d["metadata"]["name"]) for d in documents}
        assert len(names) == len(documents)
        for workload in workloads(documents):
            spec, inside = workload["spec"], pod(workload)
            labels = spec["template"]["metadata"]["labels"]
            assert spec["selector"]["matchLabels"].items() <= labels.items()
            assert ("ServiceAccount", inside["serviceAccountName"]) in names
            for spread in inside.get("topologySpreadConstraints", []):
                assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
            volumes = {volume["name"]: volume for volume in inside["volumes"]}
            mounts = {mount["name"] for mount in inside["containers"][0]["volumeMounts"]}
            assert mounts == set(volumes)
            assert ("ConfigMap", volumes["settings"]["configMap"]["name"]) in names
            selecting = [s for s in of_kind(documents, "Service") if s["spec"]["selector"].items() <= labels.items()]
            assert [s["metadata"]["name"] for s in selecting] == [workload["metadata"]["name"]]
        (worker,) = of_kind(documents, "StatefulSet")
        assert ("Service", worker["spec"]["serviceName"]) in names
        for scaler in (*of_kind(documents, "ScaledObject"), *of_kind(documents, "HorizontalPodAutoscaler")):
            target = scaler["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in names
        for budget in of_kind(documents, "PodDisruptionBudget"):
            wanted = budget["spec"]["selector"]["matchLabels"].items()
            assert wanted <= worker["spec"]["template"]["metadata"]["labels"].items()


def test_images_have_tags(built):
    for documents in built.values():
        for workload in workloads(documents):
            (container,) = pod(workload)["containers"]
            assert re.search(r"farthing:\d+\.\d+\.\d+$", container["image"])


def test_pods_are_restricted(built):
    """What the pod security standard "restricted" asks for, and a read-only root besides."""
    for documents in built.values():
        (namespace,) = of_kind(documents, "Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        for workload in workloads(documents):
            inside = pod(workload)
            security = inside["securityContext"]
            assert security["runAsNonRoot"] is True and security["runAsUser"] >= 10_000
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert inside["automountServiceAccountToken"] is False
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(inside)
            assert all(set(volume) - {"name"} <= {"configMap", "secret", "emptyDir"} for volume in inside["volumes"])
            for container in inside["containers"]:
                mine = container["securityContext"]
                assert mine["allowPrivilegeEscalation"] is False and mine["readOnlyRootFilesystem"] is True
                assert mine["capabilities"] == {"drop": ["ALL"]}
                assert not any("hostPort" in port for port in container["ports"])


def test_requests_are_limits_and_workers_have_whole_cores(built):
    for documents in built.values():
        for workload in workloads(documents):
            resources = pod(workload)["containers"][0]["resources"]
            assert resources["requests"] == resources["limits"]
            assert int(resources["limits"]["cpu"]) >= 1


def test_the_image_runs_as_the_user_that_the_pods_name(built):
    uid, gid = re.search(r"^USER (\d+):(\d+)", (DEPLOY / "Dockerfile").read_text(), re.M).groups()
    for documents in built.values():
        for workload in workloads(documents):
            security = pod(workload)["securityContext"]
            assert (security["runAsUser"], security["runAsGroup"]) == (int(uid), int(gid))


def settings_of(workload, documents, folder, monkeypatch):
    """Load the settings as the pod would: its ConfigMap's file and its environment."""
    for key in [key for key in os.environ if key.startswith("FARTHING_")]:
        monkeypatch.delenv(key)
    inside = pod(workload)
    for variable in inside["containers"][0]["env"]:
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        value = {"metadata.name": POD_NAME, "status.podIP": POD_IP, None: variable.get("value")}[field]
        monkeypatch.setenv(variable["name"], value)
    volumes = {volume["name"]: volume for volume in inside["volumes"]}
    name = volumes["settings"]["configMap"]["name"]
    (maps,) = [d for d in of_kind(documents, "ConfigMap") if d["metadata"]["name"] == name]
    file = folder / "farthing.toml"
    file.write_text(maps["data"]["farthing.toml"])
    assert inside["containers"][0]["args"][1:] == ["-c", "/etc/farthing/farthing.toml"]
    return config.load(file).settings


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_workers_settings_are_accepted(built, overlay, tmp_path, monkeypatch):
    (worker,) = of_kind(built[overlay], "StatefulSet")
    settings = settings_of(worker, built[overlay], tmp_path, monkeypatch)
    assert settings.kafka.group_instance_id == POD_NAME  # the ordinal is the static member id
    expected = "PLAINTEXT" if overlay == "development" else "SASL_SSL"
    assert settings.kafka.security_protocol == expected
    assert (settings.kafka.sasl_plain_password_file is None) == (overlay == "development")
    assert settings.worker.workers == 1
    assert settings.http.host == POD_IP
    (container,) = pod(worker)["containers"]
    assert container["ports"] == [{"containerPort": settings.http.port, "name": "http"}]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/live", "liveness": "/live", "readiness": "/ready"}
    assert pod(worker)["terminationGracePeriodSeconds"] > EXIT_TIMEOUT_S + 5
    # A pod that is replaced is back before the group gives its partitions away.
    assert settings.kafka.session_timeout_ms >= 45_000


@pytest.mark.skipif("ledger" not in config.Settings.model_fields, reason="there are no settings of a ledger")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_ledgers_settings_are_accepted(built, overlay, tmp_path, monkeypatch):
    (ledger,) = of_kind(built[overlay], "Deployment")
    settings = settings_of(ledger, built[overlay], tmp_path, monkeypatch)
    assert settings.ledger.host == POD_IP
    assert pod(ledger)["containers"][0]["ports"] == [{"containerPort": settings.ledger.port, "name": "http"}]


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name.startswith("production")])
def test_secrets_are_files(built, overlay):
    for workload in workloads(built[overlay]):
        inside = pod(workload)
        (container,) = inside["containers"]
        assert not any("secretKeyRef" in str(variable) for variable in container["env"])
        (secret,) = [volume["secret"] for volume in inside["volumes"] if "secret" in volume]
        assert secret == {"secretName": "farthing-kafka", "defaultMode": 0o440}
        (folder,) = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "kafka-credentials"]
        files = [v["value"] for v in container["env"] if v["name"].endswith(("_FILE", "_CAFILE"))]
        assert files and all(file.startswith(f"{folder}/") for file in files)
    assert not of_kind(built[overlay], "Secret")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_metrics_and_the_page_ask_for_a_token_that_prometheus_has(built, overlay, tmp_path, monkeypatch):
    production = overlay.startswith("production")
    for workload in workloads(built[overlay]):
        settings = settings_of(workload, built[overlay], tmp_path, monkeypatch)
        section = settings.ledger if workload["kind"] == "Deployment" else settings.http
        assert (section.token_file is not None) == production
        assert section.allow_anonymous != production
        if production:
            (mount,) = [m for m in pod(workload)["containers"][0]["volumeMounts"] if m["name"] == "kafka-credentials"]
            assert str(section.token_file.parent) == mount["mountPath"]
            sent = {"credentials": {"name": "farthing-kafka", "key": section.token_file.name}}
            monitors = of_kind(built[overlay], "ServiceMonitor")
            assert monitors and all(m["spec"]["endpoints"][0]["authorization"] == sent for m in monitors)


def test_the_network_is_closed_but_for_what_is_needed(built):
    for documents in built.values():
        policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(documents, "NetworkPolicy")}
        assert policies["farthing-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        out = [rule for spec in policies.values() for rule in spec.get("egress", [])]
        into = [rule for spec in policies.values() for rule in spec.get("ingress", [])]
        assert all(rule["to"] and rule["ports"] for rule in out) and all(
            rule["from"] and rule["ports"] for rule in into
        )
        assert not any("ipBlock" in peer for rule in (*out, *into) for peer in rule.get("to", rule.get("from")))
        ports = {port["port"] for rule in out for port in rule["ports"]}
        (worker,) = of_kind(documents, "StatefulSet")
        servers = [v["value"] for v in pod(worker)["containers"][0]["env"] if v["name"].endswith("BOOTSTRAP_SERVERS")]
        server = servers[-1] if servers else re.search(r'"(kafka\S+)"', str(documents))[1]
        assert ports == {53, int(server.rsplit(":", 1)[1])}
        assert {port["port"] for rule in into for port in rule["ports"]} == {"http"}


def test_one_autoscaler_at_most_and_none_of_them_fights_the_manifest(built):
    for name, documents in built.items():
        scalers = [*of_kind(documents, "ScaledObject"), *of_kind(documents, "HorizontalPodAutoscaler")]
        (worker,) = of_kind(documents, "StatefulSet")
        assert len(scalers) == (0 if name == "development" else 1)
        assert ("replicas" in worker["spec"]) == (not scalers)


def test_autoscaling_follows_the_measured_rate(built):
    page = re.sub(r"\s+", " ", (DEPLOY.parent / "service" / "OPERATIONS.md").read_text())
    rate = int(re.search(r"\*\*a worker on two cores scores ([\d,]+) events a second\*\*", page)[1].replace(",", ""))
    (scaled,) = of_kind(built["production"], "ScaledObject")
    triggers = {trigger["type"]: trigger["metadata"] for trigger in scaled["spec"]["triggers"]}
    assert int(triggers["prometheus"]["threshold"]) == rate * Fraction(2, 3)
    assert int(triggers["kafka"]["lagThreshold"]) == rate * 10
    # On CPU the same load is this share of the pod's cores.
    cpu_us = float(re.search(r"there, in proportion, an event takes ([\d.]+) us", page)[1])
    (hpa,) = of_kind(built["production-without-keda"], "HorizontalPodAutoscaler")
    (metric,) = hpa["spec"]["metrics"]
    share = rate * 2 / 3 * cpu_us / 1e6 / 2
    assert metric["resource"]["target"]["averageUtilization"] == pytest.approx(share * 100, abs=2)
    for scaler in (scaled["spec"], hpa["spec"]):
        assert (scaler.get("minReplicaCount") or scaler.get("minReplicas")) == 2
        assert (scaler.get("maxReplicaCount") or scaler.get("maxReplicas")) == 12
    assert triggers["prometheus"]["query"] == 'sum(route:farthing_events:rate5m{namespace="farthing"})'


def test_the_dashboards_come_along(built):
    (boards,) = [
        d for d in of_kind(built["production"], "ConfigMap") if d["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    for file in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        assert boards["data"][file.name] == file.read_text()
