//! A CA that speaks ACME: Pebble, Let's Encrypt's own test server, with its names resolved by
//! `pebble-challtestsrv` (every name is this machine). It looks for challenges at two relays of the
//! test's own, which lead to a gate once its ports are known, or nowhere.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::client::Client;
use super::gate::Gate;

/// A leaf, and the protocol that was agreed on with it.
pub type Shown = (CertificateDer<'static>, Option<Vec<u8>>);

/// A Pebble of a version.
struct Make {
    /// The folder of its programs; empty for those of the system.
    programs: PathBuf,
    /// How its names' server is told where to listen.
    names: &'static [&'static str],
}

impl Make {
    /// The system's, whose CA knows no renewal information.
    fn of_the_system() -> Self {
        Self { programs: PathBuf::new(), names: &["-dns01"] }
    }

    /// The newer one, if `tests/pebble.sh` could have it.
    fn newer() -> Option<Self> {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/pebble/usr/bin");
        let names = &["-doh", "", "-dnsserver"];
        programs.join("pebble").exists().then_some(Self { programs, names })
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }
}

/// A running CA, gone when dropped.
pub struct Pebble {
    folder: TempDir,
    processes: Vec<Child>,
    api: SocketAddr,
    management: SocketAddr,
    http: Relay,
    tls: Relay,
}

impl Pebble {
    /// Starts a CA.
    pub async fn start() -> Self {
        Self::start_with(&json!({})).await
    }

    /// Starts a CA with more in its configuration.
    pub async fn start_with(more: &Value) -> Self {
        Self::start_make(&Make::of_the_system(), more).await
    }

    /// Starts a CA that says when it would have certificates renewed, if this machine has one.
    pub async fn start_with_renewal_information() -> Option<Self> {
        Some(Self::start_make(&Make::newer()?, &json!({})).await)
    }

    async fn start_make(make: &Make, more: &Value) -> Self {
        loop {
            // Somebody else may have taken one of the ports meanwhile.
            if let Some(pebble) = Self::try_start(make, more).await {
                return pebble;
            }
        }
    }

    async fn try_start(make: &Make, more: &Value) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temp dir");
        authority(folder.path());
        let (http, tls) = (Relay::start().await, Relay::start().await);
        let [api, management, dns] = ports();
        let mut config = json!({
            "listenAddress": api.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": folder.path().join("api.pem"),
            "privateKey": folder.path().join("api.key"),
            "httpPort": http.address.port(),
            "tlsPort": tls.address.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        });
        let members = config.as_object_mut().expect("an object");
        members.extend(more.as_object().expect("an object").clone());
        let path = folder.path().join("config.json");
        std::fs::write(&path, json!({ "pebble": config }).to_string()).expect("writable");
        let names = make
            .program("pebble-challtestsrv")
            .args(make.names)
            .args([&dns.to_string(), "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-management", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv is installed by tests/setup.sh");
        let log = std::fs::File::create(folder.path().join("log")).expect("writable");
        let ca = make
            .program("pebble")
            .args(["-strict", "-dnsserver", &dns.to_string(), "-config"])
            .arg(&path)
            // Nonces are refused now and then, as a CA may; authorizations are not used again.
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "1"), ("PEBBLE_AUTHZREUSE", "0")])
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble is installed by tests/setup.sh");
        let mut pebble = Self { folder, processes: vec![names, ca], api, management, http, tls };
        for address in [dns, api, management] {
            while TcpStream::connect(address).await.is_err() {
                if pebble
                    .processes
                    .iter_mut()
                    .any(|process| process.try_wait().is_ok_and(|end| end.is_some()))
                {
                    return None;
                }
                tokio::task::yield_now().await;
            }
        }
        Some(pebble)
    }

    /// The sections of a configuration with certificates from here: one for each list of names.
    pub fn config(&self, challenge: &str, certificates: &Value, more: &str) -> String {
        let root = self.folder.path().join("ca.pem");
        format!(
            "[tls]\nsource = \"acme\"\n[tls.acme]\ndirectory = \"https://{}/dir\"\ndirectory_ca = {root:?}\n\
             agree_to_terms = true\nchallenge = {challenge:?}\ncertificates = {certificates}\n{more}\n\
             [tokens]\nissuer = \"https://a.example.test\"\n[[routes]]\npath = \"/\"\napi = true\nauth = \"optional\"\n",
            self.api
        )
    }

    /// The CA looks at this gate from now on, also for what it is looking for already.
    pub fn look_at(&self, gate: &Gate) {
        self.http.lead(Way::To(gate.port("http")));
        self.tls.lead(Way::To(gate.port("https")));
    }

    /// The CA finds nobody.
    pub fn look_away(&self) {
        self.http.lead(Way::Nowhere);
        self.tls.lead(Way::Nowhere);
    }

    /// What its management interface says.
    pub async fn ask(&self, path: &str) -> String {
        let client = Client::new(self.management, &self.folder.path().join("ca.pem"));
        client.get(path).send().await.expect(200).text()
    }

    /// The root of what it issues.
    pub async fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.ask("/roots/0").await.as_bytes()).expect("PEM")
    }

    /// What it says of a certificate that it issued.
    pub async fn status(&self, certificate: &CertificateDer<'_>) -> Value {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).expect("a certificate");
        let serial: String = parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("/cert-status-by-serial/{}", serial.trim_start_matches('0'));
        serde_json::from_str(&self.ask(&path).await).expect("JSON")
    }

    /// The certificate that a gate shows under a name, if this CA issued it.
    pub async fn issued(&self, gate: &Gate, name: &str) -> Option<CertificateDer<'static>> {
        self.issued_under(gate, name, self.root().await).await
    }

    /// The same for a CA that is gone, whose root was this.
    pub async fn issued_under(
        &self,
        gate: &Gate,
        name: &str,
        root: CertificateDer<'static>,
    ) -> Option<CertificateDer<'static>> {
        shown(gate.port("https"), name, root, &[]).await.map(|(leaf, _)| leaf)
    }

    /// What a gate shows and agrees on with a client that offers these protocols.
    pub async fn agreed(&self, gate: &Gate, name: &str, offers: &[&[u8]]) -> Option<Shown> {
        shown(gate.port("https"), name, self.root().await, offers).await
    }

    /// From now on it would have a certificate renewed between these times (RFC 3339).
    pub async fn suggest(&self, certificate: &CertificateDer<'_>, [start, end]: [&str; 2]) {
        let window = json!({ "suggestedWindow": { "start": start, "end": end } }).to_string();
        let certificate = STANDARD.encode(certificate);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
        let client = Client::new(self.management, &self.folder.path().join("ca.pem"));
        let said = json!({ "Certificate": pem, "ARIResponse": window });
        client.post("/set-renewal-info/", said).header("user-agent", "tests").send().await.expect(200);
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("readable")
    }

    /// Ends the CA.
    pub fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            process.kill().expect("it is ours to kill");
            process.wait().expect("it is ours to reap");
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The certificate that is shown at an address under a name, if the root vouches for it.
async fn shown(
    address: SocketAddr,
    name: &str,
    root: CertificateDer<'static>,
    alpn: &[&[u8]],
) -> Option<Shown> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await.expect("the gate accepts");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let connection = stream.get_ref().1;
    let chain = connection.peer_certificates().expect("it showed one");
    Some((chain[0].clone().into_owned(), connection.alpn_protocol().map(<[u8]>::to_vec)))
}

/// A CA and a certificate for the CA's own interface.
fn authority(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("writable");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", params.self_signed(&key).expect("a certificate").pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("a certificate");
    write("api.pem", leaf.pem());
    write("api.key", key.serialize_pem());
}

/// Ports that are free: Pebble cannot be given sockets, nor tell which it chose.
fn ports<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| StdListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|listener| listener.local_addr().expect("an address"))
}

/// Where a relay leads.
#[derive(Clone, Copy)]
enum Way {
    /// Not known yet: who comes waits.
    Unknown,
    Nowhere,
    To(SocketAddr),
}

/// A port that leads elsewhere.
struct Relay {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (way, ways) = watch::channel(Way::Unknown);
        tokio::spawn(async move {
            let mut ended = ways.clone();
            let accepting = async {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(relay(stream, ways.clone()));
                }
            };
            tokio::select! {
                () = accepting => {}
                () = async { while ended.changed().await.is_ok() {} } => {}
            }
        });
        Self { address, way }
    }

    fn lead(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn relay(mut from: TcpStream, mut ways: watch::Receiver<Way>) {
    let Ok(way) = ways.wait_for(|way| !matches!(way, Way::Unknown)).await.map(|way| *way) else { return };
    let Way::To(address) = way else { return };
    if let Ok(mut to) = TcpStream::connect(address).await {
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    }
}

/// What a gate keeps of a certificate: itself in a file of this `ending`, or what is known of its orders.
pub fn kept(gate: &Gate, name: &str, ending: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(gate.file("acme")).ok()?.flatten().map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        file.starts_with(name) && file.ends_with(ending)
    };
    files.into_iter().find(ours)
}
