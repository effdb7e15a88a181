//! The contract stays what it was: `docs/contract.wit` is all of it as a tool prints it, so a change of a record is seen in review; and
//! within one minor version nothing that was published changes at all.
//!
//! After an addition: `UPDATE=1 cargo test -p outrigger-sdk --test contract`. What was published is never updated that way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests are free")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wit_component::WitPrinter;
use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind, TypeOwner};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn contract() -> (Resolve, wit_parser::PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(here("wit")).unwrap();
    (resolve, package)
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

#[test]
fn the_published_contract_is_that_of_the_sources() {
    let (resolve, package) = contract();
    let mut printer = WitPrinter::default();
    printer.print(&resolve, package, &[]).unwrap();
    let text = format!(
        "// All of the contract, printed from guest-sdk/wit. Made by a test: guest-sdk/tests/contract.rs.\n{}",
        printer.output
    );
    let file = here("../docs/contract.wit");
    if updating() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&file).unwrap_or_default(),
        text,
        "run `UPDATE=1 cargo test -p outrigger-sdk --test contract` and commit docs/contract.wit"
    );
}

/// One line for each function and each type, with all that a caller depends on; types by their names, which have lines of their own.
fn published(resolve: &Resolve) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (_, interface) in &resolve.interfaces {
        let of = interface.name.clone().unwrap_or_default();
        for function in interface.functions.values() {
            all.insert(format!("{of}.{}", function.name), signature(resolve, function));
        }
        for (name, id) in &interface.types {
            let kind = &resolve.types[*id].kind;
            all.insert(format!("{of}.{name}"), shape(resolve, kind));
        }
    }
    for (_, world) in &resolve.worlds {
        let named = |items: &[&wit_parser::WorldKey]| {
            items
                .iter()
                .map(|key| resolve.name_world_key(key))
                .map(|key| key.split('@').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (imports, exports): (Vec<_>, Vec<_>) = (world.imports.keys().collect(), world.exports.keys().collect());
        // The world of capabilities grows; each of its interfaces has lines of its own.
        if world.name != "capabilities" {
            let line = format!("imports [{}] exports [{}]", named(&imports), named(&exports));
            all.insert(format!("world {}", world.name), line);
        }
    }
    all
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<_> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, name(resolve, &parameter.ty)))
        .collect();
    let result = function
        .result
        .map_or_else(String::new, |ty| format!(" -> {}", name(resolve, &ty)));
    format!("({}){result}", parameters.join(", "))
}

fn name(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else {
        return format!("{ty:?}").to_lowercase();
    };
    let ty = &resolve.types[*id];
    match (&ty.name, &ty.owner, &ty.kind) {
        // Where it is defined, not where it is used.
        (_, _, TypeDefKind::Type(Type::Id(origin))) => name(resolve, &Type::Id(*origin)),
        (Some(named), TypeOwner::Interface(id), _) => {
            let of = resolve.interfaces[*id].name.clone().unwrap_or_default();
            format!("{of}.{named}")
        }
        (_, _, kind) => shape(resolve, kind),
    }
}

fn shape(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let name = |ty: &Type| name(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), name);
    let join = |parts: Vec<String>| parts.join(", ");
    match kind {
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter().map(|f| format!("{}: {}", f.name, name(&f.ty)));
            format!("record {{{}}}", join(fields.collect()))
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|c| format!("{}({})", c.name, maybe(&c.ty)));
            format!("variant {{{}}}", join(cases.collect()))
        }
        TypeDefKind::Enum(cases) => {
            format!("enum {{{}}}", join(cases.cases.iter().map(|c| c.name.clone()).collect()))
        }
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", join(tuple.types.iter().map(name).collect())),
        TypeDefKind::List(ty) => format!("list<{}>", name(ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", name(ty)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", name(&Type::Id(*id))),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", name(&Type::Id(*id))),
        TypeDefKind::Resource => "resource".to_owned(),
        TypeDefKind::Type(ty) => format!("= {}", name(ty)),
        other => format!("{other:?}"),
    }
}

#[test]
fn what_was_published_never_changes() {
    let (resolve, package) = contract();
    let version = resolve.packages[package].name.version.clone().unwrap();
    // A new minor version begins with an empty file: until 1.0 that is where a contract may change.
    let file = here(&format!("tests/contract/{}.{}.txt", version.major, version.minor));
    let current = published(&resolve);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let known: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once(" | ")).collect();
    for (what, was) in &known {
        let now = current.get(*what).map_or("(it is gone)", String::as_str);
        assert_eq!(
            now, *was,
            "{what} was published in {version} and must stay; what changes needs a name of its own"
        );
    }
    if updating() {
        let lines: String = current.iter().map(|(what, is)| format!("{what} | {is}\n")).collect();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, lines).unwrap();
        return;
    }
    let new: Vec<_> = current.keys().filter(|what| !known.contains_key(what.as_str())).collect();
    assert!(
        new.is_empty(),
        "publish {new:?}: run `UPDATE=1 cargo test -p outrigger-sdk --test contract` and commit the file"
    );
}
