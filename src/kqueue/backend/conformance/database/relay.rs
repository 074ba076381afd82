//! A relay that stands for a server, with connections that can be cut.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Relays connections until it is dropped.
pub(in crate::backend::conformance) struct Relay {
    pub address: SocketAddr,
    to: PathBuf,
    cut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub(in crate::backend::conformance) fn new(to: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self { address: listener.local_addr().unwrap(), to, cut: Arc::default(), streams: Arc::default() };
        relay.listen(listener);
        relay
    }

    /// Refuses new connections from now on, and resets open ones.
    pub(in crate::backend::conformance) fn cut(&self) {
        self.cut.store(true, SeqCst);
        // Wakes the listener, which then closes its socket.
        while TcpStream::connect(self.address).is_ok() {}
        self.reset();
    }

    /// Resets open connections; new ones are still accepted.
    pub(in crate::backend::conformance) fn reset(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Accepts connections again.
    pub(in crate::backend::conformance) fn mend(&self) {
        self.cut.store(false, SeqCst);
        self.listen(TcpListener::bind(self.address).unwrap());
    }

    fn listen(&self, listener: TcpListener) {
        let (to, cut, streams) = (self.to.clone(), self.cut.clone(), self.streams.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if cut.load(SeqCst) {
                    return;
                }
                let Ok(client) = client else { return };
                let Ok(server) = UnixStream::connect(&to) else { continue };
                client.set_nodelay(true).unwrap();
                streams.lock().unwrap().push(client.try_clone().unwrap());
                let (from_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = io::copy(&mut &from_client, &mut &server);
                    let _ = server.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || {
                    let _ = io::copy(&mut &from_server, &mut &client);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.cut.load(SeqCst) {
            self.cut();
        }
    }
}
