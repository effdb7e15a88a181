//! `derive(Resource)`: a Rust type as a Kubernetes resource.
//!
//! The macro reads one attribute and writes constants and one expression over the manifest's own builder. It checks what no later test
//! can say as well: what is missing, and what it does not know. Whether names are names is checked where every manifest is.

mod resource;

use proc_macro::TokenStream;

/// Implements `outrigger_sdk::Resource`.
///
/// ```text
/// /// A book of the library.                    <- the description, for `kubectl explain`
/// #[derive(Resource, Serialize, Deserialize, JsonSchema)]
/// #[resource(
///     group = "library.example.com",            // required
///     version = "v2",                           // required; the preferred one first
///     version = "v1",
///     plural = "books",                         // required
///     singular = "book",                        // default: the lower-cased kind
///     kind = "Book",                            // default: the type's name
///     short = "bk",                             // any number of them
///     category = "all",                         // any number of them
///     scope = "Cluster",                        // default: "Namespaced"
///     poll_seconds = 5,                         // offers watch: the host lists so often, and compares
///     column(name = "Author", path = ".spec.author"),
///     column(name = "Pages", path = ".spec.pages", type = "integer", format = "int32", description = "How many.", wide),
///     deprecated(version = "v1", warning = "use v2", removed_release = "2.0"),
/// )]
/// struct Book { /* the fields but apiVersion, kind and metadata */ }
/// ```
///
/// The schema is that of schemars, inlined; doc comments of fields are what `kubectl explain` shows.
#[proc_macro_derive(Resource, attributes(resource))]
pub fn resource(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    resource::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
