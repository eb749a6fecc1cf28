//! The bridge: libgit2 speaks the Git protocol, [`Exchange`] moves the bytes.
//!
//! libgit2 finds transports by the scheme of an address and hands over nothing else. All its work on a remote happens on
//! the calling thread, so the exchange of the operation stands in a thread-local while it runs.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{ConfigLevel, Error, Remote};

use super::http::{Answer, Exchange};

/// Address that leads libgit2 to us. The real one never reaches it, nor its error texts.
pub(super) const ADDRESS: &str = "tidegate-http://remote";
const SCHEME: &str = "tidegate-http";
/// Most bytes of a request: a revert commit has some kilobytes, the list of what we have some more.
const MAX_REQUEST: usize = 64 << 20;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Exchange>>> = const { RefCell::new(None) };
}

/// Runs `work`, in which libgit2 reaches its remote through `exchange`.
pub(super) fn with<T>(exchange: &Arc<Exchange>, work: impl FnOnce() -> T) -> T {
    struct Reset(Option<Arc<Exchange>>);
    impl Drop for Reset {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _reset = Reset(CURRENT.replace(Some(Arc::clone(exchange))));
    work()
}

/// Prepares libgit2, once in a process; the text says why it failed.
pub(super) fn set_up() -> Result<(), String> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| prepare().map_err(|error| error.message().to_owned())).clone()
}

#[expect(unsafe_code, reason = "libgit2's global state: set once, behind a lock, before any use of it in this process")]
fn prepare() -> Result<(), Error> {
    // Settings of whoever owns the machine must not change how we merge, nor where we connect.
    for level in [ConfigLevel::ProgramData, ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global] {
        // SAFETY: no other thread uses libgit2 yet; every use in this crate begins with `set_up`.
        unsafe { git2::opts::set_search_path(level, "")? };
    }
    // SAFETY: as above; nothing else registers transports.
    unsafe { git2::transport::register(SCHEME, factory) }
}

fn factory(remote: &Remote<'_>) -> Result<Transport, Error> {
    let exchange = CURRENT.with_borrow(Clone::clone).ok_or_else(|| Error::from_str("no exchange is under way on this thread"))?;
    Transport::smart(remote, true, Subtransport { exchange })
}

struct Subtransport {
    exchange: Arc<Exchange>,
}

impl SmartSubtransport for Subtransport {
    fn action(&self, _: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, Error> {
        Ok(Box::new(Stream { exchange: Arc::clone(&self.exchange), action, request: Vec::new(), answer: None }))
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// One request and its answer: everything is written before the first byte is read.
struct Stream {
    exchange: Arc<Exchange>,
    action: Service,
    request: Vec<u8>,
    answer: Option<Answer>,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = match self.answer.take() {
            Some(answer) => answer,
            None => {
                let request = std::mem::take(&mut self.request);
                match self.action {
                    Service::UploadPackLs => self.exchange.references("git-upload-pack")?,
                    Service::ReceivePackLs => self.exchange.references("git-receive-pack")?,
                    Service::UploadPack => self.exchange.post("git-upload-pack", request)?,
                    Service::ReceivePack => self.exchange.post("git-receive-pack", request)?,
                }
            }
        };
        self.answer.insert(answer).read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.request.len() + bytes.len() > MAX_REQUEST {
            return Err(io::Error::other("the request is too large"));
        }
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
