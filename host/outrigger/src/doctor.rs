//! `outrigger doctor`: why an API served by this host does not work, and what to do. The looking is the `doctor` room's.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use outrigger_doctor::{Options, Report, examine};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::flags::Doctor;

/// It could not look.
const COULD_NOT: u8 = 2;

/// Prints the report; the code says whether anything fails.
pub(crate) async fn doctor(flags: Doctor) -> ExitCode {
    let json = flags.output == "json";
    let printed = async {
        let report = report(flags).await?;
        print(&report, json)?;
        Ok::<_, anyhow::Error>(report.failed())
    };
    match printed.await {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("outrigger: {error:#}");
            ExitCode::from(COULD_NOT)
        }
    }
}

async fn report(flags: Doctor) -> Result<Report> {
    let front_proxy = match &flags.proxy_client_cert_file {
        Some(path) => {
            let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .with_context(|| format!("--proxy-client-cert-file {}", path.display()))?;
            Some(chain)
        }
        None => None,
    };
    let cluster = outrigger_cluster::connect_as(flags.kubeconfig, flags.context, env!("CARGO_PKG_VERSION")).await?;
    let options = Options {
        cluster,
        deadline: flags.timeout,
        account: flags.service_account,
        api_services: flags.api_services,
        server: flags.server.as_ref().map(authority).transpose()?,
        max_nodes: flags.max_nodes,
        front_proxy,
    };
    Ok(examine(options).await)
}

/// Host and port of `https://HOST[:PORT]`.
fn authority(url: &http::Uri) -> Result<String> {
    if url.scheme_str().is_some_and(|scheme| scheme != "https") {
        bail!("--server {url}: the host speaks https only");
    }
    let authority = url.authority().with_context(|| format!("--server {url} names no host"))?;
    Ok(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(443)))
}

fn print(report: &Report, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let text = if json {
        report.json()? + "\n"
    } else {
        report.text(out.is_terminal())
    };
    out.write_all(text.as_bytes()).context("cannot write")
}
