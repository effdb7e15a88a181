//! A plugin as a whole: its manifest, its roles by name, and the macro that ties them to the contract.
//!
//! [`plugin!`](crate::plugin) is the only place where a plugin meets the linker. In a component it emits the exports of the roles
//! that it was given, and the custom section by which the host knows, before compiling, what the plugin was built with. Natively it
//! emits none of that: the same [`Plugin`] is there to be called by tests.

use outrigger_manifest::{Manifest, Verb};

use crate::strategy::AdmittedBytes;
use crate::{
    Collected, Collector, Connect, Error, Host, Migrator, Outcome, Part, Reader, Request, Resource, State, Strategy, Writer,
    collector, responder, strategy,
};

/// What `plugin!` makes of a manifest and the roles. Not implemented by hand.
pub trait Plugin {
    /// The manifest, with everything that the roles declare.
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

    /// One object, or a part of one, as JSON.
    ///
    /// # Errors
    /// What the responder answers, or [`Error::Invalid`] if there is none for this resource.
    fn get(host: &impl Host, request: &Request<'_>) -> Result<Vec<u8>, Error>;

    /// All objects, one write each.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn list(host: &impl Host, request: &Request<'_>, to: Writer<'_>) -> Result<(), Error>;

    /// Makes an object; returns it as made.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`Error::Invalid`] for what is none of its objects.
    fn create(host: &impl Host, request: &Request<'_>, object: &[u8]) -> Result<Vec<u8>, Error>;

    /// Replaces an object, or a part of one; returns it as replaced.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    fn update(host: &impl Host, request: &Request<'_>, object: &[u8]) -> Result<Vec<u8>, Error>;

    /// Removes an object; returns its last state.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn delete(host: &impl Host, request: &Request<'_>) -> Result<Vec<u8>, Error>;

    /// Serves a stream.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn connect(host: &impl Host, request: &Request<'_>, from: Reader<'_>, to: Writer<'_>) -> Result<(), Error>;

    /// Says of one write whether it may be; `object` is empty for a delete, `old` for a create.
    ///
    /// # Errors
    /// What keeps the strategy from an answer, or [`Error::Invalid`] if there is none for this resource.
    fn admit(host: &impl Host, request: Request<'_>, object: &[u8], old: &[u8]) -> Result<AdmittedBytes, Error>;

    /// Objects of one resource as another version says them, in their order.
    ///
    /// # Errors
    /// What the strategy answers, or [`Error::Invalid`] if there is none for this resource.
    fn convert(resource: &str, version: &str, objects: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error>;

    /// Runs the controller of this name for one key.
    ///
    /// # Errors
    /// What the controller answers, or [`Error::Invalid`] if there is none of this name.
    fn reconcile(host: &impl Host, name: &str, key: &str) -> Result<Outcome, Error>;

    /// The plugin's test of itself.
    ///
    /// # Errors
    /// What it found.
    fn self_test(host: &impl Host) -> Result<(), Error>;
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

/// Makes a plugin of a manifest and the roles that it plays; once per crate. The arms stand in this order, and those that are not
/// needed are left out: a component exports the roles that stand there, and no other.
///
/// * `manifest`: a function that returns a [`Manifest`](crate::manifest::Manifest). Leave out what the other arms declare.
/// * `collectors`: types that implement [`Collector`](crate::Collector).
/// * `migrators`: those of them that implement [`Migrator`](crate::Migrator).
/// * `responders`: virtual resources. Their verbs are the traits that they implement: [`Get`](crate::Get), [`List`](crate::List),
///   [`Create`](crate::Create), [`Update`](crate::Update), [`Delete`](crate::Delete).
/// * `connects`: types that implement [`Connect`](crate::Connect).
/// * `parts`: types that implement [`Part`](crate::Part), and perhaps [`UpdatePart`](crate::UpdatePart).
/// * `controllers`: types that implement [`Controller`](crate::Controller).
/// * `strategies`: stored resources, which implement [`Strategy`](crate::Strategy).
/// * `self_test`: a function of `&impl Host` that returns `Result<(), Error>`; the host calls it before a new version takes over.
///
/// It defines `struct Plugin` beside it and, in the crate's own tests, one that the manifest fits. See the
/// [crate's examples](crate).
#[macro_export]
macro_rules! plugin {
    (
        manifest: $manifest:expr
        $(, collectors: [$($collector:ty),+ $(,)?])?
        $(, migrators: [$($migrator:ty),+ $(,)?])?
        $(, responders: [$($responder:ty),+ $(,)?])?
        $(, connects: [$($connect:ty),+ $(,)?])?
        $(, parts: [$($part:ty),+ $(,)?])?
        $(, controllers: [$($controller:ty),+ $(,)?])?
        $(, strategies: [$($strategy:ty),+ $(,)?])?
        $(, self_test: $self_test:path)?
        $(,)?
    ) => {
        /// This plugin, as its host sees it.
        #[derive(Debug)]
        pub struct Plugin;

        #[allow(unused_variables, unused_imports, reason = "a plugin need not play all roles")]
        impl $crate::Plugin for Plugin {
            fn manifest() -> $crate::manifest::Manifest {
                use $crate::probe::{Lacks as _, Probe};
                let manifest: $crate::manifest::Manifest = ($manifest)();
                $($(let manifest = manifest.collector(<$collector as $crate::Collector>::declaration());)+)?
                $($(let manifest = manifest.resource($crate::__responding::<$responder>([
                    Probe::<$responder>::GET,
                    Probe::<$responder>::LIST,
                    Probe::<$responder>::CREATE,
                    Probe::<$responder>::UPDATE,
                    Probe::<$responder>::DELETE,
                ]));)+)?
                $($(let manifest = manifest.resource($crate::__stored::<$strategy>());)+)?
                $($(let manifest = $crate::__with_stream::<$connect>(manifest);)+)?
                $($(let manifest = $crate::__with_part::<$part>(manifest, Probe::<$part>::REPLACES);)+)?
                $($(let manifest = manifest.controller(<$controller as $crate::Controller>::declaration());)+)?
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
                ::std::result::Result::Err($crate::Error::Invalid(::std::format!("no migrator {name:?}")))
            }

            fn get(
                host: &impl $crate::Host,
                request: &$crate::Request<'_>,
            ) -> ::std::result::Result<::std::vec::Vec<u8>, $crate::Error> {
                use $crate::probe::{Lacks as _, Probe, read_part};
                $($(if $crate::__asks::<$responder>(request, "") {
                    return Probe::<$responder>::get(host, request);
                })+)?
                $($(if $crate::__asks::<<$part as $crate::Part>::Of>(request, <$part as $crate::Part>::NAME) {
                    return read_part::<$part>(host, request);
                })+)?
                ::std::result::Result::Err($crate::probe::lacks(request))
            }

            fn list(
                host: &impl $crate::Host,
                request: &$crate::Request<'_>,
                to: $crate::Writer<'_>,
            ) -> ::std::result::Result<(), $crate::Error> {
                use $crate::probe::{Lacks as _, Probe};
                $($(if $crate::__asks::<$responder>(request, "") {
                    return Probe::<$responder>::list(host, request, to);
                })+)?
                ::std::result::Result::Err($crate::probe::lacks(request))
            }

            fn create(
                host: &impl $crate::Host,
                request: &$crate::Request<'_>,
                object: &[u8],
            ) -> ::std::result::Result<::std::vec::Vec<u8>, $crate::Error> {
                use $crate::probe::{Lacks as _, Probe};
                $($(if $crate::__asks::<$responder>(request, "") {
                    return Probe::<$responder>::create(host, request, object);
                })+)?
                ::std::result::Result::Err($crate::probe::lacks(request))
            }

            fn update(
                host: &impl $crate::Host,
                request: &$crate::Request<'_>,
                object: &[u8],
            ) -> ::std::result::Result<::std::vec::Vec<u8>, $crate::Error> {
                use $crate::probe::{Lacks as _, Probe};
                $($(if $crate::__asks::<$responder>(request, "") {
                    return Probe::<$responder>::update(host, request, object);
                })+)?
                $($(if $crate::__asks::<<$part as $crate::Part>::Of>(request, <$part as $crate::Part>::NAME) {
                    return Probe::<$part>::replace(host, request, object);
                })+)?
                ::std::result::Result::Err($crate::probe::lacks(request))
            }

            fn delete(
                host: &impl $crate::Host,
                request: &$crate::Request<'_>,
            ) -> ::std::result::Result<::std::vec::Vec<u8>, $crate::Error> {
                use $crate::probe::{Lacks as _, Probe};
                $($(if $crate::__asks::<$responder>(request, "") {
                    return Probe::<$responder>::delete(host, request);
                })+)?
                ::std::result::Result::Err($crate::probe::lacks(request))
            }

            fn connect(
                host: &impl $crate::Host,
                request: &$crate::Request<'_>,
                mut from: $crate::Reader<'_>,
                mut to: $crate::Writer<'_>,
            ) -> ::std::result::Result<(), $crate::Error> {
                $($(if $crate::__asks::<<$connect as $crate::Connect>::Of>(request, <$connect as $crate::Connect>::NAME) {
                    return <$connect as $crate::Connect>::connect(host, request, &mut from, &mut to);
                })+)?
                let _ = (&mut from, &mut to);
                ::std::result::Result::Err($crate::probe::lacks(request))
            }

            fn admit(
                host: &impl $crate::Host,
                request: $crate::Request<'_>,
                object: &[u8],
                old: &[u8],
            ) -> ::std::result::Result<$crate::AdmittedBytes, $crate::Error> {
                $($(if $crate::__asks::<$strategy>(&request, &request.subresource()) {
                    return $crate::__admit::<$strategy>(host, request, object, old);
                })+)?
                ::std::result::Result::Err($crate::probe::lacks(&request))
            }

            fn convert(
                resource: &str,
                version: &str,
                objects: &[::std::vec::Vec<u8>],
            ) -> ::std::result::Result<::std::vec::Vec<::std::vec::Vec<u8>>, $crate::Error> {
                $($(if $crate::__converts::<$strategy>(resource, objects) {
                    return $crate::__convert::<$strategy>(version, objects);
                })+)?
                ::std::result::Result::Err($crate::Error::Invalid(::std::format!("no strategy for {resource:?}")))
            }

            fn reconcile(
                host: &impl $crate::Host,
                name: &str,
                key: &str,
            ) -> ::std::result::Result<$crate::Outcome, $crate::Error> {
                $($(if name == <$controller as $crate::Controller>::NAME {
                    return <$controller as $crate::Controller>::reconcile(host, &$crate::Key::of(key));
                })+)?
                ::std::result::Result::Err($crate::Error::Invalid(::std::format!("no controller {name:?}")))
            }

            fn self_test(host: &impl $crate::Host) -> ::std::result::Result<(), $crate::Error> {
                $($self_test(host)?;)?
                ::std::result::Result::Ok(())
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
            $crate::__export_if!(collecting $($($collector)+)?);
            $crate::__export_if!(migrating $($($migrator)+)?);
            $crate::__export_if!(responding $($($responder)+)? $($($connect)+)? $($($part)+)?);
            $crate::__export_if!(controlling $($($controller)+)?);
            $crate::__export_if!(deciding $($($strategy)+)?);
            $crate::__export_if!(testing $($self_test)?);
        };
    };
}

/// One export for a role, however many types play it; none if no type does.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_if {
    ($role:ident) => {};
    (collecting $($type:tt)+) => { $crate::__export_collecting_impl!(Exports with_types_in $crate::bindings::collecting); };
    (migrating $($type:tt)+) => { $crate::__export_migrating_impl!(Exports with_types_in $crate::bindings::migrating); };
    (responding $($type:tt)+) => { $crate::__export_responding_impl!(Exports with_types_in $crate::bindings::responding); };
    (controlling $($type:tt)+) => { $crate::__export_controlling_impl!(Exports with_types_in $crate::bindings::controlling); };
    (deciding $($type:tt)+) => { $crate::__export_deciding_impl!(Exports with_types_in $crate::bindings::deciding); };
    (testing $($type:tt)+) => { $crate::__export_testing_impl!(Exports with_types_in $crate::bindings::testing); };
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

/// Whether a request is for this resource and this part of it.
#[doc(hidden)]
#[must_use]
pub fn asks<T: Resource>(request: &Request<'_>, part: &str) -> bool {
    request.resource() == T::PLURAL && request.group() == T::GROUP && request.subresource() == part
}

/// `plugin!`'s arm for one responder: its entry in the manifest.
#[doc(hidden)]
#[must_use]
pub fn responding<T: Resource>(verbs: [Option<Verb>; 5]) -> outrigger_manifest::Resource {
    responder::responding::<T>(verbs.into_iter().flatten())
}

/// `plugin!`'s arm for one strategy: its entry in the manifest.
#[doc(hidden)]
#[must_use]
pub fn stored<T: Strategy>() -> outrigger_manifest::Resource {
    let resource = T::declaration();
    match resource.is_stored() {
        true => resource,
        false => outrigger_manifest::Resource {
            backing: outrigger_manifest::Backing::stored(),
            ..resource
        },
    }
}

/// `plugin!`'s arm for one stream: its entry in the manifest.
#[doc(hidden)]
#[must_use]
pub fn with_stream<C: Connect>(manifest: Manifest) -> Manifest {
    responder::with_part::<C::Of>(manifest, responder::stream::<C>())
}

/// `plugin!`'s arm for one part: its entry in the manifest.
#[doc(hidden)]
#[must_use]
pub fn with_part<P: Part>(manifest: Manifest, updates: bool) -> Manifest {
    responder::with_part::<P::Of>(manifest, responder::part::<P>(updates))
}

/// `plugin!`'s arm for one strategy.
#[doc(hidden)]
pub fn admit<T: Strategy>(host: &impl Host, request: Request<'_>, object: &[u8], old: &[u8]) -> Result<AdmittedBytes, Error> {
    strategy::admit::<T>(host, request, object, old)
}

/// Whether a conversion is of this strategy's objects.
#[doc(hidden)]
#[must_use]
pub fn converts<T: Strategy>(resource: &str, objects: &[Vec<u8>]) -> bool {
    strategy::converts::<T>(resource, objects)
}

/// `plugin!`'s arm for one strategy.
#[doc(hidden)]
pub fn convert<T: Strategy>(version: &str, objects: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
    strategy::convert::<T>(version, objects)
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
