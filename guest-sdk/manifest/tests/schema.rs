//! `docs/manifest.schema.json` is what other languages write manifests by: it says what these types say.
//!
//! After a change of the types: `UPDATE=1 cargo test -p outrigger-manifest`.

use std::path::Path;

use outrigger_manifest::Manifest;

#[test]
fn the_published_schema_is_that_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.schema.json");
    let schema = format!("{:#}\n", Manifest::schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        published, schema,
        "run `UPDATE=1 cargo test -p outrigger-manifest` and commit docs/manifest.schema.json"
    );
}
