//! Guests as text: small core modules, made components by the contract's own WIT, as a guest's linker does.
//!
//! A test writes the body of `collect` and nothing else; the module around it has the allocator, the manifest and helpers to
//! answer. So the tests need no guest toolchain, and a guest can do what no compiler would let it.

use std::fmt::Write as _;
use std::path::PathBuf;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

/// The parts of WASI that the tests call.
const WASI: &str = "
package wasi:io@0.2.0 {
    interface error { resource error; }
    interface poll { resource pollable { block: func(); } }
    interface streams {
        use error.{error};
        variant stream-error { last-operation-failed(error), closed }
        resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
    }
}
package wasi:cli@0.2.0 {
    interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
    interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }
    interface exit { exit: func(status: result); }
    interface environment { get-environment: func() -> list<tuple<string, string>>; get-arguments: func() -> list<string>; }
}
package wasi:clocks@0.2.0 {
    interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; subscribe-duration: func(when: u64) -> pollable; }
}
package wasi:filesystem@0.2.0 {
    interface types { resource descriptor; }
    interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }
}
";

/// A guest to be.
pub(crate) struct Guest {
    /// What `describe` returns.
    pub(crate) manifest: String,
    /// Interfaces that it exports beside `describe`.
    pub(crate) exports: Vec<&'static str>,
    /// Core imports.
    pub(crate) imports: String,
    /// Body of `collect`: parameters `$name $name_len $target $target_len $state $state_len`, result the address of the answer.
    pub(crate) collect: String,
    /// Further functions, data, globals and tables.
    pub(crate) more: String,
    /// Pages of memory at the start.
    pub(crate) pages: u32,
    /// Body of `describe`, if it shall not return the manifest.
    pub(crate) describe: Option<String>,
}

/// A row as a guest returns it: resource, namespace, name, fields, protobuf, cells.
pub(crate) type RawRow<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [u8], &'a str);

/// One table of nodes and one of pods, filled by one collector for each node.
pub(crate) const MANIFEST: &str = r#"{
  "name": "hostile", "version": "1.0.0", "capabilities": [{"name": "kubelet", "reason": "to try"}],
  "resources": [
    {"group": "test.example.com", "versions": ["v1"], "plural": "ships", "kind": "Ship", "scope": "cluster",
     "backing": {"table": {}}, "columns": [{"name": "Tonnage", "type": "string"}], "protobuf": true},
    {"group": "test.example.com", "versions": ["v1"], "plural": "boats", "kind": "Boat", "scope": "namespaced", "backing": {"table": {}}},
    {"group": "test.example.com", "versions": ["v1"], "plural": "rafts", "kind": "Raft", "scope": "cluster", "backing": {"table": {}}}
  ],
  "collectors": [{"name": "all", "each": "node", "intervalSeconds": 15, "fills": ["ships", "boats"], "stateSchema": 2},
                 {"name": "rest", "each": "once", "intervalSeconds": 15, "fills": ["rafts"]}]
}"#;

impl Default for Guest {
    /// A collector that answers no rows and hands its state back.
    fn default() -> Self {
        Self {
            manifest: MANIFEST.into(),
            exports: vec!["collector"],
            imports: String::new(),
            collect: "(call $ok (i32.const 0) (i32.const 0) (local.get $state) (local.get $state_len))".into(),
            more: String::new(),
            pages: 2,
            describe: None,
        }
    }
}

impl Guest {
    /// A collector with this body of `collect`.
    pub(crate) fn collecting(collect: &str) -> Self {
        Self {
            collect: collect.into(),
            ..Self::default()
        }
    }

    /// A collector that returns these rows, and its state as it came.
    pub(crate) fn returning(rows: &[RawRow<'_>]) -> Self {
        const BASE: usize = 16384;
        let mut heads = Vec::new();
        let mut bodies: Vec<u8> = Vec::new();
        let bodies_at = BASE + rows.len() * 48;
        for (resource, namespace, name, fields, protobuf, cells) in rows {
            for part in [
                resource.as_bytes(),
                namespace.as_bytes(),
                name.as_bytes(),
                fields.as_bytes(),
                protobuf,
                cells.as_bytes(),
            ] {
                heads.extend(u32::try_from(bodies_at + bodies.len()).unwrap().to_le_bytes());
                heads.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
                bodies.extend(part);
            }
        }
        heads.extend(bodies);
        assert!(BASE + heads.len() < 65536, "rows reach into the heap");
        let count = rows.len();
        Self {
            more: format!("(data (i32.const {BASE}) \"{}\")", escaped(&heads)),
            ..Self::collecting(&format!(
                "(call $ok (i32.const {BASE}) (i32.const {count}) (local.get $state) (local.get $state_len))"
            ))
        }
    }

    pub(crate) fn manifest(mut self, manifest: &str) -> Self {
        self.manifest = manifest.into();
        self
    }

    pub(crate) fn importing(mut self, imports: &str) -> Self {
        self.imports.push_str(imports);
        self
    }

    pub(crate) fn with(mut self, more: &str) -> Self {
        self.more.push_str(more);
        self
    }

    pub(crate) fn exporting(mut self, exports: &[&'static str]) -> Self {
        self.exports = exports.to_vec();
        self
    }

    /// The core module.
    pub(crate) fn text(&self) -> String {
        let Self {
            manifest,
            imports,
            collect,
            more,
            pages,
            ..
        } = self;
        let describe = self.describe.clone().unwrap_or_else(|| {
            format!(
                "(i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const {})) (i32.const 16)",
                manifest.len()
            )
        });
        let mut functions = String::new();
        if self.exports.contains(&"collector") {
            write!(
                functions,
                r#"(func $collect (export "outrigger:plugin/collector@0.1.0#collect")
                     (param $name i32) (param $name_len i32) (param $target i32) (param $target_len i32) (param $state i32) (param $state_len i32)
                     (result i32) {collect})"#
            )
            .unwrap();
        }
        if self.exports.contains(&"migrator") {
            // The old number as one byte, then the state without its first byte: shows that all three arrive.
            functions.push_str(
                r#"(func (export "outrigger:plugin/migrator@0.1.0#migrate")
                     (param $name i32) (param $name_len i32) (param $old i32) (param $state i32) (param $state_len i32) (result i32)
                     (i32.store8 (local.get $state) (local.get $old))
                     (i32.store8 (i32.const 64) (i32.const 0))
                     (i32.store (i32.const 68) (local.get $state)) (i32.store (i32.const 72) (local.get $state_len)) (i32.const 64))"#,
            );
        }
        format!(
            r#"(module
              {imports}
              (memory $memory (export "memory") {pages})
              (global $next (mut i32) (i32.const 65536))
              (func $cabi_realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (block $fits
                  (br_if $fits (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
                  (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16))))))
                  (unreachable))
                (local.get $at))
              (func $ok (param $rows i32) (param $rows_len i32) (param $state i32) (param $state_len i32) (result i32)
                (i32.store8 (i32.const 64) (i32.const 0))
                (i32.store (i32.const 68) (local.get $rows)) (i32.store (i32.const 72) (local.get $rows_len))
                (i32.store (i32.const 76) (local.get $state)) (i32.store (i32.const 80) (local.get $state_len))
                (i32.const 64))
              (func $err (param $case i32) (param $text i32) (param $text_len i32) (result i32)
                (i32.store8 (i32.const 64) (i32.const 1)) (i32.store8 (i32.const 68) (local.get $case))
                (i32.store (i32.const 72) (local.get $text)) (i32.store (i32.const 76) (local.get $text_len))
                (i32.const 64))
              (data (i32.const 1024) "{}")
              (func (export "outrigger:plugin/describe@0.1.0#describe") (result i32) {describe})
              {functions}
              {more})"#,
            escaped(manifest.as_bytes())
        )
    }

    /// The component.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let exports: String = self
            .exports
            .iter()
            .fold(String::new(), |s, e| s + &format!("export outrigger:plugin/{e}@0.1.0;\n"));
        component(&self.text(), &format!("export outrigger:plugin/describe@0.1.0;\n{exports}"))
    }
}

/// A core module as a component of a world with every import and these exports. Imports that the module does not use vanish.
pub(crate) fn component(module: &str, exports: &str) -> Vec<u8> {
    let (mut resolve, _) = contract();
    let world = format!(
        "package test:guests;
         world guest {{
             include outrigger:plugin/capabilities@0.1.0;
             import wasi:cli/stdout@0.2.0; import wasi:cli/stderr@0.2.0; import wasi:cli/exit@0.2.0; import wasi:cli/environment@0.2.0;
             import wasi:io/streams@0.2.0; import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0;
             import wasi:filesystem/preopens@0.2.0;
             {exports}
         }}
         {WASI}"
    );
    let package = resolve.push_str("guest.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

/// The contract's WIT.
pub(crate) fn contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    // The fuzz targets share this file, and stand elsewhere.
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let wit = here
        .ancestors()
        .map(|folder| folder.join("guest-sdk/wit"))
        .find(|wit| wit.is_dir())
        .unwrap();
    let (package, _) = resolve.push_dir(wit).unwrap();
    (resolve, package)
}

/// Bytes inside of a string of the text format.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        write!(s, "\\{b:02x}").unwrap();
        s
    })
}
