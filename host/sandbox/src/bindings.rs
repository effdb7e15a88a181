//! The contract as Rust types, made from `guest-sdk/wit` at build time.
//!
//! One world with every import and export that this host knows. A component has only some of them: imports are linked whether
//! used or not, and exports are looked up one interface at a time, so the world as a whole is never asked of anybody.
//!
//! No import may trap: a host function answers, or answers with the contract's `error`. That the generated traits return plain
//! values makes it a fact and not a habit.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated; the canonical ABI's traits are unsafe to implement by hand"
)]

wasmtime::component::bindgen!({
    path: "../../guest-sdk/wit",
    inline: "
        package outrigger:host;
        world sandbox {
            include outrigger:plugin/capabilities@0.1.0;
            export outrigger:plugin/describe@0.1.0;
            export outrigger:plugin/collector@0.1.0;
            export outrigger:plugin/migrator@0.1.0;
            import outrigger:plugin/requests@0.1.0;
            export outrigger:plugin/responder@0.1.0;
            export outrigger:plugin/strategy@0.1.0;
            export outrigger:plugin/controller@0.1.0;
            export outrigger:plugin/self-test@0.1.0;
        }
    ",
    imports: {
        // What waits for somebody else; the others answer at once.
        "outrigger:plugin/kubelet": async,
        "outrigger:plugin/objects": async,
        "outrigger:plugin/http": async,
        "outrigger:plugin/kv": async,
        "outrigger:plugin/secrets": async,
        "outrigger:plugin/requests.[method]writer.start": async,
        "outrigger:plugin/requests.[method]writer.write": async,
        "outrigger:plugin/requests.[method]reader.read": async,
    },
    exports: { default: async },
    with: {
        "outrigger:plugin/requests.request": crate::requests::Asked,
        "outrigger:plugin/requests.writer": crate::requests::Writer,
        "outrigger:plugin/requests.reader": crate::requests::Reader,
    },
});
