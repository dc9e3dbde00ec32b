//! What a cluster is given: manifests, held against schemas and against what they have to mean, and the image's recipe.
#![expect(clippy::unwrap_used, reason = "tests; clippy spares only test functions")]

#[path = "deploy/compose.rs"]
mod compose;
#[path = "deploy/image.rs"]
mod image;
#[path = "deploy/judge.rs"]
mod judge;
#[path = "deploy/render.rs"]
mod render;
#[path = "deploy/scaler.rs"]
mod scaler;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::harness::tool;
use serde_json::Value;

use judge::judge;
use render::{FILES, OBJECTS, POSTGRES, Rendered, TOPIC, azure, every_sink, google, render, render_with};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Holds documents against the schemas; every field has to be known.
fn conform(yaml: &str) {
    let (Some(program), Some(schemas)) = (tool("kubeconform"), tool("schemas")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifests.yaml");
    fs::write(&file, yaml).unwrap();
    let place = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", schemas.display());
    let output =
        Command::new(program).args(["-strict", "-schema-location", &place]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}\n{yaml}", String::from_utf8_lossy(&output.stdout));
}

/// Scenario: fleets with each kind of sink, with and without an autoscaler.
/// Guarantee: the API server, KEDA and the Prometheus operator know every field, and the manifests mean what a worker needs.
#[test]
fn every_fleet_is_rendered_right() {
    let claim = ["--volume-claim", "shared"];
    let (google, azure, every) = (google(), azure(), every_sink());
    for (pipeline, more) in [
        (FILES, &claim[..]),
        (OBJECTS, &[]),
        (POSTGRES, &[]),
        (TOPIC, &[]),
        (&google, &["--service-account", "writer"]),
        (&azure, &["--service-account", "writer"]),
        (&every, &claim),
    ] {
        for overlay in
            [&["--overlay", "plain"][..], &["--overlay", "keda"], &["--overlay", "keda", "--scale-to-zero"]]
        {
            let arguments = [more, overlay].concat();
            let rendered = render(pipeline, &arguments);
            judge(&rendered);
            conform(&rendered.yaml);
        }
    }
}

/// Guarantee: a schema does see a mistake, so that the test above can fail.
#[test]
#[should_panic(expected = "minReadySecond")]
fn a_field_that_nobody_knows_is_found() {
    if tool("kubeconform").is_none() || tool("schemas").is_none() {
        panic!("minReadySecond");
    }
    conform(&render(OBJECTS, &[]).yaml.replace("minReadySeconds", "minReadySecond"));
}

/// Scenario: a sink's ledger would lie on a pod's own disk. Guarantee: refused with the reason and what to do, whatever kind of sink.
#[test]
fn a_disk_of_a_pod_is_refused() {
    let folder_of_objects = OBJECTS.replace("s3://archive/logs, region: eu-central-1", "/data/logs");
    for pipeline in [FILES, &folder_of_objects] {
        let said = render_with(pipeline, &[], &[]).refused(78);
        assert!(said.contains("ledger.missing") && said.contains("--volume-claim"), "{said}");
    }
    let rendered = render(FILES, &["--volume-claim", "shared"]);
    let mounts = rendered.container()["volumeMounts"].as_array().unwrap();
    let shared: Vec<&Value> = mounts.iter().filter(|mount| mount["name"] == "shared").collect();
    assert_eq!(shared.len(), 1);
    assert_eq!(shared[0]["mountPath"], "/var/lib/longshore");
    assert!(rendered.said.contains("the claim shared is yours to make"), "{}", rendered.said);
}

/// Guarantee: what cannot run in pods, or would show a secret, is refused with words that help (I10).
#[test]
fn what_cannot_be_is_refused() {
    let written_out = POSTGRES.replace("${file:/run/secrets/kafka-password}", "planted-hunter2");
    let said = render_with(&written_out, &[], &[]).refused(78);
    assert!(
        said.contains("kafka.security.sasl.password is written out") && !said.contains("hunter2"),
        "{said}"
    );
    let set = ["--set", "sinks.0.postgres.password=planted-hunter2"];
    let said = render_with(POSTGRES, &set, &[]).refused(78);
    assert!(said.contains("--set sinks.0.postgres.password") && !said.contains("hunter2"), "{said}");
    let token = POSTGRES.replace("http: { ", "http: { console: { token: planted-hunter2-planted }, ");
    let said = render_with(&token, &[], &[]).refused(78);
    assert!(said.contains("http.console.token is written out") && !said.contains("hunter2"), "{said}");
    let socket = POSTGRES.replace("host: db.internal", "host: /run/postgresql");
    assert!(render_with(&socket, &[], &[]).refused(78).contains("is a socket of a machine"));
    let hiding = POSTGRES.replace("/run/secrets/kafka-password", "/etc/kafka-password");
    assert!(render_with(&hiding, &[], &[]).refused(78).contains("cannot be mounted at /etc"));
    let climbing = FILES.replace("path: out/logs", "path: ../out");
    assert!(render_with(&climbing, &["--volume-claim", "x"], &[]).refused(78).contains("`..`"));
    let token = POSTGRES.replace("SCRAM-SHA-512", "OAUTHBEARER").replace(
        ", username: web, password: \"${file:/run/secrets/kafka-password}\"",
        ", token_file: /run/secrets/token",
    );
    let zero = ["--overlay", "keda", "--scale-to-zero"];
    assert!(render_with(&token, &zero, &[]).refused(78).contains("no token from a file"));
    for (option, value) in
        [("--namespace", "Upper"), ("--name", "a_b"), ("--cpu", "lots"), ("--secret", "-x")]
    {
        let said = render_with(OBJECTS, &[&format!("{option}={value}")], &[]).refused(64);
        assert!(said.contains(&format!("{option} {value}")), "{said}");
    }
    assert!(render_with("pipeline: x", &[], &[]).refused(78).contains("mistake"));
}

/// Scenario: buckets of three clouds, an account that is bound to a role, and a container whose owner this machine knows or not.
/// Guarantee: each has its own cloud's key out of the Secret, if the Secret has one, and no other cloud's; pods reach where that cloud tells a
/// role's keys; Azure's webhook finds them; whose containers are meant is written down, or asked for; and people hear what the image needs.
#[test]
fn each_cloud_gets_its_own() {
    let account = ("AZURE_STORAGE_ACCOUNT_NAME", "lakes");
    let role = ["--service-account", "writer"];
    let keys = |rendered: &Rendered| -> Vec<String> {
        let variables = rendered.container()["env"].as_array().unwrap();
        let optional = variables.iter().filter(|one| one["valueFrom"]["secretKeyRef"]["optional"] == true);
        optional.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let reached = |rendered: &Rendered, address: &str| {
        let out = rendered.one("NetworkPolicy")["spec"]["egress"].as_array().unwrap();
        out.iter().any(|rule| rule["to"].to_string().contains(address))
    };
    let label = |rendered: &Rendered| {
        let labels = &rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"];
        labels["azure.workload.identity/use"] == "true"
    };
    let amazon = render(OBJECTS, &role);
    assert_eq!(keys(&amazon), ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]);
    assert!(reached(&amazon, "169.254.170.23/32") && !reached(&amazon, "169.254.169.252/32"));
    assert!(!label(&amazon) && !amazon.said.contains("FEATURES"), "{}", amazon.said);

    let google = render(&google(), &role);
    assert_eq!(keys(&google), ["GOOGLE_SERVICE_ACCOUNT_KEY"]);
    assert!(reached(&google, "169.254.169.254/32") && reached(&google, "169.254.169.252/32"));
    assert!(!label(&google) && google.said.contains("tls-vendored,gcp"), "{}", google.said);
    assert_eq!(google.pod()["serviceAccountName"], "writer");
    // Without it no pod is made at all, and only a ReplicaSet's events tell.
    assert!(google.said.contains("kubectl create serviceaccount writer -n default"), "{}", google.said);

    let known = render_with(&azure(), &role, &[account]).rendered();
    assert_eq!(keys(&known), ["AZURE_STORAGE_ACCOUNT_KEY"]);
    assert!(label(&known) && reached(&known, "169.254.169.254/32"));
    assert!(
        known.said.contains("tls-vendored,azure") && !known.said.contains("from-literal"),
        "{}",
        known.said
    );
    let environment = known.container()["env"].as_array().unwrap();
    assert!(environment.iter().any(|one| one["name"] == account.0 && one["value"] == account.1));
    let unknown = render_with(&azure(), &[], &[(account.0, "")]).rendered();
    assert!(!label(&unknown), "without an account there is nothing to look for");
    assert!(unknown.said.contains("--from-literal=AZURE_STORAGE_ACCOUNT_NAME=..."), "{}", unknown.said);
    let environment = unknown.container()["env"].as_array().unwrap();
    let asked = environment.iter().find(|one| one["name"] == account.0).unwrap();
    assert_eq!(asked["valueFrom"]["secretKeyRef"]["optional"], Value::Null);

    // A store of one's own with a key in the file asks nobody for a role, beside one that does.
    let every = render(&every_sink(), &["--volume-claim", "shared"]);
    assert_eq!(keys(&every), ["GOOGLE_SERVICE_ACCOUNT_KEY"]);
    let ports = every.one("NetworkPolicy")["spec"]["egress"][1].to_string();
    for port in ["443", "6432", "9000", "9093"] {
        assert!(ports.contains(port), "{port}: {ports}");
    }
}

/// Bad input: sinks of every kind that no pod could write to. Guarantee: each is refused with what is wrong, and nothing is written.
#[test]
fn no_sink_is_rendered_wrong() {
    let sinks = |sinks: &str| TOPIC.replace("sinks: [ { topic: { name: logs.alerts } } ]", sinks);
    for (pipeline, words) in [
        (
            google().replace("gs://archive/logs", "gs://archive/logs, region: eu-west1"),
            "only `s3://` has this",
        ),
        (google().replace("gs://archive/logs", "gs://"), "expected the bucket's name"),
        (azure().replace("az://archive/logs", "az://"), "expected the container's name"),
        (
            azure().replace("az://archive/logs", "az://archive/logs, endpoint: https://x"),
            "only `s3://` has this",
        ),
        (OBJECTS.replace("s3://archive/logs", "ftp://archive/logs"), "expected `s3://BUCKET/PREFIX`"),
        (FILES.to_owned(), "--volume-claim"),
        (POSTGRES.replace("host: db.internal", "host: /run/postgresql"), "a socket of a machine"),
        (sinks("sinks: [ { topic: { name: logs.raw } } ]"), "logs.raw"),
        (sinks("sinks: [ { stdout: { path: x } } ]"), "path"),
        (sinks("sinks: [ { kafka: {} } ]"), "kafka"),
    ] {
        let said = render_with(&pipeline, &[], &[]).refused(78);
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// Bad input: files that no fleet can be made of. Guarantee: refused by a sentence that says what to do; and what is large but possible is
/// rendered as it is.
#[test]
fn sizes_have_their_bounds() {
    let long = |letters: usize| TOPIC.replace("logs.raw", &"t".repeat(letters));
    for (pipeline, words) in [
        (TOPIC.to_owned() + "limits: { memory: 1MiB }\n", "this pipeline needs at least"),
        (TOPIC.to_owned() + "---\n" + TOPIC, "a second document: a pipeline file holds one"),
        (long(249), "Kafka takes 249"),
        (TOPIC.replace("pipeline: alerts", "pipeline: 'alerts/1'"), "is made of letters, digits"),
    ] {
        let said = render_with(&pipeline, &[], &[]).refused(78);
        assert!(said.contains(words), "{words}: {said}");
    }
    for image in ["", "Upper/longshore:1", "longshore:1:2", "long shore", "longshore:", "longshore@sha256:12"]
    {
        let said = render_with(OBJECTS, &["--image", image], &[]).refused(64);
        assert!(said.contains("--image"), "{image}: {said}");
    }
    let digest = format!("Registry.example:5000/team/longshore:0.1.0@sha256:{}", "0a".repeat(32));
    let many = long(230);
    let arguments = ["--overlay", "keda", "--partitions", "300", "--scale-to-zero", "--image", &digest];
    let rendered = render(&many, &arguments);
    conform(&rendered.yaml);
    assert_eq!(rendered.container()["image"], digest);
    let scaled = &rendered.one("ScaledObject")["spec"];
    assert_eq!(scaled["maxReplicaCount"], 300);
    let topics: Vec<&Value> =
        scaled["triggers"].as_array().unwrap().iter().map(|trigger| &trigger["metadata"]["topic"]).collect();
    assert!(topics.contains(&&Value::from("t".repeat(230))), "{topics:?}");
}

/// Scenario: names that Kubernetes does not take, one as long as a pipeline's may be.
/// Guarantee: they are made fit, always the same way, and two never become one.
#[test]
fn names_are_made_fit() {
    let longest = "x".repeat(100);
    let mut seen = Vec::new();
    for name in ["Web_Logs", "Web.Logs", &longest] {
        let pipeline = OBJECTS.replace("pipeline: archive", &format!("pipeline: {name}"));
        let rendered = render(&pipeline, &["--overlay", "keda"]);
        judge(&rendered);
        conform(&rendered.yaml);
        assert_eq!(rendered.yaml, render(&pipeline, &["--overlay", "keda"]).yaml);
        let fitted = rendered.one("Deployment")["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(!seen.contains(&fitted), "{fitted}");
        // KEDA puts its own word before the name.
        assert!(format!("keda-hpa-{fitted}").len() <= 63);
        seen.push(fitted);
    }
}

/// Scenario: a pipeline takes its brokers from a variable, a password from a file and another from a variable.
/// Guarantee: what is no secret stands in the manifest, a secret never does though this machine has it, and a worker with what the manifest
/// gives it finds no mistake.
#[test]
fn a_pod_gets_what_the_file_names() {
    let pipeline = POSTGRES
        .replace("brokers: kafka:9093", "brokers: \"${BROKERS}\"")
        .replace("${file:/run/secrets/db-password}", "${DB_PASSWORD}");
    let here =
        [("BROKERS", "kafka-0:9193"), ("DB_PASSWORD", "planted-hunter2"), ("LONGSHORE_LIMITS__DRAIN", "1h")];
    let rendered = render_with(&pipeline, &["--overlay", "keda"], &here).rendered();
    judge(&rendered);
    assert!(!rendered.yaml.contains("hunter2") && !rendered.said.contains("hunter2"));
    let environment = rendered.container()["env"].as_array().unwrap();
    let variable = |name: &str| environment.iter().find(|variable| variable["name"] == name).unwrap();
    assert_eq!(variable("BROKERS")["value"], "kafka-0:9193");
    assert_eq!(variable("DB_PASSWORD")["valueFrom"]["secretKeyRef"]["key"], "DB_PASSWORD");
    assert!(rendered.said.contains("--from-literal=DB_PASSWORD=..."), "{}", rendered.said);
    assert!(rendered.said.contains("--from-file=kafka-password=kafka-password"), "{}", rendered.said);
    // An override of this machine is none of a pod's: the file says 20 s.
    let grace = rendered.pod()["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!((21..120).contains(&grace), "{grace}");
    let lag = &rendered.one("ScaledObject")["spec"]["triggers"][1];
    assert_eq!(lag["metadata"]["bootstrapServers"], "kafka-0:9193");
    rendered.checked(&[("BROKERS", "kafka-0:9193"), ("DB_PASSWORD", "x")]);
}

/// Scenario: a pipeline is changed, and rendered for another autoscaler. Guarantee: what pods read has another name for other contents, so that pods of
/// both versions start with their own; and the same name for the same.
#[test]
fn what_pods_read_has_the_name_of_its_contents() {
    let name =
        |rendered: &Rendered| rendered.one("ConfigMap")["metadata"]["name"].as_str().unwrap().to_owned();
    let changed = OBJECTS.replace("archive/logs", "archive/other");
    let (one, other) = (name(&render(OBJECTS, &[])), name(&render(&changed, &[])));
    assert!(one.starts_with("longshore-archive-config-") && other.starts_with("longshore-archive-config-"));
    assert_ne!(one, other);
    assert_eq!(one, name(&render(OBJECTS, &["--overlay", "keda", "--replicas", "3"])));
    // KEDA's user name stands in it too.
    let keda = render(POSTGRES, &["--overlay", "keda"]);
    assert_ne!(name(&keda), name(&render(POSTGRES, &[])));
    let authentication = keda.one("TriggerAuthentication")["spec"]["configMapTargetRef"][0]["name"].clone();
    assert_eq!(authentication, name(&keda));
}

/// Guarantee: base and overlays of `deploy/kustomize` are what `deploy render` writes of their sample (`UPDATE_EXPECT=1` writes them anew), and
/// kustomize makes whole fleets of them.
#[test]
fn kustomize_has_what_render_writes() {
    let here = root("deploy/kustomize");
    let pipeline = fs::read_to_string(here.join("pipeline.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let arguments = ["--overlay", "keda", "-n", "longshore", "--out", out.to_str().unwrap()];
    let said = render_with(&pipeline, &arguments, &[]).rendered_files();
    assert!(said.contains("deployment.yaml"), "{said}");
    for entry in fs::read_dir(&out).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let place = match name.as_str() {
            "kustomization.yaml" => continue,
            "scaled-object.yaml" => here.join("overlays/keda").join(&name),
            _ => here.join("base").join(&name),
        };
        let made = fs::read_to_string(out.join(&name)).unwrap();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&place, &made).unwrap();
        }
        let found = fs::read_to_string(&place).unwrap_or_default();
        assert!(found == made, "{}: run with UPDATE_EXPECT=1 and commit the result", place.display());
    }
    let bounded = pipeline + "scale: { min: 2, max: 3 }\n";
    let spec = render(&bounded, &["--overlay", "keda"]).one("ScaledObject")["spec"].clone();
    assert_eq!((spec["minReplicaCount"].as_u64(), spec["maxReplicaCount"].as_u64()), (Some(2), Some(3)));
    let Some(kustomize) = tool("kustomize") else { return };
    for (overlay, kinds) in [("overlays/plain", 6), ("overlays/keda", 7)] {
        let output = Command::new(&kustomize).arg("build").arg(here.join(overlay)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let yaml = String::from_utf8(output.stdout).unwrap();
        assert_eq!(yaml.matches("\nkind: ").count(), kinds, "{yaml}");
        assert_eq!(yaml.contains("\n  replicas: 2\n"), overlay == "overlays/plain");
        conform(&yaml);
    }
    let output = Command::new(&kustomize).arg("build").arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Guarantee: hadolint has nothing to say about the image's recipe, and it ends in a user by its number; the base has the toolchain that the
/// workspace is built with.
#[test]
fn the_image_is_built_by_the_book() {
    let recipe = root("deploy/Dockerfile");
    let text = fs::read_to_string(&recipe).unwrap();
    let last = text.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("\nUSER 65532:65532\n") && last.contains("\nSTOPSIGNAL SIGTERM\n"), "{last}");
    let toolchain = fs::read_to_string(root("rust-toolchain.toml")).unwrap();
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let base = format!("\nARG RUST=docker.io/library/rust:{}-slim-bookworm\n", channel.trim_matches('"'));
    assert!(text.contains(&base), "{base}");
    let Some(hadolint) = tool("hadolint") else { return };
    let output = Command::new(hadolint).arg("--failure-threshold=info").arg(recipe).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Scenario: a folder of what the recipe copies, which the ignore file lets through. Guarantee: cargo finds the whole workspace in it, and no
/// toolchain file, for which rustup would fetch parts that the image does not need.
#[test]
fn the_image_is_built_of_what_is_copied() {
    let text = fs::read_to_string(root("deploy/Dockerfile")).unwrap();
    let let_through = fs::read_to_string(root("deploy/Dockerfile.dockerignore")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copies =
        text.lines().filter(|line| !line.contains("--from=")).filter_map(|line| line.strip_prefix("COPY "));
    for source in copies.flat_map(|copy| copy.rsplit_once(' ').unwrap().0.split(' ')) {
        assert!(let_through.lines().any(|line| line == format!("!{source}")), "{source} is ignored");
        std::os::unix::fs::symlink(root(source).canonicalize().unwrap(), folder.path().join(source)).unwrap();
    }
    assert!(!folder.path().join("rust-toolchain.toml").exists());
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline", "--locked"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Scenario: a fleet that goes to zero and begins at the end of the log. Guarantee: people hear what brokers forget; nobody else does.
#[test]
fn a_fleet_that_forgets_where_it_was_is_warned_of() {
    let words = "offsets.retention.minutes";
    let zero = ["--overlay", "keda", "--scale-to-zero"];
    assert!(render(POSTGRES, &zero).said.contains(words));
    assert!(
        !render(POSTGRES, &zero[..2]).said.contains(words) && !render(OBJECTS, &zero).said.contains(words)
    );
}

/// Guarantee: variables for spans reach the container, their endpoint the NetworkPolicy, and no credential a manifest (I10).
#[test]
fn spans_find_their_collector() {
    let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.observability:4318";
    let arguments = ["--otel", endpoint, "--otel", "OTEL_TRACES_SAMPLER=parentbased_traceidratio"];
    let metrics = ["--otel", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://metrics.observability:4319"];
    let arguments = [&arguments[..], &metrics].concat();
    let rendered = render(OBJECTS, &arguments);
    judge(&rendered);
    conform(&rendered.yaml);
    let environment = rendered.container()["env"].as_array().unwrap();
    let variable = |name: &str| environment.iter().find(|variable| variable["name"] == name).unwrap();
    assert_eq!(variable("OTEL_TRACES_SAMPLER")["value"], "parentbased_traceidratio");
    for kind in ["", "TRACES_", "METRICS_"] {
        let name = format!("OTEL_EXPORTER_OTLP_{kind}HEADERS");
        let headers = &variable(&name)["valueFrom"]["secretKeyRef"];
        assert_eq!(
            (headers["key"].as_str(), headers["name"].as_str(), headers["optional"].as_bool()),
            (Some(&*name), Some("longshore-archive-secrets"), Some(true))
        );
    }
    let ports = rendered.one("NetworkPolicy")["spec"]["egress"][1].to_string();
    assert!(ports.contains("4318") && ports.contains("4319"), "{ports}");
    for (argument, code) in [
        ("OTEL_EXPORTER_OTLP_HEADERS=authorization=hunter2", 78),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS=authorization=hunter2", 78),
        ("OTEL_EXPORTER_OTLP_ENDPOINT=http://me:hunter2@collector:4318", 78),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://me:hunter2@collector:4318", 78),
        ("LONGSHORE_LIMITS__DRAIN=hunter2", 64),
        ("hunter2", 64),
    ] {
        let said = render_with(OBJECTS, &["--otel", argument], &[]).refused(code);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

/// Guarantee: pods reach each other's pages, which show the whole fleet, and nothing else of each other.
#[test]
fn pods_reach_each_others_pages() {
    let rendered = render(TOPIC, &[]);
    let policy = &rendered.one("NetworkPolicy")["spec"];
    let selector = &policy["podSelector"];
    let among: Vec<&Value> = policy["egress"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["to"][0]["podSelector"] == *selector)
        .collect();
    let port = &rendered.container()["ports"][0]["containerPort"];
    assert_eq!(among.len(), 1);
    assert_eq!(among[0]["ports"], serde_json::json!([{ "port": port, "protocol": "TCP" }]));
    assert_eq!(policy["ingress"][0]["ports"][0]["port"], *port);
}
