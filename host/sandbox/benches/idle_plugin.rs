//! What a plugin costs that nobody calls: memory beyond its code.
//!
//! ```text
//! cargo bench -p outrigger-sandbox --bench idle_plugin [-- PLUGIN.wasm]
//! ```
//! Loads many plugins of different names from compiled code on disk, as a host does that starts again, and divides what the process
//! grew by. What its compiled code takes in the cache (code, data, tables) is counted apart. So are the images of its memory, which the
//! engine keeps in files without a name: no process has them in its resident size before a call maps them. The first plugins are not
//! counted: slots of the pool that stay warm are bounded in all, however many plugins there are.

#[path = "../tests/sandbox/guests.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared with the tests, which use all of it"
)]
mod guests;

use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;
use guests::{Guest, MANIFEST};
use outrigger_sandbox::{ArtifactCache, Engine, EngineOptions, LoadOptions, Plugin};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Not counted, then counted.
const FIRST: usize = 64;
const THEN: usize = 256;

/// Kilobytes of this process.
#[derive(Debug, Clone, Copy)]
struct Memory {
    /// Of its own: heap, and what was written to.
    own: f64,
    /// Images in files without a name.
    images: f64,
    /// All, pages shared with others counted by their share.
    pss: f64,
}

fn main() -> Outcome<()> {
    let files: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let small = (0..FIRST + THEN).map(|n| {
            let manifest = MANIFEST.replace("\"hostile\"", &format!("\"p{n:06}\""));
            Guest::default().manifest(&manifest).bytes().into()
        });
        measure("a small component, each of another name", small.collect()).await?;
        if let Some(file) = files.first() {
            let bytes: Bytes = std::fs::read(file)?.into();
            measure(&format!("{file}, again and again"), vec![bytes; FIRST + THEN]).await?;
        }
        Ok(())
    })
}

async fn measure(what: &str, components: Vec<Bytes>) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let code = folder.path().join("code");
    let cache = ArtifactCache::open(&code)?;
    let engine = Engine::new(&EngineOptions::default())?;
    for bytes in &components {
        Plugin::load(&engine, Some(&cache), bytes.clone(), LoadOptions::default()).await?;
    }
    let mut plugins = Vec::with_capacity(components.len());
    let mut before = None;
    for (n, bytes) in components.into_iter().enumerate() {
        if n == FIRST {
            before = Some(memory()?);
        }
        plugins.push(Plugin::load(&engine, Some(&cache), bytes, LoadOptions::default()).await?);
    }
    let mut sizes = Vec::new();
    for file in std::fs::read_dir(&code)? {
        sizes.push(file?.metadata()?.len() as f64 / 1024.0);
    }
    let size = sizes.iter().sum::<f64>() / sizes.len().max(1) as f64;
    let (before, after) = (before.ok_or("too few")?, memory()?);
    let each = |of: fn(&Memory) -> f64| (of(&after) - of(&before)) / THEN as f64;
    println!("{what}:");
    println!(
        "  resident (PSS)              {:>9.1} ({:.1}) KiB",
        each(|m| m.own),
        each(|m| m.pss)
    );
    println!("  compiled code               {size:>9.1} KiB");
    println!("  beyond its code             {:>9.1} KiB", each(|m| m.own) - size);
    println!("  images, not resident        {:>9.1} KiB", each(|m| m.images));
    drop(plugins);
    Ok(())
}

fn memory() -> Outcome<Memory> {
    let field = |text: &str, name: &str| -> Outcome<f64> {
        let line = text.lines().find(|l| l.starts_with(name)).ok_or("no such line")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
    };
    let status = std::fs::read_to_string("/proc/self/status")?;
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    Ok(Memory {
        own: field(&status, "RssAnon:")? + field(&status, "RssShmem:")?,
        images: images()?,
        pss: field(&rollup, "Pss:")?,
    })
}

fn images() -> Outcome<f64> {
    let mut blocks = 0;
    for fd in std::fs::read_dir("/proc/self/fd")? {
        let path = fd?.path();
        if std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:")) {
            blocks += std::fs::metadata(&path)?.blocks();
        }
    }
    Ok(blocks as f64 / 2.0)
}
