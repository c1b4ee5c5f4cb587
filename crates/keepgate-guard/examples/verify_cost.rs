//! What one verification costs, remembered and not, with the view consulted each time:
//! `cargo run --release -p keepgate-guard --example verify_cost`
//!
//! Prints nanoseconds per call, the best of several rounds on one thread. "After a revocation" is a
//! remembered token of which the view must be asked again because it has changed.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example that prints, on good input")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use keepgate_guard::claims::Claims;
use keepgate_guard::keys::KeySet;
use keepgate_guard::revocation::{Revocation, Subject};
use keepgate_guard::verifier::{Expectations, Verifier};
use keepgate_guard::view::RevocationView;
use uuid::Uuid;

const NOW: i64 = 1_790_000_000;

fn main() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = BASE64.encode(pair.public_key());
    let jwks = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"{x}"}}]}}"#);
    let signer = EncodingKey::from_ed_der(pair.to_pkcs8().unwrap().as_ref());
    let tokens: Vec<String> = (0..10_000).map(|n| token(&signer, n)).collect();

    for revoked in [10, 1_000_000] {
        let view = Arc::new(RevocationView::default());
        (0..revoked).for_each(|n| view.apply(&ended(n)));
        let verifier = |cache_entries| {
            let keys = KeySet::from_jwks(&jwks).unwrap();
            let issuer = "https://id.example.com".to_owned();
            let expectations = Expectations { issuer, audience: "keepgate".into(), leeway: 5, cache_entries };
            Verifier::new(expectations, keys, Arc::clone(&view))
        };
        let (remembering, forgetful) = (verifier(20_000), verifier(0));
        let one = tokens.get(..1).unwrap();
        println!("{revoked} revocations held");
        println!("  remembered, the same token        {:>8.0} ns", cost(200_000, one, &remembering, || {}));
        println!(
            "  remembered, 10,000 tokens in turn {:>8.0} ns",
            cost(200_000, &tokens, &remembering, || {})
        );
        let revoke = || view.apply(&ended(u64::MAX));
        let applying = best(|| (0..200_000).for_each(|_| revoke())) / 200_000.0;
        let asked_again = cost(200_000, one, &remembering, revoke) - applying;
        println!("  remembered, after a revocation    {asked_again:>8.0} ns");
        println!("  not remembered (EdDSA)            {:>8.0} ns", cost(2_000, one, &forgetful, || {}));
    }
}

/// Nanoseconds per verification, with `before` called before each.
fn cost(calls: usize, tokens: &[String], verifier: &Verifier, before: impl Fn()) -> f64 {
    let round = || {
        for token in tokens.iter().cycle().take(calls) {
            before();
            black_box(verifier.verify(black_box(token), NOW)).unwrap();
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
    let calls = calls as f64;
    best(round) / calls
}

/// The best of seven rounds, nanoseconds; the first warms.
fn best(round: impl Fn()) -> f64 {
    let rounds = (0..7).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed().as_secs_f64() * 1e9
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn token(signer: &EncodingKey, n: u128) -> String {
    let claims = Claims {
        iss: "https://id.example.com".into(),
        aud: "keepgate".into(),
        sub: Uuid::from_u128(n << 64 | n),
        sid: Uuid::from_u128(n << 64 | n | 1 << 120),
        jti: Uuid::from_u128(n << 64 | n | 1 << 121),
        client_id: "keepgate".into(),
        seq: 12_345_678,
        iat: NOW - 60,
        exp: NOW + 540,
        auth_time: NOW - 3600,
        amr: vec!["pwd".into()],
        roles: vec!["staff".into(), "billing".into()],
        scope: String::new(),
    };
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some("at+jwt".into());
    header.kid = Some("k1".into());
    jsonwebtoken::encode(&header, &claims, signer).unwrap()
}

fn ended(n: u64) -> Revocation {
    let subject = Subject::Session(Uuid::from_u128(u128::from(n) | 1 << 100));
    Revocation { seq: n, subject, cause: "logout".into(), at: NOW * 1000, expires_at: (NOW + 600) * 1000 }
}
