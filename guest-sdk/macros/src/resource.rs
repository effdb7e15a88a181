//! What `#[resource(…)]` says, and the implementation that comes of it.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{Attribute, DeriveInput, Error, Expr, ExprLit, Lit, LitInt, LitStr, Result};

/// Types of a column's cells, as OpenAPI names them, and as the builder's functions are called.
const CELLS: [&str; 5] = ["string", "integer", "number", "boolean", "date"];

/// One `#[resource(…)]`, read.
#[derive(Default)]
struct Said {
    group: Option<LitStr>,
    versions: Vec<LitStr>,
    plural: Option<LitStr>,
    singular: Option<LitStr>,
    kind: Option<LitStr>,
    short: Vec<LitStr>,
    category: Vec<LitStr>,
    scope: Option<LitStr>,
    poll_seconds: Option<LitInt>,
    columns: Vec<TokenStream>,
    deprecated: Vec<TokenStream>,
    schemas: Vec<TokenStream>,
    kept: Kept,
}

/// What only objects have that the host keeps.
#[derive(Default)]
struct Kept {
    storage_version: Option<LitStr>,
    scale: Option<TokenStream>,
    /// Words that stand alone: `status`, `create_on_update`, `unconditional_update`, `admits_deletes`.
    words: Vec<String>,
}

/// The words that may stand alone.
const WORDS: [&str; 4] = ["status", "create_on_update", "unconditional_update", "admits_deletes"];

/// The implementation, or what is wrong and where.
pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let name = &input.ident;
    if let Some(parameter) = input.generics.params.first() {
        return Err(Error::new(parameter.span(), "a resource is one type: it has no parameters"));
    }
    let mut said = Said::default();
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("resource")) {
        attribute.parse_nested_meta(|meta| said.read(&meta))?;
    }
    let missing = |what: &str| Error::new(name.span(), format!("#[resource(…)] on {name} says no {what}"));
    let group = said
        .group
        .as_ref()
        .ok_or_else(|| missing(r#"group, such as group = "library.example.com""#))?;
    let version = said
        .versions
        .first()
        .ok_or_else(|| missing(r#"version, such as version = "v1""#))?;
    let plural = said
        .plural
        .as_ref()
        .ok_or_else(|| missing(r#"plural, such as plural = "books""#))?;
    let kind = said
        .kind
        .clone()
        .unwrap_or_else(|| LitStr::new(&name.to_string(), name.span()));
    let scope = scope(said.scope.as_ref())?;
    let description = description(&input.attrs);
    let Said {
        versions,
        singular,
        short,
        category,
        columns,
        deprecated,
        schemas,
        kept,
        ..
    } = &said;
    let kept = kept.backing().into_iter();
    let singular = singular.iter();
    let poll_seconds = said.poll_seconds.iter();
    Ok(quote! {
        #[automatically_derived]
        impl ::outrigger_sdk::Resource for #name {
            const GROUP: &'static str = #group;
            const VERSIONS: &'static [&'static str] = &[#(#versions),*];
            const VERSION: &'static str = #version;
            const PLURAL: &'static str = #plural;
            const KIND: &'static str = #kind;

            fn declaration() -> ::outrigger_sdk::manifest::Resource {
                ::outrigger_sdk::manifest::Resource::virtual_(#kind, #plural, ::outrigger_sdk::manifest::Scope::#scope, [])
                    .group(#group)
                    #(.version(#versions))*
                    #(.singular(#singular))*
                    #(.short_name(#short))*
                    #(.category(#category))*
                    #(.poll_seconds(#poll_seconds))*
                    .description(#description)
                    .schema(::outrigger_sdk::schema_of::<Self>())
                    #(.column(#columns))*
                    #(#deprecated)*
                    #(#schemas)*
                    #(.kept(#kept))*
            }
        }
    })
}

// === impl Said ===

impl Said {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let Some(key) = meta.path.get_ident().map(ToString::to_string) else {
            return Err(meta.error("not a word"));
        };
        match key.as_str() {
            "group" => once(&mut self.group, meta),
            "plural" => once(&mut self.plural, meta),
            "singular" => once(&mut self.singular, meta),
            "kind" => once(&mut self.kind, meta),
            "scope" => once(&mut self.scope, meta),
            "poll_seconds" => {
                self.poll_seconds = Some(meta.value()?.parse()?);
                Ok(())
            }
            "version" => text(meta).map(|v| self.versions.push(v)),
            "short" => text(meta).map(|v| self.short.push(v)),
            "category" => text(meta).map(|v| self.category.push(v)),
            "column" => column(meta).map(|c| self.columns.push(c)),
            "deprecated" => deprecated(meta).map(|d| self.deprecated.push(d)),
            "schema" => schema(meta).map(|s| self.schemas.push(s)),
            "storage_version" => once(&mut self.kept.storage_version, meta),
            "scale" => match self.kept.scale.replace(scale(meta)?) {
                Some(_) => Err(meta.error("it stands there twice")),
                None => Ok(()),
            },
            word if WORDS.contains(&word) => {
                self.kept.words.push(word.to_owned());
                Ok(())
            }
            _ => Err(meta.error(format!(
                "{key:?} is none of group, version, plural, singular, kind, short, category, scope, poll_seconds, column, deprecated, \
                 schema, storage_version, scale, {}",
                WORDS.join(", ")
            ))),
        }
    }
}

// === impl Kept ===

impl Kept {
    /// The manifest's backing, if anything is said of it.
    fn backing(&self) -> Option<TokenStream> {
        let Self {
            storage_version,
            scale,
            words,
        } = self;
        if storage_version.is_none() && scale.is_none() && words.is_empty() {
            return None;
        }
        let version = storage_version.clone().unwrap_or_else(|| LitStr::new("", Span::call_site()));
        let scale = match scale {
            Some(scale) => quote!(::core::option::Option::Some(#scale)),
            None => quote!(::core::option::Option::None),
        };
        let [status, create_on_update, unconditional_update, admits_deletes] =
            WORDS.map(|word| words.iter().any(|said| said == word));
        Some(quote! {
            ::outrigger_sdk::manifest::Backing::Stored {
                storage_version: ::std::string::String::from(#version),
                status: #status,
                scale: #scale,
                create_on_update: #create_on_update,
                unconditional_update: #unconditional_update,
                admits_deletes: #admits_deletes,
            }
        })
    }
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    meta.value()?.parse()
}

fn once(slot: &mut Option<LitStr>, meta: &ParseNestedMeta<'_>) -> Result<()> {
    match slot.replace(text(meta)?) {
        Some(_) => Err(meta.error("it stands there twice")),
        None => Ok(()),
    }
}

fn scope(said: Option<&LitStr>) -> Result<syn::Ident> {
    let Some(said) = said else {
        return Ok(syn::Ident::new("Namespaced", Span::call_site()));
    };
    match said.value().as_str() {
        scope @ ("Namespaced" | "Cluster") => Ok(syn::Ident::new(scope, said.span())),
        other => Err(Error::new(
            said.span(),
            format!(r#"{other:?} is neither "Namespaced" nor "Cluster""#),
        )),
    }
}

/// `column(name = "Author", path = ".spec.author", …)`.
fn column(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let (mut name, mut path, mut cells, mut format, mut description) = (None, None, None, None, None);
    let mut wide = false;
    meta.parse_nested_meta(|meta| {
        for (word, slot) in [
            ("name", &mut name),
            ("path", &mut path),
            ("type", &mut cells),
            ("format", &mut format),
            ("description", &mut description),
        ] {
            if meta.path.is_ident(word) {
                return once(slot, &meta);
            }
        }
        if meta.path.is_ident("wide") {
            wide = true;
            return Ok(());
        }
        Err(meta.error("a column has name, path, type, format, description, wide"))
    })?;
    let name = name.ok_or_else(|| meta.error("this column has no name"))?;
    let path = path.ok_or_else(|| meta.error("this column has no path, such as path = \".spec.author\""))?;
    if !path.value().starts_with('.') {
        return Err(Error::new(path.span(), "a path begins with a dot, such as \".spec.author\""));
    }
    let of = match &cells {
        None => syn::Ident::new("string", Span::call_site()),
        Some(cells) if CELLS.contains(&cells.value().as_str()) => syn::Ident::new(&cells.value(), cells.span()),
        Some(cells) => {
            let all = CELLS.join(", ");
            return Err(Error::new(cells.span(), format!("{:?} is none of {all}", cells.value())));
        }
    };
    let (format, description) = (format.iter(), description.iter());
    let wide = wide.then(|| quote!(.wide())).into_iter();
    Ok(quote! {
        ::outrigger_sdk::manifest::Column::#of(#name).path(#path) #(.format(#format))* #(.description(#description))* #(#wide)*
    })
}

/// `deprecated(version = "v1", warning = "use v2", removed_release = "2.0")`.
fn deprecated(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let (mut version, mut warning, mut removed) = (None, None, None);
    meta.parse_nested_meta(|meta| {
        for (word, slot) in [
            ("version", &mut version),
            ("warning", &mut warning),
            ("removed_release", &mut removed),
        ] {
            if meta.path.is_ident(word) {
                return once(slot, &meta);
            }
        }
        Err(meta.error("a deprecation has version, warning, removed_release"))
    })?;
    let version = version.ok_or_else(|| meta.error("this deprecation has no version"))?;
    let warning = warning.unwrap_or_else(|| LitStr::new("", Span::call_site()));
    let removed = removed.iter();
    Ok(quote! { .deprecated(#version, #warning) #(.removed_release(#removed))* })
}

/// `schema(version = "v1", type = OldBook)`: the fields of one version look like another type's.
fn schema(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let (mut version, mut of) = (None, None);
    meta.parse_nested_meta(|meta| {
        if meta.path.is_ident("version") {
            return once(&mut version, &meta);
        }
        if meta.path.is_ident("type") {
            of = Some(meta.value()?.parse::<syn::Type>()?);
            return Ok(());
        }
        Err(meta.error("a schema has version and type"))
    })?;
    let version = version.ok_or_else(|| meta.error("this schema has no version"))?;
    let of = of.ok_or_else(|| meta.error("this schema has no type"))?;
    Ok(quote! { .schema_in(#version, ::outrigger_sdk::schema_of::<#of>()) })
}

/// `scale(replicas = ".spec.replicas", ready = ".status.replicas", selector = ".status.selector")`.
fn scale(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let (mut replicas, mut ready, mut selector) = (None, None, None);
    meta.parse_nested_meta(|meta| {
        for (word, slot) in [
            ("replicas", &mut replicas),
            ("ready", &mut ready),
            ("selector", &mut selector),
        ] {
            if meta.path.is_ident(word) {
                return once(slot, &meta);
            }
        }
        Err(meta.error("a scale has replicas, ready, selector"))
    })?;
    let replicas = replicas.ok_or_else(|| meta.error("this scale has no replicas, such as replicas = \".spec.replicas\""))?;
    let ready = ready.ok_or_else(|| meta.error("this scale has no ready, such as ready = \".status.replicas\""))?;
    let selector = selector.unwrap_or_else(|| LitStr::new("", Span::call_site()));
    Ok(quote! {
        ::outrigger_sdk::manifest::ScalePaths {
            spec_replicas_path: ::std::string::String::from(#replicas),
            status_replicas_path: ::std::string::String::from(#ready),
            label_selector_path: ::std::string::String::from(#selector),
        }
    })
}

/// The doc comment: lines of a paragraph are joined, paragraphs stay apart.
fn description(attributes: &[Attribute]) -> String {
    let mut all = String::new();
    for line in attributes.iter().filter_map(doc) {
        match line.trim() {
            "" if !all.is_empty() && !all.ends_with('\n') => all.push_str("\n\n"),
            "" => {}
            line => {
                if !(all.is_empty() || all.ends_with('\n')) {
                    all.push(' ');
                }
                all.push_str(line);
            }
        }
    }
    all.trim_end().to_owned()
}

fn doc(attribute: &Attribute) -> Option<String> {
    let doc = attribute.meta.require_name_value().ok().filter(|m| m.path.is_ident("doc"))?;
    match &doc.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(attributes: &str) -> Result<String> {
        let text = format!("{attributes} struct Book {{ author: String }}");
        derive(&syn::parse_str(&text).unwrap()).map(|tokens| tokens.to_string().replace(' ', ""))
    }

    #[test]
    fn what_is_missing_or_unknown_is_said_in_one_sentence() {
        const FINE: &str = r#"group = "a.example.com", version = "v1", plural = "books""#;
        for (said, wanted) in [
            (
                "",
                r#"#[resource(…)] on Book says no group, such as group = "library.example.com""#,
            ),
            (
                r#"group = "a.example.com", plural = "books""#,
                r#"on Book says no version, such as version = "v1""#,
            ),
            (
                r#"group = "a.example.com", version = "v1""#,
                r#"on Book says no plural, such as plural = "books""#,
            ),
            (r#"FINE, colour = "red""#, r#""colour" is none of group, version, plural"#),
            (r#"FINE, plural = "book""#, "it stands there twice"),
            (
                r#"FINE, scope = "namespaced""#,
                r#""namespaced" is neither "Namespaced" nor "Cluster""#,
            ),
            ("FINE, poll_seconds = \"5\"", "expected integer literal"),
            (r#"FINE, column(path = ".author")"#, "this column has no name"),
            (r#"FINE, column(name = "Author")"#, "this column has no path, such as"),
            (
                r#"FINE, column(name = "Author", path = "author")"#,
                "a path begins with a dot",
            ),
            (
                r#"FINE, column(name = "Author", path = ".author", type = "text")"#,
                r#""text" is none of string, integer, number, boolean, date"#,
            ),
            (
                r#"FINE, column(name = "Author", path = ".author", width = "3")"#,
                "a column has name, path, type, format, description, wide",
            ),
            (r#"FINE, deprecated(warning = "x")"#, "this deprecation has no version"),
            (r#"FINE, schema(version = "v1")"#, "this schema has no type"),
            ("FINE, schema(type = Old)", "this schema has no version"),
            (
                r#"FINE, scale(ready = ".status.n")"#,
                r#"this scale has no replicas, such as replicas = ".spec.replicas""#,
            ),
            (r#"FINE, scale(replicas = ".spec.n")"#, "this scale has no ready"),
            (
                r#"FINE, storage_version = "v1", storage_version = "v2""#,
                "it stands there twice",
            ),
            ("FINE, a::b = \"x\"", "not a word"),
        ] {
            let error = derived(&format!("#[resource({})]", said.replace("FINE", FINE)))
                .unwrap_err()
                .to_string();
            assert!(error.contains(wanted), "{said}: {error}");
        }
        let error = derive(&syn::parse_str("struct Book<T> { of: T }").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "a resource is one type: it has no parameters");
    }

    #[test]
    fn attributes_add_up() {
        let tokens = derived(
            r#"
            /// A book
            /// of the library.
            ///
            /// It can be read.
            #[resource(group = "a.example.com", version = "v2", version = "v1", plural = "books", kind = "Tome")]
            #[resource(short = "bk", short = "b", scope = "Cluster", deprecated(version = "v1", removed_release = "2.0"))]
            #[resource(column(name = "Author", path = ".author", type = "date", wide))]
            #[resource(status, admits_deletes, storage_version = "v1", schema(version = "v1", type = old::Book))]
            #[resource(scale(replicas = ".spec.n", ready = ".status.n"))]
            "#,
        )
        .unwrap();
        for wanted in [
            r#"constVERSIONS:&'staticstr=&["v2","v1"];"#.replace("staticstr", "static[&'staticstr]"),
            r#"constVERSION:&'staticstr="v2";"#.into(),
            r#"constKIND:&'staticstr="Tome";"#.into(),
            "Scope::Cluster".into(),
            r#".short_name("bk").short_name("b")"#.into(),
            r#".deprecated("v1","").removed_release("2.0")"#.into(),
            r#"Column::date("Author").path(".author").wide()"#.into(),
            r#".description("Abookofthelibrary.\n\nItcanberead.")"#.into(),
            r#".schema_in("v1",::outrigger_sdk::schema_of::<old::Book>())"#.into(),
            r#"storage_version:::std::string::String::from("v1"),status:true,scale:::core::option::Option::Some("#.into(),
            "create_on_update:false,unconditional_update:false,admits_deletes:true,".into(),
        ] {
            assert!(tokens.contains(&wanted), "{wanted} in {tokens}");
        }
    }
}
