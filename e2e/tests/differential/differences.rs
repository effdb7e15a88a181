//! Where we answer otherwise than upstream, and why. `docs/differences.md` shows these tables.

use anyhow::Result;
use outrigger_e2e::differential::difference::{self, Difference};

/// Of discovery, health, negotiation, identity, get and list.
const REQUESTS: &[Difference] = &[
    Difference {
        rows: "group*|resources*|paths*|CORS*|may not*|nowhere: an escaped*",
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
        why: "clients go through kube-apiserver; an extension server's own address leads them astray",
    },
    Difference {
        rows: "groups: protobuf",
        at: "body",
        when: "`/apis`, plain, in protobuf",
        upstream: "without `apiVersion`, so that its own decoder refuses it",
        ours: "readable",
        why: "an answer is there to be read",
    },
    Difference {
        rows: "groups: v2, *known",
        at: "status",
        when: "`If-None-Match` with a weak ETag, with several, or with `*`",
        upstream: "200",
        ours: "304",
        why: "RFC 9110, 13.1.2",
    },
    Difference {
        rows: "OpenAPI*",
        at: "header vary|header content-encoding",
        when: "OpenAPI",
        upstream: "`Vary` on refusals too; v3 is never compressed here",
        ours: "`Vary` on what varies; v3 is compressed for who can read it",
        why: "a version's document has 90 KB, and every kubectl explain fetches one",
    },
    Difference {
        rows: "OpenAPI v3*",
        at: "status",
        when: "`/openapi/v3/…` of what is not served, and with a slash at the end",
        upstream: "an empty 200",
        ours: "404",
        why: "there is no such document, and an empty one is no OpenAPI",
    },
    Difference {
        rows: "resources*|groups*|nowhere: an escaped*",
        at: "body *.storageVersionHash",
        when: "resources in discovery",
        upstream: "`storageVersionHash` of what is stored",
        ours: "none",
        why: "nothing is stored, so there is no storage version to name",
    },
    Difference {
        rows: "group*|resources*|paths*|nowhere: an escaped*|CORS*",
        at: "body .versions[metrics.k8s.io/v1]|body .preferredVersion.*|body .groups[metrics.k8s.io].versions[metrics.k8s.io/v1]|\
             body .groups[metrics.k8s.io].preferredVersion.*|body .items[metrics.k8s.io].versions[v1]|body .paths[/apis/metrics.k8s.io/v1]|\
             body .paths[/openapi/v3/apis/metrics.k8s.io/v1]",
        when: "discovery of `metrics.k8s.io`",
        upstream: "`v1beta1`",
        ours: "`v1`, preferred, and `v1beta1`",
        why: "the plugin serves both; k8s.io/metrics v0.36 has Go types for `v1beta1` alone",
    },
    Difference {
        rows: "group*|resources*|nowhere: an escaped*",
        at: "body *.verbs[create]|body *.verbs[update]|body *.verbs[patch]|body *.verbs[delete]|body *.verbs[deletecollection]",
        when: "verbs of pods and nodes",
        upstream: "writes as well",
        ours: "get, list and watch",
        why: "the test puts objects into the peer; metrics cannot be written, and a resource that cannot be emptied must not offer delete",
    },
    Difference {
        rows: "write:*|body:*|nowhere: the proxy prefix",
        at: "status|body *|exchange",
        when: "a write to pods or nodes",
        upstream: "judges the body: 400, 404, 413, 415",
        ours: "405, whatever the body",
        why: "the verb is not offered, which is known before a byte of the body is read",
    },
    Difference {
        rows: "*",
        at: "header x-content-type-options",
        when: "any Status",
        upstream: "no `X-Content-Type-Options`, except on some refusals",
        ours: "`nosniff`",
        why: "a message may hold what the caller sent; no browser should guess what it is",
    },
    Difference {
        rows: "nowhere:*|groups: v2 of the core|OpenAPI*|paths*|healthz:*|livez:*|readyz:*|may not*",
        at: "body .paths*|body .kind|body .apiVersion|body .code|body .reason|body .message|body .metadata|body .status|body .details|body's form|header content-type|body .",
        when: "a path that nobody serves",
        upstream: "404 with the index of paths as JSON, whatever was asked for",
        ours: "404 with a Status, in the encoding that was asked for",
        why: "every error is a Status: clients show its message and not a list",
    },
    Difference {
        rows: "healthz:*|livez:*|readyz:*|paths*",
        at: "body .[[*|body .paths[/healthz*|body .paths[/livez*|body .paths[/readyz*|body .paths[/metrics/slis]|body .paths[/openapi/v3/]",
        when: "health checks by name",
        upstream: "etcd, informers, post-start hooks",
        ours: "plugins, metric storage, informers of nodes and pods",
        why: "each server's own parts",
    },
    Difference {
        rows: "get of a missing*|get of a pod of*|nowhere: *object*|nowhere: *name*|nowhere: *UTF-8*|object:*",
        at: "body .message|body .details*",
        when: "an object that is not there",
        upstream: "`nodes.metrics.k8s.io \"oak\" not found`",
        ours: "`node \"oak\" not found`, `pods \"x\" not found`",
        why: "metrics-server's words: they tell \"no such node\" from \"no metrics for it yet\"",
    },
    Difference {
        rows: "*",
        at: "body .columnDefinitions[Name].description",
        when: "the column Name of a Table",
        upstream: "metrics-server's description of it",
        ours: "the description of `metadata.name`",
        why: "the host makes this column for every plugin, with upstream's words for a resource that declares no columns",
    },
    Difference {
        rows: "*",
        at: "body .columnDefinitions",
        when: "a Table without rows",
        upstream: "no columns either: the convertor takes them from the first row",
        ours: "its columns",
        why: "a plugin declares them",
    },
    Difference {
        rows: "list of an *",
        at: "body .items",
        when: "PartialObjectMetadataList without items",
        upstream: "`null`",
        ours: "`[]`",
        why: "as all other empty lists",
    },
    Difference {
        rows: "object: a list's metadata*|list: metadata*",
        at: "body .message",
        when: "PartialObjectMetadata of a list, or the other way round",
        upstream: "406, the message ends with a Go type: `(*metrics.PodMetricsList)`",
        ours: "the same without the type",
        why: "there is none",
    },
    Difference {
        rows: "object:*|list:*|groups:*|group:*|resources:*|nowhere: an unknown object, HTML|unauthorized*|forbidden*|anonymous*",
        at: "body .message|body .details|body's form",
        when: "an Accept header that nothing fits",
        upstream: "406 from its router: `406: Not Acceptable\\n\\nAvailable representations: …` with empty details",
        ours: "406 in the words of upstream's own negotiation: `only the following media types are accepted: …`",
        why: "one sentence for one fact",
    },
    Difference {
        rows: "object: any application|object: a star|list: any application|list: a star",
        at: "status",
        when: "`Accept: application/*`, `Accept: *`",
        upstream: "406: its router knows `*/*` alone",
        ours: "JSON",
        why: "media ranges of RFC 9110",
    },
    Difference {
        rows: "list: metadata's",
        at: "status",
        when: "the metadata client's DeleteCollection: PartialObjectMetadata of a list first, JSON last",
        upstream: "406",
        ours: "the next clause that can be had",
        why: "the namespace controller sends this; it gets an answer",
    },
    Difference {
        rows: "object: metadata's of a list",
        at: "status",
        when: "PartialObjectMetadataList of an object first, JSON last",
        upstream: "406",
        ours: "the next clause that can be had",
        why: "as above",
    },
    Difference {
        rows: "*: HEAD*",
        at: "status",
        when: "HEAD",
        upstream: "405 on discovery and `/version`",
        ours: "as GET, without the body",
        why: "RFC 9110: what can be had can be asked about",
    },
    Difference {
        rows: "*: POST",
        at: "status",
        when: "POST to a document (`/`, OpenAPI)",
        upstream: "200, as GET",
        ours: "405",
        why: "a document takes nothing",
    },
    Difference {
        rows: "OpenAPI*|may not: OpenAPI",
        at: "header last-modified|header accept-ranges|header content-length",
        when: "OpenAPI documents",
        upstream: "`Last-Modified`, `Accept-Ranges`",
        ours: "the ETag alone",
        why: "a document has no time that replicas would agree on, and it is never read in parts",
    },
    Difference {
        rows: "nowhere: a percent sign*",
        at: "body *|body's form|header *",
        when: "a path with a bad escape",
        upstream: "400 as a line of text, connection closed",
        ours: "400 with a Status",
        why: "every error is a Status",
    },
    Difference {
        rows: "nowhere: bytes that are no UTF-8",
        at: "status",
        when: "a path that is no UTF-8",
        upstream: "404",
        ours: "400",
        why: "no name in Kubernetes is so; the sentence says what is wrong",
    },
    Difference {
        rows: "version*",
        at: "body .*|body's form",
        when: "`/version`",
        upstream: "Go's and Kubernetes' versions",
        ours: "our own, made by rustc",
        why: "they are two programs",
    },
    Difference {
        rows: "metrics*",
        at: "header process-start-time-unix|status|header transfer-encoding|header content-type",
        when: "`/metrics`",
        upstream: "the Go client's headers and forms, `/metrics/slis`",
        ours: "the text format",
        why: "Prometheus reads it",
    },
    Difference {
        rows: "*",
        at: "header transfer-encoding",
        when: "bodies over 2 KB",
        upstream: "chunked over HTTP/1.1",
        ours: "with their length",
        why: "it is known",
    },
];

/// Of paging, resourceVersion rules and watches.
const WATCHING: &[Difference] = &[
    Difference {
        rows: "options:*",
        at: "status",
        when: "LIST exactly at the version 1, which no table remembers",
        upstream: "what etcd had at its first revision: nothing, or 410 once it is compacted",
        ours: "410",
        why: "a table keeps its present and the moments of lists that are read by pages",
    },
    Difference {
        rows: "options:*|a bad token:*|a token*",
        at: "body .message",
        when: "a continue token that cannot be read",
        upstream: "400 with Go's sentence on what is wrong with its JSON",
        ours: "400 with our parser's",
        why: "only the first half of the sentence is the API's",
    },
    Difference {
        rows: "get at a version:*|watch: from nonsense|watch: from a negative version|watch: timeoutSeconds negative",
        at: "status",
        when: "GET or watch at a resourceVersion that is no number",
        upstream: "500",
        ours: "400, as on LIST",
        why: "it is the client's mistake",
    },
    Difference {
        rows: "watch*",
        at: "body *.object.containers|body *.object.timestamp|body *.object.window|body *.cells*",
        when: "the object of a bookmark",
        upstream: "all fields, empty: `\"timestamp\": null`, `\"window\": \"0s\"`",
        ours: "kind, apiVersion and the version",
        why: "the host knows no fields of a plugin's type; clients read the version alone",
    },
    Difference {
        rows: "watch*",
        at: "body *.columnDefinitions[Name].description",
        when: "the column Name of a watched Table",
        upstream: "metrics-server's description of it",
        ours: "the description of `metadata.name`",
        why: "as in lists",
    },
    Difference {
        rows: "watch as HTML*|watch as a Table in protobuf*",
        at: "body .message|body .details|body's form",
        when: "a watch in a form that cannot be had",
        upstream: "406 that lists the forms of a get",
        ours: "406 that lists the forms of a watch",
        why: "those are what the client may ask for",
    },
    Difference {
        rows: "watch as YAML or JSON*",
        at: "status",
        when: "a watch that would rather be YAML, and JSON if not",
        upstream: "406",
        ours: "JSON",
        why: "the next clause can be had",
    },
    Difference {
        rows: "watch as a list's metadata*",
        at: "status",
        when: "a watch as PartialObjectMetadataList",
        upstream: "200",
        ours: "406",
        why: "events carry objects, not lists",
    },
    Difference {
        rows: "watch: with a token|watch: with a bad token",
        at: "status",
        when: "a watch with `continue`",
        upstream: "422, for a resourceVersionMatch that the client never sent",
        ours: "a watch: there is nothing to continue",
        why: "upstream sets that parameter itself and then refuses it",
    },
    Difference {
        rows: "watch of the prefix of nothing",
        at: "status",
        when: "`/watch` with nothing behind it",
        upstream: "500",
        ours: "400",
        why: "it is the client's mistake",
    },
];

/// What is not yet as upstream has it, and should be: each entry is a defect. It fails the test when it is mended.
const OPEN: &[Difference] = &[Difference {
    rows: "impersonation*",
    at: "body .message|body .details*",
    when: "a refused impersonation at the extension server itself",
    upstream: "the words of constrained impersonation (on since 1.36)",
    ours: "the words from before it",
    why: "constrained impersonation is not there yet",
}];

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Difference> {
    REQUESTS.iter().chain(WATCHING).chain(OPEN)
}

const INTRODUCTION: &str = "\
# Where Outrigger answers otherwise than k8s.io/apiserver

The differential tests (`e2e/tests/differential`) send the same requests to Outrigger and to a server on k8s.io/apiserver v0.36.3
that holds the same objects, and compare status, headers and bodies field by field. What is not in these tables is equal. What stands
in the first two is on purpose, what stands in the last one is a defect. The tables are made from the list that the tests read: an
entry that is no longer true fails them.
";

/// The page is what this file says; `OUTRIGGER_UPDATE=1` writes it.
pub(crate) fn page() -> Result<()> {
    let sections = [
        ("Requests", REQUESTS),
        ("Paging, versions and watches", WATCHING),
        ("Not yet as upstream", OPEN),
    ];
    difference::page("docs/differences.md", INTRODUCTION, &sections)
}
