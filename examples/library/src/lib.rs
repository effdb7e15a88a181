//! Books of a library that lives elsewhere: a virtual resource over an HTTP service.
//!
//! The service knows nothing of Kubernetes: it keeps JSON documents under `/books/NAMESPACE/NAME`, lists them at `/books`, and gives each a
//! number that grows with its changes. That number is the object's resourceVersion, so that two who change one book notice each other.

use std::collections::BTreeMap;

use outrigger_sdk::prelude::*;
use outrigger_sdk::schemars;

/// A book of the library.
#[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(
    group = "library.example.com",
    version = "v1",
    plural = "books",
    short = "bk",
    category = "all",
    poll_seconds = 2
)]
#[resource(column(name = "Title", path = ".spec.title"))]
#[resource(column(name = "Pages", path = ".spec.pages", type = "integer"))]
#[resource(column(name = "Age", path = ".metadata.creationTimestamp", type = "date"))]
pub struct Book {
    /// What the library knows of it.
    spec: BookSpec,
}

/// What the library knows of a book.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BookSpec {
    /// As it stands on the cover.
    #[serde(default)]
    title: String,
    /// How long it is.
    #[serde(default)]
    pages: i64,
}

/// Where the library is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// Its address, without a slash at the end.
    #[serde(default)]
    url: String,
}

/// A book as the service has it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    namespace: String,
    name: String,
    number: u64,
    id: String,
    made: String,
    labels: BTreeMap<String, String>,
    notes: BTreeMap<String, String>,
    book: BookSpec,
}

/// The service on the same machine, for who does not say another.
const HERE: &str = "http://127.0.0.1:8787";

// === impl Entry ===

impl Entry {
    fn of(object: &Object<Book>) -> Self {
        let metadata = &object.metadata;
        Self {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            number: metadata.resource_version.parse().unwrap_or_default(),
            id: metadata.uid.clone(),
            made: metadata.creation_timestamp.clone(),
            labels: metadata.labels.clone(),
            notes: metadata.annotations.clone(),
            book: object.fields.spec.clone(),
        }
    }

    fn object(self) -> Object<Book> {
        let mut object = Object::named(self.namespace, self.name, Book { spec: self.book });
        let metadata = &mut object.metadata;
        metadata.uid = self.id;
        metadata.creation_timestamp = self.made;
        metadata.labels = self.labels;
        metadata.annotations = self.notes;
        if self.number > 0 {
            metadata.resource_version = self.number.to_string();
        }
        object
    }
}

fn service(host: &impl Host) -> Result<String, Error> {
    let at: Where = host.config()?;
    Ok(if at.url.is_empty() { HERE.to_owned() } else { at.url })
}

/// One book's place.
fn place(host: &impl Host, request: &Request<'_>) -> Result<String, Error> {
    Ok(format!("{}/books/{}/{}", service(host)?, request.namespace(), request.name()))
}

fn judge(request: &Request<'_>, book: &BookSpec) -> Result<(), Error> {
    if book.title.is_empty() {
        return Err(request.required("spec.title", "a book has a title"));
    }
    if book.pages <= 0 {
        return Err(request.invalid("spec.pages", "must be positive"));
    }
    Ok(())
}

impl Get for Book {
    fn get(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
        let answer = host.send(http::Request::get(place(host, request)?))?;
        Ok(answer.ok()?.json::<Entry>()?.object())
    }
}

impl List for Book {
    fn list(host: &impl Host, _: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
        let all = host.send(http::Request::get(format!("{}/books", service(host)?)))?;
        let all: Vec<Entry> = all.ok()?.json()?;
        all.into_iter().try_for_each(|entry| to.write(&entry.object()))
    }
}

impl Create for Book {
    fn create(host: &impl Host, request: &Request<'_>, object: Object<Self>) -> Result<Object<Self>, Error> {
        judge(request, &object.fields.spec)?;
        if request.dry_run() {
            return Ok(object);
        }
        // A request to make something has no name yet: the object brings it.
        let shelf = place(host, request)?;
        let send = http::Request::post(format!("{shelf}{}", object.metadata.name)).json(&Entry::of(&object));
        Ok(host.send(send)?.ok()?.json::<Entry>()?.object())
    }
}

impl Update for Book {
    fn update(host: &impl Host, request: &Request<'_>, object: Object<Self>) -> Result<Object<Self>, Error> {
        judge(request, &object.fields.spec)?;
        if request.dry_run() {
            return Ok(object);
        }
        // The service answers 409 if the number is not the book's.
        let send = http::Request::put(place(host, request)?).json(&Entry::of(&object));
        Ok(host.send(send)?.ok()?.json::<Entry>()?.object())
    }
}

impl Delete for Book {
    fn delete(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
        if request.dry_run() {
            return Self::get(host, request);
        }
        let answer = host.send(http::Request::delete(place(host, request)?))?;
        Ok(answer.ok()?.json::<Entry>()?.object())
    }
}

fn about() -> Manifest {
    manifest!()
        .needs_http(["127.0.0.1:8787"], "keeps its books in the library's own service")
        .needs("config", "learns where that service is")
        .config(outrigger_sdk::config_schema::<Where>())
}

plugin! { manifest: about, responders: [Book] }

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The service, with one shelf.
    fn library() -> fake::Host {
        let shelf: RefCell<BTreeMap<String, Entry>> = RefCell::default();
        fake::Host::new().answering_http(move |request| {
            let mut shelf = shelf.borrow_mut();
            let path = request.url.trim_start_matches(HERE).to_owned();
            let json = |entry: &Entry| outrigger_sdk::serde_json::to_vec(entry).unwrap();
            let known = shelf.contains_key(&path);
            Ok(match (request.method.as_str(), known) {
                ("GET", _) if path == "/books" => http::Response::new(
                    200,
                    outrigger_sdk::serde_json::to_vec(&shelf.values().collect::<Vec<_>>()).unwrap(),
                ),
                ("POST", true) => http::Response::new(409, "there is one"),
                ("POST", false) | ("PUT", true) => {
                    let mut entry: Entry = outrigger_sdk::serde_json::from_slice(&request.body).unwrap();
                    entry.number += 1;
                    let body = json(&entry);
                    shelf.insert(path, entry);
                    http::Response::new(200, body)
                }
                (_, false) => http::Response::new(404, "none"),
                ("DELETE", true) => http::Response::new(200, json(&shelf.remove(&path).unwrap())),
                _ => http::Response::new(200, json(&shelf[&path])),
            })
        })
    }

    fn book(title: &str, pages: i64) -> Object<Book> {
        let spec = BookSpec {
            title: title.to_owned(),
            pages,
        };
        Object::named("sea", "moby", Book { spec })
    }

    #[test]
    fn a_book_is_kept_by_the_service() {
        let (host, books) = (library(), fake::Responder::<Book>::new().namespace("sea"));
        assert!(matches!(books.get(&host, "moby"), Err(Error::NotFound(_))));
        let made = books.create(&host, book("Moby-Dick", 635).label("by", "melville")).unwrap();
        assert_eq!(made.metadata.resource_version, "1");
        assert!(matches!(books.create(&host, book("Moby-Dick", 635)), Err(Error::Conflict(_))));
        assert_eq!(books.list(&host).unwrap().len(), 1);
        assert_eq!(books.get(&host, "moby").unwrap().metadata.labels["by"], "melville");
        books.delete(&host, "moby").unwrap();
        assert!(books.list(&host).unwrap().is_empty());
    }

    #[test]
    fn fields_are_blamed() {
        let (host, books) = (library(), fake::Responder::<Book>::new().namespace("sea"));
        for (title, pages, field) in [("Moby-Dick", 0, "spec.pages"), ("", 1, "spec.title")] {
            assert!(books.create(&host, book(title, pages)).is_err());
            assert_eq!(books.blamed()[0].field, field);
        }
    }
}
