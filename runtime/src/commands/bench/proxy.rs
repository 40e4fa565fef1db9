//! A proxy that delays what goes through it, as a longer way would (SPEC F3).

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Passes every connection on to one address, each byte after a delay, in both directions. Ends when it is dropped; a
/// connection that is open then ends with its peers.
///
/// Threads, since tokio's timers are a millisecond late: as long as the shortest delay.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    has_ended: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens at an address; port 0 is any free one. Starts its threads from this one, whose network is theirs.
    ///
    /// # Errors
    /// When it cannot listen, or not start a thread.
    pub fn start(at: (Ipv4Addr, u16), to: String, delay: Duration) -> io::Result<Proxy> {
        let listener = TcpListener::bind(at)?;
        let address = listener.local_addr()?;
        let (has_ended, carried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, count) = (Arc::clone(&has_ended), Arc::clone(&carried));
        thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                // Whoever dials tries again.
                if client.and_then(|client| connect(client, &to, delay, &count)).is_err() {
                    thread::sleep(Duration::from_millis(10));
                }
            }
        })?;
        Ok(Proxy { address, has_ended, carried })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes it has carried, in both directions.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        // Wakes the listener up, if it still listens.
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(client: TcpStream, to: &str, delay: Duration, carried: &Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    carry(client.try_clone()?, server.try_clone()?, delay, Arc::clone(carried))?;
    carry(server, client, delay, Arc::clone(carried))
}

/// Carries what one side says to the other until either ends.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration, carried: Arc<AtomicU64>) -> io::Result<()> {
    let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.to_owned()).spawn(work);
    spawn(
        "proxy-in",
        Box::new(move || {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                carried.fetch_add(count as u64, Ordering::Relaxed);
                if under_way.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
                    break;
                }
            }
        }),
    )?;
    spawn(
        "proxy-out",
        Box::new(move || {
            for (due, bytes) in arriving {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            // The other side may have ended already.
            let _ = to.shutdown(Shutdown::Write);
        }),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order_and_not_before_the_delay() {
        const DELAY: Duration = Duration::from_millis(20);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start((Ipv4Addr::LOCALHOST, 0), listener.local_addr().unwrap().to_string(), DELAY).unwrap();
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let since = Instant::now();
        let said: Vec<u8> = (0..200_000_u32).map(|nth| nth as u8).collect();
        client.write_all(&said).unwrap();
        let mut heard = vec![0; said.len()];
        server.read_exact(&mut heard).unwrap();
        assert!(heard == said && since.elapsed() >= DELAY);
        server.write_all(b"back").unwrap();
        drop(server);
        let mut back = String::new();
        client.read_to_string(&mut back).unwrap();
        assert_eq!(back, "back", "what was said before the end arrives");
        assert!(since.elapsed() >= DELAY * 2);
        assert_eq!(proxy.carried(), 200_004);
        let address = proxy.address();
        drop(proxy);
        // Once it has noticed.
        while TcpStream::connect(address).is_ok() {
            thread::yield_now();
        }
    }
}
