//! A plugin as a whole: its manifest, its roles by name, and the macro that ties them to the contract.
//!
//! [`plugin!`](crate::plugin) is the only place where a plugin meets the linker. In a component it emits the exports of the roles
//! that it was given, and the custom section by which the host knows, before compiling, what the plugin was built with. Natively it
//! emits none of that: the same [`Plugin`] is there to be called by tests.

use outrigger_manifest::Manifest;

use crate::{Collected, Collector, Error, Host, Migrator, State, collector};

/// What `plugin!` makes of a manifest and the roles. Not implemented by hand.
pub trait Plugin {
    /// The manifest, collectors included.
    fn manifest() -> Manifest;

    /// Runs the collector of this name; state goes in and out as bytes.
    ///
    /// # Errors
    /// What the collector answers, or [`Error::Invalid`] if there is none of this name.
    fn collect(host: &impl Host, name: &str, target: &str, state: Vec<u8>) -> Result<Collected<Vec<u8>>, Error>;

    /// Carries the state of the collector of this name over from the schema `old`.
    ///
    /// # Errors
    /// What the migrator answers, or [`Error::Invalid`] if there is none of this name.
    fn migrate(name: &str, old: u32, state: Vec<u8>) -> Result<Vec<u8>, Error>;
}

/// The custom section of a component, a [`BuiltWith`](outrigger_manifest::BuiltWith) in JSON.
pub const BUILT_WITH: &str = concat!(r#"{"contract":"0.1.0","sdk":"rust "#, env!("CARGO_PKG_VERSION"), r#""}"#);

/// A manifest that has its name, version and description from the plugin's Cargo.toml.
///
/// ```
/// let manifest = outrigger_sdk::manifest!().name("harbor").needs("config", "which harbour it is");
/// assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("harbor", env!("CARGO_PKG_VERSION")));
/// ```
#[macro_export]
macro_rules! manifest {
    () => {
        $crate::manifest::Manifest::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            .description(env!("CARGO_PKG_DESCRIPTION"))
    };
}

/// Makes a plugin of a manifest and the roles that it plays; once per crate.
///
/// * `manifest`: a function that returns a [`Manifest`](crate::manifest::Manifest). Leave its collectors out: they are
///   declared by their trait.
/// * `collectors`: types that implement [`Collector`](crate::Collector). Absent: the component does not export the role.
/// * `migrators`: those of them that implement [`Migrator`](crate::Migrator).
///
/// It defines `struct Plugin` beside it and, in the crate's own tests, one that the manifest fits. See the
/// [crate's example](crate).
#[macro_export]
macro_rules! plugin {
    (
        manifest: $manifest:expr
        $(, collectors: [$($collector:ty),+ $(,)?])?
        $(, migrators: [$($migrator:ty),+ $(,)?])?
        $(,)?
    ) => {
        /// This plugin, as its host sees it.
        #[derive(Debug)]
        pub struct Plugin;

        impl $crate::Plugin for Plugin {
            fn manifest() -> $crate::manifest::Manifest {
                let manifest: $crate::manifest::Manifest = ($manifest)();
                $($(let manifest = manifest.collector(<$collector as $crate::Collector>::declaration());)+)?
                manifest
            }

            fn collect(
                host: &impl $crate::Host,
                name: &str,
                target: &str,
                state: ::std::vec::Vec<u8>,
            ) -> ::std::result::Result<$crate::Collected<::std::vec::Vec<u8>>, $crate::Error> {
                $($(if name == <$collector as $crate::Collector>::NAME {
                    return $crate::__collect::<$collector>(host, target, state);
                })+)?
                let _ = (host, target, state);
                ::std::result::Result::Err($crate::Error::Invalid(::std::format!("no collector {name:?}")))
            }

            fn migrate(
                name: &str,
                old: u32,
                state: ::std::vec::Vec<u8>,
            ) -> ::std::result::Result<::std::vec::Vec<u8>, $crate::Error> {
                $($(if name == <$migrator as $crate::Collector>::NAME {
                    return $crate::__migrate::<$migrator>(old, state);
                })+)?
                let _ = (old, state);
                ::std::result::Result::Err($crate::Error::Invalid(::std::format!("no migrator {name:?}")))
            }
        }

        #[cfg(test)]
        #[test]
        fn the_manifest_fits() {
            <Plugin as $crate::Plugin>::manifest().check().unwrap();
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exports = $crate::guest::Exports<Plugin>;

            #[allow(unsafe_code, reason = "a custom section has no other way into the file; it is data that nothing runs")]
            #[unsafe(link_section = "outrigger:plugin")]
            #[used]
            static BUILT_WITH: [u8; $crate::BUILT_WITH.len()] = *$crate::__BUILT_WITH;

            $crate::__export_plugin_impl!(Exports with_types_in $crate::bindings::plugin);
            $($crate::__export_if!(collecting $($collector)+);)?
            $($crate::__export_if!(migrating $($migrator)+);)?
        };
    };
}

/// One export for a role, however many types play it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_if {
    (collecting $($collector:ty)+) => { $crate::__export_collecting_impl!(Exports with_types_in $crate::bindings::collecting); };
    (migrating $($migrator:ty)+) => { $crate::__export_migrating_impl!(Exports with_types_in $crate::bindings::migrating); };
}

/// [`BUILT_WITH`] as a section's static wants it.
#[doc(hidden)]
pub const BUILT_WITH_BYTES: &[u8; BUILT_WITH.len()] = match BUILT_WITH.as_bytes().first_chunk() {
    Some(bytes) => bytes,
    None => &[0; BUILT_WITH.len()],
};

/// `plugin!`'s arm for one collector.
#[doc(hidden)]
pub fn collect<C: Collector>(host: &impl Host, target: &str, state: Vec<u8>) -> Result<Collected<Vec<u8>>, Error> {
    collector::run::<C>(host, target, state)
}

/// `plugin!`'s arm for one migrator.
#[doc(hidden)]
pub fn migrate<M: Migrator>(old: u32, state: Vec<u8>) -> Result<Vec<u8>, Error> {
    M::migrate(old, state)?.save()
}

#[cfg(test)]
mod tests {
    use outrigger_manifest::{BuiltWith, CONTRACT};

    use super::*;

    #[test]
    fn the_section_says_contract_and_sdk() {
        let built_with: BuiltWith = serde_json::from_slice(BUILT_WITH_BYTES).unwrap();
        assert_eq!(
            built_with,
            BuiltWith {
                contract: CONTRACT.to_owned(),
                sdk: format!("rust {}", env!("CARGO_PKG_VERSION"))
            }
        );
    }
}
