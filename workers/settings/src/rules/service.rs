//! Who may do what in the console.

use super::{Context, at};
use crate::report::Code;

/// The shortest token that nobody guesses, in characters; `openssl rand -hex 16` gives twice as many.
const TOKEN_MIN: usize = 16;
/// The longest that a request carries.
const TOKEN_MAX: usize = 512;

pub(crate) fn check(context: &mut Context<'_>) {
    let Some(token) = context.parts.http.as_ref().and_then(|http| http.console.token.as_ref()) else {
        return;
    };
    let text = token.expose();
    // It travels in a header.
    let fits =
        (TOKEN_MIN..=TOKEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return;
    }
    let message = format!("expected {TOKEN_MIN} to {TOKEN_MAX} visible ASCII characters without spaces");
    let finding = context.find(Code::Value, &at(["http", "console", "token"]), message);
    context.push(finding.help("`openssl rand -hex 16` makes one"));
}
