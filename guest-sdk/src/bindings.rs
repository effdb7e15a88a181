//! What wit-bindgen makes of `wit/`: one module per world, so that a component takes each by itself.
//!
//! A world's exports are described in the component by the macro that exports them, which only `plugin!` calls; its imports are
//! kept by the linker as far as they are called. So the worlds of a component unite to exactly what the plugin does.
//! All share one set of `types`. Nothing here is for plugins: the names are the generator's and change with it.
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::restriction,
    reason = "generated code; the lints of this workspace are for people"
)]

/// What a plugin may call.
pub mod capabilities {
    wit_bindgen::generate!({ path: "wit", world: "capabilities", generate_all });
}

pub use capabilities::outrigger::plugin::types;

/// `describe`.
pub mod plugin {
    wit_bindgen::generate!({
        path: "wit",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "outrigger_sdk::bindings::plugin",
    });
}

/// The role `collector`.
pub mod collecting {
    wit_bindgen::generate!({
        path: "wit",
        world: "collecting",
        with: { "outrigger:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        default_bindings_module: "outrigger_sdk::bindings::collecting",
    });
}

/// A collector's `migrator`.
pub mod migrating {
    wit_bindgen::generate!({
        path: "wit",
        world: "migrating",
        with: { "outrigger:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        default_bindings_module: "outrigger_sdk::bindings::migrating",
    });
}

/// The role `responder`, and the request that it shares with the role `strategy`.
pub mod responding {
    wit_bindgen::generate!({
        path: "wit",
        world: "responding",
        with: { "outrigger:plugin/types@0.1.0": crate::bindings::types },
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "outrigger_sdk::bindings::responding",
    });
}

pub use responding::outrigger::plugin::requests;

/// The role `strategy`.
pub mod deciding {
    wit_bindgen::generate!({
        path: "wit",
        world: "deciding",
        with: {
            "outrigger:plugin/types@0.1.0": crate::bindings::types,
            "outrigger:plugin/requests@0.1.0": crate::bindings::requests,
        },
        pub_export_macro: true,
        default_bindings_module: "outrigger_sdk::bindings::deciding",
    });
}

/// The role `controller`.
pub mod controlling {
    wit_bindgen::generate!({
        path: "wit",
        world: "controlling",
        with: { "outrigger:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        default_bindings_module: "outrigger_sdk::bindings::controlling",
    });
}

/// A plugin's test of itself.
pub mod testing {
    wit_bindgen::generate!({
        path: "wit",
        world: "testing",
        with: { "outrigger:plugin/types@0.1.0": crate::bindings::types },
        pub_export_macro: true,
        default_bindings_module: "outrigger_sdk::bindings::testing",
    });
}
