//! Whether what a configuration names is there on this machine: certificates, keys, secrets, the
//! data folder. Apart from `read`, so that a file can be checked elsewhere and a stopped daemon's
//! stores opened without its certificates. It changes nothing.
//!
//! A node starts, and is reloaded, without what it catches up with later: the outside witness is looked at
//! apart, and in bounded time, for it may lie on a mount that hangs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::acme::Acme;
use super::problem::{Place, Problem};
use super::route::RouteTarget;
use super::tls::{CertificateFiles, CertificateSource, is_exposed};
use super::{Config, pairs};

/// How long looks at what may lie on a mount that hangs may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the root of a route is called while it is not known of which.
pub(in crate::config) const ROOT: &str = "routes[].root";

/// What [`probe`] or [`needed`] looks at.
pub type Probe = fn(&Config) -> Vec<Problem>;

/// Every file that cannot be used as named, and why.
pub fn probe(config: &Config) -> Vec<Problem> {
    let mut problems = needed(config);
    problems.extend(config.audit.witness_file.as_deref().and_then(witness));
    problems
}

/// What is wrong with the roots of routes, each looked at once and all at the same time: what hangs costs no more than
/// one of them. Which routes, [`super::survey`] finds in the file.
fn roots(config: &Config) -> Vec<Problem> {
    let roots: BTreeSet<&OsStr> = config
        .routes
        .iter()
        .filter_map(|route| match &route.target {
            RouteTarget::Folder(folder) => Some(folder.root.as_os_str()),
            RouteTarget::Api | RouteTarget::Upstream(_) | RouteTarget::Redirect(_) => None,
        })
        .collect();
    let looks: Vec<_> = roots
        .into_iter()
        .map(Path::new)
        .map(|path| {
            let looked = path.to_owned();
            (path, begin(move || fs::metadata(looked)))
        })
        .collect();
    let began = Instant::now();
    let left = || PATIENCE.saturating_sub(began.elapsed());
    looks
        .into_iter()
        .filter_map(|(path, told)| root(path, told.and_then(|told| told.recv_timeout(left()).ok())))
        .collect()
}

fn root(path: &Path, found: Option<io::Result<Metadata>>) -> Option<Problem> {
    let message = match found {
        Some(Ok(meta)) if meta.is_dir() => return None,
        Some(Ok(_)) => "is not a folder".to_owned(),
        Some(Err(error)) => format!("cannot be used: {error}"),
        None => format!("does not answer within {} seconds", PATIENCE.as_secs()),
    };
    let remedy = "put the site there, readable by the user that runs keepgate, or name another folder";
    Some(problem(ROOT, Some(path), message, remedy))
}

/// Every file without which no node can be served, and why it cannot be used.
pub fn needed(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let CertificateSource::Files(files) = &config.tls.source {
        for (index, pair) in files.iter().enumerate() {
            let key = |name: &str| format!("tls.certificates[{index}].{name}");
            problems.extend(couple((&key("certificate"), &key("key")), pair));
        }
    }
    for (name, tls) in config.upstreams.iter().filter_map(|(name, group)| Some((name, group.tls.as_ref()?))) {
        let key = |key: &str| format!("upstreams.{name}.{key}");
        problems.extend(tls.ca.as_ref().and_then(|path| readable(&key("tls_ca"), path)));
        let identity = tls.identity.as_ref();
        problems.extend(
            identity.into_iter().flat_map(|pair| couple((&key("tls_certificate"), &key("tls_key")), pair)),
        );
    }
    if let CertificateSource::Acme(acme) = &config.tls.source {
        problems.extend(acme_files(acme));
    }
    if let Some(Err(error)) = config.keys.master_key.as_ref().map(|source| source.resolve()) {
        let remedy = "make it readable by the user that runs keepgate alone, or name another source";
        problems.push(problem("keys.master_key", None, error.to_string(), remedy));
    }
    if config.keys.master_key.is_none() {
        problems.extend(private("keys.master_key", &config.data_dir.join("master.key")));
    }
    problems.extend(config.blacklist.gather().err().unwrap_or_default());
    problems.extend(super::error_pages::read(&config.error_pages).err().unwrap_or_default());
    problems.extend(roots(config));
    problems.extend(data_dir(&config.data_dir));
    problems
}

/// A certificate and its key, under these names.
fn couple((certificate, key): (&str, &str), pair: &CertificateFiles) -> Vec<Problem> {
    let mut problems: Vec<_> = readable(certificate, &pair.certificate).into_iter().collect();
    let told = problems.len();
    problems.extend(readable(key, &pair.key).or_else(|| exposed(key, &pair.key)));
    // Of files that cannot be read at all, that is said already.
    if problems.len() == told
        && pair.certificate.is_file()
        && let Some((file, fault)) = pairs::fault(pair)
    {
        let name = if file == pair.key { key } else { certificate };
        let remedy = "put certificate and key there, as PEM files that go together";
        problems.push(problem(name, Some(file), fault, remedy));
    }
    problems
}

fn acme_files(acme: &Acme) -> Vec<Problem> {
    let ca = acme.directory_ca.as_ref().and_then(|path| readable("tls.acme.directory_ca", path));
    let key = acme.external_account.as_ref().and_then(|account| account.mac_key().err());
    let remedy = "write the key as the CA gave it, in base64url, where only keepgate's user can read it";
    ca.into_iter().chain(key.map(|error| problem("tls.acme.eab_key", None, error, remedy))).collect()
}

fn problem(key: &str, path: Option<&Path>, message: String, remedy: &str) -> Problem {
    Problem {
        place: Place::Machine,
        key: key.to_owned(),
        value: path.map(|path| format!("\"{}\"", path.display())),
        message,
        remedy: remedy.to_owned(),
    }
}

fn readable(key: &str, path: &Path) -> Option<Problem> {
    let remedy = "put the PEM file there, readable by the user that runs keepgate";
    // Looked at before it is opened: opening a pipe waits for whoever writes to it.
    let looked = fs::metadata(path);
    match looked.and_then(|meta| if meta.is_file() { File::open(path).map(|_| meta) } else { Ok(meta) }) {
        Ok(meta) if meta.is_file() => None,
        Ok(_) => Some(problem(key, Some(path), "is not a file".to_owned(), remedy)),
        Err(error) => Some(problem(key, Some(path), format!("cannot be read: {error}"), remedy)),
    }
}

fn exposed(key: &str, path: &Path) -> Option<Problem> {
    let meta = fs::metadata(path).ok()?;
    let remedy =
        "`chmod 600` it, owned by keepgate's user; or mode 640, owned by root, with a group of that user";
    is_exposed(meta.mode(), meta.uid()).then(|| problem(key, Some(path), read_by_others(&meta), remedy))
}

fn private(key: &str, path: &Path) -> Option<Problem> {
    let meta = fs::metadata(path).ok()?;
    let remedy = "`chmod 600` it, owned by keepgate's user";
    (meta.mode() & 0o077 != 0).then(|| problem(key, Some(path), read_by_others(&meta), remedy))
}

fn read_by_others(meta: &Metadata) -> String {
    format!("can be read by others (mode {:03o})", meta.mode() & 0o777)
}

/// What is wrong with `audit.witness_file`. A mount that hangs is waited for by a thread that nobody waits for.
pub fn witness(path: &Path) -> Option<Problem> {
    let looked = path.to_owned();
    in_time(PATIENCE, move || look_at_witness(&looked)).unwrap_or_else(|| {
        let message = format!("does not answer within {} seconds", PATIENCE.as_secs());
        let remedy = "see to the mount that it is on, or name another file";
        Some(problem("audit.witness_file", Some(path), message, remedy))
    })
}

/// What `look` finds, unless it takes too long or there is no thread for it.
fn in_time<T: Send + 'static>(patience: Duration, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    begin(look)?.recv_timeout(patience).ok()
}

/// What `look` finds, once it has; unless there is no thread for it.
fn begin<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<Receiver<T>> {
    let (tell, told) = sync_channel(1);
    let run = move || {
        let _ = tell.send(look());
    };
    std::thread::Builder::new().name("probe".into()).spawn(run).ok()?;
    Some(told)
}

/// Its folder is made by nobody: one that is missing may be a disk that is not mounted, and a witness beside
/// the log proves nothing.
fn look_at_witness(path: &Path) -> Option<Problem> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let problem = |message: String| {
        let remedy = "make the folder, mount what should be there, or name another file; the user that runs \
                      keepgate writes to it";
        Some(problem("audit.witness_file", Some(path), message, remedy))
    };
    match fs::metadata(folder) {
        Err(error) => return problem(format!("is in a folder that cannot be used: {error}")),
        Ok(meta) if !meta.is_dir() => return problem("is not in a folder".to_owned()),
        Ok(_) => {}
    }
    let writable = match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return problem("is not a file".to_owned()),
        Ok(_) => access(path, Access::READ_OK | Access::WRITE_OK),
        Err(_) => access(folder, Access::WRITE_OK | Access::EXEC_OK),
    };
    writable.err().and_then(|error| problem(format!("cannot be written: {}", io::Error::from(error))))
}

fn data_dir(path: &Path) -> Option<Problem> {
    let remedy = "create it, owned by the user that runs keepgate, mode 700";
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => {
            Some(problem("data_dir", Some(path), "is not a folder".to_owned(), remedy))
        }
        // An empty one of ours is made private before anything comes into it.
        Ok(meta) if meta.mode() & 0o077 != 0 && !(is_ours(&meta) && is_empty(path)) => {
            let can = if meta.mode() & 0o022 != 0 { "written" } else { "entered or listed" };
            let message = format!("can be {can} by others (mode {:03o})", meta.mode() & 0o777);
            Some(problem("data_dir", Some(path), message, "`chmod 700` it, owned by keepgate's user"))
        }
        // Root becomes its owner where it must; anybody else can do nothing with it.
        Ok(meta) if !geteuid().is_root() && !is_ours(&meta) => {
            let message = format!("belongs to user {}, not to you (user {})", meta.uid(), geteuid().as_raw());
            Some(problem(
                "data_dir",
                Some(path),
                message,
                "run it as its owner, or give it to keepgate's user",
            ))
        }
        Ok(_) => None,
        // A folder that is not there yet is made at first start, if its parent is.
        Err(error) => (!path.parent().is_some_and(Path::is_dir))
            .then(|| problem("data_dir", Some(path), format!("cannot be used: {error}"), remedy)),
    }
}

fn is_ours(meta: &Metadata) -> bool {
    meta.uid() == geteuid().as_raw()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::development::Listeners;
    use crate::config::upstream::{Tls, Upstream};

    #[test]
    fn what_the_tls_of_a_group_goes_by_is_looked_at_too() {
        let dir = tempfile::tempdir().unwrap();
        let (none, key) = (dir.path().join("none.pem"), dir.path().join("key.pem"));
        fs::write(&key, "k").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let data = dir.path().join("data");
        let mut config = Config::development(&data, &Listeners::default(), Vec::new()).unwrap();
        let identity = Some(CertificateFiles { certificate: none.clone(), key });
        let tls = Some(Tls { ca: Some(none), server_name: None, identity });
        config.upstreams.insert("app".to_owned(), Upstream { tls, ..Upstream::of(Vec::new()) });
        let keys: Vec<_> = probe(&config).into_iter().map(|problem| problem.key).collect();
        let names = ["tls_ca", "tls_certificate", "tls_key"];
        assert_eq!(keys, names.map(|name| format!("upstreams.app.{name}")));
    }

    #[test]
    fn missing_and_exposed_files_are_named_together() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key.pem");
        fs::write(&key, "k").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let data = dir.path().join("a/b");
        let mut config = Config::development(&data, &Listeners::default(), Vec::new()).unwrap();
        let certificate = dir.path().join("none.pem");
        config.tls.source =
            CertificateSource::Files(vec![CertificateFiles { certificate, key: key.clone() }]);
        let keys: Vec<_> = probe(&config).into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["tls.certificates[0].certificate", "tls.certificates[0].key", "data_dir"]);

        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let made = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let ((certificate, secret), (_, other)) = (made("a.example"), made("b.example"));
        config.data_dir = dir.path().join("data");
        let told = |config: &Config| {
            let told =
                probe(config).into_iter().map(|problem| format!("{}: {}", problem.key, problem.message));
            told.collect::<Vec<_>>().join("\n")
        };
        for (chain, secret, says) in [
            ("c", secret.as_str(), "tls.certificates[0].certificate: has no certificate in it"),
            (&certificate, "k", "tls.certificates[0].key: has no private key"),
            (&certificate, &other, "tls.certificates[0].key: and "),
        ] {
            fs::write(dir.path().join("none.pem"), chain).unwrap();
            fs::write(&key, secret).unwrap();
            assert!(told(&config).starts_with(says), "{says} not in {}", told(&config));
        }
        fs::write(&key, secret).unwrap();
        assert_eq!(probe(&config), []);
    }

    #[test]
    fn a_node_needs_no_outside_witness_and_a_check_names_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut config = Config::development(dir.path(), &Listeners::default(), Vec::new()).unwrap();
        config.audit.witness_file = Some(dir.path().join("mount/heads.jsonl"));
        assert_eq!(needed(&config), []);
        let keys: Vec<_> = probe(&config).into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["audit.witness_file"]);
        fs::create_dir(dir.path().join("mount")).unwrap();
        assert_eq!(probe(&config), []);
    }

    #[test]
    fn a_mount_that_hangs_is_not_waited_for() {
        let (hold, held) = sync_channel::<()>(0);
        let hangs = move || held.recv().is_ok();
        assert_eq!(in_time(Duration::from_millis(20), hangs), None);
        drop(hold);
        assert_eq!(in_time(Duration::from_secs(600), || 7), Some(7));
    }

    #[test]
    fn a_data_folder_or_master_key_that_others_reach_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let master = dir.path().join("master.key");
        fs::write(&master, "secret").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::development(dir.path(), &Listeners::default(), Vec::new()).unwrap();
        let told =
            || probe(&config).into_iter().map(|it| format!("{}: {}", it.key, it.message)).collect::<Vec<_>>();
        mode(&master, 0o600);
        mode(dir.path(), 0o700);
        assert_eq!(told(), Vec::<String>::new());
        mode(&master, 0o640);
        assert_eq!(told(), ["keys.master_key: can be read by others (mode 640)"]);
        mode(&master, 0o600);
        for (bits, says) in [(0o755, "entered or listed"), (0o710, "entered or listed"), (0o770, "written")] {
            mode(dir.path(), bits);
            assert_eq!(told(), [format!("data_dir: can be {says} by others (mode {bits:o})")]);
        }
        fs::remove_file(&master).unwrap();
        assert_eq!(told(), Vec::<String>::new(), "nothing is in it that others could reach");
    }
}
