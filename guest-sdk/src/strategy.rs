//! The role *strategy*: the rules of a stored resource.
//!
//! The host keeps, watches and serves the objects. Once per write it asks whether the object may be stored, and how it shall
//! look: what is missing is filled in, what is wrong is refused with the fields to blame, as many as there are. Where a resource has
//! several versions, the host asks for conversions in batches; without a word from the plugin only apiVersion changes, as with a
//! CustomResourceDefinition's strategy `None`.
//!
//! ```
//! use outrigger_sdk::prelude::*;
//!
//! #[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
//! #[resource(group = "harbor.example.com", version = "v1", plural = "ships")]
//! struct Ship {
//!     flag: Option<String>,
//!     tonnage: i64,
//! }
//!
//! impl Strategy for Ship {
//!     fn admit(_: &impl Host, mut request: Admission<'_, Self>) -> Admitted<Self> {
//!         let ship = &mut request.object;
//!         ship.flag.get_or_insert("unknown".into());
//!         if ship.tonnage <= 0 {
//!             return request.invalid("tonnage", "must be positive");
//!         }
//!         if request.old.as_ref().is_some_and(|old| old.tonnage > request.object.tonnage) {
//!             return request.forbidden("tonnage", "a ship never shrinks");
//!         }
//!         Admitted::yes(request.object)
//!     }
//! }
//!
//! let (host, mut ships) = (fake::Host::new(), fake::Store::<Ship>::new());
//! let vega = ships.create(&host, Object::named("north", "vega", Ship { flag: None, tonnage: 900 })).unwrap();
//! assert_eq!(vega.flag.as_deref(), Some("unknown"));
//! let refused = ships.create(&host, Object::named("north", "mira", Ship { flag: None, tonnage: 0 })).unwrap_err();
//! assert_eq!(refused.fields()[0].field, "tonnage");
//! ```

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::object::{Parsed, api_version, encode};
use crate::{Error, FieldError, Host, Object, Request, Resource};

/// The rules of a stored resource.
pub trait Strategy: Resource {
    /// Says of one write whether it may be, and what is stored. Called after the schema has pruned, defaulted and validated, in the
    /// version in which the object is kept. What it reads of the plugin's own stored resources comes from the host's memory.
    fn admit(host: &impl Host, request: Admission<'_, Self>) -> Admitted<Self>;

    /// The object as another version says it. Never called where the versions are equal.
    ///
    /// # Errors
    /// None of the batch is converted.
    ///
    /// ```
    /// # use outrigger_sdk::prelude::*;
    /// # use outrigger_sdk::manifest::ResourceName;
    /// #[derive(Resource, Serialize, Deserialize, JsonSchema)]
    /// #[resource(group = "harbor.example.com", version = "v2", version = "v1", plural = "ships")]
    /// struct Ship {
    ///     tonnes: i64,
    /// }
    ///
    /// impl Strategy for Ship {
    ///     fn admit(_: &impl Host, request: Admission<'_, Self>) -> Admitted<Self> {
    ///         Admitted::yes(request.object)
    ///     }
    ///
    ///     /// v1 called them `tons`.
    ///     fn convert(mut object: Object<serde_json::Map<String, serde_json::Value>>, from: &str, _to: &str)
    ///         -> Result<Object<serde_json::Map<String, serde_json::Value>>, Error>
    ///     {
    ///         let (old, new) = if from == "v1" { ("tons", "tonnes") } else { ("tonnes", "tons") };
    ///         if let Some(weight) = object.shift_remove(old) {
    ///             object.insert(new.to_owned(), weight);
    ///         }
    ///         Ok(object)
    ///     }
    /// }
    ///
    /// let ships = fake::Store::<Ship>::new();
    /// let old = serde_json::json!({"apiVersion": "harbor.example.com/v1", "kind": "Ship", "metadata": {"name": "vega"}, "tons": 900});
    /// assert_eq!(ships.convert([old], "v2").unwrap()[0]["tonnes"], 900);
    /// ```
    fn convert(object: Object<Map<String, Value>>, from: &str, to: &str) -> Result<Object<Map<String, Value>>, Error> {
        let _ = (from, to);
        Ok(object)
    }
}

/// One write that asks to be admitted.
#[derive(Debug)]
pub struct Admission<'a, T> {
    /// What is to be stored; for a delete: what is to go.
    pub object: Object<T>,
    /// For an update: what is stored now.
    pub old: Option<Object<T>>,
    operation: Operation,
    request: Request<'a>,
}

/// What a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object.
    Create,
    /// An object replaced (a patch is an update by the time it gets here).
    Update,
    /// An object removed.
    Delete,
}

/// What a strategy says of one write.
///
/// ```
/// # use outrigger_sdk::{Admitted, FieldError};
/// let refused = Admitted::<()>::no(FieldError::required("spec.flag", "")).and(FieldError::invalid("spec.tonnage", "must be positive"));
/// assert_eq!(refused.fields().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted<T> {
    object: Option<Object<T>>,
    warnings: Vec<String>,
    fields: Vec<FieldError>,
    failed: Option<Error>,
}

/// The same in the host's terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdmittedBytes {
    /// The object to store; empty for a delete, and where there are errors.
    pub object: Vec<u8>,
    /// For the caller.
    pub warnings: Vec<String>,
    /// Any of them refuses the write.
    pub fields: Vec<FieldError>,
}

// === impl Admission ===

impl<'a, T> Admission<'a, T> {
    /// Create, update or delete.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The request that writes: who asks, for which version and subresource, dry run or not.
    #[must_use]
    pub fn request(&self) -> &Request<'a> {
        &self.request
    }

    /// One sentence that the caller sees though the write succeeds.
    pub fn warn(&self, text: impl Display) {
        self.request.warn(text);
    }

    /// Refuses: the field's value makes no sense.
    #[must_use]
    pub fn invalid(&self, field: &str, why: impl Display) -> Admitted<T> {
        Admitted::no(FieldError::invalid(field, why))
    }

    /// Refuses: the field is missing. `why` may be empty.
    #[must_use]
    pub fn required(&self, field: &str, why: impl Display) -> Admitted<T> {
        Admitted::no(FieldError::required(field, why))
    }

    /// Refuses: the field's value is none of these.
    #[must_use]
    pub fn not_supported(&self, field: &str, value: impl Display, supported: &[&str]) -> Admitted<T> {
        Admitted::no(FieldError::not_supported(field, value, supported))
    }

    /// Refuses: what else is known does not allow it.
    #[must_use]
    pub fn forbidden(&self, field: &str, why: impl Display) -> Admitted<T> {
        Admitted::no(FieldError::forbidden(field, why))
    }
}

// === impl Admitted ===

impl<T> Admitted<T> {
    /// This is stored.
    #[must_use]
    pub fn yes(object: Object<T>) -> Self {
        Self {
            object: Some(object),
            warnings: Vec::new(),
            fields: Vec::new(),
            failed: None,
        }
    }

    /// Nothing is stored, because of this field.
    #[must_use]
    pub fn no(field: FieldError) -> Self {
        Self {
            object: None,
            warnings: Vec::new(),
            fields: vec![field],
            failed: None,
        }
    }

    /// Nothing is stored, because the rules could not be applied: not the caller's fault.
    #[must_use]
    pub fn failed(error: Error) -> Self {
        Self {
            object: None,
            warnings: Vec::new(),
            fields: Vec::new(),
            failed: Some(error),
        }
    }

    /// And because of this one: it makes a refusal of what was admitted.
    #[must_use]
    pub fn and(mut self, field: FieldError) -> Self {
        self.fields.push(field);
        self
    }

    /// One sentence for the caller.
    #[must_use]
    pub fn warning(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }

    /// The fields at fault; none if it is admitted.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }
}

/// `admit` in the host's terms.
pub(crate) fn admit<T: Strategy>(
    host: &impl Host,
    request: Request<'_>,
    object: &[u8],
    old: &[u8],
) -> Result<AdmittedBytes, Error> {
    let operation = match (object.is_empty(), old.is_empty()) {
        (false, true) => Operation::Create,
        (false, false) => Operation::Update,
        (true, false) => Operation::Delete,
        (true, true) => return Err(Error::Failed("a write without an object".to_owned())),
    };
    let stored = || Object::decode(old).map_err(|e| Error::Failed(format!("what is stored: {e}")));
    let (object, old) = match operation {
        Operation::Create => (Object::decode(object)?, None),
        Operation::Update => (Object::decode(object)?, Some(stored()?)),
        Operation::Delete => (stored()?, None),
    };
    let version = request.version();
    let asked = Admission {
        object,
        old,
        operation,
        request,
    };
    let answer = T::admit(host, asked);
    if let Some(error) = answer.failed {
        return Err(error);
    }
    let object = match answer.object {
        Some(object) if answer.fields.is_empty() && operation != Operation::Delete => object.encode(&version)?,
        _ => Vec::new(),
    };
    Ok(AdmittedBytes {
        object,
        warnings: answer.warnings,
        fields: answer.fields,
    })
}

/// Whether these objects are of this type: a conversion names the resource, the objects their group.
pub(crate) fn converts<T: Strategy>(resource: &str, objects: &[Vec<u8>]) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        api_version: String,
    }
    let group = |bytes: &Vec<u8>| {
        let head: Option<Head> = serde_json::from_slice(bytes).ok();
        head.is_some_and(|head| head.api_version.split_once('/').map_or("", |(group, _)| group) == T::GROUP)
    };
    resource == T::PLURAL && objects.first().is_none_or(group)
}

/// `convert` in the host's terms.
pub(crate) fn convert<T: Strategy>(version: &str, objects: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
    let to = api_version(T::GROUP, version);
    let one = |bytes: &Vec<u8>| {
        let parsed = Parsed::read(bytes)?;
        let from = parsed.api_version.rsplit('/').next().unwrap_or_default();
        let object = Object {
            metadata: parsed.metadata,
            fields: parsed.fields,
        };
        let object = if from == version {
            object
        } else {
            T::convert(object, from, version)?
        };
        encode(&to, T::KIND, &object.metadata, &object.fields)
    };
    objects.iter().map(one).collect()
}
