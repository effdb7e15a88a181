//! A whole plugin that answers, natively: what `plugin!` makes of responders, parts, streams, controllers and strategies.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests are free")]

use std::time::Duration;

use outrigger_sdk::manifest::{Backing, ResourceName, Subresource, Verb};
use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{Value, json};

/// A book of the library.
#[derive(Debug, Clone, PartialEq, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(
    group = "library.example.com",
    version = "v1",
    version = "v1beta1",
    plural = "books",
    short = "bk",
    category = "all"
)]
#[resource(
    poll_seconds = 5,
    deprecated(version = "v1beta1", warning = "use v1", removed_release = "2.0")
)]
#[resource(column(name = "Author", path = ".author"))]
#[serde(deny_unknown_fields)]
struct Book {
    /// Who wrote it.
    author: String,
    /// How long it is.
    pages: i64,
}

fn path(request: &Request<'_>, name: &str) -> String {
    format!("{}/{name}", request.namespace())
}

impl Book {
    fn check(&self, request: &Request<'_>) -> Result<(), Error> {
        if self.author.is_empty() {
            return Err(request.required("author", ""));
        }
        if self.pages < 1 {
            request.blame(FieldError::forbidden("author", "wrote nothing"));
            return Err(request.invalid("pages", "must be positive"));
        }
        Ok(())
    }
}

impl Get for Book {
    fn get(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
        let bytes = host
            .kv_get(&path(request, &request.name()))?
            .ok_or_else(|| request.not_found())?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

impl List for Book {
    fn list(host: &impl Host, request: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
        for key in host.kv_keys(&path(request, ""), "")? {
            to.write(&serde_json::from_slice(&host.kv_get(&key)?.unwrap_or_default())?)?;
        }
        Ok(())
    }
}

impl Create for Book {
    fn create(host: &impl Host, request: &Request<'_>, book: Object<Self>) -> Result<Object<Self>, Error> {
        book.check(request)?;
        let key = path(request, &book.metadata.name);
        if host.kv_get(&key)?.is_some() {
            return Err(Error::Conflict(format!("{key} exists")));
        }
        if !request.dry_run() {
            host.kv_set(&key, &serde_json::to_vec(&book)?)?;
        }
        Ok(book)
    }
}

impl Delete for Book {
    fn delete(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
        let book = Self::get(host, request)?;
        host.kv_delete(&path(request, &request.name()))?;
        Ok(book)
    }
}

/// Can be listed and nothing else.
#[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(group = "library.example.com", version = "v1", plural = "shelves", scope = "Cluster")]
struct Shelf {}

impl List for Shelf {
    fn list(_: &impl Host, _: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
        ["a", "b", "c"]
            .into_iter()
            .try_for_each(|name| to.write(&Object::named("", name, Shelf {})))
    }
}

/// Says back what it is sent.
struct Echo;

impl Connect for Echo {
    type Of = Book;
    const NAME: &'static str = "echo";
    const METHODS: &'static [&'static str] = &["POST"];
    const PROTOCOLS: &'static [&'static str] = &["v1.echo", "v0.echo"];

    fn connect(_: &impl Host, request: &Request<'_>, from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Error> {
        if request.protocol().is_empty() {
            to.start(201, &request.content_type())?;
            std::io::copy(from, to)?;
            return Ok(());
        }
        loop {
            match from.read(8)? {
                message if message.is_empty() => return Ok(()),
                message => to.write(&message)?,
            }
        }
    }
}

/// Who has a book.
struct Loan;

#[derive(Debug, Serialize, Deserialize)]
struct Borrowed {
    by: String,
}

impl Part for Loan {
    type Of = Book;
    type Body = Borrowed;
    const NAME: &'static str = "loan";
    const KIND: &'static str = "Loan";

    fn get(_: &impl Host, request: &Request<'_>) -> Result<Borrowed, Error> {
        let by = request.user();
        Ok(Borrowed { by })
    }
}

impl UpdatePart for Loan {
    fn update(_: &impl Host, request: &Request<'_>, loan: Borrowed) -> Result<Borrowed, Error> {
        if loan.by == "nobody" {
            return Err(request.not_supported("by", "nobody", &["alice", "bob"]));
        }
        Ok(loan)
    }
}

/// The book itself, under another name.
struct Copy;

impl Part for Copy {
    type Of = Book;
    type Body = Object<Book>;
    const NAME: &'static str = "copy";

    fn get(host: &impl Host, request: &Request<'_>) -> Result<Object<Book>, Error> {
        Book::get(host, request).map(|book| book.label("copy", "true"))
    }
}

/// Keeps a ConfigMap for each member.
struct Cards;

impl Controller for Cards {
    const NAME: &'static str = "cards";

    fn watches() -> manifest::Controller {
        manifest::Controller::new("", Member::name()).owns(ResourceName::new("", "v1", "configmaps"))
    }

    fn reconcile(host: &impl Host, key: &Key) -> Result<Outcome, Error> {
        let members = host.objects(Target::of::<Member>().namespace(&key.namespace));
        let Some(member) = members.find::<Object<Member>>(&key.name)? else {
            return Ok(Outcome::Done);
        };
        let cards = host.objects(Target::new("", "v1", "configmaps").namespace(&key.namespace));
        let metadata = Metadata::named(&key.namespace, &key.name).owned_by(member.as_owner());
        let card = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"rank": member.rank}});
        match cards.find::<Value>(&key.name)? {
            None => cards.create(&card).map(|_| ())?,
            Some(old) if old["data"] == card["data"] => return Ok(Outcome::AgainAfter(Duration::from_secs(60))),
            Some(_) => cards.merge::<Value>(&key.name, &json!({"data": card["data"]})).map(|_| ())?,
        }
        host.emit(
            &Reference::to(&member),
            EventKind::Normal,
            "CardWritten",
            "the card says what the member is",
        )?;
        host.metric_add("cards", &[("rank", member.rank.as_str())], 1.0)?;
        Ok(Outcome::Done)
    }
}

/// A member of the library, kept by the host.
#[derive(Debug, Clone, PartialEq, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(group = "library.example.com", version = "v2", version = "v1", plural = "members", status)]
#[resource(scale(replicas = ".spec.cards", ready = ".status.cards"), admits_deletes)]
#[resource(schema(version = "v1", type = OldMember))]
struct Member {
    #[serde(default)]
    rank: String,
}

/// A member as v1 says it.
#[derive(JsonSchema)]
struct OldMember {
    #[expect(dead_code, reason = "it is a schema")]
    grade: String,
}

impl Strategy for Member {
    fn admit(_: &impl Host, mut request: Admission<'_, Self>) -> Admitted<Self> {
        match (request.operation(), request.object.rank.as_str()) {
            (Operation::Delete, "chief") => return request.forbidden("rank", "there is always one"),
            (Operation::Delete, _) => return Admitted::yes(request.object),
            (_, "") => request.object.rank = "reader".to_owned(),
            (_, "thief") => return request.not_supported("rank", "thief", &["reader", "chief"]),
            (_, "king") => return Admitted::failed(Error::Unavailable("the palace is closed".to_owned())),
            _ => {}
        }
        if request.old.is_some_and(|old| old.rank != request.object.rank) {
            return Admitted::yes(request.object).warning("the rank has changed");
        }
        Admitted::yes(request.object)
    }
}

fn about() -> Manifest {
    let rules = [
        manifest::ObjectRule::of("library.example.com", "members").verbs(["get", "list", "watch"]),
        manifest::ObjectRule::of("", "configmaps").verbs(["get", "list", "watch", "create", "patch"]),
    ];
    manifest!()
        .name("library")
        .needs("kv", "keeps the books")
        .needs("events", "says what it did")
        .needs("metrics", "counts")
        .needs_objects(rules, "writes cards")
        .series(manifest::Series::counter("cards", "Cards written.").label("rank"))
}

fn check(host: &impl Host) -> Result<(), Error> {
    host.kv_get("x").map(|_| ())
}

plugin! {
    manifest: about,
    responders: [Book, Shelf],
    connects: [Echo],
    parts: [Loan, Copy],
    controllers: [Cards],
    strategies: [Member],
    self_test: check,
}

fn book(name: &str) -> Object<Book> {
    let author = "Melville".to_owned();
    Object::named("main", name, Book { author, pages: 635 })
}

fn books() -> fake::Responder<Book> {
    fake::Responder::new().namespace("main")
}

#[test]
fn the_manifest_says_what_the_types_implement() {
    let manifest = Plugin::manifest();
    let [books, shelves, members] = &manifest.resources[..] else {
        panic!("{:?}", manifest.resources)
    };
    let virtual_ = |verbs: &[Verb], poll_seconds| Backing::Virtual {
        verbs: verbs.to_vec(),
        poll_seconds,
    };
    assert_eq!(
        books.backing,
        virtual_(&[Verb::Get, Verb::List, Verb::Create, Verb::Delete], 5)
    );
    assert_eq!(shelves.backing, virtual_(&[Verb::List], 0));
    let Backing::Stored {
        storage_version,
        status,
        scale,
        create_on_update,
        unconditional_update,
        admits_deletes,
    } = &members.backing
    else {
        panic!("{:?}", members.backing)
    };
    let words = [status, create_on_update, unconditional_update, admits_deletes];
    assert_eq!(
        (words, storage_version.as_str()),
        ([&true, &false, &false, &true], ""),
        "what is said stands there, all else is as it is"
    );
    assert_eq!(scale.as_ref().unwrap().status_replicas_path, ".status.cards");
    assert_eq!(members.storage_version(), "v2");
    assert!(members.schema_of("v1").unwrap()["properties"].get("grade").is_some());
    assert!(members.schema_of("v2").unwrap()["properties"].get("rank").is_some());
    assert_eq!(
        (books.versions.as_slice(), shelves.scope),
        (&["v1".to_owned(), "v1beta1".to_owned()][..], Scope::Cluster)
    );
    assert_eq!(books.deprecated[0].removed_release, "2.0");
    assert_eq!((books.short_names[0].as_str(), books.categories[0].as_str()), ("bk", "all"));
    assert_eq!(books.description, "A book of the library.");
    assert_eq!(books.columns[0].json_path, ".author");
    assert_eq!(
        books.schema.as_ref().unwrap()["properties"]["author"]["description"],
        "Who wrote it."
    );
    assert_eq!(
        books.subresources,
        [
            Subresource::connect("echo")
                .method("POST")
                .protocol("v1.echo")
                .protocol("v0.echo"),
            Subresource::part("loan", [Verb::Get, Verb::Update]).kind("Loan"),
            Subresource::part("copy", [Verb::Get]),
        ]
    );
    assert_eq!(
        (manifest.controllers[0].name.as_str(), &manifest.controllers[0].primary),
        ("cards", &Member::name())
    );
}

#[test]
fn a_part_of_what_is_not_served_does_not_fit() {
    mod apart {
        use super::*;
        plugin! { manifest: about, parts: [Loan] }
    }
    let wrong = apart::Plugin::manifest().check().unwrap_err().to_string();
    assert!(wrong.contains("resources[0].backing.virtual.verbs: is empty"), "{wrong}");
}

#[test]
fn objects_are_made_read_listed_and_removed() {
    let (host, books) = (fake::Host::new(), books());
    assert_eq!(books.create(&host, book("moby-dick")), Ok(book("moby-dick")));
    assert_eq!(books.get(&host, "moby-dick"), Ok(book("moby-dick")));
    assert!(matches!(books.create(&host, book("moby-dick")), Err(Error::Conflict(_))));
    assert_eq!(books.list(&host).unwrap().len(), 1);
    assert_eq!(books.delete(&host, "moby-dick"), Ok(book("moby-dick")));
    assert!(matches!(books.get(&host, "moby-dick"), Err(Error::NotFound(_))));
    let dry = fake::Responder::like(fake::Request::new("").dry_run()).namespace("main");
    dry.create(&host, book("typee")).unwrap();
    assert!(host.kept().is_empty());
}

#[test]
fn fields_at_fault_are_recorded_in_upstreams_words() {
    let (host, books) = (fake::Host::new(), books());
    let mut bad = book("x");
    bad.pages = 0;
    let error = books.create(&host, bad.clone()).unwrap_err();
    assert_eq!(error, Error::Invalid("pages: Invalid value: must be positive".to_owned()));
    let causes = |blamed: Vec<FieldError>| blamed.into_iter().map(|f| (f.reason, f.field, f.message)).collect::<Vec<_>>();
    let cause = |reason: &str, field: &str, message: &str| (reason.to_owned(), field.to_owned(), message.to_owned());
    assert_eq!(
        causes(books.blamed()),
        [
            cause("FieldValueForbidden", "author", "Forbidden: wrote nothing"),
            cause("FieldValueInvalid", "pages", "Invalid value: must be positive"),
        ]
    );
    bad.author.clear();
    books.create(&host, bad).unwrap_err();
    assert_eq!(
        causes(books.blamed()),
        [cause("FieldValueRequired", "author", "Required value")]
    );
    books
        .update_part::<Loan>(&host, "x", &Borrowed { by: "nobody".into() })
        .unwrap_err();
    let message = r#"Unsupported value: "nobody": supported values: "alice", "bob""#;
    assert_eq!(causes(books.blamed()), [cause("FieldValueNotSupported", "by", message)]);
}

#[test]
fn the_plugin_answers_in_the_version_and_for_the_resource_that_was_asked() {
    let host = fake::Host::new().keeping("main/moby-dick", serde_json::to_vec(&book("moby-dick")).unwrap());
    let get = fake::Request::new("get").of::<Book>().namespace("main").name("moby-dick");
    let answer =
        |request: &fake::Request| -> Value { serde_json::from_slice(&Plugin::get(&host, &request.lend()).unwrap()).unwrap() };
    assert_eq!(answer(&get)["apiVersion"], "library.example.com/v1");
    assert_eq!(
        answer(&get.clone().version("v1beta1"))["apiVersion"],
        "library.example.com/v1beta1"
    );
    let copy = answer(&get.clone().subresource("copy").version("v1beta1"));
    assert_eq!(
        (&copy["kind"], &copy["metadata"]["labels"]["copy"]),
        (&json!("Book"), &json!("true"))
    );
    let loan = answer(&get.clone().subresource("loan").user("ishmael"));
    assert_eq!(
        loan,
        json!({"apiVersion": "library.example.com/v1", "kind": "Loan", "metadata": {"name": "moby-dick", "namespace": "main"}, "by": "ishmael"})
    );
    for (request, wanted) in [
        (get.clone().subresource("status"), "books/status does not offer get"),
        (
            fake::Request::new("get").of::<Shelf>().name("a"),
            "shelves does not offer get",
        ),
        (
            fake::Request::new("get").of::<Member>().name("a"),
            "members does not offer get",
        ),
    ] {
        let answer = Plugin::get(&host, &request.lend());
        assert_eq!(answer, Err(Error::Invalid(wanted.to_owned())));
    }
    let update = fake::Request::new("update").of::<Book>().name("a");
    let refused = Plugin::update(&host, &update.lend(), b"{}");
    assert_eq!(refused, Err(Error::invalid("books does not offer update")));
}

#[test]
fn what_is_no_such_object_is_the_callers_fault() {
    let host = fake::Host::new();
    let create = fake::Request::new("create").of::<Book>().namespace("main");
    for (sent, wanted) in [
        ("{", "the object cannot be handled as a Book: EOF while parsing"),
        ("[]", "the object cannot be handled as a Book: invalid type: sequence"),
        (
            r#"{"metadata": {"name": 1}, "author": "x", "pages": 1}"#,
            "invalid type: integer `1`",
        ),
        (
            r#"{"author": "x", "pages": "many"}"#,
            "invalid type: string \"many\", expected i64",
        ),
        (r#"{"author": "x", "pages": 1, "weight": 2}"#, "unknown field `weight`"),
    ] {
        let Err(Error::Invalid(why)) = Plugin::create(&host, &create.lend(), sent.as_bytes()) else {
            panic!("{sent}")
        };
        assert!(why.contains(wanted), "{why}");
    }
    // What every object has is no unknown field, and null is nothing.
    let sent = r#"{"apiVersion": "library.example.com/v1", "kind": "Book", "author": "x", "pages": 1,
        "metadata": {"name": "a", "creationTimestamp": null, "labels": null, "managedFields": [{"manager": "kubectl"}]}}"#;
    let made: Value = serde_json::from_slice(&Plugin::create(&host, &create.lend(), sent.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        made["metadata"],
        json!({"name": "a", "managedFields": [{"manager": "kubectl"}]})
    );
}

#[test]
fn a_list_ends_when_the_client_goes() {
    let to = fake::Stream::leaving_after(2);
    let request = fake::Request::new("list").of::<Shelf>();
    let ended = Plugin::list(&fake::Host::new(), &request.lend(), outrigger_sdk::Writer::new(&to));
    assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
    assert_eq!(to.messages().len(), 2);
}

#[test]
fn streams_carry_bodies_and_messages() {
    let host = fake::Host::new();
    let post = fake::Request::new("connect").method("POST").content_type("text/plain");
    let said = fake::connect::<Echo>(&host, &post, ["call me ", "ishmael"]).unwrap();
    assert_eq!(
        (said.status(), said.content_type(), said.text()),
        (201, "text/plain".into(), "call me ishmael".into())
    );
    let socket = fake::Request::new("connect").protocol("v1.echo");
    let said = fake::connect::<Echo>(&host, &socket, ["one", "two"]).unwrap();
    assert_eq!(said.messages(), [b"one", b"two"]);
    let lost = fake::connect::<Echo>(&host, &socket, ["far too long"]).unwrap_err();
    assert!(matches!(lost, Error::TooLarge(_)), "{lost:?}");
    let gone = fake::connect_to::<Echo>(&host, &post, ["a", "b"], fake::Stream::leaving_after(1)).unwrap_err();
    assert!(matches!(gone, Error::Unavailable(_)), "an error survives io: {gone:?}");
}

#[test]
fn a_controller_brings_the_world_in_step() {
    let members = Target::of::<Member>().namespace("main");
    let maps = Target::new("", "v1", "configmaps").namespace("main");
    let host = fake::Host::new().holding(&members, json!({"metadata": {"name": "ishmael"}, "rank": "sailor"}));
    let reconcile = || Plugin::reconcile(&host, "cards", "main/ishmael");
    assert_eq!(reconcile(), Ok(Outcome::Done));
    let card: Value = host.objects(maps.clone()).get("ishmael").unwrap();
    assert_eq!(
        (&card["data"]["rank"], &card["metadata"]["ownerReferences"][0]["kind"]),
        (&json!("sailor"), &json!("Member"))
    );
    assert_eq!(reconcile(), Ok(Outcome::AgainAfter(Duration::from_secs(60))));
    let _: Value = host
        .objects(members.clone())
        .merge("ishmael", &json!({"rank": "mate"}))
        .unwrap();
    assert_eq!(reconcile(), Ok(Outcome::Done));
    assert_eq!(host.objects(maps).get::<Value>("ishmael").unwrap()["data"]["rank"], "mate");
    assert_eq!(
        (host.emitted().len(), host.metric("cards", &[("rank", "mate")])),
        (2, Some(1.0))
    );
    host.objects(members).delete("ishmael").unwrap();
    assert_eq!(reconcile(), Ok(Outcome::Done));
    assert_eq!(
        Plugin::reconcile(&host, "card", "a"),
        Err(Error::invalid("no controller \"card\""))
    );
    assert_eq!(Plugin::self_test(&host), Ok(()));
    assert!(Plugin::self_test(&host.denying("kv")).is_err());
}

fn member(rank: &str) -> Object<Member> {
    Object::named("main", "ishmael", Member { rank: rank.to_owned() })
}

#[test]
fn a_strategy_is_asked_once_per_write() {
    let (host, mut members) = (fake::Host::new(), fake::Store::<Member>::new());
    let made = members.create(&host, member("")).unwrap();
    assert_eq!((made.rank.as_str(), made.metadata.generation), ("reader", Some(1)));
    let mut chief = made.clone();
    chief.rank = "chief".to_owned();
    let chief = members.update(&host, chief).unwrap();
    assert_eq!(
        (members.warned(), members.calls()),
        (&["the rank has changed".to_owned()][..], 2)
    );
    // None of these is the strategy's to decide.
    let conflicts = [members.create(&host, member("x")), members.update(&host, made)];
    assert!(
        conflicts
            .iter()
            .all(|c| matches!(c, Err(fake::Refused::Error(Error::Conflict(_))))),
        "{conflicts:?}"
    );
    assert!(matches!(
        members.delete(&host, "main", "ahab"),
        Err(fake::Refused::Error(Error::NotFound(_)))
    ));
    assert_eq!(members.calls(), 2);
    // And these are.
    let mut thief = chief.clone();
    thief.rank = "thief".to_owned();
    assert_eq!(
        members.update(&host, thief).unwrap_err().fields()[0].reason,
        "FieldValueNotSupported"
    );
    assert_eq!(
        members.delete(&host, "main", "ishmael").unwrap_err().fields()[0].field,
        "rank"
    );
    let mut king = chief.clone();
    king.rank = "king".to_owned();
    assert_eq!(
        members.update(&host, king),
        Err(fake::Refused::Error(Error::Unavailable("the palace is closed".to_owned())))
    );
    assert_eq!(
        members.get("main", "ishmael"),
        Some(&chief),
        "a refused write changes nothing"
    );
    assert_eq!(members.calls(), 5);
}

#[test]
fn a_conversion_without_rules_changes_the_version_alone() {
    let members = fake::Store::<Member>::new();
    let one = |version: &str| json!({"apiVersion": format!("library.example.com/{version}"), "kind": "Member", "metadata": {"name": version, "uid": "1"}, "extra": [1]});
    let mut wanted = one("v1");
    wanted["apiVersion"] = "library.example.com/v2".into();
    assert_eq!(members.convert([one("v2"), one("v1")], "v2").unwrap(), [one("v2"), wanted]);
    assert_eq!(members.calls(), 1);
    members.convert([one("v2")], "v2").unwrap();
    assert_eq!(members.calls(), 1, "versions are equal");
    let refused = Plugin::convert("boats", "v2", &[]);
    assert_eq!(refused, Err(Error::invalid("no strategy for \"boats\"")));
    let foreign = serde_json::to_vec(&json!({"apiVersion": "other.example.com/v1", "metadata": {}})).unwrap();
    assert!(Plugin::convert("members", "v2", &[foreign]).is_err());
}

#[test]
fn what_is_not_granted_is_denied() {
    let host = ["kv", "objects", "http", "events", "metrics", "secrets", "config", "kubelet"]
        .into_iter()
        .fold(fake::Host::new(), fake::Host::denying);
    let pods = Target::new("", "v1", "pods");
    let denied = [
        host.kv_get("a").map(drop),
        host.kv_set("a", b""),
        host.kv_delete("a"),
        host.kv_keys("", "").map(drop),
        host.get_object(&pods, "a").map(drop),
        host.list_objects(&pods, "", 0, "").map(drop),
        host.create_object(&pods, b"{}").map(drop),
        host.update_object(&pods, b"{}").map(drop),
        host.patch_object(&pods, "a", "", b"{}").map(drop),
        host.delete_object(&pods, "a"),
        host.send(http::Request::get("https://example.com")).map(drop),
        host.emit(&Reference::default(), EventKind::Normal, "", ""),
        host.metric_add("a", &[], 1.0),
        host.metric_set("a", &[], 1.0),
        host.secret("a").map(drop),
        host.document().map(drop),
        host.summary("a", Detail::Full).map(drop),
    ];
    assert!(denied.iter().all(|d| matches!(d, Err(Error::Denied(_)))), "{denied:?}");
}
