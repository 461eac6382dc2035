//! The Unix socket of a unit: a thread for each connection.

use crate::server::{ServeError, UnitServer, UnitServerError};
use std::error::Error;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Connections that are served at once; one more is closed.
const MAX_CONNECTIONS: usize = 64;

/// Pause after the system could not give a connection: what it lacks does not come back by asking faster.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Exit status after a command panicked: `EX_SOFTWARE`.
const EXIT_SOFTWARE: i32 = 70;

impl UnitServer {
    /// Creates the unit's socket, mode 0600. A socket that an earlier process left is replaced; any other file is not.
    ///
    /// # Errors
    /// [`UnitServerError::Socket`].
    pub fn listen(&self, socket: &Path) -> Result<UnixListener, UnitServerError> {
        listen(socket)
    }

    /// Serves connections for ever, 64 at once. If a command panics, the process ends with status 70.
    pub fn serve_socket(&self, listener: &UnixListener) {
        let open = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            let stream = match stream {
                Ok(stream) => stream,
                Err(e) => {
                    tracing::warn!(error = &e as &dyn Error, "a connection was not accepted");
                    std::thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!(limit = MAX_CONNECTIONS, "too many connections are open; one more was closed");
                continue;
            }
            let (server, slot) = (self.clone(), ConnectionSlot(Arc::clone(&open)));
            let thread = std::thread::Builder::new().spawn(move || {
                let _slot = slot;
                serve(stream, &server);
            });
            if let Err(e) = thread {
                tracing::warn!(
                    error = &e as &dyn Error,
                    "a connection was closed: no thread could be started"
                );
            }
        }
    }
}

/// One of the connections that may be open. Released however its thread ends.
struct ConnectionSlot(Arc<AtomicUsize>);

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: UnixStream, server: &UnitServer) {
    // For what is logged after the connection's own scope.
    let _entered = server.shared.span.enter();
    match server.serve_connection(stream) {
        Ok(()) => {}
        Err(ServeError::Io(e))
            if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
        Err(ServeError::Io(e)) => tracing::warn!(error = &e as &dyn Error, "a connection failed"),
        Err(e @ ServeError::Poisoned) => {
            tracing::error!(error = &e as &dyn Error, "the unit's process ends");
            std::process::exit(EXIT_SOFTWARE)
        }
    }
}

fn listen(socket: &Path) -> Result<UnixListener, UnitServerError> {
    let failed = |source| UnitServerError::Socket { socket: socket.to_owned(), source };
    // The unit's folder is locked, so that a socket found here belongs to a process that has ended.
    match std::fs::symlink_metadata(socket) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(socket).map_err(failed)?,
        Ok(_) => return Err(failed(io::ErrorKind::AlreadyExists.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    // Access to the socket is control of the unit: the owner's alone, whatever the folder permits.
    let before = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let listener = UnixListener::bind(socket).map_err(failed);
    rustix::process::umask(before);
    listener
}

#[cfg(test)]
mod tests {
    use super::listen;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_socket_is_private_and_replaces_nothing_but_a_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("unit.sock");
        drop(listen(&socket).unwrap());
        let _again = listen(&socket).unwrap();
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "mode {mode:o}");
        let file = folder.path().join("notes");
        std::fs::write(&file, "kept").unwrap();
        assert!(listen(&file).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }
}
