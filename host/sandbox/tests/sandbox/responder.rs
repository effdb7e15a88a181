//! A responder as text: it answers one object to every question, and does nothing else. What calling it costs is what calling costs.

use crate::guests::{component, escaped};

/// What it answers.
pub(crate) const OBJECT: &str =
    r#"{"apiVersion":"test.example.com/v1","kind":"Buoy","metadata":{"name":"north"},"spec":{"colour":"red"}}"#;

const MANIFEST: &str = r#"{
  "name": "buoys", "version": "1.0.0",
  "resources": [{"group": "test.example.com", "versions": ["v1"], "plural": "buoys", "kind": "Buoy", "scope": "cluster",
                 "backing": {"virtual": {"verbs": ["get", "list", "create"]}}}]
}"#;

/// The component.
pub(crate) fn responder() -> Vec<u8> {
    listing("")
}

/// The same; behind each write of its list stands this, which may go back to `$on`.
pub(crate) fn listing(again: &str) -> Vec<u8> {
    let (manifest, object) = (MANIFEST.len(), OBJECT.len());
    let answer = format!(
        "(call $drop_request (local.get 0))
         (i32.store8 (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 8192)) (i32.store (i32.const 72) (i32.const {object}))
         (i32.const 64)"
    );
    let module = format!(
        r#"(module
          (import "outrigger:plugin/requests@0.1.0" "[resource-drop]request" (func $drop_request (param i32)))
          (import "outrigger:plugin/requests@0.1.0" "[resource-drop]writer" (func $drop_writer (param i32)))
          (import "outrigger:plugin/requests@0.1.0" "[resource-drop]reader" (func $drop_reader (param i32)))
          (import "outrigger:plugin/requests@0.1.0" "[method]writer.write" (func $write (param i32 i32 i32 i32)))
          (memory (export "memory") 2)
          (global $next (mut i32) (i32.const 65536))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $next (i32.add (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)) (local.get 3)))
            (i32.sub (global.get $next) (local.get 3)))
          (data (i32.const 1024) "{}")
          (data (i32.const 8192) "{}")
          (func (export "outrigger:plugin/describe@0.1.0#describe") (result i32)
            (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const {manifest})) (i32.const 16))
          (func (export "outrigger:plugin/responder@0.1.0#get") (param i32) (result i32) {answer})
          (func (export "outrigger:plugin/responder@0.1.0#delete") (param i32) (result i32) {answer})
          (func (export "outrigger:plugin/responder@0.1.0#create") (param i32 i32 i32) (result i32) {answer})
          (func (export "outrigger:plugin/responder@0.1.0#update") (param i32 i32 i32) (result i32) {answer})
          (func (export "outrigger:plugin/responder@0.1.0#list") (param i32 i32) (result i32)
            (loop $on (call $write (local.get 1) (i32.const 8192) (i32.const {object}) (i32.const 128)) {again})
            (call $drop_writer (local.get 1))
            {answer})
          (func (export "outrigger:plugin/responder@0.1.0#connect") (param i32 i32 i32) (result i32)
            (call $drop_reader (local.get 1)) (call $drop_writer (local.get 2)) {answer}))"#,
        escaped(MANIFEST.as_bytes()),
        escaped(OBJECT.as_bytes())
    );
    component(
        &module,
        "export outrigger:plugin/describe@0.1.0; export outrigger:plugin/responder@0.1.0;",
    )
}
