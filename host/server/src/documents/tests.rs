//! Documents of a catalog with one native plugin, asked for as clients ask.

use http::Request;
use http_body_util::BodyExt as _;
use outrigger_catalog::Catalog;
use outrigger_catalog::testing::Native;
use outrigger_sandbox::Collected;
use serde_json::Value;

use super::*;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_PROTOBUF: &str = "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
const GROUP: &str = "/openapi/v3/apis/a.example.com/v1";

struct Answered {
    code: u16,
    headers: HeaderMap,
    body: Bytes,
}

// === impl Answered ===

impl Answered {
    fn header(&self, name: &str) -> String {
        let all: Vec<_> = self.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
        all.join(", ")
    }
}

fn catalog() -> Catalog {
    let catalog = Catalog::new(Vec::new(), Arc::new(outrigger_storage::Nothing));
    let plugin = Native::collecting("a", "1", "a.example.com", |_, _| Ok(Collected::default()));
    assert!(catalog.replace(vec![plugin.installed("a.wasm")]).is_empty());
    catalog
}

async fn ask(catalog: &Catalog, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Answered, u16> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let snapshot = catalog.snapshot();
    let answered = answer(snapshot.documents(), parts.uri.path(), &parts, &query).await;
    let (head, body) = answered.map_err(|status| status.code)?.into_parts();
    Ok(Answered {
        code: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    })
}

#[tokio::test]
async fn every_document_comes_as_it_is_asked_for() {
    let catalog = catalog();
    // (method, path, Accept, code, Content-Type, Cache-Control, Vary): kube-apiserver 1.36.3's, but for what the module says.
    let json = "application/json";
    for (method, path, accept, code, content_type, cache, vary) in [
        ("GET", "/", "", 200, json, "", ""),
        ("GET", "/", "text/html", 200, json, "", ""),
        ("HEAD", "/", "", 200, json, "", ""),
        ("GET", "/index.html", "", 200, json, "", ""),
        ("POST", "/", "", 405, "", "", ""),
        ("GET", "/apis", "", 200, json, "", "Accept"),
        ("GET", "/apis/", "", 200, json, "", "Accept"),
        ("HEAD", "/apis", "", 200, json, "", "Accept"),
        ("PUT", "/apis", "", 405, "", "", ""),
        ("GET", "/apis", "application/yaml", 200, "application/yaml", "", "Accept"),
        ("GET", "/apis", PROTOBUF, 200, PROTOBUF, "", "Accept"),
        ("GET", "/apis", AGGREGATED, 200, AGGREGATED, "public", "Accept"),
        (
            "GET",
            "/apis",
            AGGREGATED_PROTOBUF,
            200,
            AGGREGATED_PROTOBUF,
            "public",
            "Accept",
        ),
        ("GET", "/apis", "text/html", 406, "", "", ""),
        ("GET", "/apis/a.example.com", PROTOBUF, 200, PROTOBUF, "", "Accept"),
        ("GET", "/apis/a.example.com/", "", 200, json, "", "Accept"),
        ("GET", "/apis/a.example.com", AGGREGATED, 406, "", "", ""),
        ("GET", "/apis/a.example.com/v1", PROTOBUF, 200, PROTOBUF, "", "Accept"),
        ("GET", "/apis/a.example.com/v1/", "", 200, json, "", "Accept"),
        ("GET", "/apis/a.example.com/v2", "", 404, "", "", ""),
        ("GET", "/apis/b.example.com", "", 404, "", "", ""),
        ("GET", "/api", "", 404, "", "", ""),
        ("GET", "/openapi", "", 404, "", "", ""),
        ("GET", "/openapi/v2", "", 200, json, "", "Accept-Encoding, Accept"),
        ("GET", "/openapi/v2/", "", 404, "", "", ""),
        ("POST", "/openapi/v2", "", 405, "", "", ""),
        ("GET", "/openapi/v2", V2, 200, V2, "", "Accept-Encoding, Accept"),
        (
            "GET",
            "/openapi/v2",
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            200,
            V2,
            "",
            "Accept-Encoding, Accept",
        ),
        ("GET", "/openapi/v2", V3, 406, "", "", ""),
        ("GET", "/openapi/v2", "application/yaml", 406, "", "", ""),
        ("GET", "/openapi/v3", "", 200, json, "", ""),
        ("GET", "/openapi/v3", "application/yaml", 200, json, "", ""),
        ("GET", "/openapi/v3/", "", 404, "", "", ""),
        ("GET", GROUP, "", 200, json, "", "Accept-Encoding, Accept"),
        ("GET", GROUP, V3, 200, V3, "", "Accept-Encoding, Accept"),
        ("GET", GROUP, "application/yaml", 406, "", "", ""),
        ("GET", "/openapi/v3/apis/b.example.com/v1", "", 404, "", "", ""),
    ] {
        let headers: &[_] = if accept.is_empty() { &[] } else { &[("accept", accept)] };
        let what = format!("{method} {path} {accept}");
        match ask(&catalog, method, path, headers).await {
            Err(refused) => assert_eq!(refused, code, "{what}"),
            Ok(answered) => {
                assert_eq!(answered.code, code, "{what}");
                assert_eq!(answered.header("content-type"), content_type, "{what}");
                assert_eq!(answered.header("cache-control"), cache, "{what}");
                assert_eq!(answered.header("vary"), vary, "{what}");
                assert_eq!(
                    answered.header("etag").is_empty(),
                    ["/", "/index.html"].contains(&path),
                    "{what}"
                );
                let magic = answered.body.starts_with(b"k8s\0");
                assert_eq!(magic, content_type.starts_with(PROTOBUF), "{what}");
                if content_type.starts_with(json) {
                    serde_json::from_slice::<Value>(&answered.body).unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn the_path_index_is_indented_for_everybody() {
    let answered = ask(&catalog(), "GET", "/?pretty=0", &[]).await.unwrap();
    assert!(
        answered.body.starts_with(b"{\n  \"paths\": [\n    \"/apis\","),
        "{:?}",
        answered.body
    );
    let indented = ask(&catalog(), "GET", "/apis?pretty=1", &[]).await.unwrap();
    assert!(indented.body.starts_with(b"{\n  \"kind\""));
    let compact = ask(&catalog(), "GET", "/apis", &[]).await.unwrap();
    assert!(compact.body.starts_with(b"{\"kind\"") && compact.body.ends_with(b"}\n"));
}

#[tokio::test]
async fn one_etag_names_all_forms_and_saves_the_body() {
    let catalog = catalog();
    for (path, forms) in [
        ("/apis", &[AGGREGATED, AGGREGATED_PROTOBUF][..]),
        ("/apis", &["application/json", PROTOBUF, "application/yaml"]),
        ("/openapi/v2", &["application/json", V2]),
        (GROUP, &["application/json", V3]),
    ] {
        let mut tags = std::collections::BTreeSet::new();
        for accept in forms {
            let fresh = ask(&catalog, "GET", path, &[("accept", accept)]).await.unwrap();
            let tag = fresh.header("etag");
            for (held, code) in [
                (tag.clone(), 304),
                (format!("\"x\", {tag}"), 304),
                (format!("W/{tag}"), 304),
                ("*".to_owned(), 304),
                ("\"x\"".to_owned(), 200),
                (tag.trim_matches('"').to_owned(), 200),
            ] {
                let again = ask(&catalog, "GET", path, &[("accept", accept), ("if-none-match", &held)])
                    .await
                    .unwrap();
                assert_eq!(again.code, code, "{path} {accept} {held}");
                assert_eq!(again.body.is_empty(), code == 304, "{path} {accept} {held}");
                for name in ["etag", "vary", "cache-control"] {
                    let (now, before) = (again.header(name), fresh.header(name));
                    assert_eq!(now, before, "{path} {accept} {held} {name}");
                }
            }
            tags.insert(tag);
        }
        assert_eq!(tags.len(), 1, "{path}");
    }
}

#[tokio::test]
async fn a_url_with_the_right_hash_never_changes_and_a_wrong_one_leads_there() {
    let catalog = catalog();
    let index = ask(&catalog, "GET", "/openapi/v3", &[]).await.unwrap();
    let index: Value = serde_json::from_slice(&index.body).unwrap();
    let right = index["paths"]["apis/a.example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    for accept in ["application/json", V3] {
        let answered = ask(&catalog, "GET", right, &[("accept", accept)]).await.unwrap();
        assert_eq!(answered.code, 200);
        assert_eq!(answered.header("cache-control"), "public, immutable");
        let expires = answered.header("expires");
        let days = jiff::fmt::rfc2822::parse(&expires).unwrap().timestamp() - jiff::Timestamp::now();
        assert!(expires.ends_with(" GMT") && days.get_seconds() / 86_400 >= 364, "{expires}");
    }
    let moved = ask(&catalog, "GET", &format!("{GROUP}?hash=wrong"), &[]).await.unwrap();
    assert_eq!((moved.code, moved.header("location").as_str()), (301, right));
    assert_eq!(
        (moved.header("cache-control"), moved.header("expires")),
        (String::new(), String::new())
    );
    assert_eq!(moved.header("vary"), "Accept-Encoding, Accept");
    // An empty hash is none, and v2 has none.
    for uri in [format!("{GROUP}?hash="), "/openapi/v2?hash=wrong".to_owned()] {
        let answered = ask(&catalog, "GET", &uri, &[]).await.unwrap();
        assert_eq!((answered.code, answered.header("expires")), (200, String::new()), "{uri}");
    }
}

#[tokio::test]
async fn large_documents_are_compressed_for_who_can_read_them() {
    let catalog = catalog();
    for (path, accept, expected) in [
        ("/openapi/v2", "application/json", true),
        ("/openapi/v2", V2, true),
        (GROUP, V3, true),
        // Discovery of one resource is small.
        ("/apis", AGGREGATED, false),
    ] {
        let plain = ask(&catalog, "GET", path, &[("accept", accept)]).await.unwrap();
        let packed = ask(&catalog, "GET", path, &[("accept", accept), ("accept-encoding", "gzip")])
            .await
            .unwrap();
        assert_eq!(plain.header("content-encoding"), "");
        assert_eq!(packed.header("content-encoding") == "gzip", expected, "{path}");
        let mut body = Vec::new();
        if expected {
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut body).unwrap();
        } else {
            body.extend_from_slice(&packed.body);
        }
        assert_eq!(body, plain.body, "{path}");
    }
}

#[tokio::test]
async fn forms_are_made_when_asked_for_and_kept() {
    let catalog = catalog();
    let snapshot = catalog.snapshot();
    let document = snapshot.documents().at("/openapi/v2").unwrap();
    let form = Form {
        protobuf: true,
        gzip: true,
    };
    assert_eq!(document.kept(form), None);
    ask(&catalog, "GET", "/openapi/v2", &[("accept", V2), ("accept-encoding", "gzip")])
        .await
        .unwrap();
    let kept = document.kept(form).unwrap().clone();
    assert_eq!(kept.as_ptr(), document.keep(form, b"another").as_ptr());
}
