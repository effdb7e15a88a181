//! The embedded store, broken on purpose.
use super::*;
use std::sync::Arc;
async fn fresh() -> (Arc<dyn Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Keep::default()).unwrap();
    (Arc::new(store), dir)
}

crate::store_conforms!(embedded, fresh());
