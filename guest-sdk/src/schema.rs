//! JSON Schemas of a plugin's Rust types, in the two dialects that the contract wants.
//!
//! Both are inlined, without a `$ref`: the host splices them into documents of its own. A type that contains itself has no
//! such schema, so it must not be used here.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The OpenAPI v3 schema of an object's fields, for [`Resource::schema`](outrigger_manifest::Resource::schema). Doc comments of
/// fields are what `kubectl explain` shows.
///
/// ```
/// # use outrigger_sdk::schema_of;
/// #[derive(schemars::JsonSchema)]
/// struct Ship {
///     /// Gross tonnage.
///     tonnage: i64,
/// }
/// let schema = schema_of::<Ship>();
/// assert_eq!(schema["properties"]["tonnage"]["description"], "Gross tonnage.");
/// ```
#[must_use]
pub fn schema_of<T: JsonSchema>() -> Value {
    generate::<T>(SchemaSettings::openapi3())
}

/// The JSON Schema (2020-12) of the operator's configuration, for
/// [`Manifest::config`](outrigger_manifest::Manifest::config).
#[must_use]
pub fn config_schema<T: JsonSchema>() -> Value {
    generate::<T>(SchemaSettings::draft2020_12())
}

fn generate<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let settings = settings.with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema: Value = settings.into_generator().into_root_schema_for::<T>().into();
    if let Some(root) = schema.as_object_mut() {
        // The name of a Rust type means nothing to a client.
        root.remove("title");
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nested twice, so that a reference would appear.
    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is read")]
    struct Usage {
        first: Amount,
        second: Option<Amount>,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is read")]
    struct Amount {
        cpu: String,
    }

    #[test]
    fn schemas_are_inlined_and_anonymous() {
        for schema in [schema_of::<Usage>(), config_schema::<Usage>()] {
            let text = schema.to_string();
            assert!(
                !text.contains("$ref") && !text.contains("$schema") && !text.contains("components"),
                "{text}"
            );
            assert!(schema.get("title").is_none(), "{text}");
            assert_eq!(schema["properties"]["first"]["properties"]["cpu"]["type"], "string", "{text}");
        }
    }
}
