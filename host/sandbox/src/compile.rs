//! From bytes to machine code, bounded.
//!
//! A hostile component can make a compiler slow; nothing can make it stop. So its size is bounded before, few compile at once, and
//! whoever waits gives up after a while. The compilation itself then runs to its end on its own thread, and keeps its place until then: a
//! bomb delays other plugins' compilations, never a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::Component;

use crate::artifacts::ArtifactCache;
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
        let compiled = blocking(move || {
            let _place = place;
            let component = with_threads_of_its_own(|| Component::from_binary(engine.wasmtime(), &bytes))?
                .map_err(|e| CompileError::Refused(format!("{e:#}")))?;
            if let Some(cache) = cache {
                cache.store(&engine, &digest, &component);
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
fn with_threads_of_its_own<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, CompileError> {
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
