//! The files of the page, in the binary.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// Path, type and content. The page names them relative to itself, so that it also works below a path of a proxy.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("page/index.html")),
    ("/console/console.css", CSS, include_str!("page/console.css")),
    ("/console/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/console/main.js", SCRIPT, include_str!("page/main.js")),
    ("/console/api.js", SCRIPT, include_str!("page/api.js")),
    ("/console/chart.js", SCRIPT, include_str!("page/chart.js")),
    ("/console/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/console/fleet.js", SCRIPT, include_str!("page/fleet.js")),
    ("/console/letters.js", SCRIPT, include_str!("page/letters.js")),
    ("/console/replay.js", SCRIPT, include_str!("page/replay.js")),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Serves them. A new version of the worker has a new page at once: a browser asks each time.
pub(super) fn router() -> Router {
    FILES.iter().fold(Router::new(), |router, (path, kind, content)| {
        let answer = move || async move {
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *content).into_response()
        };
        router.route(path, get(answer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: the page stays below 200 KB, takes nothing from elsewhere, and puts no text in as markup.
    #[test]
    fn the_page_is_small_and_whole() {
        let all: usize = FILES.iter().map(|(_, _, content)| content.len()).sum();
        assert!(all < 100_000, "{all}");
        for (path, _, content) in FILES {
            let namespaces = content.replace("http://www.w3.org/", "");
            for word in ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("] {
                assert!(!namespaces.contains(word), "{path}: {word}");
            }
        }
        let page = FILES[0].2;
        for (path, _, _) in
            FILES.iter().filter(|(path, _, _)| path.ends_with("main.js") || path.ends_with("css"))
        {
            assert!(page.contains(path.trim_start_matches('/')), "{path}");
        }
    }
}
