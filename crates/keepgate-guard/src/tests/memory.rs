//! Remembered tokens: a hit proves everything that may have changed since.

use super::*;

/// A world in which the good token is remembered.
fn warmed() -> (World, String) {
    let world = World::new();
    let token = world.good();
    world.verify(&token).unwrap();
    assert_eq!(world.verifier.remembered(), 1);
    (world, token)
}

#[test]
fn a_remembered_token_gives_the_same_claims() {
    let (world, token) = warmed();
    assert_eq!(*world.verify(&token).unwrap(), claims());
    assert_eq!(world.verifier.remembered(), 1);
}

#[test]
fn a_remembered_token_is_refused_once_it_is_revoked_in_any_way() {
    for subject in [
        Subject::Token(claims().jti),
        Subject::Session(claims().sid),
        Subject::Account(claims().sub),
        Subject::Key("k1".into()),
        Subject::Everything,
    ] {
        let (world, token) = warmed();
        world.view.apply(&revocation(11, subject));
        for _ in 0..2 {
            assert_eq!(world.verifier.recall(&token, NOW).unwrap().unwrap_err(), Refusal::Revoked);
        }
    }
}

#[test]
fn recall_answers_from_memory_alone() {
    let world = World::new();
    let token = world.good();
    assert!(world.verifier.recall(&token, NOW).is_none(), "good, but not seen yet");
    assert!(world.verifier.recall("garbage", NOW).is_none());
    assert!(world.verifier.verify_afresh(&token, NOW).is_ok());
    assert_eq!(**world.verifier.recall(&token, NOW).unwrap().unwrap().claims(), claims());
    world.view.apply(&revocation(11, Subject::Session(claims().sid)));
    assert_eq!(world.verifier.recall(&token, NOW).unwrap().unwrap_err(), Refusal::Revoked);
    assert_eq!(world.verifier.verify_afresh(&token, NOW).unwrap_err(), Refusal::Revoked);
}

#[test]
fn a_revoked_token_costs_one_signature_however_often_it_comes() {
    let world = World::new();
    world.view.apply(&revocation(11, Subject::Session(claims().sid)));
    let token = world.good();
    assert!(world.verifier.recall(&token, NOW).is_none());
    assert_eq!(world.refusal(&token), Refusal::Revoked);
    for now in [NOW, NOW + 1] {
        assert_eq!(world.verifier.recall(&token, now).unwrap().unwrap_err(), Refusal::Revoked);
    }
    // The view may forget it only long after the token has expired.
    let expired = world.verifier.recall(&token, claims().exp + 5).unwrap().unwrap_err();
    assert_eq!((expired, world.verifier.remembered()), (Refusal::Expired, 0));
}

#[test]
fn a_remembered_token_survives_the_revocation_of_others() {
    let (world, token) = warmed();
    for subject in
        [Subject::Token(Uuid::from_u128(9)), Subject::Session(Uuid::from_u128(9)), Subject::Key("k2".into())]
    {
        world.view.apply(&revocation(11, subject));
        assert!(world.verify(&token).is_ok());
    }
    world.view.apply(&revocation(12, Subject::Everything));
    assert_eq!(world.refusal(&token), Refusal::Revoked);
}

#[test]
fn a_remembered_token_is_refused_once_its_key_is_gone() {
    let (world, token) = warmed();
    world.verifier.replace_keys(KeySet::from_jwks(&jwks(&[Signer::eddsa().jwk("k2")])).unwrap());
    assert_eq!(world.refusal(&token), Refusal::UnknownKey);
    assert_eq!(world.verifier.remembered(), 0);
}

#[test]
fn a_remembered_token_is_refused_once_its_key_id_means_another_key() {
    let (world, token) = warmed();
    world.verifier.replace_keys(KeySet::from_jwks(&jwks(&[Signer::eddsa().jwk("k1")])).unwrap());
    assert_eq!(world.refusal(&token), Refusal::Signature);
}

#[test]
fn a_remembered_token_survives_new_keys_beside_its_own() {
    let (world, token) = warmed();
    let keys = jwks(&[world.signer.jwk("k1"), Signer::eddsa().jwk("k2")]);
    world.verifier.replace_keys(KeySet::from_jwks(&keys).unwrap());
    assert!(world.verify(&token).is_ok());
    assert_eq!(world.verifier.remembered(), 1);
}

#[test]
fn a_token_that_ends_like_a_remembered_one_is_not_taken_for_it() {
    let (world, token) = warmed();
    let (_, rest) = token.split_once('.').unwrap();
    let header = merged(world.header(), json!({"typ": "AT+JWT"}));
    let forged = format!("{}.{rest}", BASE64.encode(header.to_string()));
    assert_eq!(forged.len(), token.len());
    assert_eq!(world.refusal(&forged), Refusal::Signature);
}

#[test]
fn a_refused_token_is_not_remembered() {
    let world = World::new();
    world.refusal(&world.with_claims(json!({"aud": "other"})));
    world.refusal("a.b.c");
    assert_eq!(world.verifier.remembered(), 0);
}

#[test]
fn what_has_expired_is_forgotten_also_if_nobody_shows_it_again() {
    let world = World::new();
    let claims = world.verify(&world.good()).unwrap();
    let last = claims.exp + expectations().leeway - 1;
    world.verifier.prune(last);
    assert_eq!(world.verifier.remembered(), 1, "it is still good");
    world.verifier.prune(last + 1);
    assert_eq!(world.verifier.remembered(), 0);
}

#[test]
fn memory_is_bounded_and_can_be_none() {
    let world = World::new();
    for jti in 0..300 {
        world.verify(&world.with_claims(json!({ "jti": Uuid::from_u128(jti) }))).unwrap();
    }
    assert!(world.verifier.remembered() <= 100);

    let keys = KeySet::from_jwks(&jwks(&[world.signer.jwk("k1")])).unwrap();
    let forgetful = Verifier::new(Expectations { cache_entries: 0, ..expectations() }, keys, Arc::default());
    assert!(forgetful.verify(&world.good(), NOW).is_ok());
    assert_eq!(forgetful.remembered(), 0);
}
