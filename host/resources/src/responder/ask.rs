//! How a guest is asked, and what becomes of one object that it answers with.

use std::sync::Arc;

use outrigger_api::object::Object;
use outrigger_api::status::Status;
use outrigger_sandbox::{Answered, Ask, CallError, Request};

use super::Responder;
use super::judge::Expected;
use super::written::Written;
use crate::Answer;
use crate::read::{Kind, finish};

/// Room for one object.
const OBJECT: usize = 1 << 10;

// === impl Responder ===

impl Responder<'_> {
    pub(super) fn facts(&self, verb: &str, name: &str, dry_run: bool) -> Request {
        self.asked.facts(verb, name, dry_run)
    }

    pub(super) async fn call(&self, facts: Request, ask: Ask) -> Result<Answered, CallError> {
        let answered = self.guest.respond(Arc::new(facts), ask, self.asked.deadline).await?;
        answered.warnings.iter().for_each(|warning| (self.asked.warn)(warning));
        Ok(answered)
    }

    /// Asks for one object or for a change of one; what comes back is judged.
    pub(super) async fn ask(&self, verb: &str, name: &str, dry_run: bool, ask: Ask) -> Result<Object, Refused> {
        // Who makes an object finds its name in the object, as the contract says.
        let told = if verb == "create" { "" } else { name };
        let answered = self.call(self.facts(verb, told, dry_run), ask).await.map_err(Refused::Call)?;
        let judged = self.expected(name).judge(&answered.object);
        judged.map_err(|bad| Refused::Bad(self.failure().bad(&bad)))
    }

    pub(super) fn expected(&self, name: &str) -> Expected {
        Expected {
            api_version: self.asked.served.api_version.to_string(),
            kind: self.kind().to_owned(),
            is_namespaced: self.is_namespaced(),
            namespace: self.asked.info.namespace.clone(),
            name: name.to_owned(),
        }
    }

    /// The object as it is now, with the version that clients know it by.
    pub(super) async fn current(&self, name: &str) -> Result<(Object, Written), Status> {
        match self.ask("get", name, false, Ask::Get).await {
            Ok(object) => Ok(self.shown(object, false)),
            Err(refused) => {
                if let (Some(poll), Refused::Call(error)) = (self.shared(), &refused)
                    && is_absent(error)
                {
                    poll.gone(&self.asked.info.namespace, name);
                }
                Err(refused.status(self, name, false))
            }
        }
    }

    /// An object that the guest has just returned, as clients see it: of a shared resource it goes through the table, unless it was
    /// only tried.
    pub(super) fn shown(&self, mut object: Object, dry_run: bool) -> (Object, Written) {
        match self.shared() {
            None => (object.clone(), Written::of(object)),
            Some(_) if dry_run => {
                object.set("resourceVersion", "");
                (object.clone(), Written::of(object))
            }
            Some(poll) => {
                let revision = poll.put(object.clone());
                object.set("resourceVersion", &revision.to_string());
                (object.clone(), Written::at(object, revision))
            }
        }
    }

    pub(super) async fn get(&self) -> Result<Answer, Status> {
        let read = self.asked.read();
        let media = read.media(Kind::One)?;
        read.check_get()?;
        let include = read.include(media)?;
        let (_, written) = self.current(&self.asked.info.name).await?;
        let mut out = Vec::with_capacity(OBJECT);
        let mut shape = read.shape(media, include);
        shape.kind = self.kind();
        shape.write_one(&mut out, &written.object(), true);
        finish(out, media)
    }

    /// The answer to a write.
    pub(super) fn written(&self, code: u16, written: &Written) -> Result<Answer, Status> {
        let read = self.asked.read();
        let media = read.media(Kind::One)?;
        let include = read.include(media)?;
        let mut out = Vec::with_capacity(OBJECT);
        let mut shape = read.shape(media, include);
        shape.kind = self.kind();
        shape.write_one(&mut out, &written.object(), true);
        finish(out, media).map(|answer| answer.with_code(code))
    }
}

/// Why a call brought no object.
pub(super) enum Refused {
    /// It failed.
    Call(CallError),
    /// What it returned is not what was asked for; logged already.
    Bad(Status),
}

// === impl Refused ===

impl Refused {
    pub(super) fn status(&self, responder: &Responder<'_>, name: &str, made: bool) -> Status {
        match self {
            Self::Call(error) => responder.failure().status(error, name, made),
            Self::Bad(status) => status.clone(),
        }
    }

    /// Whether there is no such object.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Call(error) if is_absent(error))
    }

    /// Whether somebody else was faster, or has the name.
    pub(super) fn is_conflict(&self) -> bool {
        use outrigger_sandbox::ContractError;
        matches!(
            self,
            Self::Call(CallError::Refused {
                error: ContractError::Conflict(_),
                ..
            })
        )
    }
}

fn is_absent(error: &CallError) -> bool {
    use outrigger_sandbox::ContractError;
    matches!(
        error,
        CallError::Refused {
            error: ContractError::NotFound(_),
            ..
        }
    )
}
