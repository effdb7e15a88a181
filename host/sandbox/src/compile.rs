//! From bytes to machine code, bounded.
//!
//! A hostile component can make a compiler slow and large. So its size is bounded before, few compile at once, and a server compiles in
//! a child process (`compiler`), which ends at the deadline with all that it has allocated. Without one (tests, tools that end soon) the
//! compilation runs on threads of this process; nothing can stop it there, so it keeps its place until it is done: a bomb delays other
//! plugins' compilations, never a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::Component;

use crate::artifacts::{ArtifactCache, deserialize};
use crate::engine::Engine;

/// Why there is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Not done in time.
    #[error("compiling took longer than {0:?}; make the component smaller, or raise the limit")]
    Deadline(Duration),
    /// The compiler refused it; the whole chain of causes.
    #[error("the component does not compile: {0}")]
    Refused(String),
    /// The compiler itself failed.
    #[error("the compiler failed: {0}")]
    Failed(String),
    /// The compiler's process ended without an answer: a crash, or one of its limits.
    #[error("the compiler died ({how}); it may have {memory} bytes of memory{}", Said(.said))]
    Died {
        /// The signal or the code.
        how: String,
        /// Its limit of memory.
        memory: u64,
        /// What it said.
        said: String,
    },
}

struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.0)
        }
    }
}

/// Where code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the cache.
    Cached,
    /// Compiled now.
    Compiled,
}

/// Compiles, or takes from the cache.
pub(crate) async fn compile(
    engine: &Engine,
    cache: Option<&ArtifactCache>,
    digest: &str,
    bytes: Bytes,
    deadline: Duration,
) -> Result<(Component, Origin), CompileError> {
    let (engine, cache, digest) = (engine.clone(), cache.cloned(), digest.to_owned());
    let work = async move {
        // Reading a cached file needs no place in the queue, but a thread that may block.
        let (e, c, d) = (engine.clone(), cache.clone(), digest.clone());
        if let Some(component) = blocking(move || c.and_then(|c| c.load(&e, &d))).await? {
            return Ok((component, Origin::Cached));
        }
        let place = Arc::clone(engine.compilers())
            .acquire_owned()
            .await
            .map_err(|e| CompileError::Failed(e.to_string()))?;
        if let Some(compiler) = &engine.options().compiler {
            let code = compiler.run(engine.fingerprint(), &bytes, deadline).await?;
            drop((place, bytes));
            let kept = blocking(move || {
                let component = deserialize(&engine, &code).map_err(|e| CompileError::Failed(format!("{e:#}")))?;
                if let Some(cache) = cache {
                    cache.store(&engine, &digest, &code);
                }
                Ok(component)
            });
            return kept.await?.map(|component| (component, Origin::Compiled));
        }
        let compiled = blocking(move || {
            let _place = place;
            let component = with_threads_of_its_own(|| Component::from_binary(engine.wasmtime(), &bytes))?
                .map_err(|e| CompileError::Refused(format!("{e:#}")))?;
            if let Some(cache) = cache {
                match component.serialize() {
                    Ok(code) => cache.store(&engine, &digest, &code),
                    Err(e) => tracing::warn!("compiled code could not be kept: {e:#}"),
                }
            }
            Ok(component)
        });
        compiled.await?.map(|component| (component, Origin::Compiled))
    };
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or(Err(CompileError::Deadline(deadline)))
}

/// Runs a compilation on threads that end with it. What Cranelift allocated belongs to the allocator's heaps of the threads that
/// asked for it: a pool that lives on keeps tens of megabytes of it for nothing.
pub(crate) fn with_threads_of_its_own<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, CompileError> {
    let pool = rayon::ThreadPoolBuilder::new().thread_name(|n| format!("compile-{n}"));
    pool.build()
        .map(|pool| pool.install(work))
        .map_err(|e| CompileError::Failed(format!("no threads to compile with: {e}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CompileError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| CompileError::Failed(e.to_string()))
}
