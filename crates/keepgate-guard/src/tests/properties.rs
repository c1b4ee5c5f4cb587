//! Whatever bytes come in: no panic, and nothing verifies but what was signed.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// One of each kind, made once: an RSA key takes a second to find.
static WORLDS: LazyLock<Vec<(World, String)>> = LazyLock::new(|| {
    [Signer::eddsa(), Signer::es256(), Signer::rs256(), Signer::HS256(HMAC_SECRET)]
        .into_iter()
        .map(|signer| {
            let world = World::of(signer);
            let token = world.good();
            world.verify(&token).unwrap();
            (world, token)
        })
        .collect()
});

#[derive(Clone, Debug)]
enum Mutation {
    Replace(prop::sample::Index, char),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, char),
    Swap(prop::sample::Index, prop::sample::Index),
    Truncate(prop::sample::Index),
}

impl Mutation {
    fn apply(&self, text: &mut Vec<char>) {
        match self {
            _ if text.is_empty() => {}
            Self::Replace(at, with) => {
                let at = at.index(text.len());
                text[at] = *with;
            }
            Self::Remove(at) => drop(text.remove(at.index(text.len()))),
            Self::Insert(at, what) => text.insert(at.index(text.len() + 1), *what),
            Self::Swap(a, b) => {
                let (a, b) = (a.index(text.len()), b.index(text.len()));
                text.swap(a, b);
            }
            Self::Truncate(at) => text.truncate(at.index(text.len())),
        }
    }
}

fn character() -> impl Strategy<Value = char> {
    prop_oneof![8 => "[A-Za-z0-9_.=-]".prop_map(|s| s.chars().next().unwrap()), 1 => any::<char>()]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), character()).prop_map(|(at, with)| Mutation::Replace(at, with)),
        2 => index().prop_map(Mutation::Remove),
        2 => (index(), character()).prop_map(|(at, what)| Mutation::Insert(at, what)),
        2 => (index(), index()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        1 => index().prop_map(Mutation::Truncate),
    ]
}

proptest! {
    #[test]
    fn a_token_changed_anyhow_does_not_verify(
        mutations in prop::collection::vec(mutation(), 1..4), which in 0_usize..4,
    ) {
        let (world, token) = &WORLDS[which];
        let mut text: Vec<char> = token.chars().collect();
        mutations.iter().for_each(|mutation| mutation.apply(&mut text));
        let text: String = text.into_iter().collect();
        prop_assert_eq!(world.verify(&text).is_ok(), text == *token);
    }

    #[test]
    fn a_payload_changed_anyhow_does_not_verify(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let (world, token) = &WORLDS[0];
        let mut parts = token.split('.');
        let (header, signature) = (parts.next().unwrap(), parts.nth(1).unwrap());
        let text = format!("{header}.{}.{signature}", BASE64.encode(bytes));
        prop_assert_eq!(world.verify(&text), Err(Refusal::Signature));
    }

    #[test]
    fn arbitrary_text_is_refused(text in ".{0,300}") {
        prop_assert!(WORLDS[0].0.verify(&text).is_err());
    }

    #[test]
    fn arbitrary_signed_headers_and_payloads_do_not_panic(
        header in prop::collection::vec(any::<u8>(), 0..64),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let (world, _) = &WORLDS[0];
        prop_assert!(world.verify(&world.signer.token(&header, &payload)).is_err());
        let good = world.header().to_string();
        prop_assert_eq!(world.verify(&world.signer.token(good, &payload)), Err(Refusal::Malformed));
    }

    #[test]
    fn arbitrary_times_do_not_panic(now in any::<i64>()) {
        let (world, token) = &WORLDS[0];
        let good = (claims().iat - 5..claims().exp + 5).contains(&now);
        prop_assert_eq!(world.verifier.verify(token, now).is_ok(), good);
    }

    #[test]
    fn an_arbitrary_jwks_does_not_panic(text in ".{0,300}", x in "[A-Za-z0-9_-]{0,100}", kty in "OKP|EC|RSA|oct|.*") {
        let _ = KeySet::from_jwks(&text);
        let jwk = json!({"kty": kty, "crv": "P-256", "kid": "a", "x": x, "y": x, "n": x, "e": "AQAB"});
        let _ = KeySet::from_jwks(&jwks(&[jwk]));
    }
}
