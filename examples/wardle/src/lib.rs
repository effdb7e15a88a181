//! Flunders and Fischers: the API of k8s.io/sample-apiserver, as stored resources.
//!
//! The host keeps, lists, watches, patches and deletes them. What is left to say is what upstream's program says in its strategies, its
//! conversion and its admission plugin: a Flunder refers to another Flunder or to a Fischer, v1alpha1 wrote that in other fields than v1beta1
//! does, and a Fischer bans names of Flunders. As upstream, only what is new is judged.

use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{Map, Value, from_value, to_value};

/// An example type with a spec and a status.
#[derive(Debug, Clone, Default, PartialEq, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(
    group = "wardle.example.com",
    version = "v1beta1",
    version = "v1alpha1",
    plural = "flunders",
    singular = "flunder"
)]
#[resource(schema(version = "v1alpha1", type = OldFlunder))]
#[resource(column(name = "Reference Type", path = ".spec.referenceType"))]
#[resource(column(name = "Age", path = ".metadata.creationTimestamp", type = "date"))]
#[serde(default)]
pub struct Flunder {
    /// What it refers to.
    spec: FlunderSpec,
    /// Nothing is known of it.
    status: FlunderStatus,
}

/// What a Flunder refers to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FlunderSpec {
    /// A name of another flunder, mutually exclusive to the FischerReference.
    #[serde(skip_serializing_if = "String::is_empty")]
    flunder_reference: String,
    /// A name of a fischer, mutually exclusive to the FlunderReference.
    #[serde(skip_serializing_if = "String::is_empty")]
    fischer_reference: String,
    /// The reference type: Flunder or Fischer.
    #[serde(skip_serializing_if = "String::is_empty")]
    reference_type: String,
}

/// The status of a Flunder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlunderStatus {}

/// A Flunder as v1alpha1 says it.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OldFlunder {
    spec: OldSpec,
    status: FlunderStatus,
}

/// What a Flunder refers to, in v1alpha1.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct OldSpec {
    /// A name of another flunder or fischer, depending on the reference type.
    #[serde(skip_serializing_if = "String::is_empty")]
    reference: String,
    /// The reference type, defaults to "Flunder" if reference is set.
    #[serde(skip_serializing_if = "String::is_empty")]
    reference_type: String,
}

/// Bans names of Flunders.
#[derive(Debug, Clone, Default, PartialEq, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(
    group = "wardle.example.com",
    version = "v1alpha1",
    plural = "fischers",
    singular = "fischer",
    scope = "Cluster"
)]
#[resource(column(name = "Age", path = ".metadata.creationTimestamp", type = "date"))]
#[serde(default, rename_all = "camelCase")]
pub struct Fischer {
    /// Names that no new Flunder may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disallowed_flunders: Vec<String>,
}

const FLUNDER: &str = "Flunder";
const FISCHER: &str = "Fischer";

// === impl FlunderSpec ===

impl FlunderSpec {
    /// The field at fault, as upstream blames it.
    fn wrong(&self) -> Vec<FieldError> {
        let wrong =
            |field: &str, value: &str, why: &str| FieldError::invalid(format!("spec.{field}"), format!("{value:?}: {why}"));
        let (flunder, fischer, kind) = (&*self.flunder_reference, &*self.fischer_reference, &*self.reference_type);
        let reference = match (flunder, fischer, kind) {
            ("", "", FISCHER) => wrong("fischerReference", "", "cannot be empty if referenceType is Fischer"),
            ("", "", FLUNDER) => wrong("flunderReference", "", "cannot be empty if referenceType is Flunder"),
            ("", "", _) | (_, "", FLUNDER) | ("", _, FISCHER) => return self.wrong_kind(),
            (_, "", _) => wrong("flunderReference", flunder, "cannot be set if referenceType is not Flunder"),
            ("", _, _) => wrong("fischerReference", fischer, "cannot be set if referenceType is not Fischer"),
            _ => wrong(
                "fischerReference",
                fischer,
                "cannot be set with flunderReference at the same time",
            ),
        };
        std::iter::once(reference).chain(self.wrong_kind()).collect()
    }

    fn wrong_kind(&self) -> Vec<FieldError> {
        match self.reference_type.as_str() {
            "" | FLUNDER | FISCHER => Vec::new(),
            other => vec![FieldError::invalid(
                "spec.referenceType",
                format!("{other:?}: must be Flunder or Fischer"),
            )],
        }
    }
}

impl From<OldSpec> for FlunderSpec {
    fn from(old: OldSpec) -> Self {
        let (flunder_reference, fischer_reference) = match old.reference_type.as_str() {
            "" if old.reference.is_empty() => return Self::default(),
            "" | FLUNDER => (old.reference, String::new()),
            FISCHER => (String::new(), old.reference),
            _ => return Self::default(),
        };
        let reference_type = if old.reference_type.is_empty() {
            FLUNDER.to_owned()
        } else {
            old.reference_type
        };
        Self {
            flunder_reference,
            fischer_reference,
            reference_type,
        }
    }
}

impl From<FlunderSpec> for OldSpec {
    fn from(spec: FlunderSpec) -> Self {
        let reference = match spec.reference_type.as_str() {
            FLUNDER => spec.flunder_reference,
            FISCHER => spec.fischer_reference,
            _ => return Self::default(),
        };
        Self {
            reference,
            reference_type: spec.reference_type,
        }
    }
}

/// Whether a Fischer bans this name.
fn is_banned(host: &impl Host, name: &str) -> Result<bool, Error> {
    let fischers = host.objects(Target::new(Fischer::GROUP, Fischer::VERSION, Fischer::PLURAL));
    let fischers = fischers.list::<Object<Fischer>>("")?;
    let mut banned = fischers.iter().flat_map(|fischer| &fischer.disallowed_flunders);
    Ok(banned.any(|banned| banned == name))
}

impl Strategy for Flunder {
    fn admit(host: &impl Host, request: Admission<'_, Self>) -> Admitted<Self> {
        if request.operation() != Operation::Create {
            return Admitted::yes(request.object);
        }
        match is_banned(host, &request.object.metadata.name) {
            Err(error) => return Admitted::failed(error),
            Ok(true) => {
                let why = "this name may not be used, please change the resource name";
                return Admitted::failed(Error::Denied(why.to_owned()));
            }
            Ok(false) => {}
        }
        let wrong = request.object.spec.wrong();
        wrong.into_iter().fold(Admitted::yes(request.object), Admitted::and)
    }

    fn convert(mut object: Object<Map<String, Value>>, _: &str, to: &str) -> Result<Object<Map<String, Value>>, Error> {
        let Some(spec) = object.get_mut("spec") else {
            return Ok(object);
        };
        let said = spec.take();
        *spec = match to {
            "v1alpha1" => to_value(OldSpec::from(from_value::<FlunderSpec>(said)?))?,
            _ => to_value(FlunderSpec::from(from_value::<OldSpec>(said)?))?,
        };
        Ok(object)
    }
}

impl Strategy for Fischer {
    fn admit(_: &impl Host, request: Admission<'_, Self>) -> Admitted<Self> {
        Admitted::yes(request.object)
    }
}

fn about() -> Manifest {
    let fischers = manifest::ObjectRule::of(Fischer::GROUP, Fischer::PLURAL).verbs(["get", "list"]);
    manifest!().needs_objects([fischers], "looks which names are banned")
}

plugin! { manifest: about, strategies: [Flunder, Fischer] }

#[cfg(test)]
mod tests {
    use outrigger_sdk::serde_json::json;

    use super::*;

    fn flunder(name: &str, [flunder, fischer, kind]: [&str; 3]) -> Object<Flunder> {
        let spec = FlunderSpec {
            flunder_reference: flunder.to_owned(),
            fischer_reference: fischer.to_owned(),
            reference_type: kind.to_owned(),
        };
        let status = FlunderStatus {};
        Object::named("sea", name, Flunder { spec, status })
    }

    #[test]
    fn what_is_new_is_judged() {
        let (host, mut flunders) = (fake::Host::new(), fake::Store::<Flunder>::new());
        for (spec, wrong) in [
            (["", "", ""], &[][..]),
            (["a", "", FLUNDER], &[]),
            (["", "a", FISCHER], &[]),
            (
                ["a", "b", FLUNDER],
                &["spec.fischerReference: Invalid value: \"b\": cannot be set with flunderReference at the same time"],
            ),
            (
                ["a", "", FISCHER],
                &["spec.flunderReference: Invalid value: \"a\": cannot be set if referenceType is not Flunder"],
            ),
            (
                ["a", "", ""],
                &["spec.flunderReference: Invalid value: \"a\": cannot be set if referenceType is not Flunder"],
            ),
            (
                ["", "a", FLUNDER],
                &["spec.fischerReference: Invalid value: \"a\": cannot be set if referenceType is not Fischer"],
            ),
            (
                ["", "", FISCHER],
                &["spec.fischerReference: Invalid value: \"\": cannot be empty if referenceType is Fischer"],
            ),
            (
                ["", "", FLUNDER],
                &["spec.flunderReference: Invalid value: \"\": cannot be empty if referenceType is Flunder"],
            ),
            (
                ["", "", "Shark"],
                &["spec.referenceType: Invalid value: \"Shark\": must be Flunder or Fischer"],
            ),
            (
                ["a", "", "Shark"],
                &[
                    "spec.flunderReference: Invalid value: \"a\": cannot be set if referenceType is not Flunder",
                    "spec.referenceType: Invalid value: \"Shark\": must be Flunder or Fischer",
                ],
            ),
        ] {
            let name = format!("f.{}", spec.join("."));
            let made = flunders.create(&host, flunder(&name, spec));
            let told: Vec<_> = match &made {
                Ok(_) => Vec::new(),
                Err(refused) => refused
                    .fields()
                    .iter()
                    .map(|e| format!("{}: {}", e.field, e.message))
                    .collect(),
            };
            assert_eq!(told, wrong, "{spec:?}");
        }
        let mut kept = flunders.get("sea", "f...").cloned().unwrap();
        kept.fields.spec.reference_type = "Shark".to_owned();
        assert!(flunders.update(&host, kept).is_ok(), "upstream lets it pass, too");
    }

    #[test]
    fn a_fischer_bans_names() {
        let fischers = Target::new(Fischer::GROUP, Fischer::VERSION, Fischer::PLURAL);
        let host = fake::Host::new().holding(
            &fischers,
            json!({"metadata": {"name": "strict"}, "disallowedFlunders": ["shark"]}),
        );
        let mut flunders = fake::Store::<Flunder>::new();
        let refused = flunders.create(&host, flunder("shark", [""; 3])).unwrap_err();
        assert!(matches!(refused, fake::Refused::Error(Error::Denied(why)) if why.starts_with("this name may not be used")));
        assert!(flunders.create(&host, flunder("herring", [""; 3])).is_ok());
        let host = fake::Host::new().denying("objects");
        assert!(
            flunders.create(&host, flunder("plaice", [""; 3])).is_err(),
            "who may not look lets nothing pass"
        );
    }

    #[test]
    fn both_versions_say_the_same() {
        let flunders = fake::Store::<Flunder>::new();
        let document = |version: &str, spec: Value| json!({"apiVersion": format!("wardle.example.com/{version}"), "kind": "Flunder", "metadata": {"name": "a"}, "spec": spec});
        for (old, new, back) in [
            (json!({}), json!({}), json!({})),
            (
                json!({"reference": "b"}),
                json!({"flunderReference": "b", "referenceType": FLUNDER}),
                json!({"reference": "b", "referenceType": FLUNDER}),
            ),
            (
                json!({"reference": "b", "referenceType": FISCHER}),
                json!({"fischerReference": "b", "referenceType": FISCHER}),
                json!({"reference": "b", "referenceType": FISCHER}),
            ),
            (json!({"reference": "b", "referenceType": "Shark"}), json!({}), json!({})),
        ] {
            let converted = flunders.convert([document("v1alpha1", old)], "v1beta1").unwrap();
            assert_eq!(converted[0]["spec"], new);
            assert_eq!(flunders.convert(converted, "v1alpha1").unwrap(), [document("v1alpha1", back)]);
        }
    }
}
