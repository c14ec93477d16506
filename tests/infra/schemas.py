"""What the files of infra/ may say, as JSON schemas of our own: the fields that we use, with their types.

The fields of Ray's objects are those of KubeRay v1.7.0's CRDs (`ray.io/v1`), those of the others Kubernetes'
(`apps/v1`, `v1`, `networking.k8s.io/v1`) and the Compose specification's.
"""

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def many(item: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": item, "minItems": least}


def record(needed: str = "", /, **fields: Schema) -> Schema:
    """An object with no other fields; `needed` names those that must be there."""
    return {
        "type": "object",
        "properties": fields,
        "required": needed.split(),
        "additionalProperties": False,
    }


NAMED = record("name", name=TEXT)
METADATA = record(name=TEXT, labels=TEXTS)
KEY_OF = record("name key", name=TEXT, key=TEXT)
CONTAINER = record(
    "name image",
    name=TEXT,
    image=TEXT,
    args=many(TEXT),
    env=many(record("name", name=TEXT, value=TEXT, valueFrom=record(secretKeyRef=KEY_OF))),
    envFrom=many(record(secretRef=NAMED, configMapRef=NAMED)),
    lifecycle=record(preStop=record("exec", exec=record("command", command=many(TEXT)))),
    ports=many(record("name containerPort", name=TEXT, containerPort=COUNT)),
    readinessProbe=record(
        exec=record("command", command=many(TEXT)), httpGet=record("port", path=TEXT, port=TEXT)
    ),
    resources=record(requests=TEXTS, limits=TEXTS),
    securityContext=record(
        allowPrivilegeEscalation={"const": False}, capabilities=record(drop={"const": ["ALL"]})
    ),
    volumeMounts=many(record("name mountPath", name=TEXT, mountPath=TEXT)),
)
POD = record(
    "containers securityContext",
    containers=many(CONTAINER, 1),
    nodeSelector=TEXTS,
    securityContext=record(
        "runAsNonRoot", runAsNonRoot={"const": True}, runAsUser=COUNT, fsGroup=COUNT
    ),
    terminationGracePeriodSeconds=COUNT,
    tolerations=many(record(key=TEXT, operator=one_of("Exists", "Equal"), effect=TEXT)),
    volumes=many(
        record("name emptyDir", name=TEXT, emptyDir=record(sizeLimit=TEXT, medium=one_of("Memory")))
    ),
)
TEMPLATE = record("spec", metadata=METADATA, spec=POD)

# KubeRay v1.7.0
GROUP = {"resources": TEXTS, "labels": TEXTS, "rayStartParams": TEXTS, "template": TEMPLATE}
RAY_CLUSTER_SPEC = record(
    "rayVersion authOptions headGroupSpec workerGroupSpecs",
    rayVersion=TEXT,
    authOptions=record("mode secretName", mode={"const": "token"}, secretName=TEXT),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=record(
        version=one_of("v1", "v2"),
        upscalingMode=one_of("Default", "Aggressive", "Conservative"),
        idleTimeoutSeconds=COUNT,
        resources=record(requests=TEXTS, limits=TEXTS),
    ),
    headGroupSpec=record("template rayStartParams", **GROUP),
    workerGroupSpecs=many(
        record(
            "groupName template rayStartParams",
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            **GROUP,
        ),
        1,
    ),
)
RAY_JOB_SPEC = record(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    backoffLimit=COUNT,
    preRunningDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    metadata=TEXTS,
    rayClusterSpec=RAY_CLUSTER_SPEC,
)

# Kubernetes
SELECTOR = record(
    matchLabels=TEXTS,
    matchExpressions=many(record("key operator", key=TEXT, operator=TEXT, values=many(TEXT))),
)
CLAIM = record(
    "metadata spec",
    metadata=METADATA,
    spec=record("accessModes resources", accessModes=many(TEXT), resources=record(requests=TEXTS)),
)
WORKLOAD = {"replicas": COUNT, "selector": SELECTOR, "template": TEMPLATE}


def kind_schema(version: str, **fields: Schema) -> Schema:
    needed = " ".join(("apiVersion", "kind", "metadata", *fields))
    return record(needed, apiVersion={"const": version}, kind=TEXT, metadata=METADATA, **fields)


KINDS = {
    "RayCluster": kind_schema("ray.io/v1", spec=RAY_CLUSTER_SPEC),
    "RayJob": kind_schema("ray.io/v1", spec=RAY_JOB_SPEC),
    "ConfigMap": kind_schema("v1", data=TEXTS),
    "Deployment": kind_schema("apps/v1", spec=record("selector template", **WORKLOAD)),
    "StatefulSet": kind_schema(
        "apps/v1",
        spec=record(
            "serviceName selector template",
            serviceName=TEXT,
            volumeClaimTemplates=many(CLAIM),
            **WORKLOAD,
        ),
    ),
    # No type: a Service is seen inside its cluster only.
    "Service": kind_schema(
        "v1",
        spec=record(
            "selector ports",
            selector=TEXTS,
            ports=many(record("port targetPort", name=TEXT, port=COUNT, targetPort=TEXT)),
        ),
    ),
    "NetworkPolicy": kind_schema(
        "networking.k8s.io/v1",
        spec=record(
            "podSelector policyTypes ingress",
            podSelector=SELECTOR,
            policyTypes=many(one_of("Ingress", "Egress")),
            ingress=many(
                record(
                    "from",
                    **{"from": many(record(podSelector=SELECTOR, namespaceSelector=SELECTOR))},
                )
            ),
        ),
    ),
}

COMPOSE = record(
    "services",
    services={
        "type": "object",
        "additionalProperties": record(
            "image",
            image=TEXT,
            build=record("context", context=TEXT, dockerfile=TEXT, target=TEXT),
            command=many(TEXT),
            depends_on={
                "type": "object",
                "additionalProperties": record("condition", condition=TEXT),
            },
            environment=TEXTS,
            healthcheck=record("test", test=many(TEXT), interval=TEXT, retries=COUNT),
            ports=many({"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}),
            restart=TEXT,
            volumes=many(TEXT),
        ),
    },
    volumes={"type": "object"},
)

PROMETHEUS = record(
    "scrape_configs",
    **{"global": record(scrape_interval=TEXT)},
    scrape_configs=many(
        record(
            "job_name",
            job_name=TEXT,
            kubernetes_sd_configs=many(record("role", role=one_of("pod"))),
            http_sd_configs=many(
                record(
                    "url authorization",
                    url=TEXT,
                    authorization=record(
                        "credentials_file", type={"const": "Bearer"}, credentials_file=TEXT
                    ),
                )
            ),
            relabel_configs=many(
                record(
                    "source_labels",
                    source_labels=many(TEXT),
                    regex=TEXT,
                    action=one_of("keep", "drop", "replace"),
                    target_label=TEXT,
                )
            ),
        )
    ),
)
