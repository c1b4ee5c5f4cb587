//! A small site behind the real binary, as curl and clients see it: files with ranges, compression, pages for
//! errors, and what a reload and a broken configuration make of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::upstream::Upstream;

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

fn file(site: &Path, upstream: &Upstream) -> String {
    let (address, site) = (upstream.address, site.display());
    format!(
        "[listen]\nworkers = 1\n[upstreams.app]\nservers = [\"{address}\"]\n\
         [[routes]]\npath = \"/app\"\nupstream = \"app\"\nauth = \"none\"\n\
         [[routes]]\npath = \"/\"\nroot = \"{site}/root\"\nauth = \"none\"\ncompress = true\n\
         [[routes]]\npath = \"/members\"\nroot = \"{site}/members\"\n\
         [[error_pages]]\nstatus = [\"404\"]\nfile = \"{site}/404.html\"\n"
    )
}

fn site() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("root/index.html", "<p>home".to_owned()),
        ("root/long.html", "<p>The same words again. ".repeat(1000)),
        ("root/.htpasswd", "SECRET".to_owned()),
        ("members/index.html", "members".to_owned()),
        ("404.html", "<h1>Lost</h1>".to_owned()),
        ("outside", "SECRET".to_owned()),
    ] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, text).expect("writable");
    }
    fs::write(dir.path().join("root/large.bin"), large()).expect("writable");
    std::os::unix::fs::symlink("../outside", dir.path().join("root/link")).expect("writable");
    dir
}

fn large() -> Vec<u8> {
    (0..1_000_000_u32).map(|at| u8::try_from(at % 251).expect("small")).collect()
}

async fn get(client: &Client, path: &str, accept: &str) -> (u16, String) {
    let answer = client.get(path).header("accept", accept).send().await;
    (answer.status.as_u16(), answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_served_behind_the_same_rules_as_applications_and_follows_a_reload() {
    let (site, upstream) = (site(), Upstream::start().await);
    let gate = Gate::start_from_file(&file(site.path(), &upstream));
    let client = gate.client();
    assert_eq!(get(&client, "/", "*/*").await, (200, "<p>home".to_owned()));
    assert_eq!(get(&client, "/members/", "*/*").await.0, 401);
    assert_eq!(client.get("/app/x").send().await.expect(200).json()["method"], "GET");
    for path in ["/link", "/.htpasswd", "/none"] {
        assert_eq!(get(&client, path, BROWSER).await, (404, "<h1>Lost</h1>".to_owned()), "{path}");
        assert_eq!(client.get(path).send().await.expect(404).problem(), "no-file", "{path}");
    }
    // What a page says is read again, and a page that cannot be is refused with its name.
    fs::write(site.path().join("404.html"), "<h1>Gone</h1>").expect("writable");
    gate.cli_json(&["reload"]);
    assert_eq!(get(&client, "/none", BROWSER).await.1, "<h1>Gone</h1>");
    fs::remove_file(site.path().join("404.html")).expect("it is there");
    let said = gate.cli(&["reload"]);
    assert!(said.code != 0 && said.stderr.contains("error_pages[0].file"), "{}", said.stderr);
    assert!(said.stderr.contains("put a page in HTML there"), "{}", said.stderr);
    assert_eq!(get(&client, "/none", BROWSER).await.1, "<h1>Gone</h1>", "the old ones stay");
}

/// curl, with these arguments before the URL.
fn curl(gate: &Gate, arguments: &[&str], path: &str) -> Vec<u8> {
    let url = format!("https://localhost:{}{path}", gate.port("https").port());
    let ca = gate.data().join("tls/ca.pem");
    let resolve = format!("localhost:{}:127.0.0.1", gate.port("https").port());
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "60", "--resolve", &resolve, "--cacert"]).arg(ca);
    let said = command.args(arguments).arg(url).output().expect("it runs");
    assert!(said.status.success(), "{path}: {}", String::from_utf8_lossy(&said.stderr));
    said.stdout
}

/// curl 7.88 takes an answer for failed that comes together with its stream's reset.
#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_the_refusal_of_a_body_that_nobody_read() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("there is no curl");
        return;
    }
    let (site, upstream) = (site(), Upstream::start().await);
    let gate = Gate::start_from_file(&file(site.path(), &upstream));
    let bodies = [("small", 7), ("middling", 200_000), ("large", 20_000_000)].map(|(name, size)| {
        let path = site.path().join(name);
        fs::write(&path, "x".repeat(size)).expect("writable");
        format!("@{}", path.display())
    });
    for version in ["--http1.1", "--http2"] {
        for body in bodies.iter().cycle().take(15) {
            let arguments = [version, "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", body];
            let said = tokio::task::block_in_place(|| curl(&gate, &arguments, "/large.bin"));
            assert_eq!(said, b"405", "{version} {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_resumes_downloads_and_decodes_what_it_asked_for() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("there is no curl");
        return;
    }
    let (site, upstream) = (site(), Upstream::start().await);
    let gate = Gate::start_from_file(&file(site.path(), &upstream));
    let (large, page) = (large(), "<p>The same words again. ".repeat(1000));
    let ask = |arguments: &[&str], path: &str| tokio::task::block_in_place(|| curl(&gate, arguments, path));
    for version in ["--http1.1", "--http2"] {
        assert!(ask(&[version], "/large.bin") == large, "{version}");
        assert_eq!(ask(&[version, "-r", "100-199"], "/large.bin"), &large[100..200], "{version}");
        assert_eq!(ask(&[version, "-r", "-7"], "/large.bin"), &large[large.len() - 7..], "{version}");
        // What was cut short goes on where it stopped.
        let part = site.path().join("part.bin");
        fs::write(&part, &large[..400_000]).expect("writable");
        ask(&[version, "-C", "-", "-o", part.to_str().expect("UTF-8")], "/large.bin");
        assert!(fs::read(&part).expect("written") == large, "{version}");
        for coding in ["gzip", "br", "zstd"] {
            let accepts = format!("accept-encoding: {coding}");
            let head = String::from_utf8(ask(&[version, "-I", "-H", &accepts], "/long.html")).expect("text");
            assert!(head.to_ascii_lowercase().contains(&format!("content-encoding: {coding}")), "{head}");
            let packed = ask(&[version, "-H", &accepts], "/long.html");
            assert!(packed.len() < 1000, "{coding}: {}", packed.len());
        }
        let none = String::from_utf8(ask(&[version, "-I"], "/none.bin")).expect("text").to_ascii_lowercase();
        assert!(none.contains(" 404") && none.contains("content-length: "), "{none}");
        // As curl was built: it takes what it can decode, and decodes it.
        assert!(ask(&[version, "--compressed"], "/long.html") == page.as_bytes(), "{version}");
    }
    let seen = ask(&["-o", "/dev/null", "-w", "%{http_code}", "-X", "DELETE"], "/large.bin");
    assert_eq!(seen, b"405");
}
