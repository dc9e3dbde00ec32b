//! The image itself, where something can build it.

use std::path::Path;
use std::process::Command;

use longshore_tests::harness::report;

use super::root;

/// What builds and runs images here; else why nothing does.
fn engine() -> Result<&'static str, String> {
    let mut missing = Vec::new();
    for program in ["docker", "podman"] {
        match Command::new(program).arg("info").output() {
            Ok(output) if output.status.success() => return Ok(program),
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                let why = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no words");
                missing.push(format!("{program} info: {}", why.trim()));
            }
            Err(error) => missing.push(format!("{program}: {error}")),
        }
    }
    Err(missing.join("; "))
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("DOCKER_BUILDKIT", "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Scenario: the image is built from the repository and run with a file system that cannot be written and without any right. Guarantee: it is a
/// worker of this version, run by nobody in particular; it reads a pipeline that is mounted, asks its own health, and takes its SIGTERM itself.
#[test]
fn the_image_is_built_and_runs() {
    let engine = match engine() {
        Ok(engine) => engine,
        Err(missing) => {
            return report::skipped(&format!(
                "the image is not built, no container engine answers: {missing}"
            ));
        }
    };
    let (here, tag) = (root(""), "longshore-test:image");
    let (built, said) = run(engine, &["build", "-f", "deploy/Dockerfile", "-t", tag, "."], &here);
    assert!(built, "{said}");
    report::used(&format!("an image built by {engine}"));
    let mount = format!(
        "{}:/etc/longshore/pipeline.yaml:ro",
        here.join("deploy/compose-pipeline.yaml").canonicalize().unwrap().display()
    );
    let start = ["run", "--rm", "--read-only", "--cap-drop=ALL", "-v", &mount, tag];
    let image = |arguments: &[&str]| run(engine, &[&start, arguments].concat(), &here);
    let (well, said) = image(&["--version"]);
    assert!(well && said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    let (well, said) = image(&["check", "/etc/longshore/pipeline.yaml"]);
    assert!(well && said.contains("no mistakes"), "{said}");
    // Nobody serves pages in this container.
    let (well, said) = image(&["health"]);
    assert!(!well && said.contains("no answer of /livez"), "{said}");
    let (well, user) =
        run(engine, &["image", "inspect", "--format", "{{.Config.User}} {{.Config.StopSignal}}", tag], &here);
    assert!(well && user.trim() == "65532:65532 SIGTERM", "{user}");
}
