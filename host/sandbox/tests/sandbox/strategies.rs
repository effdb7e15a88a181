//! The roles that answer somebody, by a real component: `e2e/guests/strategist`, which the SDK made.
//!
//! Builds it, which takes a minute the first time. What no SDK would do is done by a guest as text.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_sandbox::{
    Answered, Ask, BadResult, CallError, ContractError, FieldError, HostError, Input, Outcome, Plugin, Request, Sink,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::guests::Guest;
use crate::{SOON, engine, limited, load, options};

/// Built and loaded once for all tests.
async fn strategist() -> &'static Plugin {
    static PLUGIN: OnceCell<Plugin> = OnceCell::const_new();
    PLUGIN
        .get_or_init(|| async {
            let bytes = std::fs::read(built()).unwrap();
            Plugin::load(engine(), None, bytes.into(), options()).await.unwrap()
        })
        .await
}

/// Builds the component (cargo sees to that it does so once) beside the native artifacts.
fn built() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/guests/strategist");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--profile",
            "guest",
            "--target",
            "wasm32-wasip2",
            "--target-dir",
        ])
        .arg(target)
        // Where .cargo/config.toml is found from.
        .current_dir(package)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .unwrap();
    assert!(status.success());
    target.join("wasm32-wasip2/guest/strategist.wasm")
}

fn asked(verb: &str, resource: &str, version: &str, name: &str) -> Request {
    Request {
        verb: verb.into(),
        group: "test.example.com".into(),
        version: version.into(),
        resource: resource.into(),
        name: name.into(),
        user: "alice".into(),
        ..Request::default()
    }
}

fn ship(flag: &str, tonnes: i64) -> Value {
    let metadata = json!({"name": "vega", "namespace": "north", "uid": "1", "managedFields": [{"manager": "kubectl"}]});
    json!({"apiVersion": "test.example.com/v2", "kind": "Ship", "metadata": metadata, "flag": flag, "tonnes": tonnes})
}

async fn admit(object: Option<&Value>, old: Option<&Value>) -> Result<outrigger_sandbox::Admitted, CallError> {
    let verb = match (object, old) {
        (Some(_), None) => "create",
        (Some(_), Some(_)) => "update",
        _ => "delete",
    };
    let bytes = |v: Option<&Value>| v.map(|v| serde_json::to_vec(v).unwrap()).unwrap_or_default();
    let request = Arc::new(asked(verb, "ships", "v2", "vega"));
    strategist().await.admit(request, &bytes(object), &bytes(old), SOON).await
}

fn field(reason: &str, field: &str, message: &str) -> FieldError {
    FieldError {
        reason: reason.into(),
        field: field.into(),
        message: message.into(),
    }
}

#[tokio::test]
async fn a_write_is_admitted_changed_warned_of_or_refused() {
    let made = admit(Some(&ship("", 900)), None).await.unwrap();
    let stored: Value = serde_json::from_slice(&made.object).unwrap();
    let mut wanted = ship("unknown", 900);
    wanted["metadata"]["labels"] = json!({"admitted-by": "alice"});
    assert_eq!((stored, made.warnings, made.errors), (wanted, vec![], vec![]));

    let smaller = admit(Some(&ship("x", 800)), Some(&ship("x", 900))).await.unwrap();
    assert_eq!((smaller.warnings, smaller.errors), (vec!["it was larger".to_owned()], vec![]));

    let sunk = admit(Some(&ship("x", 0)), None).await.unwrap();
    assert_eq!(
        sunk.errors,
        [
            field("FieldValueInvalid", "tonnes", "Invalid value: must be positive"),
            field("FieldValueRequired", "flag", "Required value"),
        ]
    );

    assert_eq!(admit(None, Some(&ship("x", 1))).await.unwrap().errors, []);
    let kept = admit(None, Some(&ship("kept", 1))).await.unwrap();
    assert_eq!(
        kept.errors,
        [field("FieldValueForbidden", "metadata.name", "Forbidden: it is kept")]
    );
}

#[tokio::test]
async fn rules_that_fail_say_how_and_break_nothing() {
    let refused = admit(Some(&ship("failed", 1)), None).await.unwrap_err();
    let CallError::Refused { error, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(*error, ContractError::Unavailable("no harbour master".into()));

    let misfit = admit(Some(&json!({"metadata": {"name": "vega"}, "tonnes": "many"})), None).await;
    assert!(
        matches!(&misfit, Err(CallError::Refused { error: ContractError::Invalid(why), .. }) if why.contains("cannot be handled as a Ship")),
        "{misfit:?}"
    );

    let trapped = admit(Some(&ship("trap", 1)), None).await.unwrap_err();
    let CallError::Trap { call, report, .. } = &trapped else {
        panic!("{trapped:?}")
    };
    let panic = report.panic.as_ref().unwrap();
    assert_eq!(
        (call.as_str(), panic.message.as_str()),
        ("admit create ships vega", "as told by alice")
    );
    assert!(panic.location.contains("strategist/src/lib.rs"), "{panic:?}");

    let request = Arc::new(asked("create", "ships", "v2", "vega"));
    let forever = serde_json::to_vec(&ship("loop", 1)).unwrap();
    let late = strategist()
        .await
        .admit(request, &forever, b"", Duration::from_millis(300))
        .await;
    assert!(matches!(late, Err(CallError::Deadline { .. })), "{late:?}");

    assert!(
        admit(Some(&ship("x", 1)), None).await.is_ok(),
        "every call enters a fresh instance"
    );
}

#[tokio::test]
async fn objects_are_converted_in_batches_both_ways() {
    let plugin = strategist().await;
    let new: Vec<_> = (1..=100).map(|tonnes| ship("x", tonnes)).collect();
    let bytes = |all: &[Value]| all.iter().map(|v| serde_json::to_vec(v).unwrap()).collect::<Vec<_>>();
    let values = |all: Vec<Vec<u8>>| all.iter().map(|b| serde_json::from_slice(b).unwrap()).collect::<Vec<Value>>();
    let old = values(plugin.convert("ships", "v1", &bytes(&new), SOON).await.unwrap());
    assert_eq!(
        (&old[6]["apiVersion"], &old[6]["tons"], old[6].get("tonnes")),
        (&json!("test.example.com/v1"), &json!(7), None)
    );
    assert_eq!(old[6]["metadata"], new[6]["metadata"]);
    assert_eq!(values(plugin.convert("ships", "v2", &bytes(&old), SOON).await.unwrap()), new);
    assert_eq!(plugin.convert("ships", "v2", &[], SOON).await.unwrap(), Vec::<Vec<u8>>::new());

    let mut broken = old.clone();
    broken[50].as_object_mut().unwrap().shift_remove("tons");
    for (resource, batch, why) in [("ships", &broken, "no tons"), ("boats", &old, "no strategy for \"boats\"")] {
        let refused = plugin.convert(resource, "v2", &bytes(batch), SOON).await.unwrap_err();
        assert!(
            matches!(&refused, CallError::Refused { error: ContractError::Invalid(said), .. } if said == why),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn another_number_of_objects_than_came_in_is_no_answer() {
    let manifest = r#"{"name": "hostile", "version": "1.0.0", "resources": [{"group": "test.example.com", "versions": ["v2", "v1"],
        "plural": "ships", "kind": "Ship", "scope": "cluster", "backing": {"stored": {}}}]}"#;
    // One object, whatever comes in; `admit` is not asked here.
    let guest = Guest::default().manifest(manifest).exporting(&["strategy"]).with(
        r#"(func (export "outrigger:plugin/strategy@0.1.0#admit") (param i32 i32 i32 i32 i32) (result i32) (unreachable))
           (data (i32.const 8192) "{}\00\00\00\20\00\00\02\00\00\00")
           (func (export "outrigger:plugin/strategy@0.1.0#convert") (param i32 i32 i32 i32 i32 i32) (result i32)
             (i32.store8 (i32.const 64) (i32.const 0))
             (i32.store (i32.const 68) (i32.const 8196)) (i32.store (i32.const 72) (i32.const 1)) (i32.const 64))"#,
    );
    let plugin = load(&guest, limited(|_| {})).await;
    let one = b"{}".to_vec();
    assert_eq!(
        plugin.convert("ships", "v2", std::slice::from_ref(&one), SOON).await.unwrap(),
        std::slice::from_ref(&one)
    );
    let two = plugin.convert("ships", "v2", &[one.clone(), one], SOON).await.unwrap_err();
    let CallError::BadResult { why, .. } = &two else {
        panic!("{two:?}")
    };
    assert_eq!(*why, BadResult::Batch { found: 1, wanted: 2 });
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Sink for Told {
    async fn start(&mut self, status: u16, content_type: &str) -> Result<(), HostError> {
        self.0.lock().unwrap().push(format!("{status} {content_type}"));
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        self.0.lock().unwrap().push(String::from_utf8_lossy(&bytes).into_owned());
        Ok(())
    }
}

/// Pieces of a body.
struct Pieces(Vec<&'static str>);

#[async_trait]
impl Input for Pieces {
    async fn read(&mut self, _: usize) -> Result<Bytes, HostError> {
        Ok(self.0.pop().unwrap_or_default().into())
    }
}

async fn respond(verb: &str, subresource: &str, name: &str, ask: Ask) -> Result<Answered, CallError> {
    let request = Request {
        subresource: subresource.into(),
        ..asked(verb, "signals", "v1", name)
    };
    strategist().await.respond(Arc::new(request), ask, SOON).await
}

#[tokio::test]
async fn a_virtual_resource_answers_lists_and_streams() {
    let one = respond("get", "", "a", Ask::Get).await.unwrap();
    let wanted = r#"{"apiVersion":"test.example.com/v1","kind":"Signal","metadata":{"name":"a"},"meaning":"diver below"}"#;
    assert_eq!(one.object, wanted);
    let told = Told::default();
    respond("list", "", "", Ask::List(Box::new(told.clone()))).await.unwrap();
    let listed = told.0.lock().unwrap().clone();
    assert_eq!((listed.len(), listed[0].as_str()), (3, wanted));

    let told = Told::default();
    let connect = Ask::Connect(Box::new(Pieces(vec!["roger", "over "])), Box::new(told.clone()));
    respond("connect", "spelling", "b", connect).await.unwrap();
    assert_eq!(
        *told.0.lock().unwrap(),
        ["200 text/plain", "dangerous", "goods", "over ", "roger"]
    );

    let part = respond("get", "height", "b", Ask::Get).await.unwrap();
    let wanted = r#"{"apiVersion":"test.example.com/v1","kind":"Height","metadata":{"name":"b"},"metres":1}"#;
    assert_eq!(part.object, wanted);
    let too_high = respond("update", "height", "b", Ask::Update(r#"{"metres":41}"#.into()))
        .await
        .unwrap_err();
    let CallError::Refused { error, fields, .. } = &too_high else {
        panic!("{too_high:?}")
    };
    assert!(matches!(error, ContractError::Invalid(_)), "{error:?}");
    assert_eq!(
        *fields,
        [field(
            "FieldValueInvalid",
            "metres",
            "Invalid value: the mast is not that high"
        )]
    );

    for (verb, ask, wanted) in [
        ("get", Ask::Get, ContractError::NotFound("signals \"z\" not found".into())),
        (
            "delete",
            Ask::Delete,
            ContractError::Invalid("signals does not offer delete".into()),
        ),
    ] {
        let refused = respond(verb, "", "z", ask).await.unwrap_err();
        assert!(
            matches!(&refused, CallError::Refused { error, .. } if *error == wanted),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_controller_and_a_test_of_itself_are_entered() {
    let plugin = strategist().await;
    let pause = Duration::from_millis(1500);
    assert_eq!(plugin.reconcile("lookout", "node-1", SOON).await.unwrap(), Outcome::Done);
    assert_eq!(
        plugin.reconcile("lookout", "main/a", SOON).await.unwrap(),
        Outcome::AgainAfter(pause)
    );
    let refused = plugin.reconcile("outlook", "main/a", SOON).await.unwrap_err();
    assert!(
        refused.to_string().ends_with("invalid: no controller \"outlook\""),
        "{refused}"
    );
    plugin.self_test(SOON).await.unwrap();
}
