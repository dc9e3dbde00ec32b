//! Who may ask, and what every answer says to a browser.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use longshore_settings::Secret;
use serde_json::json;

use super::Console;

/// What a browser may do with an answer: load our own files and talk to us, nothing else. No page may frame it, and no text can
/// become a script.
static HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visitor {
    /// Somebody who reaches the port.
    Anyone,
    /// Somebody with the token.
    Holder,
}

/// Knows the token by its hash, and which names the console answers to.
pub(super) struct Guard {
    /// None: the console is read-only.
    token: Option<blake3::Hash>,
    /// Whether only this machine reaches us: then a name that is not this machine's is a web page that had its own name resolved
    /// anew to get at us.
    loopback: bool,
}

impl Guard {
    pub(super) fn new(token: Option<&Secret>, loopback: bool) -> Self {
        Self { token: token.map(|token| blake3::hash(token.expose().as_bytes())), loopback }
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Who it is; refused with 401 when a token is sent that is not ours.
    pub(super) fn visitor(&self, headers: &HeaderMap) -> Result<Visitor, Refused> {
        let Some(sent) = headers.get(header::AUTHORIZATION) else { return Ok(Visitor::Anyone) };
        let Some(token) = &self.token else { return Ok(Visitor::Anyone) };
        let bytes = sent.as_bytes();
        let is_bearer = bytes.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
        // Hashes are compared in constant time, and their bytes say nothing about those of the token.
        if is_bearer && blake3::hash(bytes[7..].trim_ascii()) == *token {
            Ok(Visitor::Holder)
        } else {
            Err(Refused::token("the token is not right"))
        }
    }

    /// Refuses who may only read: with 401 where a token would help, with 403 where there is none.
    pub(super) fn holder(&self, headers: &HeaderMap) -> Result<(), Refused> {
        match self.visitor(headers)? {
            Visitor::Holder => Ok(()),
            Visitor::Anyone if self.token.is_some() => {
                Err(Refused::token("this needs the token of the console"))
            }
            Visitor::Anyone => Err(Refused::new(
                StatusCode::FORBIDDEN,
                "this console is read-only: its pipeline sets no `http.console.token`",
            )),
        }
    }

    /// Refuses what another site made a browser send.
    fn request(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let host = uri.authority().map(|authority| authority.as_str().to_owned());
        let host = host.or_else(|| text(headers, &header::HOST).map(str::to_owned)).unwrap_or_default();
        if self.loopback && !is_this_machine(&host) {
            let words = "this worker listens for its own machine alone: ask it by 127.0.0.1 or localhost";
            return Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, words));
        }
        let elsewhere = || Refused::new(StatusCode::FORBIDDEN, "another site sent this request");
        let is_page = !uri.path().starts_with("/api/");
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        // A link from elsewhere may lead to the page, and an address may be typed; a page of our own alone talks to the API.
        if !is_page && site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Err(elsewhere());
        }
        if *method != Method::POST {
            return Ok(());
        }
        // A browser that says where the page is from knows it better than two names tell, one of which a proxy may have changed.
        if site.is_none()
            && let Some(origin) = headers.get(header::ORIGIN)
        {
            let own = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            if !own.is_some_and(|(_, place)| place.eq_ignore_ascii_case(&host)) {
                return Err(elsewhere());
            }
        }
        let kind =
            text(headers, &header::CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json"));
        }
        Ok(())
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a `Host` names this machine by an address or as `localhost`: no other name's owner can lead a browser here.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// A request that is not answered.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: StatusCode,
    pub(super) words: String,
}

impl Refused {
    pub(super) fn new(code: StatusCode, words: impl Into<String>) -> Self {
        Self { code, words: words.into() }
    }

    fn token(words: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, words)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.code, Json(json!({ "error": self.words }))).into_response();
        let further = match self.code {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS => Some((header::RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = further {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What every request of the console passes.
pub(super) async fn door(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let judged = console.guard.request(request.method(), request.uri(), request.headers());
    let mut response = match judged {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in &HEADERS {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-16-or-more";

    fn guard(token: bool, loopback: bool) -> Guard {
        Guard::new(token.then(|| Secret::new(TOKEN)).as_ref(), loopback)
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        list.iter().map(pair).collect()
    }

    /// Bad input: tokens that are wrong, longer, shorter, of another scheme. Guarantee: 401 for each, 403 where there is no token to
    /// have, and the right one opens.
    #[test]
    fn only_the_token_opens() {
        let sent = |text: &str| headers(&[("authorization", text)]);
        let guarded = guard(true, true);
        for wrong in
            ["Bearer", "Bearer ", TOKEN, "Basic a-token-of-16-or-more", "Bearer a-token-of-16-or-mor"]
        {
            assert_eq!(guarded.holder(&sent(wrong)).unwrap_err().code, StatusCode::UNAUTHORIZED, "{wrong}");
            assert!(guarded.visitor(&sent(wrong)).is_err());
        }
        assert_eq!(guarded.holder(&HeaderMap::new()).unwrap_err().code, StatusCode::UNAUTHORIZED);
        assert_eq!(guarded.visitor(&HeaderMap::new()).unwrap(), Visitor::Anyone);
        assert!(guarded.holder(&sent("bearer a-token-of-16-or-more")).is_ok());
        let open = guard(false, true);
        assert_eq!(
            open.holder(&sent("Bearer a-token-of-16-or-more")).unwrap_err().code,
            StatusCode::FORBIDDEN
        );
    }

    /// Bad input: requests that another site made a browser send, and names that are not this machine's. Guarantee: refused.
    #[test]
    fn other_sites_are_refused() {
        let guard_here = guard(true, true);
        let json = ("content-type", "application/json; charset=utf-8");
        let host = ("host", "localhost:8080");
        let own = ("origin", "http://localhost:8080");
        let judge = |method: Method, path: &str, list: &[(&'static str, &str)]| {
            let judged = guard_here.request(&method, &path.parse().unwrap(), &headers(list));
            judged.map_or_else(|refused| refused.code.as_u16(), |()| 200)
        };
        let post = |list: &[(&'static str, &str)]| judge(Method::POST, "/api/replay", list);
        assert_eq!(post(&[host, own, json]), 200);
        assert_eq!(post(&[host, json]), 200);
        // Behind a proxy that asks us by another name.
        let outside = ("origin", "https://logs.example.com");
        assert_eq!(post(&[host, outside, json, ("sec-fetch-site", "same-origin")]), 200);
        assert_eq!(post(&[host, outside, json]), 403);
        assert_eq!(post(&[host, own, ("content-type", "text/plain")]), 415);
        assert_eq!(post(&[host, own]), 415);
        for origin in
            ["http://evil.example", "null", "http://localhost:8081", "http://localhost:8080.evil.example"]
        {
            assert_eq!(post(&[host, ("origin", origin), json]), 403, "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(post(&[host, own, json, ("sec-fetch-site", site)]), 403);
            assert_eq!(judge(Method::GET, "/api/letters", &[host, ("sec-fetch-site", site)]), 403);
            assert_eq!(judge(Method::GET, "/", &[host, ("sec-fetch-site", site)]), 200);
        }
        for name in ["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example:8080"] {
            assert_eq!(judge(Method::GET, "/", &[("host", name)]), 421, "{name}");
        }
        for name in ["127.0.0.1:8080", "[::1]:8080", "10.0.0.3", "LOCALHOST", "x.localhost:1"] {
            assert_eq!(judge(Method::GET, "/", &[("host", name)]), 200, "{name}");
        }
        let anywhere = guard(true, false).request(
            &Method::GET,
            &"/".parse().unwrap(),
            &headers(&[("host", "web-logs:8080")]),
        );
        assert!(anywhere.is_ok());
        // A page by a name that was led here passes for ours, and has no token.
        let rebound = headers(&[
            ("host", "evil.example"),
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "same-origin"),
            json,
        ]);
        let anywhere = guard(true, false);
        assert!(anywhere.request(&Method::POST, &"/api/replay".parse().unwrap(), &rebound).is_ok());
        assert_eq!(anywhere.holder(&rebound).unwrap_err().code, StatusCode::UNAUTHORIZED);
    }
}
