//! Accept headers of all sorts, on an object and on a list.

use http::Method;

use crate::row::{Row, read};

const ACCEPT: [(&str, &str); 48] = [
    ("JSON", "application/json"),
    ("YAML", "application/yaml"),
    ("protobuf", "application/vnd.kubernetes.protobuf"),
    ("anything", "*/*"),
    ("any application", "application/*"),
    ("a star", "*"),
    ("CBOR", "application/cbor"),
    ("HTML", "text/html"),
    ("text", "text/plain"),
    (
        "a browser's",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("empty", ""),
    ("a comma", ","),
    ("nonsense", "nonsense"),
    ("nonsense, then JSON", "nonsense, application/json"),
    ("no subtype", "application/"),
    ("three parts", "application/json/x"),
    ("capitals", "Application/JSON"),
    ("spaces", "  application/yaml ,  application/json  "),
    ("with a charset", "application/json;charset=utf-8"),
    ("the better one last", "application/yaml;q=0.1, application/json;q=0.9"),
    ("the better one first", "application/yaml;q=0.9, application/json;q=0.1"),
    ("equal qualities", "application/yaml;q=0.5, application/json;q=0.5"),
    ("no quality at all", "application/yaml;q=0, application/json"),
    ("nothing acceptable", "application/json;q=0"),
    ("a quality that is none", "application/yaml;q=x, application/json;q=0.5"),
    ("a quality above one", "application/yaml;q=5, application/json"),
    ("a wildcard first", "*/*, application/yaml"),
    ("client-go's protobuf", "application/vnd.kubernetes.protobuf,application/json"),
    (
        "metadata's",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
    ),
    (
        "metadata's of a list",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
    ),
    (
        "kubectl's",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
    ),
    ("a Table v1", "application/json;as=Table;v=v1;g=meta.k8s.io"),
    ("a Table v1beta1", "application/json;as=Table;v=v1beta1;g=meta.k8s.io"),
    ("a Table v1alpha1", "application/json;as=Table;v=v1alpha1;g=meta.k8s.io"),
    (
        "a Table v1alpha1 or JSON",
        "application/json;as=Table;v=v1alpha1;g=meta.k8s.io,application/json",
    ),
    ("a Table without group", "application/json;as=Table;v=v1"),
    ("a Table without version", "application/json;as=Table;g=meta.k8s.io"),
    ("a Table in YAML", "application/yaml;as=Table;v=v1;g=meta.k8s.io"),
    (
        "a Table in protobuf",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
    ),
    (
        "a Table in protobuf or JSON",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
    ),
    ("an unknown form", "application/json;as=Chair;v=v1;g=meta.k8s.io"),
    (
        "metadata in JSON",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    ),
    (
        "metadata in YAML",
        "application/yaml;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    ),
    (
        "metadata v1beta1",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1",
    ),
    (
        "a list's metadata in JSON",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    ),
    (
        "a list's metadata in YAML",
        "application/yaml;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    ),
    (
        "a list's metadata v1beta1",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1beta1",
    ),
    ("pretty by parameter", "application/json;pretty=1"),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, path) in [("object", "/namespaces/shop/pods/pair"), ("list", "/pods")] {
        rows.push(read(format!("{what}: no Accept"), path));
        for (form, accept) in ACCEPT {
            rows.push(read(format!("{what}: {form}"), path).accept(accept));
        }
        rows.push(read(format!("{what}: a stream"), path).accept("application/json;stream=watch"));
        rows.push(read(format!("{what}: an unknown stream"), path).accept("application/json;stream=x"));
        rows.push(read(format!("{what}: a server's version"), path).accept("application/json;v=v1"));
        for (how, query) in [
            ("pretty", "?pretty=1"),
            ("pretty, true", "?pretty=true"),
            ("pretty, empty", "?pretty="),
            ("not pretty", "?pretty=false"),
            ("pretty, nonsense", "?pretty=x"),
            ("an unknown parameter", "?unknown=1"),
            ("export", "?export=1"),
            ("exact", "?exact=1"),
        ] {
            rows.push(read(format!("{what}: {how}"), &format!("{path}{query}")));
        }
        rows.push(read(format!("{what}: by curl"), path).header("user-agent", "curl/8.5.0"));
        rows.push(read(format!("{what}: by curl, not pretty"), &format!("{path}?pretty=0")).header("user-agent", "curl/8.5.0"));
        rows.push(
            read(format!("{what}: by curl, a Table"), path)
                .header("user-agent", "curl/8.5.0")
                .accept("application/json;as=Table;v=v1;g=meta.k8s.io"),
        );
        for (how, include) in [
            ("None", "None"),
            ("Metadata", "Metadata"),
            ("Object", "Object"),
            ("empty", ""),
            ("unknown", "All"),
            ("small letters", "none"),
        ] {
            rows.push(
                read(
                    format!("{what}: a Table with objects {how}"),
                    &format!("{path}?includeObject={include}"),
                )
                .accept("application/json;as=Table;v=v1;g=meta.k8s.io"),
            );
        }
        rows.push(
            read(
                format!("{what}: a Table v1beta1 with objects Object"),
                &format!("{path}?includeObject=Object"),
            )
            .accept("application/json;as=Table;v=v1beta1;g=meta.k8s.io"),
        );
        rows.push(read(
            format!("{what}: JSON with objects unknown"),
            &format!("{path}?includeObject=All"),
        ));
        rows.push(read(format!("{what}: gzip"), path).header("accept-encoding", "gzip"));
        rows.push(read(format!("{what}: HEAD"), path).method(Method::HEAD));
        rows.push(read(format!("{what}: a slash more"), &format!("{path}/")));
        rows.push(read(format!("{what}: a Content-Type"), path).header("content-type", "text/html"));
        rows.push(read(format!("{what}: a condition"), path).header("if-none-match", "*"));
        rows.push(read(format!("{what}: a range"), path).header("range", "bytes=0-3"));
    }
    rows
}
