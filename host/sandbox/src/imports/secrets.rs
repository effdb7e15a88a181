//! `secrets`: by the name that the operator knows.

use crate::bindings::outrigger::plugin::secrets;
use crate::bindings::outrigger::plugin::types::Error;
use crate::call::Call;
use crate::capabilities::Capability;
use crate::log::visible;

/// The most bytes of a secret, as of a Secret.
const MOST: usize = 1 << 20;

impl secrets::Host for Call {
    async fn get(&mut self, name: String) -> Result<Vec<u8>, Error> {
        self.admit(Capability::Secrets)?;
        if !self.granted.effective.allows_secret(&name) {
            let asked = self.granted.requested.allows_secret(&name);
            let what = format!("the secret {:?}", visible(&name, 64));
            return Err(self.deny_argument(Capability::Secrets, asked, &what));
        }
        let Some(secrets) = self.granted.secrets.clone() else {
            return Err(super::nobody("secrets"));
        };
        let most = MOST.min(self.answers_left);
        let value = super::within(self.host_deadline(), "whoever holds the secret", secrets.get(&name, most)).await?;
        self.spend(value.len())?;
        Ok(value.into())
    }
}
