//! The page in a real Chromium, driven by `tests/console/page.mjs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use longshore_tests::harness::{Longshore, shared_broker, tool};

use super::*;

/// Scenario: a person reads the fleet, walks by the keyboard alone to a letter and to the plan of its replay, types a wrong token and the
/// right one, and sends letters again; forged letters hold scripts; dark, light and as wide as a phone.
/// Guarantee: no error of the page and none of its security policy, nothing of a letter runs, all is reached by keys and the focus is seen,
/// nothing can be sent without the token, and what is sent is handled.
#[test]
fn people_can_use_the_page() {
    let Some(chromium) = tool("chromium") else { return };
    let Some(playwright) = tool("playwright") else { return };
    let Some(broker) = shared_broker() else { return };
    let stage = Stage::new(broker, "console-page", &[&format!("http.console.token={TOKEN}")]);
    stage.forge();
    stage.mend();
    let kept = std::env::var_os("LONGSHORE_SCREENSHOTS").map(PathBuf::from);
    let shots = kept.unwrap_or_else(|| stage.rig.folder().join("shots"));
    std::fs::create_dir_all(&shots).unwrap();
    let mut command = Command::new("node");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("console/page.mjs"))
        .env("PLAYWRIGHT", playwright)
        .env("CHROMIUM", chromium)
        .env("ADDRESS", stage.address.to_string())
        .env("TOKEN", TOKEN)
        .env("SECRET", SECRET)
        .env("SHOTS", &shots)
        .env("TOPIC", &stage.rig.topic);
    let mut walk = Longshore::start_command(command);
    let status = walk.wait(Duration::from_secs(240));
    assert!(status.success(), "{}\n{}", walk.transcript(), stage.worker.process.transcript());
    assert!(walk.stdout().contains("the walk is over"), "{}", walk.transcript());
    assert_eq!(stage.open("sink.rejected"), 0);
    for name in ["light.png", "dark.png", "phone.png"] {
        assert!(std::fs::metadata(shots.join(name)).is_ok_and(|file| file.len() > 5_000), "{name}");
    }
    stage.worker.stop();
}
