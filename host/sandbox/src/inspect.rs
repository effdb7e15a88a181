//! What a component says of itself, read without compiling or running anything.
//!
//! The exports are the roles, the imports are the capabilities: neither can lie, because the linker believes the same bytes. A
//! component that does not fit is refused with one sentence that says what to do.

use std::collections::BTreeSet;
use std::fmt;

use outrigger_manifest::{BuiltWith, CONTRACT, SECTION};
use sha2::{Digest, Sha256};
use wasmparser::{CanonicalFunction, CanonicalOption, Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::capabilities::Capability;
use crate::limits::Limits;
use crate::log::visible;

/// A component that fits this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Names the bytes: lower-case hexadecimal SHA-256.
    pub digest: String,
    /// Bytes of the file.
    pub size: usize,
    /// What it was built with, if its SDK says so.
    pub built_with: Option<BuiltWith>,
    /// The contract of its `describe`, such as `0.1.0`.
    pub contract: String,
    /// Roles that it exports.
    pub roles: BTreeSet<Role>,
    /// Whether it can carry state over from an older schema.
    pub migrates: bool,
    /// Whether it has a test of itself.
    pub tests_itself: bool,
    /// Capabilities that it imports: whatever it may call. Those that need a grant must also stand in its manifest.
    pub capabilities: BTreeSet<Capability>,
    /// WASI interfaces that it imports; they are linked without any authority.
    pub wasi: Vec<String>,
    /// Other interfaces of the contract that it imports, such as `types`.
    pub others: Vec<String>,
}

/// What a plugin can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Fills tables on a schedule.
    Collector,
    /// Answers requests for virtual resources.
    Responder,
    /// Decides over writes of stored resources.
    Strategy,
    /// Reconciles objects.
    Controller,
}

/// Why bytes are not a plugin for this host: one sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No bytes.
    #[error("the file is empty; was it still being written?")]
    Empty,
    /// Over the limit.
    #[error("the file has {size} bytes, the limit is {limit}; build it with the `guest` profile, or raise the limit")]
    TooLarge {
        /// Bytes of the file.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Something else.
    #[error("the file is not WebAssembly; a plugin is built with `--target wasm32-wasip2`")]
    NotWasm,
    /// Machine code.
    #[error("the file is compiled machine code, which is never loaded from outside; give the host the component (.wasm) itself")]
    Compiled,
    /// A core module.
    #[error("the file is a core WebAssembly module, not a component; build it with `--target wasm32-wasip2`")]
    CoreModule,
    /// Broken.
    #[error("the component is not valid for this host: {0}")]
    Malformed(String),
    /// Using a proposal that is switched off.
    #[error("the component uses {proposal}, which this host has switched off; build it for wasm32-wasip2 without that")]
    Proposal {
        /// Its name.
        proposal: &'static str,
    },
    /// Strings in an encoding that we do not take.
    #[error("the component passes strings as UTF-16; build its bindings with UTF-8 strings")]
    StringEncoding,
    /// Built for a contract that this host does not know yet.
    #[error("the plugin is built for contract {theirs}{}, this host speaks {ours}; upgrade the host, or build the plugin with an SDK for {ours}", Sdk(.sdk))]
    Newer {
        /// The plugin's contract.
        theirs: String,
        /// Ours.
        ours: String,
        /// The SDK that it was built with; empty if it does not say.
        sdk: String,
    },
    /// Built for a contract that this host no longer serves.
    #[error("the plugin is built for contract {theirs}{}, this host speaks {ours}; build it again with an SDK for {ours}", Sdk(.sdk))]
    Older {
        /// The plugin's contract.
        theirs: String,
        /// Ours.
        ours: String,
        /// The SDK that it was built with; empty if it does not say.
        sdk: String,
    },
    /// A custom section that cannot be read.
    #[error("the custom section {SECTION:?} is not valid: {0}; build the plugin again with a released SDK")]
    Section(String),
    /// Not a plugin.
    #[error("the component does not export outrigger:plugin/describe@{CONTRACT}, so it is not a plugin; use the SDK's `plugin!`")]
    NoDescribe,
    /// Built for a later WASI.
    #[error("the component imports {name}, and this host offers WASI 0.2; build it with `--target wasm32-wasip2`")]
    Wasi {
        /// The interface.
        name: String,
    },
    /// Wants what we do not have.
    #[error("the component imports {name}, which this host does not offer; remove its use, or upgrade the host")]
    UnknownImport {
        /// The interface or function.
        name: String,
    },
}

/// A version of the contract. Below 1.0 the minor number is what breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

struct Sdk<'a>(&'a str);

/// Names of a component, as they stand at its top.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
    section: Option<Vec<u8>>,
    utf16: bool,
}

// === impl Inspection ===

impl Inspection {
    /// Reads a component within the default size.
    ///
    /// # Errors
    /// See [`Inspection::within`].
    pub fn read(bytes: &[u8]) -> Result<Self, Unfit> {
        Self::within(bytes, Limits::default().component_bytes)
    }

    /// Reads a component of at most `limit` bytes.
    ///
    /// # Errors
    /// The first thing that does not fit, cheapest checks first.
    pub fn within(bytes: &[u8], limit: usize) -> Result<Self, Unfit> {
        look(bytes, limit)?;
        let names = Names::read(bytes)?;
        let ours = Version::ours();
        let built_with = names.built_with()?;
        let sdk = built_with.as_ref().map_or("", |b| b.sdk.as_str());
        if let Some(built) = &built_with {
            let theirs = Version::parse(&built.contract)
                .ok_or_else(|| Unfit::Section(format!("{:?} is not a version", built.contract)))?;
            ours.speaks(theirs, sdk)?;
        }
        let mut found = Self {
            digest: digest(bytes),
            size: bytes.len(),
            contract: String::new(),
            roles: BTreeSet::new(),
            migrates: false,
            tests_itself: false,
            capabilities: BTreeSet::new(),
            wasi: Vec::new(),
            others: Vec::new(),
            built_with: built_with.clone(),
        };
        for name in &names.exports {
            found.export(name, sdk)?;
        }
        if found.contract.is_empty() {
            return Err(Unfit::NoDescribe);
        }
        for name in names.imports {
            found.import(name, sdk)?;
        }
        // Only now: a proposal or a broken body says less than a version that does not fit.
        validate(bytes)?;
        if names.utf16 {
            return Err(Unfit::StringEncoding);
        }
        Ok(found)
    }

    fn export(&mut self, name: &str, sdk: &str) -> Result<(), Unfit> {
        // Exports of others are no concern of ours: a component may serve several hosts.
        let Some((interface, version)) = contract_name(name) else {
            return Ok(());
        };
        Version::ours().speaks(version, sdk)?;
        match interface {
            "describe" => self.contract = version.to_string(),
            "collector" => _ = self.roles.insert(Role::Collector),
            "responder" => _ = self.roles.insert(Role::Responder),
            "strategy" => _ = self.roles.insert(Role::Strategy),
            "controller" => _ = self.roles.insert(Role::Controller),
            "migrator" => self.migrates = true,
            "self-test" => self.tests_itself = true,
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, name: String, sdk: &str) -> Result<(), Unfit> {
        if let Some((interface, version)) = contract_name(&name) {
            Version::ours().speaks(version, sdk)?;
            if let Ok(capability) = interface.parse() {
                self.capabilities.insert(capability);
            } else if matches!(interface, "types" | "requests") {
                self.others.push(interface.to_owned());
            } else {
                return Err(Unfit::unknown(&name));
            }
        } else if is_linked_wasi(&name) {
            self.wasi.push(name);
        } else if is_other_wasi(&name) {
            return Err(Unfit::Wasi {
                name: visible(&name, 200),
            });
        } else {
            return Err(Unfit::unknown(&name));
        }
        Ok(())
    }
}

// === impl Unfit ===

impl Unfit {
    /// Names come from the file, and so may be anything.
    fn unknown(name: &str) -> Self {
        Self::UnknownImport {
            name: visible(name, 200),
        }
    }

    fn malformed(error: &wasmparser::BinaryReaderError) -> Self {
        Self::Malformed(visible(&error.to_string(), 500))
    }
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        // Writing to a string cannot fail.
        _ = write!(s, "{b:02x}");
        s
    })
}

/// The first bytes, which tell most mistakes apart.
fn look(bytes: &[u8], limit: usize) -> Result<(), Unfit> {
    if bytes.is_empty() {
        return Err(Unfit::Empty);
    }
    if bytes.len() > limit {
        return Err(Unfit::TooLarge {
            size: bytes.len(),
            limit,
        });
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(Unfit::Compiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Unfit::NotWasm);
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Unfit::CoreModule);
    }
    Ok(())
}

/// Every rule of the format, with the proposals of our engine and no others.
fn validate(bytes: &[u8]) -> Result<(), Unfit> {
    let with = |more| {
        Validator::new_with_features(features() | more)
            .validate_all(bytes)
            .map(|_| ())
    };
    let Err(error) = with(WasmFeatures::empty()) else {
        return Ok(());
    };
    // What would be valid with one proposal more is not broken.
    let lacks = PROPOSALS.iter().find(|(_, proposal)| with(*proposal).is_ok());
    Err(lacks.map_or_else(|| Unfit::malformed(&error), |(proposal, _)| Unfit::Proposal { proposal }))
}

/// Proposals that toolchains can be told to use, each with what it stands on.
const PROPOSALS: [(&str, WasmFeatures); 8] = [
    ("threads", WasmFeatures::THREADS),
    ("64-bit memories", WasmFeatures::MEMORY64),
    ("references to host values", WasmFeatures::GC_TYPES),
    (
        "garbage collection",
        WasmFeatures::GC_TYPES
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::GC),
    ),
    ("exceptions", WasmFeatures::GC_TYPES.union(WasmFeatures::EXCEPTIONS)),
    ("relaxed SIMD", WasmFeatures::RELAXED_SIMD),
    ("wide arithmetic", WasmFeatures::WIDE_ARITHMETIC),
    ("asynchronous functions of WASI 0.3", WasmFeatures::CM_ASYNC),
];

/// The proposals that the engine has on; `engine::config` switches off the rest.
pub(crate) fn features() -> WasmFeatures {
    let core = WasmFeatures::WASM2 | WasmFeatures::TAIL_CALL | WasmFeatures::EXTENDED_CONST | WasmFeatures::MULTI_MEMORY;
    // The engine is built without a collector, so references to host values are off; references to functions are not.
    (core | WasmFeatures::COMPONENT_MODEL) - WasmFeatures::GC_TYPES
}

/// `outrigger:plugin/INTERFACE@VERSION`.
fn contract_name(name: &str) -> Option<(&str, Version)> {
    let (interface, version) = name.strip_prefix("outrigger:plugin/")?.split_once('@')?;
    Some((interface, Version::parse(version)?))
}

/// The WASI of preview 2 that `wasmtime-wasi` links.
fn is_linked_wasi(name: &str) -> bool {
    let packages = [
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:io/",
        "wasi:random/",
        "wasi:sockets/",
    ];
    packages.iter().any(|p| name.starts_with(p)) && name.split_once('@').is_some_and(|(_, v)| v.starts_with("0.2."))
}

/// The same of a version that is not linked.
fn is_other_wasi(name: &str) -> bool {
    let package = name.split_once('@').filter(|(_, version)| !version.starts_with("0.2."));
    package.is_some_and(|(interface, _)| is_linked_wasi(&format!("{interface}@0.2.0")))
}

// === impl Names ===

impl Names {
    fn read(bytes: &[u8]) -> Result<Self, Unfit> {
        let malformed = |e: wasmparser::BinaryReaderError| Unfit::malformed(&e);
        let mut names = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(malformed)? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => return Err(Unfit::CoreModule),
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        names.imports.push(import.map_err(malformed)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        names.exports.push(export.map_err(malformed)?.name.name.to_owned());
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        names.utf16 |= uses_utf16(&function.map_err(malformed)?);
                    }
                }
                // A linker leaves it in the core module; the first one wins.
                Payload::CustomSection(section) if section.name() == SECTION && names.section.is_none() => {
                    names.section = Some(section.data().to_owned());
                }
                _ => {}
            }
        }
        Ok(names)
    }

    /// What the SDK left, fit for printing.
    fn built_with(&self) -> Result<Option<BuiltWith>, Unfit> {
        let Some(json) = &self.section else { return Ok(None) };
        let mut built: BuiltWith = serde_json::from_slice(json).map_err(|e| Unfit::Section(visible(&e.to_string(), 200)))?;
        built.sdk = visible(&built.sdk, 64);
        Ok(Some(built))
    }
}

fn uses_utf16(function: &CanonicalFunction) -> bool {
    let options = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => options,
        _ => return false,
    };
    options
        .iter()
        .any(|o| matches!(o, CanonicalOption::UTF16 | CanonicalOption::CompactUTF16))
}

// === impl Version ===

impl Version {
    fn ours() -> Self {
        Self::parse(CONTRACT).unwrap_or(Self {
            major: 0,
            minor: 0,
            patch: 0,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|n| n.parse().ok());
        let version = Self {
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next()??,
        };
        numbers.next().is_none().then_some(version)
    }

    /// Whether a plugin built for `theirs` can run here. Within one track newer ones may: additions are checked at link time, one by
    /// one.
    fn speaks(self, theirs: Self, sdk: &str) -> Result<(), Unfit> {
        let track = |v: Self| (v.major, if v.major == 0 { v.minor } else { 0 });
        let (ours, sdk) = (self.to_string(), sdk.to_owned());
        match track(theirs).cmp(&track(self)) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Unfit::Newer {
                theirs: theirs.to_string(),
                ours,
                sdk,
            }),
            std::cmp::Ordering::Less => Err(Unfit::Older {
                theirs: theirs.to_string(),
                ours,
                sdk,
            }),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Display for Sdk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, " (SDK {})", self.0)
        }
    }
}

// === impl Role ===

impl Role {
    /// The interface's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::Responder => "responder",
            Self::Strategy => "strategy",
            Self::Controller => "controller",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
