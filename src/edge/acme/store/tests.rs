//! What is kept comes back, what cannot be kept is not lost, and what was tampered with is not believed.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::model::random::SeededRng;
use crate::model::time::Timestamp;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn kept() -> (tempfile::TempDir, Store, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let these = names(&["a.example.com"]);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(names(&["a.example.com"])).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let from = (these.as_slice(), "https://ca/dir");
    store.keep_certificate(from, &key.serialize_pem(), &certificate.pem()).unwrap();
    (folder, store, these)
}

#[test]
fn the_same_names_from_the_same_directory_are_one_certificate_and_any_file_name_is_tame() {
    let id = |these: &[&str], directory: &str| Id::of(&names(these), directory);
    let one = id(&["a.example.com", "b.example.com"], "https://ca/dir");
    assert!(one.0.starts_with("a.example.com-"));
    assert_eq!(one, id(&["b.example.com", "a.example.com"], "https://ca/dir"));
    assert_ne!(one, id(&["a.example.com"], "https://ca/dir"));
    assert_ne!(one, id(&["a.example.com", "b.example.com"], "https://other/dir"));
    for odd in ["../../etc/passwd", ".hidden", "a\0b", &"x".repeat(253)] {
        let id = id(&[odd], "https://ca/dir");
        assert!(!id.0.contains(['/', '\0']) && !id.0.starts_with('.') && id.0.len() < 200, "{id:?}");
    }
}

#[test]
fn a_certificate_comes_back_with_its_key_from_one_private_file() {
    let (folder, store, these) = kept();
    let found = store.certificate(&these).unwrap().unwrap();
    assert_eq!((found.chain.len(), found.directory.as_str()), (1, "https://ca/dir"));
    let files: Vec<_> = std::fs::read_dir(folder.path().join("acme")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    store.forget_certificate(&these).unwrap();
    assert!(store.certificate(&these).unwrap().is_none());
    store.forget_certificate(&these).unwrap();
}

#[test]
fn what_is_read_back_is_not_believed() {
    let (folder, store, these) = kept();
    let path = folder.path().join("acme").join(certificate_file(&these));
    let good = std::fs::read_to_string(&path).unwrap();
    let key_only = good.split("-----BEGIN CERT").next().unwrap();
    let many = good.repeat(20);
    for bad in ["", "nonsense", key_only, many.as_str(), &"x".repeat(300_000)] {
        std::fs::write(&path, bad).unwrap();
        assert!(store.certificate(&these).is_err(), "{}", bad.len());
    }
    std::fs::write(&path, &good).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(store.certificate(&these).unwrap_err().to_string().contains("chmod 600"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(store.certificate(&these).is_err());
}

#[test]
fn records_and_accounts_come_back_and_broken_ones_do_not_stop_anything_nor_show_a_key() {
    let (folder, store, these) = kept();
    let id = Id::of(&these, "https://ca/dir");
    let mut record = Record::default();
    assert_eq!(store.record(&id), record);
    record.failed("why", None, Timestamp::from_millis(5), &SeededRng::new(1));
    store.keep_record(&id, &record).unwrap();
    assert_eq!(store.record(&id), record);
    std::fs::write(folder.path().join(format!("acme/{}.json", id.0)), "{\"failures\":-1}").unwrap();
    assert_eq!(store.record(&id), Record::default());

    let credentials = Credentials {
        id: "https://ca/1".into(),
        key_pkcs8: "s3cret".into(),
        directory: "https://ca/dir".into(),
    };
    let account = KeptAccount { contact: Vec::new(), credentials };
    assert!(!format!("{account:?}").contains("s3cret"));
    store.keep_account(&account).unwrap();
    assert_eq!(store.account("https://ca/dir").unwrap().unwrap().credentials.id, "https://ca/1");
    assert!(store.account("https://other/dir").unwrap().is_none());
    let path = folder.path().join("acme").join(account_file("https://ca/dir"));
    std::fs::write(&path, "{\"contact\":[],\"credentials\":\"s3cret\"}").unwrap();
    let error = store.account("https://ca/dir").unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
}
