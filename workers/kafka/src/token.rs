//! OAUTHBEARER: the token comes from a file that somebody else keeps fresh (a projected service-account token, an
//! agent); its own claims say how long it lives (RFC 7519).

use std::path::PathBuf;

use crate::ffi::Token;

/// A file with a JWT.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile(pub(crate) PathBuf);

impl TokenFile {
    /// Reads the token as it stands in the file now. Errors never quote the token (I10).
    pub(crate) fn read(&self) -> Result<Token, String> {
        let text = std::fs::read_to_string(&self.0)
            .map_err(|error| format!("cannot read the token file {}: {}", self.0.display(), error.kind()))?;
        parse(text.trim())
    }
}

fn parse(token: &str) -> Result<Token, String> {
    let claims = token.split('.').nth(1).ok_or("the token is not a JWT")?;
    let claims = base64url(claims).ok_or("the token's claims are not base64")?;
    let claims: serde_json::Value =
        serde_json::from_slice(&claims).map_err(|_| "the token's claims are not JSON".to_owned())?;
    let expires = claims.get("exp").and_then(serde_json::Value::as_f64).ok_or("the token has no expiry")?;
    let principal = claims.get("sub").and_then(serde_json::Value::as_str).unwrap_or_default();
    Ok(Token {
        value: token.to_owned(),
        principal: principal.to_owned(),
        expires_ms: (expires * 1000.0) as i64,
    })
}

/// RFC 4648, section 5, without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_give_lifetime_and_principal() {
        // {"sub":"worker","exp":1700000000}
        let token = "e30.eyJzdWIiOiJ3b3JrZXIiLCJleHAiOjE3MDAwMDAwMDB9.sig";
        let parsed = parse(token).unwrap();
        assert_eq!((parsed.principal.as_str(), parsed.expires_ms), ("worker", 1_700_000_000_000));
    }

    #[test]
    fn errors_never_quote_the_token() {
        for token in ["secret", "a.secret.c", "a.c2VjcmV0.c", "a.e30.c"] {
            let Err(error) = parse(token) else { panic!("{token} was taken") };
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
