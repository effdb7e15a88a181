//! `outrigger storage`: backup and restore, export and import, of a store that serves as well as of one that does not.
//!
//! An embedded store belongs to the host that serves from it. Whoever may read its folder reaches that host through a socket in there, so
//! that a backup needs neither a pause nor a credential: `kubectl exec POD -- /outrigger storage export --data-dir=/data > backup`.
//! Where nobody serves, the store is opened; etcd is spoken to directly.
//!
//! On the socket one line asks (`export [GROUP/PLURAL/]`, `import`, `import replace`); the stream follows or comes back, and whoever has
//! sent it closes his half. The answer to an import is its report as one line of JSON; one that begins with `error: ` says what went wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use futures::{StreamExt as _, TryStreamExt as _};
use outrigger_storage::store::stream::{AHEAD, Backup, Report, export};
use outrigger_storage::store::{Prefix, Store};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::keeping;

/// `outrigger storage`.
#[derive(Debug, Args)]
pub(crate) struct Storage {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write all objects of one moment to standard output, while the store serves or not.
    Export {
        #[command(flatten)]
        keeping: keeping::Flags,

        /// Of one resource alone, as PLURAL.GROUP.
        #[arg(long, value_name = "PLURAL.GROUP")]
        resource: Option<String>,
    },
    /// Write objects from standard input into a store, while it serves or not: each is created or takes the place of what is there. Neither
    /// schemas nor plugins are asked.
    Import {
        #[command(flatten)]
        keeping: keeping::Flags,

        /// Remove what is in the store and not in the stream.
        #[arg(long)]
        replace: bool,
    },
    /// Make an embedded store of a backup from standard input, in a --data-dir that has none.
    Restore {
        /// Where.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,

        /// How far its revision is ahead of the backup's, so that no client has seen one that comes again.
        #[arg(long, default_value_t = AHEAD, value_name = "N")]
        ahead: u64,
    },
}

/// The socket in the folder of an embedded store.
const SOCKET: &str = "outrigger.sock";
/// The most that an import has in memory.
const MOST: usize = 1 << 30;
/// A question's line.
const QUESTION: u64 = 1024;
/// Conversations at once.
const AT_ONCE: usize = 4;
/// How long a side may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does what was asked for.
pub(crate) async fn storage(flags: Storage) -> Result<()> {
    match flags.verb {
        Verb::Export { keeping, resource } => {
            let of = resource.as_deref().map(prefix).transpose()?;
            match served(&keeping).await? {
                Some(mut socket) => {
                    let of = of.as_ref().map_or("", Prefix::as_str);
                    socket.write_all(format!("export {of}\n").as_bytes()).await?;
                    copy_checked(socket).await
                }
                None => {
                    let store = opened(&keeping).await?;
                    let mut out = tokio::io::stdout();
                    let mut pieces = std::pin::pin!(export(store, of));
                    while let Some(piece) = pieces.next().await {
                        out.write_all(&piece?).await?;
                    }
                    Ok(out.flush().await?)
                }
            }
        }
        Verb::Import { keeping, replace } => match served(&keeping).await? {
            Some(mut socket) => {
                socket
                    .write_all(if replace { b"import replace\n" } else { b"import\n" })
                    .await?;
                tokio::io::copy(&mut tokio::io::stdin(), &mut socket).await?;
                socket.shutdown().await?;
                let mut answer = String::new();
                socket.read_to_string(&mut answer).await?;
                told(&answer)
            }
            None => {
                let store = opened(&keeping).await?;
                told(&import(&*store, tokio::io::stdin(), replace).await)
            }
        },
        Verb::Restore { data_dir, ahead } => {
            let restored = tokio::task::spawn_blocking(move || {
                let backup = Backup::read_from(std::io::stdin().lock(), MOST)?;
                let revision = backup.restore(&data_dir, ahead)?;
                Ok::<_, anyhow::Error>((backup.objects.len(), revision))
            });
            let (objects, revision) = restored.await??;
            println!("{}", json!({"restored": objects, "revision": revision}));
            Ok(())
        }
    }
}

/// A resource as people name it.
fn prefix(resource: &str) -> Result<Prefix> {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    ensure!(
        !plural.is_empty() && !resource.contains('/'),
        "--resource {resource:?} is not PLURAL.GROUP, such as flunders.wardle.example.com"
    );
    Ok(Prefix::of(group, plural))
}

/// The host that serves from this store, if there is one.
async fn served(keeping: &keeping::Flags) -> Result<Option<UnixStream>> {
    let Some(folder) = &keeping.data_dir else {
        return Ok(None);
    };
    match UnixStream::connect(folder.join(SOCKET)).await {
        Ok(socket) => Ok(Some(socket)),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| folder.join(SOCKET).display().to_string()),
    }
}

async fn opened(keeping: &keeping::Flags) -> Result<Arc<dyn Store>> {
    let store = keeping.open_store().await?;
    store.context("there is no store: give --data-dir DIR, or --etcd-servers URLS")
}

/// Passes a stream on; an answer that is none is an error.
async fn copy_checked(socket: UnixStream) -> Result<()> {
    let mut answer = BufReader::new(socket);
    let begin = answer.fill_buf().await?;
    if begin.starts_with(b"error: ") {
        let mut sentence = String::new();
        answer.read_to_string(&mut sentence).await?;
        bail!("{}", sentence.trim_start_matches("error: ").trim_end());
    }
    tokio::io::copy_buf(&mut answer, &mut tokio::io::stdout()).await?;
    Ok(tokio::io::stdout().flush().await?)
}

async fn import(store: &dyn Store, from: impl tokio::io::AsyncRead + Send + Unpin, replace: bool) -> String {
    let pieces = ReaderStream::new(from);
    let backup = match Backup::read(pieces, MOST).await {
        Ok(backup) => backup,
        Err(error) => return format!("error: nothing has changed: {error}\n"),
    };
    match backup.import(store, replace).await {
        Ok(report) => format!("{}\n", shown(&report)),
        Err(stopped) => format!("error: {stopped}; until then: {}\n", shown(&stopped.done)),
    }
}

fn shown(report: &Report) -> serde_json::Value {
    let refused = report
        .refused
        .iter()
        .map(|(key, why)| json!({"key": key.as_str(), "why": why}));
    json!({
        "created": report.created,
        "replaced": report.replaced,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "refused": refused.collect::<Vec<_>>(),
    })
}

fn told(answer: &str) -> Result<()> {
    match answer.strip_prefix("error: ") {
        Some(sentence) => bail!("{}", sentence.trim_end()),
        None if answer.is_empty() => bail!("the host has ended before it could answer"),
        None => {
            print!("{answer}");
            let refused = serde_json::from_str::<serde_json::Value>(answer)?;
            let refused = refused
                .get("refused")
                .and_then(serde_json::Value::as_array)
                .map_or(0, Vec::len);
            ensure!(refused == 0, "{refused} objects were refused");
            Ok(())
        }
    }
}

/// Answers on the socket of this folder until `stop`. A folder whose path is too long for a socket is said so, once.
pub(crate) fn answer(folder: &Path, store: Arc<dyn Store>, tasks: &TaskTracker, stop: CancellationToken) {
    let path = folder.join(SOCKET);
    // One that a killed process has left; the store's lock says that nobody else is here.
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(
                "{}: {error}; objects can only be exported while this host does not run",
                path.display()
            );
            return;
        }
    };
    let (conversations, end) = (Arc::new(Semaphore::new(AT_ONCE)), stop.clone());
    let of_each = tasks.clone();
    tasks.spawn(async move {
        loop {
            let permit = tokio::select! {
                () = end.cancelled() => break,
                Ok(permit) = Arc::clone(&conversations).acquire_owned() => permit,
                else => break,
            };
            let socket = tokio::select! {
                () = end.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let Ok((socket, _)) = socket else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (store, end) = (store.clone(), end.clone());
            of_each.spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    outcome = converse(socket, store) => {
                        if let Err(error) = outcome {
                            tracing::warn!("a conversation about the store broke off: {error:#}");
                        }
                    }
                }
                drop(permit);
            });
        }
        let _ = std::fs::remove_file(&path);
    });
}

async fn converse(socket: UnixStream, store: Arc<dyn Store>) -> Result<()> {
    let (from, mut to) = socket.into_split();
    let mut from = BufReader::new(from);
    let mut question = String::new();
    tokio::time::timeout(PATIENCE, (&mut from).take(QUESTION).read_line(&mut question)).await??;
    let answer = match question.trim_end().split_once(' ').unwrap_or((question.trim_end(), "")) {
        ("export", of) => {
            let of = of.trim_end_matches('/').split_once('/');
            let of = of.map(|(group, plural)| Prefix::of(group, plural));
            tracing::info!("objects are exported");
            let mut pieces = std::pin::pin!(export(store, of).map_err(anyhow::Error::from));
            let mut begun = false;
            loop {
                match pieces.next().await {
                    Some(Ok(piece)) => {
                        begun = true;
                        tokio::time::timeout(PATIENCE, to.write_all(&piece)).await??;
                    }
                    // Behind the first bytes the missing last line says it.
                    Some(Err(error)) if begun => return Err(error),
                    Some(Err(error)) => break format!("error: {error}\n"),
                    None => return Ok(to.shutdown().await?),
                }
            }
        }
        ("import", how) if matches!(how, "" | "replace") => {
            tracing::info!("objects are imported");
            import(&*store, from, how == "replace").await
        }
        _ => "error: this host knows export and import\n".to_owned(),
    };
    tokio::time::timeout(PATIENCE, to.write_all(answer.as_bytes())).await??;
    Ok(to.shutdown().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_as_people_do() {
        assert_eq!(
            prefix("flunders.wardle.example.com").unwrap(),
            Prefix::of("wardle.example.com", "flunders")
        );
        assert_eq!(prefix("things").unwrap(), Prefix::of("", "things"));
        for wrong in ["", ".g", "g/flunders"] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_report_with_refusals_fails() {
        assert!(told("{\"created\":1,\"refused\":[]}\n").is_ok());
        assert_eq!(
            told("{\"refused\":[{\"key\":\"a\"}]}\n").unwrap_err().to_string(),
            "1 objects were refused"
        );
        assert_eq!(told("error: no\n").unwrap_err().to_string(), "no");
        assert!(told("").is_err());
    }
}
