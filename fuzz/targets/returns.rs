//! Whatever bytes a guest leaves where its answer should be: one answer within its limits, or one error of one line; the next call is fine.
//! The guest takes them from its state, so that one component, compiled once, plays them all.
#![no_main]

#[path = "../../host/sandbox/tests/sandbox/guests.rs"]
#[allow(dead_code, reason = "shared with the sandbox's tests, which use all of it")]
mod guests;

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use outrigger_sandbox::{CallError, Engine, EngineOptions, Grants, LoadOptions, Plugin};
use tokio::runtime::{Builder, Runtime};

use guests::Guest;

fn house() -> &'static (Runtime, Plugin) {
    static HOUSE: OnceLock<(Runtime, Plugin)> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let engine = Engine::new(&EngineOptions::default()).expect("an engine");
        let answer = "(memory.copy (i32.const 1024) (local.get $state) (local.get $state_len)) (i32.const 1024)";
        let options = LoadOptions { grants: Grants::all(), ..LoadOptions::default() };
        let bytes = Guest::collecting(answer).bytes().into();
        let plugin = runtime.block_on(Plugin::load(&engine, None, bytes, options)).expect("it loads");
        (runtime, plugin)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let (runtime, plugin) = house();
    match runtime.block_on(plugin.collect("all", "node-1", bytes, Duration::from_secs(5))) {
        Ok(found) => {
            let limits = plugin.limits();
            assert!(found.state.len() <= limits.state_bytes && found.rows.len() <= limits.rows_per_call);
            for row in &found.rows {
                let fields: serde_json::Value = serde_json::from_slice(&row.fields).expect("fields are JSON");
                let cells: serde_json::Value = serde_json::from_slice(&row.cells).expect("cells are JSON");
                assert!(fields.is_object() && cells.is_array() && !row.name.is_empty());
            }
        }
        Err(error) => {
            assert!(
                matches!(error, CallError::BadResult { .. } | CallError::Trap { .. } | CallError::Refused { .. }),
                "{error}"
            );
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
    assert_eq!(plugin.counts().in_flight, 0);
});
