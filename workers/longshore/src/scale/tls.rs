//! TLS in front of the scaler: by OpenSSL, which librdkafka brings anyway. Whoever issues certificates replaces the files in place, so they are
//! looked at for each connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use axum::serve::Listener;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, select_next_proto};
use openssl::x509::X509;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_openssl::SslStream;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Handshakes at once. For who comes beyond them the oldest is given up: it is done within milliseconds or is not meant, and
/// a crowd of silent connections must not keep KEDA out.
const HANDSHAKES_MAX: usize = 32;
/// What is spoken, as TLS lists it (RFC 7301): gRPC insists on the first, probes speak the second.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// Where certificate and key lie, both PEM: the server's own certificate comes first, then those between it and the authority.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What lay in the files.
#[derive(Default, PartialEq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(&self) -> Result<Pair, String> {
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        Ok(Pair { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }

    fn acceptor(&self, pair: &Pair) -> Result<SslAcceptor, String> {
        acceptor(pair)
            .map_err(|error| format!("{} and {}: {error}", self.certificate.display(), self.key.display()))
    }
}

fn acceptor(pair: &Pair) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server())?;
    let mut chain = X509::stack_from_pem(&pair.certificate)?.into_iter();
    if let Some(own) = chain.next() {
        builder.set_certificate(&own)?;
    }
    for between in chain {
        builder.add_extra_chain_cert(between)?;
    }
    // Nobody is there to type a password.
    let key = PKey::private_key_from_pem_callback(&pair.key, |_| Ok(0))?;
    builder.set_private_key(&key)?;
    builder.check_private_key()?;
    builder
        .set_alpn_select_callback(|_, offered| select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK));
    Ok(builder.build())
}

/// A listener whose connections are encrypted.
pub(crate) struct Tls {
    listener: TcpListener,
    files: Files,
    /// What was judged last, whether it is in use or was refused: each is told once.
    seen: Pair,
    acceptor: SslAcceptor,
    shaking: JoinSet<Option<(SslStream<TcpStream>, SocketAddr)>>,
    /// Those that are not done, the oldest first.
    unfinished: VecDeque<AbortHandle>,
    /// What a person should hear; left out while nobody listens.
    news: mpsc::Sender<String>,
}

impl Tls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// When they cannot be read, or are no certificate with its key: which, and why.
    pub(crate) fn new(
        listener: TcpListener,
        files: Files,
        news: mpsc::Sender<String>,
    ) -> Result<Self, String> {
        let seen = files.read()?;
        let acceptor = files.acceptor(&seen)?;
        Ok(Self {
            listener,
            files,
            seen,
            acceptor,
            shaking: JoinSet::new(),
            unfinished: VecDeque::new(),
            news,
        })
    }

    /// Takes what lies in the files now. What is half written, or no pair, leaves the old one in force.
    fn renew(&mut self) {
        // Two small files, mostly of a mounted Secret, which is memory.
        let (now, unread) = match self.files.read() {
            Ok(pair) => (pair, None),
            Err(why) => (Pair::default(), Some(why)),
        };
        if now == self.seen {
            return;
        }
        let said = match unread.map_or_else(|| self.files.acceptor(&now), Err) {
            Ok(acceptor) => {
                self.acceptor = acceptor;
                "a new certificate is in force".to_owned()
            }
            Err(why) => format!("warning: the certificate stays as it was: {why}"),
        };
        self.seen = now;
        drop(self.news.try_send(said));
    }

    fn shake_hands(&mut self, stream: TcpStream, from: SocketAddr) {
        self.renew();
        self.unfinished.retain(|handshake| !handshake.is_finished());
        if self.unfinished.len() >= HANDSHAKES_MAX
            && let Some(oldest) = self.unfinished.pop_front()
        {
            oldest.abort();
        }
        let ssl = Ssl::new(self.acceptor.context());
        let handshake = self.shaking.spawn(async move {
            let mut stream = SslStream::new(ssl.ok()?, stream).ok()?;
            // What fails is the other side's to tell.
            tokio::time::timeout(HANDSHAKE, Pin::new(&mut stream).accept()).await.ok()?.ok()?;
            Some((stream, from))
        });
        self.unfinished.push_back(handshake);
    }
}

impl Listener for Tls {
    type Io = SslStream<TcpStream>;
    type Addr = SocketAddr;

    /// Cancel-safe: handshakes go on by themselves. What is done goes first, so that no more wait here than there may be.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                biased;
                Some(done) = self.shaking.join_next() => {
                    if let Ok(Some(open)) = done {
                        return open;
                    }
                }
                (stream, from) = Listener::accept(&mut self.listener) => {
                    self.shake_hands(stream, from);
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
