//! What a newcomer sees of `outrigger run`: usage of this very machine as `kubectl top` prints it, and what to try next.
//!
//! With a kubectl on the PATH it is asked to print. Without one, the Table that the server sends is printed, over the same
//! TLS and with the same certificate that kubectl would have used.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::time::timeout;

/// How to reach the server as its administrator.
pub(crate) struct Access {
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) kubeconfig: PathBuf,
}

const ONE_ANSWER: Duration = Duration::from_secs(20);
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

// === impl Access ===

impl Access {
    /// Writes the kubeconfig, readable by its owner alone.
    pub(crate) fn write_kubeconfig(&self) -> Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let data = |pem: &str| BASE64.encode(pem);
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "outrigger", "cluster": {
                "server": format!("https://{}", self.address), "certificate-authority-data": data(&self.ca)}}],
            "users": [{"name": "outrigger-admin", "user": {
                "client-certificate-data": data(&self.certificate), "client-key-data": data(&self.key)}}],
            "contexts": [{"name": "outrigger", "context": {"cluster": "outrigger", "user": "outrigger-admin"}}],
            "current-context": "outrigger",
        });
        let text = serde_saphyr::to_string(&config).context("the kubeconfig cannot be written as YAML")?;
        let path = &self.kubeconfig;
        let new = path.with_extension("new");
        let written = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new);
        written
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&new, path))
            .with_context(|| path.display().to_string())
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let run = tokio::process::Command::new("kubectl")
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(ONE_ANSWER, run).await.context("kubectl does not end")??;
        if !output.status.success() {
            return Err(anyhow!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn get(&self, path: &str, accept: &str) -> Result<Value> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes())?)?;
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes())?)?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let request = Request::get(format!("https://{}{path}", self.address))
            .header("accept", accept)
            .body(Empty::new())?;
        let answer = async {
            let answer = client.request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::ensure!(status == StatusCode::OK, "{status}");
            Ok(serde_json::from_slice(&body)?)
        };
        timeout(ONE_ANSWER, answer).await.context("no answer")?
    }
}

/// Waits until the node has metrics, prints usage, and says what to try.
pub(crate) async fn first_metrics(access: &Access, node: &str, resolution: Duration) {
    println!(
        "serving on https://{}; the first values of {node} come after two measurements …",
        access.address
    );
    let one = format!("/apis/metrics.k8s.io/v1beta1/nodes/{node}");
    let patience = resolution * 6 + Duration::from_secs(30);
    let wait = async {
        while access.get(&one, "application/json").await.is_err() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    if timeout(patience, wait).await.is_err() {
        println!("no metrics after {} s; the log above says why", patience.as_secs());
        return;
    }
    let with_kubectl = access.kubectl(&["version", "--client"]).await.is_ok();
    for (arguments, path) in [
        (["top", "node"].as_slice(), "/apis/metrics.k8s.io/v1beta1/nodes"),
        (
            ["top", "pod", "-A", "--sort-by=cpu"].as_slice(),
            "/apis/metrics.k8s.io/v1beta1/pods",
        ),
    ] {
        let text = if with_kubectl {
            access.kubectl(arguments).await
        } else {
            access.get(path, TABLE).await.and_then(|table| printed(&table))
        };
        match text {
            Ok(text) => println!("\n$ kubectl {}\n{}", arguments.join(" "), text.trim_end()),
            Err(error) => println!("\n$ kubectl {}\n{error:#}", arguments.join(" ")),
        }
    }
    println!(
        "\nIt stays up until Ctrl-C. Try, in another terminal:\n\
         \x20 export KUBECONFIG={}\n\
         \x20 kubectl top node\n\
         \x20 kubectl top pod -A --containers\n\
         \x20 kubectl get nodemetrics\n\
         \x20 kubectl get podmetrics -A -o yaml\n\
         \x20 kubectl explain podmetrics.containers\n\
         \x20 cp target/examples/hello-collector.wasm target/plugins/ && kubectl api-resources --api-group hello.example.com",
        std::path::absolute(&access.kubeconfig)
            .unwrap_or_else(|_| access.kubeconfig.clone())
            .display()
    );
}

/// A Table as kubectl prints it: columns three spaces apart, the namespace in front if there is one.
fn printed(table: &Value) -> Result<String> {
    let array = |value: &Value, at: &str| value.get(at).and_then(Value::as_array).cloned();
    let columns = array(table, "columnDefinitions").ok_or_else(|| anyhow!("this is no Table"))?;
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|c| cell(c.get("name")).to_uppercase()).collect()];
    let rows = array(table, "rows").unwrap_or_default();
    let namespaced = rows.iter().any(|r| r.pointer("/object/metadata/namespace").is_some());
    if namespaced && let Some(head) = lines.first_mut() {
        head.insert(0, "NAMESPACE".into());
    }
    for row in &rows {
        let mut line: Vec<String> = array(row, "cells")
            .unwrap_or_default()
            .iter()
            .map(|c| cell(Some(c)))
            .collect();
        if namespaced {
            line.insert(0, cell(row.pointer("/object/metadata/namespace")));
        }
        lines.push(line);
    }
    let width = |i: usize| {
        lines
            .iter()
            .filter_map(|l| l.get(i))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len() + 1).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a String does not fail.
            let _ = write!(text, "{cell:width$}   ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    Ok(out)
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_as_kubectl_prints_it() {
        let table = serde_json::json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "cpu"}],
            "rows": [
                {"cells": ["burner", "50m"], "object": {"metadata": {"namespace": "default"}}},
                {"cells": ["a-long-one", 3], "object": {"metadata": {"namespace": "kube-system"}}},
            ]
        });
        let expected = "NAMESPACE     NAME         CPU\ndefault       burner       50m\nkube-system   a-long-one   3\n";
        assert_eq!(printed(&table).unwrap(), expected);
    }
}
