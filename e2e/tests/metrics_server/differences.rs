//! Where we answer otherwise than metrics-server, and why. `docs/metrics-differences.md` shows this table.

use anyhow::Result;
use outrigger_e2e::differential::{Difference, difference};

/// On purpose.
const DELIBERATE: &[Difference] = &[
    Difference {
        rows: "group*|another group|the core group",
        at: "body .groups[metrics.k8s.io].versions[metrics.k8s.io/v1]|body .groups[metrics.k8s.io].preferredVersion.*|body .versions[metrics.k8s.io/v1]|body .preferredVersion.*|body .items[metrics.k8s.io].versions[v1]",
        when: "discovery of `metrics.k8s.io`",
        upstream: "`v1beta1`",
        ours: "`v1`, preferred, and `v1beta1`",
        why: "`v1` is GA in Kubernetes 1.37; the objects are the same",
    },
    Difference {
        rows: "the newer version",
        at: "status",
        when: "requests of `metrics.k8s.io/v1`",
        upstream: "404",
        ours: "as `v1beta1`",
        why: "as above",
    },
    Difference {
        rows: "group*|resources*",
        at: "body *.verbs[watch]",
        when: "verbs of pods and nodes",
        upstream: "get and list (its RBAC grants watch)",
        ours: "get, list and watch",
        why: "metrics can be followed without asking again and again",
    },
    Difference {
        rows: "a watch*",
        at: "status",
        when: "a watch",
        upstream: "405; 404 for the old form",
        ours: "200: events whenever a scrape brings other values",
        why: "as above",
    },
    Difference {
        rows: "group*|resources*",
        at: "header etag|header vary",
        when: "plain discovery",
        upstream: "neither ETag nor Vary",
        ours: "an ETag, and `Vary: Accept`",
        why: "the answer does depend on Accept, and a client that has it is spared the bytes",
    },
    Difference {
        rows: "groups*",
        at: "body .apiVersion|body .groups[metrics.k8s.io].serverAddressByClientCIDRs",
        when: "`/apis`, plain",
        upstream: "no `apiVersion`; the server's own address for each client",
        ours: "`v1`, as kube-apiserver has it; no address",
        why: "clients go through kube-apiserver",
    },
    Difference {
        rows: "groups: protobuf",
        at: "body",
        when: "`/apis`, plain, in protobuf",
        upstream: "without `apiVersion`, so that upstream's own decoder refuses it",
        ours: "readable",
        why: "an answer is there to be read",
    },
    Difference {
        rows: "OpenAPI*",
        at: "header accept-ranges|header last-modified|header vary|header content-encoding",
        when: "OpenAPI documents",
        upstream: "`Last-Modified`, `Accept-Ranges`; v3 is not compressed",
        ours: "the ETag alone; compressed for who can read it",
        why: "a document has no time that replicas would agree on, and it is never read in parts",
    },
    Difference {
        rows: "OpenAPI: v3",
        at: "body .paths.*",
        when: "the index of OpenAPI v3",
        upstream: "groups, `apis` and `version` besides",
        ours: "the versions that are served, `v1` among them",
        why: "kubectl explain reads these alone",
    },
    Difference {
        rows: "paths",
        at: "body .paths[*]",
        when: "`/`",
        upstream: "each health check; `/statusz`; no OpenAPI document by name",
        ours: "the paths that are served",
        why: "what upstream lists as `/statusz` is not there to be had",
    },
    Difference {
        rows: "metrics",
        at: "header *",
        when: "`/metrics`",
        upstream: "the Go client's headers and forms",
        ours: "the text format",
        why: "Prometheus reads it",
    },
    Difference {
        rows: "list*|get of*|pods by*|nodes by*|a namespace's pods by*|as a reader*",
        at: "body .metadata.resourceVersion|body .items[*].metadata.resourceVersion|body .rows[*].object.metadata.resourceVersion",
        when: "lists and objects",
        upstream: "no `resourceVersion`",
        ours: "one",
        why: "a list can be read by pages and followed by a watch",
    },
    Difference {
        rows: "list of all pods*|list: a version|pods by*",
        at: "body .items[shop/asleep]|body .items[shop/half-asleep]",
        when: "a pod with a container that uses no CPU, in a list",
        upstream: "the whole pod is missing",
        ours: "0",
        why: "zero is a value; a pod that waits is not an unknown one",
    },
    Difference {
        rows: "list of all pods: a Table",
        at: "body .rows*",
        when: "the same in a Table",
        upstream: "its row is missing",
        ours: "its row",
        why: "as above",
    },
    Difference {
        rows: "get of a sleeping pod*|get of a half sleeping pod*",
        at: "status",
        when: "the same, by name",
        upstream: "404",
        ours: "200",
        why: "as above",
    },
    Difference {
        rows: "list: a page",
        at: "body .items[*]|body .metadata.continue|body .metadata.remainingItemCount",
        when: "`limit`",
        upstream: "ignored: everything",
        ours: "a page, and a token for the next",
        why: "clients that ask for pages get pages",
    },
    Difference {
        rows: "list: a bad version|list: a bad token",
        at: "status",
        when: "a `resourceVersion` or `continue` that is none",
        upstream: "ignored",
        ours: "400",
        why: "upstream's rules for what is stored; a mistake is said",
    },
    Difference {
        rows: "list*: a Table*|list: a Table*|get of*: a Table",
        at: "body .columnDefinitions[Name].description",
        when: "the column Name of a Table",
        upstream: "`Name of the resource`",
        ours: "the description of `metadata.name`",
        why: "the host makes this column for every plugin, with upstream's words for a resource that declares no columns",
    },
    Difference {
        rows: "list of an*: a Table",
        at: "body .columnDefinitions",
        when: "a Table without rows",
        upstream: "no columns either",
        ours: "its columns",
        why: "a plugin declares them",
    },
    Difference {
        rows: "list of an*: metadata",
        at: "body .items",
        when: "PartialObjectMetadataList without items",
        upstream: "`null`",
        ours: "`[]`",
        why: "as all other empty lists",
    },
    Difference {
        rows: "a list as metadata of one",
        at: "body .message",
        when: "PartialObjectMetadata of a list",
        upstream: "406, the message ends with a Go type",
        ours: "the same without the type",
        why: "there is none",
    },
    Difference {
        rows: "an unknown form|CBOR",
        at: "body .message|body .details",
        when: "an Accept header that nothing fits",
        upstream: "406 from its router, with empty details",
        ours: "406 in the words of upstream's own negotiation",
        why: "one sentence for one fact",
    },
    Difference {
        rows: "HEAD*",
        at: "status",
        when: "HEAD",
        upstream: "405",
        ours: "as GET, without the body",
        why: "RFC 9110: what can be had can be asked about",
    },
    Difference {
        rows: "another group|the core group|an unknown path|*: an unknown check",
        at: "body*",
        when: "a path that nobody serves",
        upstream: "404 with the index of paths as JSON, whatever was asked for",
        ours: "404 with a Status, in the encoding that was asked for",
        why: "every error is a Status",
    },
    Difference {
        rows: "healthz*|livez*|readyz*",
        at: "body .[*]",
        when: "verbose health",
        upstream: "its post-start hooks, `metadata-informer-sync`",
        ours: "plugins, the store",
        why: "each server's own parts; `metric-collection-timely`, `metric-storage-ready` and `metric-informer-sync` are on both",
    },
    Difference {
        rows: "*",
        at: "header x-content-type-options",
        when: "any Status",
        upstream: "no `X-Content-Type-Options`",
        ours: "`nosniff`",
        why: "a message may hold what the caller sent; no browser should guess what it is",
    },
];

/// What is not yet as it should be: each entry is a defect. It fails the test when it is mended.
const OPEN: &[Difference] = &[Difference {
    rows: "get of the skipped node*",
    at: "body .message|body .details.*",
    when: "a node that `--node-selector` leaves out",
    upstream: "`nodemetrics.metrics.k8s.io \"skipped\" not found`: the node is known, its metrics are not",
    ours: "`node \"skipped\" not found`",
    why: "the index of nodes holds selected ones alone",
}];

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Difference> {
    DELIBERATE.iter().chain(OPEN)
}

const INTRODUCTION: &str = "\
# Where Outrigger answers otherwise than metrics-server

A differential test (`e2e/tests/metrics_server`) sends the same requests to Outrigger and to metrics-server v0.9.0, both over the same
kube-apiserver and the same kubelets, and compares status, headers and bodies field by field. What is not in this table is equal, but for
times and amounts, which each server makes from its own scrapes. The table is made from the list that the test reads: an entry that
is no longer true fails it. What a server on k8s.io/apiserver would say besides stands in [differences.md](differences.md).
";

/// The page is what this file says; `OUTRIGGER_UPDATE=1` writes it.
pub(crate) fn page() -> Result<()> {
    difference::page(
        "docs/metrics-differences.md",
        INTRODUCTION,
        &[("On purpose", DELIBERATE), ("Not yet", OPEN)],
    )
}
