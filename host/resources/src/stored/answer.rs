//! The answer to a write: the object in the version and the form that were asked for.

use std::slice;
use std::sync::Arc;

use outrigger_api::media::Media;
use outrigger_api::object::Object;
use outrigger_api::status::Status;
use outrigger_api::table::IncludeObject;
use outrigger_storage::Entry;

use super::Stored;
use super::convert::{in_version, object_in};
use super::part::Part;
use crate::Answer;
use crate::read::{Kind, finish};
use crate::responder::written::Written;
use crate::shape;

/// What an answer shall look like: known, and acceptable, before anything is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    pub(super) media: Media,
    pub(super) include: IncludeObject,
}

/// An object after a write.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// As it is kept now.
    Kept(Arc<Entry>),
    /// As it would be, or as it was last.
    Told(Box<Object>),
}

/// Room for one object.
const OBJECT: usize = 1 << 10;

// === impl Stored ===

impl Stored<'_> {
    /// # Errors
    /// 406 if nothing that the client takes can be had, 400 for a malformed `includeObject`.
    pub(super) fn looks(&self, kind: Kind) -> Result<Looks, Status> {
        let read = self.asked.read();
        let media = read.media(kind)?;
        Ok(Looks {
            media,
            include: read.include(media)?,
        })
    }

    /// The object of an outcome.
    ///
    /// # Errors
    /// It cannot be converted; the write has happened all the same.
    pub(super) async fn told(&self, code: u16, outcome: &Outcome, looks: Looks) -> Result<Answer, Status> {
        let served = self.asked.served;
        if self.part == Part::Scale {
            return self.told_scale(code, outcome, looks).await;
        }
        let shape = self.asked.read().shape(looks.media, looks.include);
        let mut out = Vec::with_capacity(OBJECT);
        match outcome {
            Outcome::Kept(entry) => {
                let converted = match looks.media.form.shows_fields() {
                    true => in_version(served, slice::from_ref(entry), self.left()).await?,
                    false => Vec::new(),
                };
                let entry = converted.first().unwrap_or(entry);
                let labels = entry.labels.clone().unwrap_or_default();
                shape.write_one(&mut out, &shape::Object::of(entry, &labels), true);
            }
            Outcome::Told(object) => {
                let object = match looks.media.form.shows_fields() {
                    true => object_in(served, (**object).clone(), self.version(), self.left()).await?,
                    false => (**object).clone(),
                };
                shape.write_one(&mut out, &Written::of(object).object(), true);
            }
        }
        finish(out, looks.media).map(|answer| answer.with_code(code))
    }
}
