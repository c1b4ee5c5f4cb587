//! Commands and the clock against the ring as a whole.

use std::process::Command;

use super::*;

fn text(ring: &KeyRing) -> String {
    String::from_utf8(ring.jwks().text.to_vec()).unwrap()
}

const OPERATOR: Actor = Actor::Console(1000);

#[tokio::test]
async fn the_first_start_makes_an_active_and_a_next_key_and_the_second_finds_them() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    assert_eq!(house.told(0), ["KeyCreate Granted missing", "KeyCreate Granted missing"]);
    let (active, next) = (only(&ring, KeyState::Active), only(&ring, KeyState::Next));

    let again = LiveKeys::default();
    let ring = KeyRing::open(house.foundation(again), &house.master(), policy(KeyAlgorithm::EdDSA)).await;
    let ring = ring.unwrap();
    assert_eq!((only(&ring, KeyState::Active), only(&ring, KeyState::Next)), (active, next));
    assert_eq!(house.events().len(), 2);
}

#[tokio::test]
async fn another_master_key_is_refused_and_the_key_it_does_not_open_is_named() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let wrong = MasterKey::generate(&SeededRng::new(2));
    let error =
        KeyRing::open(house.foundation(LiveKeys::default()), &wrong, policy(KeyAlgorithm::EdDSA)).await;
    let error = error.err().unwrap().to_string();
    let named = ring.list().iter().filter(|key| error.contains(&key.id.0)).count();
    assert_eq!(named, 1, "{error}");
    assert!(error.contains("master key"), "{error}");
    assert_eq!(house.events().len(), 2);
}

#[tokio::test]
async fn tokens_of_every_algorithm_verify_and_only_public_keys_are_published() {
    for algorithm in ALL {
        let house = House::new();
        let ring = house.open(algorithm).await;
        let verifier = house.verifier(&ring);
        assert_eq!(house.verdict(&verifier, &house.sign()), Ok(()), "{}", algorithm.name());

        let jwks: serde_json::Value = serde_json::from_str(&text(&ring)).unwrap();
        let published = if algorithm == KeyAlgorithm::HS256 { 0 } else { 2 };
        assert_eq!(jwks["keys"].as_array().unwrap().len(), published);
        assert!(!text(&ring).contains("\"d\"") && !text(&ring).contains("\"k\""));
    }
}

#[tokio::test]
async fn a_token_says_what_was_granted() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let grant = house.grant();
    let token = Issuer::new(house.live.clone(), &Tokens::default(), Arc::default()).sign(&grant).unwrap();
    let claims = house.verifier(&ring).verify(token.expose_secret(), START.as_secs()).unwrap();
    assert_eq!((claims.sub, claims.sid, claims.jti), (grant.account.0, grant.session.0, grant.token.0));
    assert_eq!((claims.seq, claims.iat, claims.exp), (7, START.as_secs(), START.as_secs() + 600));
    assert_eq!((&claims.amr[..], &claims.roles[..]), (&["pwd".to_owned()][..], &["admin".to_owned()][..]));
}

#[tokio::test]
async fn without_an_active_key_nothing_is_signed() {
    let house = House::new();
    let issuer = Issuer::new(LiveKeys::default(), &Tokens::default(), Arc::default());
    assert!(issuer.sign(&house.grant()).is_err());
}

#[tokio::test]
async fn a_rotation_waits_until_every_verifier_can_know_the_next_key() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let (active, next) = (only(&ring, KeyState::Active), only(&ring, KeyState::Next));
    let verifier = house.verifier(&ring);
    let old = house.sign();

    house.clock.advance(Duration::from_millis(299_999));
    let error = ring.rotate(OPERATOR, false).await.unwrap_err();
    assert!(matches!(&error, KeyError::TooYoung { id, .. } if *id == next.id), "{error}");
    assert_eq!(house.told(2), ["KeyRotate Denied next_key_too_young"]);
    assert_eq!(only(&ring, KeyState::Active), active);

    house.clock.advance(Duration::from_millis(1));
    assert_eq!(ring.rotate(OPERATOR, false).await.unwrap(), next.id);
    assert_eq!(house.told(3), ["KeyRotate Granted command", "KeyCreate Granted command"]);
    assert!(house.events().iter().skip(2).all(|event| event.actor == OPERATOR));
    assert_eq!(only(&ring, KeyState::Retiring).id, active.id);
    assert_ne!(only(&ring, KeyState::Next).id, next.id);
    // In force at once: what signs, what is published; and the old key's tokens are still good.
    let new = house.sign();
    assert_eq!(house.verdict(&verifier, &new), Ok(()));
    assert_eq!(house.verdict(&verifier, &old), Ok(()));
    assert_eq!(text(&ring).matches("\"kid\"").count(), 3);
}

#[tokio::test]
async fn a_forced_rotation_does_not_wait() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let next = only(&ring, KeyState::Next);
    assert_eq!(ring.rotate(OPERATOR, true).await.unwrap(), next.id);
    assert_eq!(house.told(2), ["KeyRotate Granted forced", "KeyCreate Granted forced"]);
}

#[tokio::test]
async fn a_retiring_key_goes_when_its_last_token_has_expired() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let verifier = house.verifier(&ring);
    let old = house.sign();
    ring.rotate(OPERATOR, true).await.unwrap();
    let retiring = only(&ring, KeyState::Retiring).id;

    house.clock.advance(Duration::from_secs(600 + 10) - Duration::from_millis(1));
    assert_eq!(ring.tick().await.unwrap(), []);
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(ring.tick().await.unwrap(), [Step::Expire]);
    assert_eq!(only(&ring, KeyState::Retired).id, retiring);
    assert!(!text(&ring).contains(&retiring.0));
    assert_eq!(verifier.verify(old.expose_secret(), START.as_secs()), Err(Refusal::UnknownKey));
}

#[tokio::test]
async fn keys_rotate_by_the_clock() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let next = only(&ring, KeyState::Next).id;
    house.clock.advance(Keys::default().rotate_every - Duration::from_millis(1));
    assert_eq!(ring.tick().await.unwrap(), []);
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(ring.tick().await.unwrap(), [Step::Rotate]);
    assert_eq!(only(&ring, KeyState::Active).id, next);
    assert_eq!(house.told(2), ["KeyRotate Granted schedule", "KeyCreate Granted schedule"]);
    assert_eq!(house.events().last().unwrap().actor, Actor::System);
}

#[tokio::test]
async fn a_compromised_key_is_revoked_for_good_and_the_next_takes_over_at_once() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let (active, next) = (only(&ring, KeyState::Active).id, only(&ring, KeyState::Next).id);
    let verifier = house.verifier(&ring);
    let stolen = house.sign();
    assert_eq!(house.verdict(&verifier, &stolen), Ok(()));

    ring.retire(&active, true, OPERATOR).await.unwrap();
    assert_eq!(house.verdict(&verifier, &stolen), Err(Refusal::UnknownKey));
    assert_eq!(only(&ring, KeyState::Active).id, next);
    assert_eq!(only(&ring, KeyState::Retired).id, active);
    assert_eq!(house.verdict(&verifier, &house.sign()), Ok(()));
    let [(_, revocation)] = house.stores.tokens.revocations().unwrap().try_into().unwrap();
    assert_eq!(revocation.subject, RevokedSubject::Key(active.clone()));
    assert_eq!((revocation.cause, revocation.expires_at), (RevocationCause::KeyCompromised, Timestamp::MAX));
    assert_eq!(
        house.told(2),
        ["KeyRetire Granted compromised", "KeyRotate Granted compromised", "KeyCreate Granted compromised"]
    );

    // And once more, for followers that may not have heard.
    ring.retire(&active, true, OPERATOR).await.unwrap();
    assert_eq!(house.told(5), ["KeyRetire Granted compromised"]);
}

#[tokio::test]
async fn a_key_retires_by_command_unless_it_signs_or_is_gone() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let (active, next) = (only(&ring, KeyState::Active).id, only(&ring, KeyState::Next).id);
    let unknown = KeyId("nonsense".into());
    assert!(
        matches!(ring.retire(&active, false, OPERATOR).await, Err(KeyError::Signing(id)) if id == active)
    );
    assert!(
        matches!(ring.retire(&unknown, true, OPERATOR).await, Err(KeyError::Unknown(id)) if id == unknown)
    );
    assert_eq!(house.told(2), ["KeyRetire Denied signing_key", "KeyRetire Denied unknown_key"]);

    ring.retire(&next, false, OPERATOR).await.unwrap();
    assert_eq!(only(&ring, KeyState::Active).id, active);
    assert_ne!(only(&ring, KeyState::Next).id, next);
    assert!(
        matches!(ring.retire(&next, false, OPERATOR).await, Err(KeyError::AlreadyRetired(id)) if id == next)
    );
    assert!(house.stores.tokens.revocations().unwrap().is_empty());
}

#[tokio::test]
async fn another_algorithm_in_the_configuration_comes_with_the_next_rotation() {
    let house = House::new();
    let verifier = house.verifier(&house.open(KeyAlgorithm::EdDSA).await);
    let old = house.sign();

    let ring = house.open(KeyAlgorithm::ES256).await;
    assert_eq!(only(&ring, KeyState::Active).algorithm, KeyAlgorithm::EdDSA);
    assert_eq!(only(&ring, KeyState::Next).algorithm, KeyAlgorithm::ES256);
    assert_eq!(house.told(2), ["KeyRetire Granted algorithm_changed", "KeyCreate Granted algorithm_changed"]);
    house.clock.advance(Keys::default().jwks_max_age);
    ring.rotate(OPERATOR, false).await.unwrap();
    assert_eq!(house.live.signer().unwrap().algorithm, KeyAlgorithm::ES256);
    assert_eq!(house.verdict(&verifier, &house.sign()), Ok(()));
    assert_eq!(house.verdict(&verifier, &old), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_at_the_same_time_leave_one_active_and_one_next_key() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let first = only(&ring, KeyState::Active).id;
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let (ring, first) = (ring.clone(), first.clone());
            tokio::spawn(async move {
                if n == 3 {
                    ring.retire(&first, true, OPERATOR).await.map(|()| first)
                } else {
                    ring.rotate(OPERATOR, true).await
                }
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += usize::from(task.await.unwrap().is_ok());
    }
    assert!(done > 0);
    let (active, _) = (only(&ring, KeyState::Active), only(&ring, KeyState::Next));
    assert_eq!(house.live.signer().unwrap().id, active.id);
    // What is in force is what is stored.
    let stored = house.stores.auth.keys().unwrap();
    assert_eq!(stored.len(), ring.list().len());
    for key in ring.list() {
        assert!(stored.iter().any(|stored| stored.id == key.id && stored.state == key.state));
    }
}

#[tokio::test]
async fn a_key_that_was_changed_in_the_store_is_not_used() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::EdDSA).await;
    let stored = house.stores.auth.keys().unwrap();
    let sealer = || Arc::new(Sealer::new(&house.master()).unwrap());
    let load = |keys: Vec<SealedKey>| LiveKeys::default().load(sealer(), || Ok(keys));
    load(stored.clone()).unwrap();

    let changes: [fn(&mut SealedKey, &SealedKey); 4] = [
        |key, _| key.sealed[20] ^= 1,
        |key, other| key.sealed.clone_from(&other.sealed),
        |key, other| key.public_jwk = other.public_jwk.replace(&other.id.0, &key.id.0),
        |key, _| key.algorithm = KeyAlgorithm::HS256,
    ];
    for change in changes {
        let mut keys = stored.clone();
        let other = keys[1].clone();
        change(&mut keys[0], &other);
        let error = load(keys).unwrap_err();
        assert!(matches!(error, KeyError::Sealed(id) if id == stored[0].id));
    }
    drop(ring);
}

#[tokio::test]
async fn nothing_secret_shows_in_a_summary_or_an_error() {
    let house = House::new();
    let ring = house.open(KeyAlgorithm::HS256).await;
    let shown = serde_json::to_string(&ring.list()).unwrap();
    assert!(!shown.contains("sealed") && shown.contains("HS256"), "{shown}");
}

/// The JWKS and a token as an independent implementation (PyJWT) sees them.
#[tokio::test]
async fn pyjwt_verifies_tokens_by_the_published_jwks() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    for algorithm in [KeyAlgorithm::EdDSA, KeyAlgorithm::ES256, KeyAlgorithm::RS256] {
        let house = House::new();
        let ring = house.open(algorithm).await;
        let tokens = Tokens::default();
        let output = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/verify_jwt.py"))
            .arg("verify")
            .arg(file("jwks.json", &text(&ring)))
            .arg(file("token", house.sign().expose_secret()))
            .args([&tokens.issuer, &tokens.audience, &START.as_secs().to_string()])
            .output()
            .expect("this test needs /usr/bin/python3 with python3-jwt and python3-cryptography");
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "needs python3-jwt; {}: {reason}", algorithm.name());
        let claims: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(claims["roles"], serde_json::json!(["admin"]));
    }
}
