//! The CA of one's own, through the real binary: what it issues, with and without a daemon, what it refuses, and what
//! a real server that asks for certificates makes of it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::cli::Said;
use crate::harness::gate::{Gate, NOBODY};
use crate::smuggling::peers::Peer;

const FILES: [&str; 3] = ["ca.pem", "certificate.pem", "key.pem"];

fn issue(gate: &Gate, out: &Path, more: &[&str]) -> Said {
    let out = out.display().to_string();
    gate.cli(&[&["ca", "issue", "--out", &out][..], more].concat())
}

/// What another reader of certificates says of one.
fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("tests/setup.sh installs it");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn listed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn a_certificate_is_issued_by_the_daemon_and_without_it_and_says_what_was_asked_for() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let mut gate = Gate::start_cheap();
    gate.stop();
    fs::remove_dir_all(gate.data().join("tls")).expect("there");
    assert_eq!(gate.cli_fails(&["ca", "show"], 4), "not_found");
    let (mut authorities, mut serials) = (Vec::new(), Vec::new());
    // The first order makes the CA, and the daemon goes on with it.
    for (running, client) in [(false, false), (false, true), (true, false), (true, true)] {
        if running && !client {
            gate.restart();
        }
        let out = folder.path().join(format!("{running}-{client}/deep"));
        let names =
            ["--name", "App.Internal", "--name", "*.app.internal", "--name", "10.0.0.7", "--days", "30"];
        let (names, purpose) =
            if client { (&[names[0], names[1], "--client"][..], "Client") } else { (&names[..], "Server") };
        let until = issue(&gate, &out, &[names, &["--json"]].concat()).expect(0).json()["until"].clone();
        assert_eq!(listed(&out), FILES);
        let mode = |name| fs::metadata(out.join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("key.pem"), mode("certificate.pem")), (0o600, 0o644));
        let path = |name| out.join(name).display().to_string();
        openssl(&[
            "verify",
            "-CAfile",
            &path("ca.pem"),
            "-purpose",
            &format!("ssl{}", purpose.to_lowercase()),
            &path("certificate.pem"),
        ]);
        let text = openssl(&["x509", "-in", &path("certificate.pem"), "-noout", "-text"]);
        assert!(text.contains("DNS:app.internal"), "{text}");
        assert_eq!(text.contains("DNS:*.app.internal, IP Address:10.0.0.7"), !client, "{text}");
        assert!(text.contains(&format!("TLS Web {purpose} Authentication\n")), "{text}");
        assert!(text.contains("Subject: \n") || text.contains("Subject:\n"), "{text}");
        let serial = openssl(&["x509", "-in", &path("certificate.pem"), "-noout", "-serial"]);
        let serial = serial.trim().trim_start_matches("serial=").to_owned();
        serials.push((serial, until.as_str().expect("text").to_owned(), client));
        let key = openssl(&["pkey", "-in", &path("key.pem"), "-pubout"]);
        assert_eq!(key, openssl(&["x509", "-in", &path("certificate.pem"), "-noout", "-pubkey"]));
        authorities.push(fs::read_to_string(out.join("ca.pem")).expect("there"));
    }
    assert!(authorities.iter().all(|ca| *ca == authorities[0]), "one CA");
    let shown = gate.cli_json(&["ca", "show"]);
    assert_eq!(shown["pem"], authorities[0].as_str());
    assert_eq!(gate.cli(&["ca", "show", "--pem"]).expect(0).stdout, authorities[0]);
    let ca = gate.data().join("tls/ca.pem").display().to_string();
    let fingerprint = openssl(&["x509", "-in", &ca, "-noout", "-fingerprint", "-sha256"]);
    assert!(
        fingerprint.trim().ends_with(shown["fingerprint"].as_str().expect("text")),
        "{fingerprint} {shown}"
    );
    let events = gate.audit();
    let of = |intent: &str| events.iter().filter(|event| event["intent"] == intent).collect::<Vec<_>>();
    let told = of("certificate_issue").into_iter().map(|event| {
        let text = |key: &str| event[key].as_str().expect("text");
        format!("{} {}", text("target"), text("reason"))
    });
    let expected = serials.iter().flat_map(|(serial, until, client)| {
        let (names, reason) = match client {
            true => (&["app.internal"][..], "local_ca_client"),
            false => (&["app.internal", "*.app.internal", "10.0.0.7"][..], "local_ca_server"),
        };
        let all = names.iter().map(ToString::to_string).chain([format!("serial {serial} until {until}")]);
        all.map(move |target| format!("{target} {reason}")).collect::<Vec<_>>()
    });
    assert_eq!(told.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    // The one of the first start, and the one that the first order made.
    let made = of("ca_create");
    assert_eq!((made.len(), &made[0]["actor"]), (2, &"system".into()), "{made:?}");
    let target =
        format!("{} {}", shown["name"].as_str().expect("text"), shown["fingerprint"].as_str().expect("text"));
    assert_eq!(
        (&made[1]["target"], &made[1]["actor"]),
        (&target.into(), &of("certificate_issue")[0]["actor"])
    );
    let found = gate.cli(&["audit", "search", "--subject", "*.app.internal", "--json"]).expect(0).stdout;
    assert_eq!(found.lines().count(), 2, "{found}");
    gate.verify_audit();
}

#[test]
fn nothing_is_written_over_unless_it_is_meant_and_nothing_is_issued_for_nothing() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let gate = Gate::start_cheap();
    issue(&gate, folder.path(), &["--name", "app"]).expect(0);
    let read = |name: &str| fs::read(folder.path().join(name)).expect("there");
    let (key, certificate) = (read("key.pem"), read("certificate.pem"));
    let said = issue(&gate, folder.path(), &["--name", "app"]).expect(4);
    assert!(said.stderr.contains("ca.pem is there already") && said.stderr.contains("--force"), "{said:?}");
    fs::remove_file(folder.path().join("key.pem")).expect("ours");
    let said = issue(&gate, folder.path(), &["--name", "app"]).expect(4);
    assert!(said.stderr.contains("ca.pem is there already"), "{said:?}");
    assert_eq!(listed(folder.path()), ["ca.pem", "certificate.pem"]);
    // A folder stands where the key belongs: known before anything is signed, and nothing is left of the attempt.
    fs::create_dir(folder.path().join("key.pem")).expect("ours");
    let said = issue(&gate, folder.path(), &["--name", "app", "--force"]);
    assert!(said.code != 0 && said.stderr.contains("key.pem"), "{said:?}");
    assert_eq!(
        (listed(folder.path()), read("certificate.pem")),
        (FILES.map(Into::into).to_vec(), certificate.clone())
    );
    fs::remove_dir(folder.path().join("key.pem")).expect("ours");
    let issued = || gate.audit().iter().filter(|event| event["intent"] == "certificate_issue").count();
    assert_eq!(issued(), 2, "what cannot be written is not issued");
    // Nor is a folder left where nothing came into it: no node takes orders in another's name.
    let lost = Gate::start_cheap();
    fs::write(lost.data().join("tls/ca.pem"), "spoilt").expect("ours");
    let said = issue(&lost, &folder.path().join("none/at/all"), &["--name", "app"]);
    assert!(said.code != 0 && said.stderr.contains("ca.pem"), "{said:?}");
    assert!(!folder.path().join("none").exists());
    let said = issue(&gate, folder.path(), &["--name", "app", "--force", "--json"]).expect(0).json();
    assert_eq!(said["key"], folder.path().join("key.pem").display().to_string());
    assert_ne!((read("key.pem"), read("certificate.pem")), (key, certificate));
    for (arguments, words) in [
        (&["--name", "a b"][..], "write a DNS name"),
        (&["--name", "https://app"], "write a DNS name"),
        (&["--name", "*.com"], "write a DNS name"),
        (&["--name", "app", "--days", "0"], "from 1 to 825"),
        (&["--name", "app", "--days", "826"], "from 1 to 825"),
        (&[], "--name"),
    ] {
        let said = issue(&gate, &folder.path().join("none"), arguments).expect(2);
        assert!(said.stderr.contains(words), "{arguments:?}: {said:?}");
    }
    let said = issue(&gate, &folder.path().join("none"), &["--name", "*.app.internal", "--client"]).expect(4);
    assert!(said.stderr.contains("is no client's name"), "{said:?}");
    fs::write(folder.path().join("file"), "").expect("writable");
    let said = issue(&gate, &folder.path().join("file"), &["--name", "app"]);
    assert!(said.code != 0 && said.stderr.contains("file"), "{said:?}");
    assert!(!folder.path().join("none").exists());
}

#[test]
fn a_key_is_whose_command_it_was_and_the_ca_whose_node_it_is() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let mut gate = Gate::start_as_nobody();
    gate.stop();
    fs::remove_dir_all(gate.data().join("tls")).expect("there");
    // The stores are opened by their owner, who cannot come in here.
    issue(&gate, &folder.path().join("out"), &["--name", "app"]).expect(0);
    let owner = |path: &Path| fs::metadata(path).expect("there").uid();
    assert_eq!(owner(&folder.path().join("out/key.pem")), 0);
    assert_eq!(owner(&gate.data().join("tls/ca.key")), NOBODY);
    gate.restart();
}

/// nginx, which takes only those who show a certificate of this CA, and says whose it was.
async fn nginx(folder: TempDir, http2: &str) -> Peer {
    let at = folder.path().display().to_string();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).collect();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/errors warn; events {{}}\n\
         http {{ {temporary} access_log off;\n\
         server {{ listen unix:{at}/socket ssl {http2};\n\
         ssl_certificate {at}/server/certificate.pem; ssl_certificate_key {at}/server/key.pem;\n\
         ssl_client_certificate {at}/server/ca.pem; ssl_verify_client on;\n\
         error_page 495 496 = @nobody; location @nobody {{ return 444; }}\n\
         location / {{ return 200 '$ssl_client_verify $ssl_client_serial $server_protocol $http_host'; }} }} }}"
    );
    fs::write(folder.path().join("nginx.conf"), text).expect("writable");
    let mut command = Command::new("nginx");
    command.args(["-p", &at, "-e", &format!("{at}/errors"), "-c", &format!("{at}/nginx.conf")]);
    Peer::start(folder, command, format!("unix:{at}/socket")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_who_the_gate_is_lets_in_whom_the_ca_has_named_and_nobody_else() {
    for (protocol, listens, spoken) in [("http1", "", "HTTP/1.1"), ("h2", "http2", "HTTP/2.0")] {
        let folder = tempfile::tempdir().expect("a temp dir");
        let (server, gates) = (folder.path().join("server"), folder.path().join("gate"));
        let before = Gate::start_cheap();
        issue(&before, &server, &["--name", "app.internal"]).expect(0);
        issue(&before, &gates, &["--name", "gate", "--client"]).expect(0);
        // Of another CA.
        let other = Gate::start_cheap();
        let forged = folder.path().join("forged");
        issue(&other, &forged, &["--name", "gate", "--client"]).expect(0);
        let own = folder.path().join("own");
        issue(&before, &own, &["--name", "gate"]).expect(0);
        let at = folder.path().to_owned();
        let nginx = nginx(folder, listens).await;
        let config = |shown: Option<&str>| {
            let shown = shown.map(|name| at.join(name)).map(|from| {
                let path = |name| from.join(name).display().to_string();
                format!("tls_certificate = {:?}\ntls_key = {:?}", path("certificate.pem"), path("key.pem"))
            });
            format!(
                "[[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n[upstreams.app]\nservers = [{:?}]\n\
                 protocol = {protocol:?}\ntls = true\ntls_ca = {:?}\ntls_server_name = \"app.internal\"\n\
                 host = \"app.internal:8443\"\nhealth_path = \"/\"\nhealth_interval = \"100ms\"\nhealth_up = 1\n\
                 health_down = 1\nmax_fails = 0\nretries = 0\n{}\n",
                nginx.address,
                at.join("server/ca.pem").display().to_string(),
                shown.unwrap_or_default()
            )
        };
        let gate = Gate::start_from_file(&config(Some("gate")));
        let ask = async || gate.client().get("/").send().await;
        let serial = || {
            let path = at.join("gate/certificate.pem").display().to_string();
            let serial = openssl(&["x509", "-in", &path, "-noout", "-serial"]);
            serial.trim().trim_start_matches("serial=").to_owned()
        };
        let text = ask().await.expect(200).text();
        assert_eq!(text, format!("SUCCESS {} {spoken} app.internal:8443", serial()));
        // A new one under the same names is shown from the next reload on.
        let old = serial();
        issue(&before, &gates, &["--name", "gate", "--client", "--force"]).expect(0);
        assert_ne!(serial(), old);
        gate.cli(&["reload"]).expect(0);
        let text = ask().await.expect(200).text();
        assert_eq!(text, format!("SUCCESS {} {spoken} app.internal:8443", serial()));
        // Nobody, somebody of another CA, and a server: not let in, by requests and checks alike.
        for shown in [None, Some("forged"), Some("own")] {
            gate.rewrite(&config(shown));
            gate.cli(&["reload"]).expect(0);
            let answer = ask().await.expect(502);
            assert_eq!(answer.problem(), "upstream-broken", "{shown:?}");
            gate.until_it_says("an application server is out of service: its checks fail");
            gate.rewrite(&config(Some("gate")));
            gate.cli(&["reload"]).expect(0);
            gate.until_it_says("an application server is in service again");
            ask().await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_what_the_gate_shows_keep_it_from_starting_and_from_reloading() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let ca = Gate::start_cheap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    issue(&ca, &one, &["--name", "gate", "--client"]).expect(0);
    issue(&ca, &other, &["--name", "gate", "--client"]).expect(0);
    let config = |certificate: &Path, key: &Path| {
        format!(
            "[[routes]]\npath = \"/\"\nupstream = \"app\"\n[upstreams.app]\nservers = [\"127.0.0.1:1\"]\ntls = true\n\
             tls_certificate = {certificate:?}\ntls_key = {key:?}\n"
        )
    };
    let (certificate, key) = (one.join("certificate.pem"), one.join("key.pem"));
    let gate = Gate::start_from_file(&config(&certificate, &key));
    let exposed = folder.path().join("exposed.pem");
    fs::copy(&key, &exposed).expect("copied");
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).expect("ours");
    let nothing = folder.path().join("nothing.pem");
    fs::copy(&certificate, &nothing).expect("copied");
    fs::set_permissions(&nothing, fs::Permissions::from_mode(0o600)).expect("ours");
    for (key, words) in [
        (other.join("key.pem"), "do not go together"),
        (exposed, "can be read by others"),
        (folder.path().join("none.pem"), "none.pem"),
        (nothing, "no private key"),
    ] {
        gate.rewrite(&config(&certificate, &key));
        let said = gate.cli(&["reload"]);
        assert!(said.code != 0 && said.stderr.contains(words), "{key:?}: {said:?}");
        let said = gate.cli(&["check"]);
        assert!(said.code != 0 && said.stderr.contains(words), "{key:?}: {said:?}");
    }
}

/// A server that ends a connection in TLS itself, unlike nginx, which lets it come to a request.
async fn strict(folder: TempDir) -> Peer {
    let at = folder.path().display().to_string();
    let files =
        format!("-cert {at}/server/certificate.pem -key {at}/server/key.pem -CAfile {at}/server/ca.pem");
    // What it says once it listens goes into the folder that is watched.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!(
            "exec openssl s_server -unix {at}/socket -www -Verify 1 -verify_return_error {files} > {at}/said"
        ),
    ]);
    Peer::start(folder, command, format!("unix:{at}/socket")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_a_server_has_against_the_gates_certificate() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let (ca, other) = (Gate::start_cheap(), Gate::start_cheap());
    let (at, forged) = (folder.path().to_owned(), folder.path().join("forged"));
    issue(&ca, &at.join("server"), &["--name", "app.internal"]).expect(0);
    issue(&ca, &at.join("gate"), &["--name", "gate", "--client"]).expect(0);
    issue(&other, &forged, &["--name", "gate", "--client"]).expect(0);
    let server = strict(folder).await;
    let config = |shown: &str| {
        let path = |name: &str| at.join(name).display().to_string();
        let shown = match shown {
            "" => String::new(),
            from => {
                let (certificate, key) = (path(from) + "/certificate.pem", path(from) + "/key.pem");
                format!("tls_certificate = {certificate:?}\ntls_key = {key:?}\n")
            }
        };
        format!(
            "[[routes]]\npath = \"/\"\nupstream = \"app\"\nauth = \"none\"\n[upstreams.app]\nservers = [{:?}]\n\
             tls = true\ntls_ca = {:?}\ntls_server_name = \"app.internal\"\nmax_fails = 0\n{shown}",
            server.address,
            path("server/ca.pem")
        )
    };
    let gate = Gate::start_from_file(&config(""));
    for (shown, status, words) in
        [("", 502, "CertificateRequired"), ("forged", 502, "UnknownCA"), ("gate", 200, "")]
    {
        gate.rewrite(&config(shown));
        gate.cli(&["reload"]).expect(0);
        let answer = gate.client().get("/").send().await.expect(status);
        if status == 502 {
            assert_eq!(answer.problem(), "upstream-broken");
            gate.until_it_says(words);
        }
    }
}
