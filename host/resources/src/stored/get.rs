//! One object: as it is now, or at least as new as the caller says (apiserver `storage/cacher` Get).

use outrigger_api::list_options::ResourceVersion;
use outrigger_api::status::Status;
use outrigger_storage::{Kept, Key};

use super::convert::{in_version, is_in_version};
use super::status;
use crate::Answer;
use crate::list::PATIENCE;
use crate::read::{Kind, Read, finish};
use crate::shape::Object;

/// Room for what stands around an object.
const FRAME: usize = 512;

// === impl Read ===

impl Read<'_> {
    /// # Errors
    /// 404; 504 if the store does not come to the version that is asked for in time; whatever keeps the store or the plugin from it.
    pub(crate) async fn get_kept(&self, kept: &Kept) -> Result<Answer, Status> {
        let media = self.media(Kind::One)?;
        self.check_get()?;
        let include = self.include(media)?;
        let key = Key::new(&self.info.namespace, &self.info.name);
        let version = self.query.first("resourceVersion").unwrap_or_default();
        let entry = match ResourceVersion::parse(version)? {
            ResourceVersion::Unset => kept.get(&key, PATIENCE).await,
            ResourceVersion::Any => kept.get_since(&key, 0, PATIENCE).await,
            ResourceVersion::At(version) => kept.get_since(&key, version, PATIENCE).await,
        };
        let resource = &self.served.resource;
        let entry = entry.map_err(status)?;
        let mut entry = entry.ok_or_else(|| Status::not_found(&resource.group, &resource.plural, &key.name))?;
        if media.form.shows_fields() && !is_in_version(self.served, &entry) {
            let converted = in_version(self.served, &[entry], self.deadline).await?;
            let [one] = <[_; 1]>::try_from(converted).map_err(|_| Status::internal_error("a conversion brought nothing"))?;
            entry = one;
        }
        let object = Object::of(&entry, &outrigger_api::meta::NONE);
        let mut out = Vec::with_capacity(FRAME + object.fields.len() + object.meta.rest.json.len());
        self.shape(media, include).write_one(&mut out, &object, true);
        finish(out, media)
    }
}
