//! How a unit is reached, and the connection to it.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixStream;

/// How a unit is reached.
///
/// ```
/// use host::Endpoint;
///
/// let endpoint = Endpoint::unix("/run/hsm/unit-1.sock");
/// assert_eq!(endpoint.to_string(), "/run/hsm/unit-1.sock");
/// ```
#[derive(Clone)]
pub struct Endpoint(Kind);

#[derive(Clone)]
enum Kind {
    Unix(PathBuf),
    InProcess(Arc<dyn Fn(UnixStream) + Send + Sync>),
    Blocking(Arc<dyn Fn(BlockingStream) + Send + Sync>),
}

impl Endpoint {
    /// The unit that listens on the Unix socket at `path`.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self(Kind::Unix(path.into()))
    }

    /// A unit in this process: `accept` gets the unit's end of each new connection and returns at once, serving it in a
    /// task of its own. The connection is a pair of sockets: frames lie in no buffer of this process that is not wiped.
    #[must_use]
    pub fn in_process(accept: impl Fn(UnixStream) + Send + Sync + 'static) -> Self {
        Self(Kind::InProcess(Arc::new(accept)))
    }

    /// A unit in this process that serves blocking streams: `serve` gets the unit's end of each new connection, on a
    /// thread of its own, and returns when the connection ends.
    #[must_use]
    pub fn blocking(serve: impl Fn(BlockingStream) + Send + Sync + 'static) -> Self {
        Self(Kind::Blocking(Arc::new(serve)))
    }

    /// Whether both lead to the same unit by the same way.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Unix(a), Kind::Unix(b)) => a == b,
            (Kind::InProcess(a), Kind::InProcess(b)) => Arc::ptr_eq(a, b),
            (Kind::Blocking(a), Kind::Blocking(b)) => Arc::ptr_eq(a, b),
            (Kind::Unix(_) | Kind::InProcess(_) | Kind::Blocking(_), _) => false,
        }
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> io::Result<UnixStream> {
        match &self.0 {
            Kind::Unix(path) => UnixStream::connect(path).await,
            Kind::InProcess(accept) => {
                let (ours, units) = UnixStream::pair()?;
                accept(units);
                Ok(ours)
            }
            Kind::Blocking(serve) => {
                let (ours, units) = BlockingStream::pair()?;
                ours.set_nonblocking(true)?;
                let serve = Arc::clone(serve);
                std::thread::Builder::new().name("unit connection".to_owned()).spawn(move || serve(units))?;
                UnixStream::from_std(ours)
            }
        }
    }
}

impl From<&str> for Endpoint {
    fn from(path: &str) -> Self {
        Self::unix(path)
    }
}

impl From<&Path> for Endpoint {
    fn from(path: &Path) -> Self {
        Self::unix(path)
    }
}

impl From<&PathBuf> for Endpoint {
    fn from(path: &PathBuf) -> Self {
        Self::unix(path)
    }
}

impl From<PathBuf> for Endpoint {
    fn from(path: PathBuf) -> Self {
        Self::unix(path)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unix(path) => path.display().fmt(f),
            Kind::InProcess(_) | Kind::Blocking(_) => f.write_str("this process"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}
