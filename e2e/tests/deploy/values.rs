//! Values with which the chart is rendered, and values that it refuses.

/// A name, values, and what must be in the manifests, or with `!` must not.
pub(crate) const CASES: [(&str, &str, &[&str]); 15] = [
    (
        "nothing said",
        "",
        &[
            "--ca-secret=outrigger-system/outrigger-ca",
            "--cert-names=outrigger.outrigger-system.svc",
            "name: v1.metrics.k8s.io",
            "name: v1beta1.metrics.k8s.io",
            "image: outrigger:v0.1.0",
            "!insecureSkipTLSVerify",
            "!kind: PodDisruptionBudget",
        ],
    ),
    (
        "in metrics-server's place",
        "fullnameOverride: metrics-server\nnamespaceOverride: kube-system\nargs: [--metric-resolution=10s]\n",
        &[
            "--ca-secret=kube-system/metrics-server-ca",
            "name: system:metrics-server\n",
            "--metric-resolution=10s",
        ],
    ),
    (
        "highly available",
        r#"
replicas: 2
updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1}}
podDisruptionBudget: {enabled: true, minAvailable: 1, unhealthyPodEvictionPolicy: AlwaysAllow}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
    - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app.kubernetes.io/instance: outrigger}}}
"#,
        &[
            "replicas: 2",
            "minAvailable: 1",
            "unhealthyPodEvictionPolicy: AlwaysAllow",
            "topologySpreadConstraints:",
            "- --share-collection",
            "- --peer-advertise-ip=$(POD_IP)",
            "fieldPath: status.podIP",
            "- outrigger-replica-8",
            "nonResourceURLs: [/outrigger/v1/collected]",
            "!peer-ca-file",
        ],
    ),
    (
        "a budget in percent",
        "podDisruptionBudget: {enabled: true, maxUnavailable: 50%}\nrevisionHistoryLimit: 0\n",
        &["maxUnavailable: 50%", "revisionHistoryLimit: 0"],
    ),
    (
        "watched by Prometheus",
        "serviceMonitor: {enabled: true, additionalLabels: {release: prometheus}, relabelings: [{action: labeldrop, regex: pod}]}\n",
        &[
            "kind: ServiceMonitor",
            "release: prometheus",
            "bearerTokenFile:",
            "serverName: outrigger.outrigger-system.svc",
            "name: outrigger-ca",
            "!authorization-always-allow-paths",
        ],
    ),
    (
        "metrics for everybody",
        "metrics: {enabled: true}\nserviceMonitor: {enabled: true}\n",
        &[
            "--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
            "!bearerTokenFile",
        ],
    ),
    (
        "cert-manager",
        "tls: {type: cert-manager, certManager: {duration: 2160h, renewBefore: 360h, labels: {a: b}}}\n",
        &[
            "cert-manager.io/inject-ca-from: outrigger-system/outrigger",
            "duration: 2160h",
            "secretName: outrigger-tls",
            "isCA: true",
            "!--ca-secret",
            "!resources: [secrets]",
        ],
    ),
    (
        "cert-manager with an issuer of one's own",
        "tls: {type: cert-manager, certManager: {existingIssuer: {enabled: true, kind: ClusterIssuer, name: house}}}\n",
        &["kind: ClusterIssuer", "name: house", "!kind: Issuer"],
    ),
    (
        "a given certificate",
        r#"
tls: {type: existingSecret, existingSecret: {name: given}}
apiService:
  caBundle: |
    -----BEGIN CERTIFICATE-----
    -----END CERTIFICATE-----
"#,
        &["secretName: given", "caBundle: LS0t", "--tls-cert-file=/certificates/tls.crt"],
    ),
    (
        "helm's certificate",
        "tls: {type: helm}\n",
        &["type: kubernetes.io/tls", "caBundle: LS0t", "secretName: outrigger-tls"],
    ),
    (
        "objects in a volume",
        "persistence: {enabled: true, size: 5Gi, storageClassName: fast, annotations: {backup: daily}}\n",
        &[
            "--data-dir=/data",
            "fsGroup: 1000",
            "type: Recreate",
            "storage: 5Gi",
            "claimName: outrigger",
        ],
    ),
    (
        "objects in etcd",
        "replicas: 3\netcd: {servers: ['https://a:2379', 'https://b:2379'], existingSecret: etcd-client}\n",
        &[
            "--etcd-servers=https://a:2379,https://b:2379",
            "--etcd-keyfile=/etcd/tls.key",
            "secretName: etcd-client",
        ],
    ),
    (
        "plugins of one's own",
        r#"
apiService: {create: false}
apiServices: [{group: harbor.example.com, versions: [v1, v1beta1], annotations: {team: harbor}}]
grants:
  metrics: null
  harbor:
    capabilities:
      objects: [{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}]
      http: {hosts: [tides.example.com]}
      secrets: {key: {secret: {namespace: harbor, name: keys, key: token}}}
    config: {depth: 3}
    limits: {memory: 128Mi}
  master:
    capabilities: {events: {}}
    identity: {serviceAccount: harbor/master}
plugins: {dir: /own}
extraVolumes: [{name: own, configMap: {name: plugins}}]
extraVolumeMounts: [{name: own, mountPath: /own}]
"#,
        &["--plugins=/own", "mountPath: /own", "team: harbor", "!metrics.k8s.io"],
    ),
    (
        "behind a wall",
        r#"
networkPolicy:
  enabled: true
  from: [{ipBlock: {cidr: 10.0.0.0/8}}]
  egress: [{ports: [{port: 443}, {port: 6443}, {port: 10250}]}]
"#,
        &["kind: NetworkPolicy", "cidr: 10.0.0.0/8", "- Egress"],
    ),
    (
        "all else",
        r#"
image: {repository: mirror/outrigger, tag: latest, pullPolicy: Always}
imagePullSecrets: [{name: mirror}]
nameOverride: host
serviceAccount: {annotations: {a: b}, name: keeper, secrets: [{name: s}]}
commonLabels: {c: d}
podLabels: {e: f}
podAnnotations: {g: h}
deploymentAnnotations: {i: j}
podSecurityContext: {supplementalGroups: [5]}
hostUsers: true
priorityClassName: ""
containerPort: 4443
hostNetwork: {enabled: true}
service: {type: NodePort, port: 8443, annotations: {k: l}, labels: {kubernetes.io/name: Metrics}}
resources: {limits: {memory: 1Gi}}
tolerations: [{operator: Exists}]
dnsConfig: {options: [{name: ndots, value: "1"}]}
schedulerName: other
tmpVolume: {emptyDir: {medium: Memory, sizeLimit: 256Mi}}
global: {of: another chart}
"#,
        &[
            "image: mirror/outrigger:latest",
            "hostNetwork: true",
            "port: 8443",
            "name: keeper",
            "hostUsers: true",
            "e: f",
        ],
    ),
];

/// Values, and what the refusal names.
pub(crate) const NONSENSE: [(&str, &str); 18] = [
    ("replica: 2", "replica"),
    ("replicas: two", "replicas"),
    ("replicas: -1", "replicas"),
    ("image: {pullPolicy: Sometimes}", "pullPolicy"),
    ("tls: {type: none}", "type"),
    ("tls: {type: existingSecret}", "tls.existingSecret.name is needed"),
    ("service: {port: 70000}", "port"),
    ("args: [metric-resolution=15s]", "args"),
    ("addonResizer: {enabled: true}", "addonResizer"),
    ("podDisruptionBudget: {enabled: true}", "podDisruptionBudget"),
    (
        "podDisruptionBudget: {enabled: true, minAvailable: 1, maxUnavailable: 1}",
        "podDisruptionBudget",
    ),
    ("grants: {harbor: {capabilities: {network: {}}}}", "network"),
    ("grants: {harbor: {identity: {serviceAccount: 5}}}", "serviceAccount"),
    (
        "grants: {'*': {capabilities: {events: {}}}}",
        "name the plugins that are granted",
    ),
    ("apiServices: [{group: harbor, versions: [v1]}]", "group"),
    ("persistence: {enabled: true}\nreplicas: 2", "persistence is for one replica"),
    (
        "persistence: {enabled: true}\netcd: {servers: ['https://a:2379']}",
        "in one place",
    ),
    (
        "apiService: {insecureSkipTLSVerify: true}",
        "insecureSkipTLSVerify and tls.type outrigger",
    ),
];
