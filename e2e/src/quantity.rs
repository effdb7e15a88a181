//! The quantities of a metrics answer, as numbers.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// CPU of a `usage`, in millicores.
///
/// # Errors
/// There is none, or it is not written as Kubernetes writes it.
pub fn millicores(usage: &Value) -> Result<f64> {
    let (number, unit) = split(usage, "cpu")?;
    let scale = match unit {
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "" => 1e3,
        other => bail!("{other:?} is no unit of CPU: {usage}"),
    };
    Ok(number.parse::<f64>()? * scale)
}

/// Memory of a `usage`, in bytes.
///
/// # Errors
/// There is none, or it is not written as Kubernetes writes it.
pub fn bytes(usage: &Value) -> Result<u64> {
    let (number, unit) = split(usage, "memory")?;
    let scale = match unit {
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        // Bytes that are no multiple of 1024 are written in decimal.
        "k" => 1000,
        "" => 1,
        other => bail!("{other:?} is no unit of memory: {usage}"),
    };
    Ok(number.parse::<u64>()? * scale)
}

fn split<'a>(usage: &'a Value, key: &str) -> Result<(&'a str, &'a str)> {
    let text = usage
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("no {key}: {usage}"))?;
    Ok(text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read() {
        for (cpu, value) in [
            ("123456789n", 123.456_789),
            ("5100u", 5.1),
            ("50m", 50.0),
            ("2", 2000.0),
            ("0", 0.0),
        ] {
            assert!((millicores(&json!({"cpu": cpu})).unwrap() - value).abs() < 1e-9, "{cpu}");
        }
        for (memory, value) in [
            ("12240Ki", 12_533_760),
            ("5Mi", 5 << 20),
            ("1Gi", 1 << 30),
            ("12533761", 12_533_761),
            ("0", 0),
        ] {
            assert_eq!(bytes(&json!({"memory": memory})).unwrap(), value, "{memory}");
        }
        for usage in [
            json!({}),
            json!({"cpu": "1x", "memory": "1x"}),
            json!({"cpu": "", "memory": ""}),
        ] {
            assert!(millicores(&usage).is_err() && bytes(&usage).is_err(), "{usage}");
        }
    }
}
