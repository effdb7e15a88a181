//! get and list: names, namespaces, selectors.

use crate::row::{Row, read};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// Selectors are in the query as a client would escape them.
const LABELS: [(&str, &str); 34] = [
    ("equal", "app=burner"),
    ("equal twice", "app%3D%3Dburner"),
    ("not equal", "app!=burner"),
    ("in", "app+in+(burner,pair)"),
    ("not in", "app+notin+(burner)"),
    ("exists", "tier"),
    ("does not exist", "!tier"),
    ("both", "app=burner,tier=back"),
    ("nothing matches", "app=nothing"),
    ("an odd key", "example.com/odd=it.is_so-1"),
    ("empty", ""),
    ("an empty value", "app="),
    ("spaces", "%20app%20%3D%20burner%20"),
    ("in, a hole", "app+in+(burner,)"),
    ("in, nothing", "app+in+()"),
    ("greater", "app%3E5"),
    ("less than no number", "app%3Cx"),
    ("greater than a number in a value", "example.com/odd%3E1"),
    ("a comma at the end", "app=burner,"),
    ("a comma first", ",app=burner"),
    ("an operator first", "=burner"),
    ("two values", "app=burner=x"),
    ("three equal signs", "app%3D%3D%3Dburner"),
    ("a bad key", "-app=burner"),
    ("a bad key's prefix", "Ex_ample/app=burner"),
    ("two slashes in a key", "a/b/c=d"),
    ("a bad value", "app=-burner"),
    (
        "a value of 64 letters",
        "app=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    (
        "a key of 64 letters",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=b",
    ),
    ("an open bracket", "app+in+(burner"),
    ("no bracket", "app+in+burner"),
    ("an unknown operator", "app+like+burner"),
    ("not, with a value", "!app=burner"),
    ("letters from afar", "app=%C3%A4"),
];

const FIELDS: [(&str, &str); 23] = [
    ("a name", "metadata.name=burner"),
    ("a name, twice equal", "metadata.name%3D%3Dburner"),
    ("not a name", "metadata.name!=burner"),
    ("a namespace", "metadata.namespace=yard"),
    ("not a namespace", "metadata.namespace!=yard"),
    ("both", "metadata.name=burner,metadata.namespace=yard"),
    ("two names", "metadata.name=burner,metadata.name=pair"),
    ("nothing matches", "metadata.name=nothing"),
    ("empty", ""),
    ("an empty name", "metadata.name="),
    ("an unknown field", "spec.nodeName=ash"),
    ("an unknown field of metadata", "metadata.uid=x"),
    ("no operator", "metadata.name"),
    ("in", "metadata.name+in+(burner)"),
    ("a comma at the end", "metadata.name=burner,"),
    ("an escaped comma", "metadata.name=a%5C,b"),
    ("an escaped equal sign", "metadata.name=a%5C%3Db"),
    ("a bad escape", "metadata.name=a%5Cb"),
    ("an escape at the end", "metadata.name=a%5C"),
    ("spaces", "%20metadata.name=burner"),
    ("a name that cannot be", "metadata.name=a/b"),
    ("a star", "metadata.name=*"),
    ("letters from afar", "metadata.name=%C3%A4"),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (how, selector) in LABELS {
        rows.push(read(format!("labels: {how}"), &format!("/pods?labelSelector={selector}")));
    }
    for (how, selector) in FIELDS {
        rows.push(read(format!("fields: {how}"), &format!("/pods?fieldSelector={selector}")));
    }
    rows.push(read(
        "fields: a namespace, of nodes",
        "/nodes?fieldSelector=metadata.namespace=yard",
    ));
    rows.push(read("fields: a name, of nodes", "/nodes?fieldSelector=metadata.name=ash"));
    rows.push(read(
        "fields: another namespace",
        "/namespaces/shop/pods?fieldSelector=metadata.namespace=yard",
    ));
    rows.push(read("labels: twice", "/pods?labelSelector=app=burner&labelSelector=app=pair"));
    rows.push(read(
        "labels and fields",
        "/pods?labelSelector=app=burner&fieldSelector=metadata.namespace=yard",
    ));
    rows.push(read("labels: bad, in YAML", "/pods?labelSelector=app=burner=x").accept("application/yaml"));
    rows.push(read("labels: bad, in protobuf", "/pods?labelSelector=app=burner=x").accept("application/vnd.kubernetes.protobuf"));
    rows.push(read("labels: bad, as a Table", "/pods?labelSelector=app=burner=x").accept(TABLE));
    rows.push(read("labels: of an object", "/nodes/ash?labelSelector=app=burner=x"));
    rows.push(read("fields: of an object", "/nodes/ash?fieldSelector=a=b"));
    for (how, path) in [
        ("nodes", "/nodes"),
        ("a namespace's pods", "/namespaces/shop/pods"),
        ("an empty namespace's pods", "/namespaces/default/pods"),
        ("an unknown namespace's pods", "/namespaces/nowhere/pods"),
    ] {
        for (form, accept) in [
            ("JSON", "application/json"),
            ("YAML", "application/yaml"),
            ("protobuf", "application/vnd.kubernetes.protobuf"),
            ("a Table", TABLE),
            ("metadata", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            (
                "metadata in protobuf",
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            ),
        ] {
            rows.push(read(format!("list of {how}: {form}"), path).accept(accept));
        }
    }
    for (how, path) in [
        ("node", "/nodes/ash"),
        ("missing node", "/nodes/oak"),
        ("pod", "/namespaces/shop/pods/burner"),
        ("missing pod", "/namespaces/shop/pods/nothing"),
        ("pod of another namespace", "/namespaces/yard/pods/pair"),
        ("pod of an unknown namespace", "/namespaces/nowhere/pods/pair"),
    ] {
        for (form, accept) in [
            ("JSON", "application/json"),
            ("YAML", "application/yaml"),
            ("protobuf", "application/vnd.kubernetes.protobuf"),
            ("a Table", TABLE),
            ("metadata", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
        ] {
            rows.push(read(format!("get of a {how}: {form}"), path).accept(accept));
        }
    }
    rows
}
