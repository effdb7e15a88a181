//! JSON in its other clothes: indented and as YAML it says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_api::encode;
use outrigger_api::media::Encoding;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    // Indenting promises nothing of what is no JSON, but must end.
    let _ = encode::indent(bytes);
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let json = serde_json::to_vec(&value).unwrap();
    for pretty in [false, true] {
        let text = encode::text(json.clone(), Encoding::Json { pretty }).unwrap();
        let back = serde_json::from_slice::<Value>(&text).unwrap();
        assert!(same(&value, &back), "{value} is not {back}");
    }
    let yaml = encode::text(json, Encoding::Yaml).unwrap();
    let text = std::str::from_utf8(&yaml).unwrap();
    let back: Value = serde_saphyr::from_str(text).unwrap_or_else(|reason| panic!("{text}: {reason}"));
    assert!(same(&value, &back), "{value} is not {back}: {text}");
});

/// Equal; of fractions all but the last digit, which serde_json's reader may miss (its feature `float_roundtrip` is off).
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            _ if a == b => true,
            (Some(x), Some(y)) => !(a.is_i64() && b.is_i64()) && (x - y).abs() <= x.abs() * 1e-14,
            _ => false,
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}
