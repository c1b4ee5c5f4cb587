//! An independent JOSE implementation (PyJWT) agrees in both directions.

use std::path::Path;
use std::process::Command;

use super::*;

/// Runs `tests/peers/verify_jwt.py` of the repository with Debian's own Python.
fn python(arguments: &[&str]) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/verify_jwt.py");
    let output = Command::new("/usr/bin/python3")
        .arg(script)
        .args(arguments)
        .output()
        .expect("this test needs /usr/bin/python3: apt-get install python3-jwt python3-cryptography");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !stderr.contains("ModuleNotFoundError"),
        "this test needs PyJWT: apt-get install python3-jwt python3-cryptography\n{stderr}"
    );
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(stderr) }
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn pyjwt_verifies_what_the_guard_verifies() {
    let folder = tempfile::tempdir().unwrap();
    for signer in [Signer::eddsa(), Signer::es256(), Signer::rs256()] {
        let world = World::of(signer);
        let jwks = file(folder.path(), "jwks.json", &jwks(&[world.signer.jwk("k1")]));
        let now = NOW.to_string();
        let ask = |token: &str| {
            let token = file(folder.path(), "token", token);
            python(&["verify", &jwks, &token, ISSUER, AUDIENCE, &now])
        };
        let answer = ask(&world.good()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), payload());
        // It can say no.
        ask(&world.with_claims(json!({"aud": "other"}))).unwrap_err();
        ask(&Signer::eddsa().token(world.header().to_string(), payload().to_string())).unwrap_err();
    }
}

#[test]
fn the_guard_verifies_what_pyjwt_signs() {
    let folder = tempfile::tempdir().unwrap();
    let claims_file = file(folder.path(), "claims.json", &payload().to_string());
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let answer = python(&["sign", algorithm, "py", &claims_file]).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let keys = KeySet::from_jwks(&answer["jwks"].to_string()).unwrap();
        let verifier = Verifier::new(expectations(), keys, Arc::default());
        let verdict = verifier.verify(answer["token"].as_str().unwrap(), NOW);
        assert_eq!(*verdict.unwrap(), claims(), "{algorithm}");
    }
}
