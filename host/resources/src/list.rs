//! Lists: which moment, which rows, which page (apiserver `storage/util.go` ValidateListOptions, `cacher/delegator.go`).
//!
//! A table has its present and, for lists that are being read page by page, a few kept moments; there is no other history. So
//! a list at an exact version of the past is Expired unless that moment is kept, and a page whose moment is no longer kept
//! is Expired with a token that goes on in the present, as upstream after a compaction.

use std::sync::Arc;
use std::time::Duration;

use outrigger_api::continue_token::ContinueToken;
use outrigger_api::list_options::{ListOptions, ResourceVersion, ResourceVersionMatch};
use outrigger_api::meta::ListMeta;
use outrigger_api::status::Status;
use outrigger_storage::{Entry, Key, Labels, Snapshot};

use crate::Answer;
use crate::read::{Kind, Read, finish, not_yet};
use crate::shape::Object;
use crate::stored::status;

/// How long a list waits for a version that the table has not come to (cacher `blockTimeout`).
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// A row that the request selects, with the labels that its object has now.
struct Selected<'a> {
    entry: &'a Arc<Entry>,
    labels: Arc<Labels>,
}

// === impl Read ===

impl Read<'_> {
    pub(crate) async fn list(&self) -> Result<Answer, Status> {
        let media = self.media(Kind::List)?;
        let options = ListOptions::read(self.query)?;
        let include = self.include(media)?;
        let token = match options.continue_token.as_str() {
            "" => None,
            token => Some(ContinueToken::decode(token)?),
        };
        let snapshot = self.moment(&options, token.as_ref()).await?;
        let first = token.map(|token| self.first_key(&token.start));
        if self.served.kept.is_some() {
            return self.list_kept(options, media, include, snapshot, first).await;
        }
        // Upstream answers a list of "anything" from its watch cache, whole.
        let limit = match (options.limit, options.resource_version) {
            (_, ResourceVersion::Any) => None,
            (limit, _) => limit,
        };
        let mut rows = self.select(&options, &snapshot, first);
        let page: Vec<Selected<'_>> = match limit {
            Some(limit) => rows.by_ref().take(limit.get()).collect(),
            None => rows.by_ref().collect(),
        };
        let mut continued = String::new();
        let mut remaining = None;
        if limit.is_some()
            && let Some(last) = page.last().map(|s| &s.entry.row.key)
            && rows.next().is_some()
        {
            continued = ContinueToken::behind(&self.relative(last), snapshot.revision()).encode();
            // Upstream counts only where no selector makes the count a lie.
            if options.label_selector.is_empty() && options.field_selector.is_empty() {
                remaining = i64::try_from(rows.count() + 1).ok();
            }
            self.served.table.keep(&snapshot);
        }
        let meta = ListMeta {
            resource_version: snapshot.revision(),
            continue_token: &continued,
            remaining,
        };
        if let Some(freshness) = self.freshness {
            freshness.read(page.iter().map(|s| &*s.entry.row.fields), self.now);
        }
        let objects: Vec<Object<'_>> = page.iter().map(|s| Object::of(s.entry, &s.labels)).collect();
        finish(self.shape(media, include).list(&meta, &objects), media)
    }

    /// The rows as of the version that the request names.
    pub(crate) async fn moment(&self, options: &ListOptions, token: Option<&ContinueToken>) -> Result<Arc<Snapshot>, Status> {
        let table = &self.served.table;
        if let Some(token) = token {
            let Some(version) = token.version else {
                return self.newest().await;
            };
            self.come_to(version).await?;
            return table.page(version).ok_or_else(|| {
                let go_on = ContinueToken {
                    version: None,
                    start: token.start.clone(),
                };
                Status::expired_page(go_on.encode())
            });
        }
        let version = match options.resource_version {
            ResourceVersion::At(version) => version,
            ResourceVersion::Unset => return self.newest().await,
            ResourceVersion::Any => return Ok(table.snapshot()),
        };
        let exact = match options.resource_version_match {
            Some(ResourceVersionMatch::Exact) => true,
            Some(ResourceVersionMatch::NotOlderThan) => false,
            // As it was before there was a resourceVersionMatch.
            None => options.limit.is_some(),
        };
        if !exact {
            return table.reached(version, PATIENCE).await.map_err(not_yet);
        }
        self.come_to(version).await?;
        let current = table.snapshot().revision();
        if version > current {
            return Err(Status::too_large_resource_version(version, current, 1));
        }
        let expired = || Status::expired("The resourceVersion for the provided list is too old.");
        table.page(version).ok_or_else(expired)
    }

    /// An image may be behind a version that the store, or another replica, has given out already. A table itself gives out all of its versions.
    async fn come_to(&self, version: u64) -> Result<(), Status> {
        if self.served.kept.is_some() {
            self.served.table.reached(version, PATIENCE).await.map_err(not_yet)?;
        }
        Ok(())
    }

    /// The rows as they are now. Of what is kept in a store: with everything that was acknowledged before.
    pub(crate) async fn newest(&self) -> Result<Arc<Snapshot>, Status> {
        match &self.served.kept {
            Some(kept) => kept.fresh(PATIENCE).await.map_err(status),
            None => Ok(self.served.table.snapshot()),
        }
    }

    /// The rows of a list, in the order of the table: namespace, then name.
    fn select<'r>(
        &'r self,
        options: &'r ListOptions,
        snapshot: &'r Snapshot,
        first: Option<Key>,
    ) -> impl Iterator<Item = Selected<'r>> {
        let namespace = &*self.info.namespace;
        let first = first.unwrap_or_else(|| Key::new(namespace, ""));
        snapshot
            .iter_from(first, self.now)
            .take_while(move |entry| namespace.is_empty() || &*entry.row.key.namespace == namespace)
            .filter_map(move |entry| {
                let key = &entry.row.key;
                if !options.field_selector.matches(&key.namespace, &key.name) {
                    return None;
                }
                let labels = self.served.table.labels_of(&entry.row)?;
                options.label_selector.matches(&labels).then_some(Selected { entry, labels })
            })
    }

    /// A key as continue tokens have it: relative to what is listed.
    pub(crate) fn relative(&self, key: &Key) -> String {
        if self.info.namespace.is_empty() {
            key.to_string()
        } else {
            key.name.to_string()
        }
    }

    /// Where a continue token starts.
    pub(crate) fn first_key(&self, start: &str) -> Key {
        if !self.info.namespace.is_empty() {
            return Key::new(&self.info.namespace, start);
        }
        match start.split_once('/') {
            Some((namespace, name)) if self.is_namespaced() => Key::new(namespace, name),
            _ if self.is_namespaced() => Key::new(start, ""),
            _ => Key::new("", start),
        }
    }
}
