//! A cluster that is a map, for the tests of this room.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use crate::Watches;
use crate::watches::{Follow, Following, Hears, Kind, Owner, Seen, Standing, What};

/// The objects of a cluster, by the plural name of their resource.
#[derive(Default)]
pub(crate) struct World(Mutex<HashMap<String, Shelf>>);

#[derive(Default)]
/// The objects of one resource, and who follows them.
pub(crate) struct Shelf {
    synced: bool,
    pub(crate) objects: BTreeMap<Arc<str>, Option<Owner>>,
    pub(crate) hears: Vec<(usize, Arc<dyn Hears>)>,
    next: usize,
}

struct Handle(Arc<World>, String, usize);

/// `Ship` for `ships`.
fn kind(resource: &str) -> Kind {
    let (first, rest) = resource.trim_end_matches('s').split_at(1);
    Kind {
        kind: format!("{}{rest}", first.to_uppercase()).into(),
        namespaced: true,
    }
}

impl World {
    pub(crate) fn on<T>(&self, resource: &str, what: impl FnOnce(&mut Shelf) -> T) -> T {
        what(self.0.lock().unwrap().entry(resource.to_owned()).or_default())
    }

    pub(crate) fn sync(&self, resource: &str) {
        self.on(resource, |shelf| {
            shelf.synced = true;
            for (_, hears) in &shelf.hears {
                hears.stands(Standing::Synced(kind(resource)));
            }
        });
    }

    pub(crate) fn put(&self, resource: &str, key: &str, owner: Option<Owner>) {
        self.on(resource, |shelf| {
            let key: Arc<str> = key.into();
            let before = shelf.objects.insert(key.clone(), owner.clone());
            for (_, hears) in &shelf.hears {
                hears.seen(&Seen {
                    key: &key,
                    what: if before.is_some() { What::Changed } else { What::Made },
                    owner: owner.as_ref(),
                    before: before.as_ref().and_then(Option::as_ref),
                });
            }
        });
    }

    pub(crate) fn take(&self, resource: &str, key: &str) {
        self.on(resource, |shelf| {
            let (key, before) = shelf.objects.remove_entry(key).unwrap();
            for (_, hears) in &shelf.hears {
                hears.seen(&Seen {
                    key: &key,
                    what: What::Gone,
                    owner: before.as_ref(),
                    before: None,
                });
            }
        });
    }

    pub(crate) fn followers(&self, resource: &str) -> usize {
        self.on(resource, |shelf| shelf.hears.len())
    }
}

pub(crate) struct Sea(pub(crate) Arc<World>);

impl Watches for Sea {
    fn follow(&self, what: &Follow, hears: Arc<dyn Hears>) -> Box<dyn Following> {
        let resource = what.resource.resource.clone();
        let number = self.0.on(&resource, |shelf| {
            for (key, owner) in &shelf.objects {
                hears.seen(&Seen {
                    key,
                    what: What::Made,
                    owner: owner.as_ref(),
                    before: None,
                });
            }
            if shelf.synced {
                hears.stands(Standing::Synced(kind(&resource)));
            }
            shelf.next += 1;
            shelf.hears.push((shelf.next, hears));
            shelf.next
        });
        Box::new(Handle(self.0.clone(), resource, number))
    }
}

impl Following for Handle {
    fn keys(&self) -> Vec<Arc<str>> {
        self.0.on(&self.1, |shelf| shelf.objects.keys().cloned().collect())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.on(&self.1, |shelf| shelf.hears.retain(|(n, _)| *n != self.2));
    }
}
