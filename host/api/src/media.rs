//! What the client wants to read: the Accept header parsed once (apiserver `endpoints/handlers/negotiation`).
//!
//! kubectl, the metadata client and controllers send several clauses, the best first, and rely on the server to take
//! the first that it can do. Clauses are tried by quality, then the exact before the wildcard, then in the order in which
//! they came. Where upstream picks a form first and refuses afterwards (PartialObjectMetadata of a list), the next
//! clause is tried here: the metadata client's DeleteCollection then gets an answer instead of a 406.

use crate::query::Query;
use crate::status::Status;

/// The answer's form and encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Media {
    /// How bytes are made.
    pub encoding: Encoding,
    /// What they say.
    pub form: Form,
}

/// How bytes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/json`; `pretty` indents by two spaces.
    Json {
        /// Indent.
        pretty: bool,
    },
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What the answer says of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The objects.
    Object,
    /// `as=Table;g=meta.k8s.io`.
    Table(MetaVersion),
    /// `as=PartialObjectMetadata` or `…List`, `g=meta.k8s.io`.
    PartialMetadata(MetaVersion),
}

/// Versions of meta.k8s.io.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetaVersion {
    /// v1.
    V1,
    /// v1beta1.
    V1beta1,
}

/// What an endpoint can do. JSON and YAML it always can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Objects in protobuf. Metadata alone comes in protobuf whatever this says.
    pub protobuf: bool,
    /// Tables, in JSON and YAML.
    pub table: bool,
    /// PartialObjectMetadata, or its list.
    pub partial: bool,
    /// The answer is a list, so that the partial form is `PartialObjectMetadataList`.
    pub list: bool,
    /// The answer is a watch, which YAML has no form for.
    pub watch: bool,
}

/// What `/apis` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiscoveryForm {
    /// `APIGroupList`.
    Plain,
    /// `apidiscovery.k8s.io/v2 APIGroupDiscoveryList`.
    Aggregated,
}

/// One clause of an Accept header.
#[derive(Debug)]
struct Clause<'a> {
    main: &'a str,
    sub: &'a str,
    quality: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

/// The parameters that upstream knows; what it does not know it ignores.
#[derive(Debug, Default)]
struct Parameters<'a> {
    /// `as`, `g`, `v`, if any of them is there.
    convert: Option<(&'a str, &'a str, &'a str)>,
    stream: &'a str,
    server_version: &'a str,
    pretty: bool,
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = crate::protobuf::CONTENT_TYPE;
const JSON_STREAM: &str = "application/json;stream=watch";
const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";
const META: &str = "meta.k8s.io";

// === impl Form ===

impl Form {
    /// Whether it says more of an object than its metadata.
    #[must_use]
    pub fn shows_fields(self) -> bool {
        !matches!(self, Self::PartialMetadata(_))
    }
}

// === impl Media ===

impl Media {
    /// Picks the answer's form and encoding. `pretty` is [`is_pretty`]'s answer.
    ///
    /// # Errors
    /// 406 with the media types that can be had.
    pub fn negotiate(accept: Option<&str>, pretty: bool, offer: &Offer) -> Result<Self, Status> {
        let mut wrong_shape = false;
        let found = negotiate(accept, true, |kind, parameters| {
            let form = match parameters.convert {
                None => Form::Object,
                Some(("Table", META, v)) => Form::Table(MetaVersion::parse(v)?),
                Some((name @ ("PartialObjectMetadata" | "PartialObjectMetadataList"), META, v)) if offer.partial => {
                    let version = MetaVersion::parse(v)?;
                    if (name == "PartialObjectMetadataList") != offer.list {
                        wrong_shape = true;
                        return None;
                    }
                    Form::PartialMetadata(version)
                }
                Some(_) => return None,
            };
            let encoding = kind.encoding(pretty || parameters.pretty);
            let possible = match form {
                Form::Object => offer.protobuf || encoding != Encoding::Protobuf,
                Form::Table(_) => offer.table && encoding != Encoding::Protobuf,
                Form::PartialMetadata(_) => true,
            };
            let possible = possible && !(offer.watch && encoding == Encoding::Yaml);
            possible.then_some(Self { encoding, form })
        });
        found.ok_or_else(|| match (wrong_shape, offer.list) {
            (true, true) => not_acceptable("you requested PartialObjectMetadata, but the requested object is a list"),
            (true, false) => not_acceptable("you requested PartialObjectMetadataList, but the requested object is not a list"),
            (false, _) if offer.watch => Status::not_acceptable(streamed(offer.protobuf)),
            (false, _) => Status::not_acceptable(accepted(offer.protobuf)),
        })
    }

    /// The `Content-Type` of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        self.encoding.content_type()
    }

    /// The `Content-Type` of a watch; JSON has no parameter there (apiserver `handlers/watch.go`).
    #[must_use]
    pub fn stream_type(self) -> &'static str {
        match self.encoding {
            Encoding::Protobuf => PROTOBUF_STREAM,
            _ => JSON,
        }
    }
}

// === impl Encoding ===

impl Encoding {
    /// The media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json { .. } => JSON,
            Self::Yaml => YAML,
            Self::Protobuf => PROTOBUF,
        }
    }

    /// The encoding of a Status. An error is never hidden behind a 406: if nothing fits, it comes as indented JSON
    /// (apiserver `responsewriters.WriteObjectNegotiated`).
    #[must_use]
    pub fn of_status(accept: Option<&str>, pretty: bool) -> Self {
        Self::plain(accept, pretty).unwrap_or(Self::Json { pretty: true })
    }

    /// Of something that has one form only.
    fn plain(accept: Option<&str>, pretty: bool) -> Option<Self> {
        negotiate(accept, false, |kind, parameters| {
            parameters
                .convert
                .is_none()
                .then(|| kind.encoding(pretty || parameters.pretty))
        })
    }
}

// === impl MetaVersion ===

impl MetaVersion {
    /// `meta.k8s.io/v1` or `meta.k8s.io/v1beta1`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }

    fn parse(version: &str) -> Option<Self> {
        match version {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        }
    }
}

// === impl DiscoveryForm ===

impl DiscoveryForm {
    /// The `Content-Type` of the aggregated form in JSON; the aggregator takes an answer without these parameters for
    /// a legacy one.
    pub const AGGREGATED_JSON: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

    /// Picks between plain and aggregated discovery at `/apis`. A clause that asks for the aggregated list in v2 wins
    /// wherever it stands (apiserver `discovery/aggregated/wrapper.go`); v2beta1 is gone, so such a clause falls to the
    /// next one. Both forms can be had in every encoding.
    ///
    /// # Errors
    /// 406 with the media types that can be had.
    pub fn negotiate(accept: Option<&str>, pretty: bool) -> Result<(Self, Encoding), Status> {
        let aggregated = accept.filter(|a| !a.is_empty()).and_then(|accept| {
            negotiate(Some(accept), false, |kind, parameters| {
                let encoding = kind.encoding(pretty || parameters.pretty);
                let asked = parameters.convert == Some(("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2"));
                asked.then_some((Self::Aggregated, encoding))
            })
        });
        if let Some(aggregated) = aggregated {
            return Ok(aggregated);
        }
        Self::negotiate_plain(accept, pretty).map(|encoding| (Self::Plain, encoding))
    }

    /// The encoding of a document that has one form only: groups and lists of resources.
    ///
    /// # Errors
    /// 406 with the media types that can be had.
    pub fn negotiate_plain(accept: Option<&str>, pretty: bool) -> Result<Encoding, Status> {
        Encoding::plain(accept, pretty).ok_or_else(|| Status::not_acceptable(accepted(true)))
    }

    /// The `Content-Type` of this form in an encoding.
    #[must_use]
    pub fn content_type(self, encoding: Encoding) -> &'static str {
        match (self, encoding) {
            (Self::Aggregated, Encoding::Json { .. }) => Self::AGGREGATED_JSON,
            (Self::Aggregated, Encoding::Yaml) => "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            (Self::Aggregated, Encoding::Protobuf) => {
                "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            (Self::Plain, encoding) => encoding.content_type(),
        }
    }
}

/// Whether a person is reading: `pretty=1` or `true` in the query; without that parameter, if the client is curl, Wget or
/// a browser.
#[must_use]
pub fn is_pretty(query: &Query, user_agent: Option<&str>) -> bool {
    match query.first("pretty") {
        // Go's strconv.ParseBool.
        Some(value) if !value.is_empty() => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        _ => user_agent.is_some_and(|agent| ["curl", "Wget", "Mozilla/5.0"].iter().any(|human| agent.starts_with(human))),
    }
}

/// Encodings in upstream's order, which is the order in which wildcards find them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Yaml,
    Protobuf,
}

impl Kind {
    fn sub(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Protobuf => "vnd.kubernetes.protobuf",
        }
    }

    fn encoding(self, pretty: bool) -> Encoding {
        match self {
            Self::Json => Encoding::Json { pretty },
            Self::Yaml => Encoding::Yaml,
            Self::Protobuf => Encoding::Protobuf,
        }
    }
}

/// The first clause and encoding that `fits` takes.
fn negotiate<T>(
    accept: Option<&str>,
    server_versions: bool,
    mut fits: impl FnMut(Kind, &Parameters<'_>) -> Option<T>,
) -> Option<T> {
    let Some(accept) = accept.filter(|a| !a.is_empty()) else {
        return fits(Kind::Json, &Parameters::default());
    };
    clauses(accept).iter().find_map(|clause| {
        let parameters = clause.parameters();
        [Kind::Json, Kind::Yaml, Kind::Protobuf]
            .into_iter()
            .filter(|kind| clause.names(*kind))
            .find_map(|kind| {
                // YAML cannot be streamed, and "watch" is the only stream there is; a server version is v1 or nothing.
                let stream = parameters.stream.is_empty() || (parameters.stream == "watch" && kind != Kind::Yaml);
                let version = parameters.server_version.is_empty() || (server_versions && parameters.server_version == "v1");
                if stream && version { fits(kind, &parameters) } else { None }
            })
    })
}

/// The clauses of an Accept header, best first.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.wildcards().cmp(&b.wildcards())));
    clauses
}

/// The first of these media types (`application/…`, told by what follows the slash) that an Accept header takes, best clause
/// first, whatever parameters it has: how kube-openapi and go-restful negotiate. Without a header, the first.
#[must_use]
pub fn first_of(accept: Option<&str>, subs: &[&'static str]) -> Option<&'static str> {
    let Some(accept) = accept.filter(|a| !a.is_empty()) else {
        return subs.first().copied();
    };
    clauses(accept).iter().find_map(|clause| {
        let application = matches!(clause.main, "application" | "*");
        subs.iter()
            .copied()
            .find(|sub| application && (clause.sub == "*" || clause.sub == *sub))
    })
}

fn accepted(protobuf: bool) -> &'static [&'static str] {
    if protobuf { &[JSON, YAML, PROTOBUF] } else { &[JSON, YAML] }
}

fn streamed(protobuf: bool) -> &'static [&'static str] {
    if protobuf {
        &[JSON_STREAM, PROTOBUF_STREAM]
    } else {
        &[JSON_STREAM]
    }
}

fn not_acceptable(message: &str) -> Status {
    Status::failure(406, "NotAcceptable", message)
}

// === impl Clause ===

impl<'a> Clause<'a> {
    /// Reads one clause; what is none is skipped (munnerz/goautoneg).
    fn parse(clause: &'a str) -> Option<Self> {
        let mut parts = clause.split(';');
        let range = parts.next()?.trim_matches(' ');
        let (main, sub) = match range.split_once('/') {
            Some((main, sub)) if !sub.is_empty() && !sub.contains('/') => (main.trim_matches(' '), sub.trim_matches(' ')),
            None if range == "*" => ("*", "*"),
            _ => return None,
        };
        let mut clause = Self {
            main,
            sub,
            quality: 1.0,
            parameters: Vec::new(),
        };
        for part in parts {
            let Some((key, value)) = part.split_once('=').filter(|(_, v)| !v.is_empty() && !v.contains('=')) else {
                continue;
            };
            match (key.trim_matches(' '), value.trim_matches(' ')) {
                ("q", value) => clause.quality = value.parse().unwrap_or(0.0),
                pair => clause.parameters.push(pair),
            }
        }
        Some(clause)
    }

    fn wildcards(&self) -> u8 {
        u8::from(self.main == "*") + u8::from(self.sub == "*")
    }

    fn names(&self, kind: Kind) -> bool {
        match (self.main, self.sub) {
            ("*" | "application", "*") => true,
            ("application", sub) => sub == kind.sub(),
            _ => false,
        }
    }

    fn parameters(&self) -> Parameters<'a> {
        let mut known = Parameters::default();
        for (key, value) in &self.parameters {
            let convert = || known.convert.unwrap_or_default();
            match *key {
                "as" => known.convert = Some((value, convert().1, convert().2)),
                "g" => known.convert = Some((convert().0, value, convert().2)),
                "v" => known.convert = Some((convert().0, convert().1, value)),
                "stream" => known.stream = value,
                "sv" => known.server_version = value,
                "pretty" => known.pretty = *value == "1",
                _ => {}
            }
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPACT: Encoding = Encoding::Json { pretty: false };
    const PRETTY: Encoding = Encoding::Json { pretty: true };
    const LIST: Offer = Offer {
        protobuf: true,
        table: true,
        partial: true,
        list: true,
        watch: false,
    };
    const ONE: Offer = Offer { list: false, ..LIST };
    const TEXT: Offer = Offer { protobuf: false, ..LIST };
    const PLAIN: Offer = Offer {
        protobuf: true,
        table: false,
        partial: false,
        list: true,
        watch: false,
    };

    const KUBECTL: &str =
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
        application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

    #[test]
    fn the_first_clause_that_can_be_done_wins() {
        use Encoding::{Protobuf, Yaml};
        use Form::{Object, PartialMetadata, Table};
        use MetaVersion::{V1, V1beta1};
        for (name, accept, offer, want) in [
            ("kubectl get", KUBECTL, LIST, Some((COMPACT, Table(V1)))),
            ("kubectl get, no tables here", KUBECTL, PLAIN, Some((COMPACT, Object))),
            (
                "kubectl top",
                "application/vnd.kubernetes.protobuf,application/json",
                LIST,
                Some((Protobuf, Object)),
            ),
            (
                "kubectl top, no protobuf here",
                "application/vnd.kubernetes.protobuf,application/json",
                TEXT,
                Some((COMPACT, Object)),
            ),
            (
                "client-go's protobuf",
                "application/vnd.kubernetes.protobuf, */*",
                TEXT,
                Some((COMPACT, Object)),
            ),
            ("metadata client, list", METADATA, LIST, Some((Protobuf, PartialMetadata(V1)))),
            (
                "metadata client, list, rows without protobuf",
                METADATA,
                TEXT,
                Some((Protobuf, PartialMetadata(V1))),
            ),
            ("metadata client, deletecollection", METADATA, ONE, Some((COMPACT, Object))),
            (
                "partial of one",
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                ONE,
                Some((COMPACT, PartialMetadata(V1))),
            ),
            (
                "partial of a list",
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                LIST,
                None,
            ),
            (
                "old table",
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                LIST,
                Some((COMPACT, Table(V1beta1))),
            ),
            (
                "table as YAML",
                "application/yaml;as=Table;v=v1;g=meta.k8s.io",
                LIST,
                Some((Yaml, Table(V1))),
            ),
            (
                "table as protobuf",
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
                LIST,
                None,
            ),
            (
                "table of a group nobody knows",
                "application/json;as=Table;v=v1;g=example.com",
                LIST,
                None,
            ),
            (
                "table of a version nobody knows",
                "application/json;as=Table;v=v2;g=meta.k8s.io",
                LIST,
                None,
            ),
            ("half a table", "application/json;as=Table", LIST, None),
            (
                "table wherever",
                "*/*;as=Table;v=v1;g=meta.k8s.io",
                LIST,
                Some((COMPACT, Table(V1))),
            ),
            ("server version", "application/json;sv=v1", LIST, Some((COMPACT, Object))),
            ("another server version", "application/json;sv=v2", LIST, None),
        ] {
            let got = Media::negotiate(Some(accept), false, &offer)
                .ok()
                .map(|m| (m.encoding, m.form));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn encodings_are_picked_as_upstream_picks_them() {
        // Answers of k8s.io/apiserver 0.36's NegotiateMediaTypeOptions.
        use Encoding::{Protobuf, Yaml};
        for (accept, want) in [
            ("", Some(COMPACT)),
            ("*/*", Some(COMPACT)),
            ("application/*", Some(COMPACT)),
            ("*", Some(COMPACT)),
            ("application/json", Some(COMPACT)),
            ("application/yaml", Some(Yaml)),
            ("application/vnd.kubernetes.protobuf", Some(Protobuf)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Protobuf)),
            ("text/html", None),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Some(COMPACT),
            ),
            ("application/json;q=0.5,application/yaml", Some(Yaml)),
            ("application/json;stream=watch", Some(COMPACT)),
            ("application/yaml;stream=watch", None),
            ("application/json;pretty=1", Some(PRETTY)),
            ("application/cbor", None),
            ("application/json;sv=v1", None),
            ("application/json;charset=utf-8", Some(COMPACT)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", None),
            ("garbage", None),
            ("application/vnd.kubernetes.protobuf;q=0.1, */*;q=0.9", Some(COMPACT)),
            ("application/json;as=Table", None),
        ] {
            assert_eq!(DiscoveryForm::negotiate_plain(Some(accept), false).ok(), want, "{accept}");
            // An error is told in any case.
            assert_eq!(Encoding::of_status(Some(accept), false), want.unwrap_or(PRETTY), "{accept}");
        }
        assert_eq!(
            Media::negotiate(None, true, &LIST).unwrap(),
            Media {
                encoding: PRETTY,
                form: Form::Object
            }
        );
    }

    #[test]
    fn a_406_says_what_can_be_had() {
        let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let partials = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        for (accept, offer, want) in [
            (
                "text/html",
                LIST,
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ),
            (
                "text/html",
                TEXT,
                "only the following media types are accepted: application/json, application/yaml",
            ),
            (
                partial,
                LIST,
                "you requested PartialObjectMetadata, but the requested object is a list",
            ),
            (
                partials,
                ONE,
                "you requested PartialObjectMetadataList, but the requested object is not a list",
            ),
        ] {
            let status = Media::negotiate(Some(accept), false, &offer).unwrap_err();
            assert_eq!(
                (status.code, status.reason.as_str(), status.message.as_str()),
                (406, "NotAcceptable", want)
            );
        }
    }

    #[test]
    fn aggregated_discovery_is_for_those_who_ask_for_v2() {
        use DiscoveryForm::{Aggregated, Plain};
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, want) in [
            (v2.to_owned(), Some((Aggregated, COMPACT))),
            (format!("{v2},{beta},application/json"), Some((Aggregated, COMPACT))),
            (format!("application/json,{v2};q=0.1"), Some((Aggregated, COMPACT))),
            (format!("{v2};profile=nopeer"), Some((Aggregated, COMPACT))),
            (format!("{beta},application/json"), Some((Plain, COMPACT))),
            (v2.replace("json", "yaml"), Some((Aggregated, Encoding::Yaml))),
            (
                format!("{},{v2}", v2.replace("json", "vnd.kubernetes.protobuf")),
                Some((Aggregated, Encoding::Protobuf)),
            ),
            (
                "application/vnd.kubernetes.protobuf".to_owned(),
                Some((Plain, Encoding::Protobuf)),
            ),
            (beta.to_owned(), None),
            ("application/json".to_owned(), Some((Plain, COMPACT))),
            (String::new(), Some((Plain, COMPACT))),
        ] {
            assert_eq!(DiscoveryForm::negotiate(Some(&accept), false).ok(), want, "{accept}");
        }
        assert_eq!(Aggregated.content_type(COMPACT), v2);
        assert_eq!(
            Aggregated.content_type(Encoding::Protobuf),
            v2.replace("json", "vnd.kubernetes.protobuf")
        );
        assert_eq!(Plain.content_type(COMPACT), "application/json");
    }

    #[test]
    fn people_get_indented_json() {
        for (query, agent, want) in [
            ("", None, false),
            ("", Some("kubectl/v1.36.0"), false),
            ("", Some("curl/8.5.0"), true),
            ("", Some("Wget/1.21"), true),
            ("", Some("Mozilla/5.0 (X11)"), true),
            ("", Some("Mozilla/4.0"), false),
            ("pretty=1", None, true),
            ("pretty=true", None, true),
            ("pretty=", Some("curl/8.5.0"), true),
            ("pretty=0", Some("curl/8.5.0"), false),
            ("pretty=maybe", Some("curl/8.5.0"), false),
        ] {
            assert_eq!(is_pretty(&Query::parse(query), agent), want, "{query} {agent:?}");
        }
    }
}
