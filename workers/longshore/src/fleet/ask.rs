//! Asks a member for its figures.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::view::{Detail, StatusPage};

/// How long a member may take, from the connection to the last byte.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
/// The most bytes of an answer: a worker with 1,000 partitions takes a third of it.
const ANSWER_BYTES: usize = 1 << 20;
/// The most bytes of its head.
const HEAD_BYTES: usize = 16 * 1024;
/// The most letters of a text that a member chooses.
const TEXT_LETTERS: usize = 200;

/// Why a member told nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silence {
    /// It did not answer in time.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
    /// The connection failed.
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    /// What it said is no HTTP, or too much.
    #[error("{0}")]
    Http(Box<dyn std::error::Error + Send + Sync>),
    /// It answered with another code than 200.
    #[error("it answered {0}")]
    Code(StatusCode),
    /// The body is no status page.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
}

impl From<hyper::Error> for Silence {
    fn from(error: hyper::Error) -> Self {
        Self::Http(Box::new(error))
    }
}

/// The status page of the worker at an address, with its texts cleaned.
///
/// # Errors
/// [`Silence`], all of which mean the same: nothing is known of it.
pub(crate) async fn ask(host: IpAddr, port: u16) -> Result<StatusPage, Silence> {
    let asked = tokio::time::timeout(DEADLINE, get(SocketAddr::new(host, port)));
    let page = asked.await.map_err(|_| Silence::Late)??;
    Ok(clean(serde_json::from_slice(&page)?))
}

/// One GET of `/status`. The body's bytes are all that is taken: no other header of the answer means anything here.
async fn get(address: SocketAddr) -> Result<Bytes, Silence> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    let request =
        Request::get("/status").header(header::HOST, address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Silence::Http(Box::new(error)))?;
    let talk = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(Silence::Code(answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        Ok(body.map_err(Silence::Http)?.to_bytes())
    };
    // The connection is driven here and dropped with this future: nothing of it outlives the deadline. It may end before the
    // answer's last bytes were taken, so its end is not waited for as an answer.
    let drive = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        said = talk => said,
        () = drive => Err(Silence::Late),
    }
}

/// The page with what others chose cut and cleaned, and numbers that can be.
fn clean(mut page: StatusPage) -> StatusPage {
    for text in [&mut page.pipeline, &mut page.pipeline_version, &mut page.group, &mut page.worker.client_id]
    {
        *text = plain(text);
    }
    let worker = &mut page.worker;
    worker.version = worker.version.as_deref().map(plain);
    let known = ["starting", "running", "holding", "draining"];
    worker.state = worker.state.take().filter(|state| known.contains(&state.as_str()));
    worker.rate = worker.rate.filter(sound);
    for Detail { partition, .. } in &mut page.partitions_detail {
        partition.held = partition.held.as_deref().map(plain);
        partition.rate = partition.rate.filter(sound);
        partition.seconds_behind = partition.seconds_behind.filter(sound);
    }
    page
}

fn sound(number: &f64) -> bool {
    number.is_finite() && *number >= 0.0
}

/// A text of somebody else on one line, without letters that a terminal obeys or that turn the direction of others, and not longer than people read.
pub(crate) fn plain(text: &str) -> String {
    let obeyed = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
    };
    text.chars().map(|letter| if obeyed(letter) { '?' } else { letter }).take(TEXT_LETTERS).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A member that answers every connection with these bytes, and then goes on sending when told to.
    async fn answering(head: String, endless: Option<&'static [u8]>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = head.clone();
                tokio::spawn(async move {
                    let mut asked = [0; 1024];
                    let _ = stream.read(&mut asked).await;
                    let _ = stream.write_all(head.as_bytes()).await;
                    while let Some(more) = endless {
                        if stream.write_all(more).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    async fn said(head: String, endless: Option<&'static [u8]>) -> Result<StatusPage, Silence> {
        let address = answering(head, endless).await;
        ask(address.ip(), address.port()).await
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    const PAGE: &str = r#"{"pipeline":"p","pipeline_version":"1","group":"g","client_id":"longshore.http.1","version":"0.1.0\u001b[31m",
        "state":"\u0007","partitions":1,"rate":-1.0,"memory":1,"budget":2,"in_flight":0,"uptime_seconds":1,"later":{"a":1},
        "partitions_detail":[{"state":"held","topic":"in","partition":0,"committed":null,"end":4,"lag":4,"seconds_behind":null,"rate":0.5,
        "drain_seconds":8.0,"waiting":0,"parked":0,"retries":0,"dead_letters":0,"held":"why\u001b]0;x\u0007\n\u202eyhw"}]}"#;

    /// Guarantee: a page is read, also one of a later version; its texts lose what a terminal obeys, and numbers that cannot be.
    #[tokio::test]
    async fn a_page_is_read_and_cleaned() {
        let page = said(ok(PAGE), None).await.unwrap();
        assert_eq!(page.worker.version.as_deref(), Some("0.1.0?[31m"));
        assert_eq!((page.worker.state, page.worker.rate), (None, None));
        let Detail { state, partition } = &page.partitions_detail[0];
        assert_eq!((state.as_str(), partition.lag, partition.rate), ("held", Some(4), Some(0.5)));
        assert_eq!(partition.held.as_deref(), Some("why?]0;x???yhw"));
        assert_eq!(plain(&"x".repeat(5_000)).len(), TEXT_LETTERS);
    }

    /// Scenario: a member redirects, refuses, sends no JSON, a head or a body without end, nothing at all, or does not listen. Guarantee: nothing is
    /// known of it within the deadline, and no second request is made.
    #[tokio::test]
    async fn a_member_that_answers_badly_is_silent() {
        let elsewhere = answering(ok(PAGE), None).await;
        let redirect =
            format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/status\r\ncontent-length: 0\r\n\r\n");
        let began = std::time::Instant::now();
        assert!(matches!(said(redirect, None).await, Err(Silence::Code(StatusCode::FOUND))));
        assert!(matches!(said(ok("no"), None).await, Err(Silence::Form(_))));
        assert!(matches!(said("SSH-2.0-OpenSSH\r\n".into(), None).await, Err(Silence::Http(_))));
        let endless = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        assert!(matches!(
            said(endless.into(), Some(&[b' '; 65_536])).await,
            Err(Silence::Http(_) | Silence::Late)
        ));
        let head = "HTTP/1.1 200 OK\r\nx: ";
        assert!(matches!(said(head.into(), Some(&[b'x'; 65_536])).await, Err(Silence::Http(_))));
        assert!(began.elapsed() < 4 * DEADLINE, "{:?}", began.elapsed());
        assert!(matches!(said(String::new(), None).await, Err(Silence::Http(_) | Silence::Late)));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(matches!(ask(closed.ip(), closed.port()).await, Err(Silence::Connection(_))));
    }

    /// Scenario: a member takes the connection and says nothing. Guarantee: it is not waited for longer than the deadline.
    #[tokio::test]
    async fn a_member_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let began = std::time::Instant::now();
        assert!(matches!(ask(address.ip(), address.port()).await, Err(Silence::Late)));
        assert!(began.elapsed() < 3 * DEADLINE, "{:?}", began.elapsed());
    }
}
