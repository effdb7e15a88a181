//! Discovery and OpenAPI as finished bytes: made once per change of the catalog, answered from memory ever after.
//!
//! Five requests per APIService reach these every thirty seconds from each kube-apiserver, and every namespace deletion
//! in the cluster waits for them. So nothing here depends on a plugin that runs, and the same catalog gives the same
//! bytes and ETags in every replica and after every restart.
//!
//! JSON is made with the snapshot, because its hash is the document's name. Protobuf and compressed forms are made when
//! somebody asks for the first time, and kept: most hosts are never asked, and those that are asked are asked again.
//! All forms of a document have one ETag, as upstream's have: the answer says `Vary: Accept`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use outrigger_api::discovery::{
    self, ApiGroup, ApiGroupDiscoveryList, ApiGroupList, ApiResourceList, ApiVersions, RootPaths, ServedGroup, etag,
};
use outrigger_api::encode;
use outrigger_api::media::Encoding;
use outrigger_api::openapi::{self, About, Index, Specification};
use serde::Serialize;

/// One document in all its forms.
#[derive(Debug)]
pub struct Document {
    kind: Kind,
    etag: String,
    json: Bytes,
    /// By [`Form::place`].
    made: [OnceLock<Bytes>; 3],
}

/// What a document is, and with it which forms it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A list of paths: JSON alone.
    Index,
    /// Discovery, with a `kind` of its own.
    Discovery,
    /// OpenAPI.
    OpenApi(Specification),
}

/// Bytes that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Protobuf; else compact JSON.
    pub protobuf: bool,
    /// Compressed.
    pub gzip: bool,
}

/// All documents of one catalog snapshot, by path.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    plain: BTreeMap<String, Arc<Document>>,
    aggregated: BTreeMap<&'static str, Arc<Document>>,
}

/// Paths of the host's own that `/` lists.
const OWN_PATHS: [&str; 5] = ["/healthz", "/livez", "/metrics", "/readyz", "/version"];

// === impl Documents ===

impl Documents {
    /// Makes the documents of what is served.
    #[must_use]
    pub(crate) fn of(groups: &[ServedGroup]) -> Self {
        let mut plain = BTreeMap::new();
        let mut add = |path: String, document: Document| {
            plain.insert(path, Arc::new(document));
        };
        add("/".into(), Document::of(Kind::Index, &RootPaths::of(groups, OWN_PATHS)));
        add("/apis".into(), Document::of(Kind::Discovery, &ApiGroupList::of(groups)));
        let of = |list: &ApiGroupDiscoveryList| Arc::new(Document::of(Kind::Discovery, list));
        let mut aggregated = BTreeMap::from([("/apis", of(&ApiGroupDiscoveryList::apis(groups)))]);
        if groups.iter().any(ServedGroup::is_core) {
            add("/api".into(), Document::of(Kind::Discovery, &ApiVersions::of(groups)));
            aggregated.insert("/api", of(&ApiGroupDiscoveryList::api(groups)));
        }
        for group in groups {
            let root = if group.is_core() {
                "/api".to_owned()
            } else {
                format!("/apis/{}", group.name)
            };
            for version in &group.versions {
                add(
                    format!("{root}/{}", version.version),
                    Document::of(Kind::Discovery, &ApiResourceList::of(group, version)),
                );
            }
            if let Some(one) = ApiGroup::of(group).filter(|_| !group.is_core()) {
                add(root, Document::of(Kind::Discovery, &one));
            }
        }
        let about = About {
            title: "Outrigger",
            version: concat!("v", env!("CARGO_PKG_VERSION")),
        };
        let swagger = Document::of(Kind::OpenApi(Specification::V2), &openapi::v2(groups, about));
        add("/openapi/v2".into(), swagger);
        let versions = openapi::v3(groups, about);
        add("/openapi/v3".into(), Document::of(Kind::Index, &Index::of(&versions)));
        for version in versions {
            let etag = format!("\"{}\"", version.hash);
            let kind = Kind::OpenApi(Specification::V3);
            add(
                format!("/openapi/v3/{}", version.path),
                Document::new(kind, etag, version.json.into()),
            );
        }
        Self { plain, aggregated }
    }

    /// The document at a path: discovery, OpenAPI, or the path index at `/`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Arc<Document>> {
        self.plain.get(path)
    }

    /// The aggregated form of discovery at `/apis`, and at `/api` where core is served.
    #[must_use]
    pub fn aggregated_at(&self, path: &str) -> Option<&Arc<Document>> {
        self.aggregated.get(path)
    }
}

// === impl Document ===

impl Document {
    fn of(kind: Kind, body: &impl Serialize) -> Self {
        // These types have string keys and no foreign Serialize impl: writing them to memory does not fail.
        let json = serde_json::to_vec(body).unwrap_or_default();
        let etag = etag(&json);
        let json = match kind {
            // As apimachinery's JSON serializer ends it; kube-openapi's documents end where they end.
            Kind::Discovery => encode::text(json, Encoding::Json { pretty: false }).unwrap_or_default(),
            Kind::Index | Kind::OpenApi(_) => json,
        };
        Self::new(kind, etag, json.into())
    }

    fn new(kind: Kind, etag: String, json: Bytes) -> Self {
        Self {
            kind,
            etag,
            json,
            made: Default::default(),
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Quoted hash of the compact JSON; of every form.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Compact JSON.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// A form, if it is there already.
    #[must_use]
    pub fn kept(&self, form: Form) -> Option<&Bytes> {
        match form.place() {
            None => Some(&self.json),
            Some(place) => self.made.get(place)?.get(),
        }
    }

    /// Makes a form: some milliseconds for a large document, and some memory on the way. `None` if the document has no such
    /// form.
    #[must_use]
    pub fn make(&self, form: Form) -> Option<Vec<u8>> {
        match form {
            Form { protobuf, gzip: true } => {
                let kept = self.kept(Form { protobuf, gzip: false });
                let plain = match kept {
                    Some(kept) => kept.clone(),
                    None => self.protobuf()?.into(),
                };
                compress(&plain)
            }
            Form { protobuf: true, .. } => self.protobuf(),
            Form { .. } => Some(self.json.to_vec()),
        }
    }

    /// Keeps a form that [`Document::make`] made, for whoever asks next. If another was faster, his is kept: they are equal.
    pub fn keep(&self, form: Form, made: &[u8]) -> Bytes {
        let bytes = Bytes::copy_from_slice(made);
        match form.place().and_then(|place| self.made.get(place)) {
            Some(place) => place.get_or_init(|| bytes).clone(),
            None => self.json.clone(),
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        if self.kind == Kind::Index {
            return None;
        }
        let json = serde_json::from_slice(&self.json).ok()?;
        match self.kind {
            Kind::Index => None,
            Kind::Discovery => discovery::protobuf(&json),
            Kind::OpenApi(specification) => Some(specification.protobuf(&json)),
        }
    }
}

// === impl Form ===

impl Form {
    /// Where it is kept; plain JSON is always there.
    fn place(self) -> Option<usize> {
        match (self.protobuf, self.gzip) {
            (false, false) => None,
            (false, true) => Some(0),
            (true, false) => Some(1),
            (true, true) => Some(2),
        }
    }
}

fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}
