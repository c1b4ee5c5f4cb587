//! Attacks on JWT verifiers (RFC 8725, RFC 7515, RFC 9068), one test each. Where the attacker could
//! have the token signed, it is signed: the refusal must not rest on the signature.

use super::*;

#[test]
fn a_good_token_of_each_algorithm_verifies() {
    for signer in [Signer::eddsa(), Signer::es256(), Signer::rs256(), Signer::HS256(HMAC_SECRET)] {
        let world = World::of(signer);
        assert_eq!(*world.verify(&world.good()).unwrap(), claims(), "{}", world.signer.alg());
    }
}

#[test]
fn alg_none_in_any_case_is_refused_with_and_without_signature() {
    let world = World::new();
    for alg in ["none", "None", "NONE", "nOnE", "", " none"] {
        let token = world.with_header(json!({ "alg": alg }));
        assert_eq!(world.refusal(&token), Refusal::Algorithm);
        let (message, _) = token.rsplit_once('.').unwrap();
        assert_eq!(world.refusal(&format!("{message}.")), Refusal::Algorithm);
    }
}

#[test]
fn a_public_rsa_key_is_no_hmac_secret() {
    let world = World::of(Signer::rs256());
    let Signer::RS256(pair) = &world.signer else { unreachable!() };
    let header = merged(world.header(), json!({"alg": "HS256"}));
    let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(payload().to_string()));
    let modulus = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
    for secret in [pair.public_key().as_ref(), &modulus, world.signer.jwk("k1").to_string().as_bytes()] {
        let token = format!("{message}.{}", BASE64.encode(hmac_sha256(secret, message.as_bytes())));
        assert_eq!(world.refusal(&token), Refusal::Algorithm);
    }
}

#[test]
fn a_token_signed_by_one_key_under_the_id_of_another_is_refused() {
    let (ed, rsa) = (Signer::eddsa(), Signer::rs256());
    let mut keys = KeySet::from_jwks(&jwks(&[ed.jwk("ed"), rsa.jwk("rsa")])).unwrap();
    keys.add_hs256("hmac", &HMAC_SECRET).unwrap();
    let world = World::knowing(Signer::HS256(HMAC_SECRET), keys);
    assert!(world.verify(&world.with_header(json!({"kid": "hmac"}))).is_ok());
    for kid in ["ed", "rsa"] {
        assert_eq!(world.refusal(&world.with_header(json!({ "kid": kid }))), Refusal::Algorithm);
        let token =
            world.with_header(json!({"kid": kid, "alg": if kid == "ed" { "EdDSA" } else { "RS256" }}));
        assert_eq!(world.refusal(&token), Refusal::Signature);
    }
}

#[test]
fn algorithms_that_keepgate_does_not_sign_with_are_refused() {
    let world = World::of(Signer::rs256());
    for alg in ["RS384", "RS512", "PS256", "ES384", "HS384", "HS512", "eddsa", "rs256", "RSA-OAEP", "dir"] {
        assert_eq!(world.refusal(&world.with_header(json!({ "alg": alg }))), Refusal::Algorithm, "{alg}");
    }
    assert_eq!(world.refusal(&world.with_header(json!({"alg": null}))), Refusal::Algorithm);
}

#[test]
fn critical_extensions_and_unencoded_payloads_are_refused() {
    let world = World::new();
    for change in [
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": false}),
        json!({"b64": true}),
    ] {
        assert_eq!(world.refusal(&world.with_header(change)), Refusal::Malformed);
    }
    let header = world.header().to_string().replace('{', r#"{"crit":null,"#);
    assert_eq!(world.refusal(&world.signer.token(header, payload().to_string())), Refusal::Malformed);
}

#[test]
fn a_key_that_comes_with_the_token_is_refused() {
    let attacker = Signer::eddsa();
    let world = World::new();
    for change in [
        json!({"jwk": attacker.jwk("k1")}),
        json!({"jku": "https://attacker.example/jwks.json"}),
        json!({"x5u": "https://attacker.example/cert.pem"}),
        json!({"x5c": ["MIIB"]}),
        json!({"x5t": "AAAA"}),
        json!({"x5t#S256": "AAAA"}),
    ] {
        let header = merged(world.header(), change.clone()).to_string();
        assert_eq!(world.refusal(&attacker.token(&header, payload().to_string())), Refusal::Malformed);
        assert_eq!(world.refusal(&world.with_header(change)), Refusal::Malformed);
    }
}

#[test]
fn encrypted_nested_and_compressed_tokens_are_refused() {
    let world = World::new();
    for change in [json!({"enc": "A256GCM"}), json!({"zip": "DEF"}), json!({"cty": "JWT"})] {
        assert_eq!(world.refusal(&world.with_header(change)), Refusal::Malformed);
    }
    let header = BASE64.encode(r#"{"alg":"dir","enc":"A256GCM","typ":"at+jwt","kid":"k1"}"#);
    assert_eq!(world.refusal(&format!("{header}..AAAA.AAAA.AAAA")), Refusal::Malformed);
}

#[test]
fn a_token_of_another_type_is_refused() {
    let world = World::new();
    for typ in ["JWT", "id+jwt", "logout+jwt", "at+jwt ", "application/", "text/at+jwt", ""] {
        assert_eq!(world.refusal(&world.with_header(json!({ "typ": typ }))), Refusal::Type, "{typ}");
    }
    assert_eq!(world.refusal(&world.with_header(json!({"typ": null}))), Refusal::Type);
    for typ in ["AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert!(world.verify(&world.with_header(json!({ "typ": typ }))).is_ok(), "{typ}");
    }
}

#[test]
fn a_token_without_a_known_key_id_is_refused() {
    let world = World::new();
    for kid in
        [json!(null), json!(""), json!("k2"), json!("K1"), json!("../../dev/null"), json!("k1' OR 1=1")]
    {
        assert_eq!(world.refusal(&world.with_header(json!({ "kid": kid }))), Refusal::UnknownKey);
    }
}

#[test]
fn a_header_of_the_wrong_types_is_refused() {
    let world = World::new();
    for change in [json!({"kid": 1}), json!({"alg": ["EdDSA"]}), json!({"typ": {}})] {
        assert_eq!(world.refusal(&world.with_header(change)), Refusal::Malformed);
    }
}

#[test]
fn a_token_of_another_issuer_is_refused() {
    let world = World::new();
    for iss in ["https://evil.example", "https://id.example.com/", "https://ID.example.com", ""] {
        assert_eq!(world.refusal(&world.with_claims(json!({ "iss": iss }))), Refusal::Issuer);
    }
}

#[test]
fn a_token_for_another_audience_or_for_several_is_refused() {
    let world = World::new();
    for aud in [
        json!("other"),
        json!(""),
        json!([]),
        json!(["other"]),
        json!([AUDIENCE, "other"]),
        json!(["other", AUDIENCE]),
        json!([AUDIENCE, AUDIENCE]),
    ] {
        assert_eq!(world.refusal(&world.with_claims(json!({ "aud": aud }))), Refusal::Audience);
    }
    assert!(world.verify(&world.with_claims(json!({"aud": [AUDIENCE]}))).is_ok());
}

#[test]
fn a_claim_that_is_missing_or_of_the_wrong_type_is_refused() {
    let world = World::new();
    for name in ["iss", "aud", "sub", "sid", "jti", "seq", "iat", "exp", "auth_time"] {
        let mut payload = payload();
        payload.as_object_mut().unwrap().remove(name);
        let token = world.signer.token(world.header().to_string(), payload.to_string());
        assert_eq!(world.refusal(&token), Refusal::Malformed, "without {name}");
        for value in [json!({}), json!([1]), json!(true)] {
            assert_eq!(
                world.refusal(&world.with_claims(json!({ name: value }))),
                Refusal::Malformed,
                "{name}"
            );
        }
    }
}

#[test]
fn times_and_positions_out_of_range_are_refused() {
    let world = World::new();
    let text = payload().to_string();
    let exp = format!("\"exp\":{}", NOW + 540);
    assert!(text.contains(&exp));
    for number in
        ["1e12", "1.5", "-1", "99999999999999999999", "253402300800", "1e999", "\"1790000540\"", "null"]
    {
        let changed = text.replace(&exp, &format!("\"exp\":{number}"));
        let token = world.signer.token(world.header().to_string(), changed);
        assert_eq!(world.refusal(&token), Refusal::Malformed, "{number}");
    }
    for change in [json!({"seq": -1}), json!({"seq": 1.5}), json!({"iat": -5}), json!({"nbf": "x"})] {
        assert_eq!(world.refusal(&world.with_claims(change)), Refusal::Malformed);
    }
}

#[test]
fn an_expired_token_is_refused_before_its_signature_which_is_what_it_would_cost() {
    // Its signature is wrong, and nobody has looked.
    let forged = |world: &World, changes: Value| {
        let token = world.with_claims(changes);
        let (message, _) = token.rsplit_once('.').unwrap();
        format!("{message}.{}", BASE64.encode([7; 64]))
    };
    let world = World::new();
    assert_eq!(world.refusal(&forged(&world, json!({"exp": NOW - 5}))), Refusal::Expired);
    // Only what is plainly past: whatever else `exp` says, the signature comes first.
    for exp in [json!(NOW - 4), json!(null), json!(-1), json!("1"), json!(1.5), json!(1e300)] {
        assert_eq!(world.refusal(&forged(&world, json!({"exp": exp}))), Refusal::Signature, "{exp}");
    }
    let twice = payload().to_string().replace("\"exp\":", "\"exp\":1,\"exp\":");
    let message = format!("{}.{}", BASE64.encode(world.header().to_string()), BASE64.encode(twice));
    assert_eq!(world.refusal(&format!("{message}.{}", BASE64.encode([7; 64]))), Refusal::Signature);
}

#[test]
fn an_expired_token_is_refused_from_the_second_it_expires_plus_leeway() {
    let world = World::new();
    let token = world.good();
    let exp = claims().exp;
    assert!(world.verifier.verify(&token, exp + 4).is_ok());
    for now in [exp + 5, exp + 6, i64::MAX] {
        assert_eq!(world.verifier.verify(&token, now), Err(Refusal::Expired));
    }
    // And again, now that it is no longer remembered.
    assert_eq!(world.verifier.verify(&token, exp + 5), Err(Refusal::Expired));
}

#[test]
fn a_token_from_the_future_is_refused_until_leeway_before_its_time() {
    let world = World::new();
    for claim in ["nbf", "iat"] {
        let token = world.with_claims(json!({ claim: NOW + 100 }));
        for now in [i64::MIN, 0, NOW + 94] {
            assert_eq!(world.verifier.verify(&token, now), Err(Refusal::NotYetValid));
        }
        assert!(world.verifier.verify(&token, NOW + 95).is_ok());
        assert_eq!(world.verifier.verify(&token, NOW + 94), Err(Refusal::NotYetValid), "remembered");
        assert!(world.verifier.verify(&token, NOW + 95).is_ok());
    }
}

#[test]
fn a_leeway_out_of_range_is_cut() {
    let world = World::new();
    for (leeway, last) in [(-50, -1), (1_000_000, 299)] {
        let keys = KeySet::from_jwks(&jwks(&[world.signer.jwk("k1")])).unwrap();
        let expectations = Expectations { leeway, ..expectations() };
        let verifier = Verifier::new(expectations, keys, Arc::default());
        assert!(verifier.verify(&world.good(), claims().exp + last).is_ok());
        assert_eq!(verifier.verify(&world.good(), claims().exp + last + 1), Err(Refusal::Expired));
    }
}

#[test]
fn a_member_named_twice_is_refused() {
    let world = World::new();
    let (header, payload) = (world.header().to_string(), payload().to_string());
    for extra in [r#""alg":"EdDSA""#, r#""\u0061lg":"none""#, r#""x":1,"x":2"#] {
        let header = header.replace('{', &format!("{{{extra},"));
        assert_eq!(world.refusal(&world.signer.token(header, &payload)), Refusal::Malformed);
    }
    for extra in [r#""sub":"00000000-0000-0000-0000-000000000009""#, r#""x":1,"x":1"#] {
        let payload = payload.replacen('{', &format!("{{{extra},"), 1);
        assert_eq!(world.refusal(&world.signer.token(&header, payload)), Refusal::Malformed);
    }
}

#[test]
fn members_that_mean_nothing_to_the_guard_are_ignored() {
    let world = World::new();
    assert!(world.verify(&world.with_header(json!({"trace": {"a": 1}}))).is_ok());
    assert!(world.verify(&world.with_claims(json!({"department": ["x"]}))).is_ok());
}

#[test]
fn text_that_is_not_utf8_or_not_one_json_object_is_refused() {
    let world = World::new();
    let (header, payload) = (world.header().to_string().into_bytes(), payload().to_string().into_bytes());
    let mut broken = payload.clone();
    broken.pop();
    broken.extend(b",\"ignored\":\"\xff\"}");
    for payload in [
        broken,
        [&payload[..], b"x"].concat(),
        [b"\xef\xbb\xbf", &payload[..]].concat(),
        b"[]".to_vec(),
        vec![],
    ] {
        assert_eq!(world.refusal(&world.signer.token(&header, payload)), Refusal::Malformed);
    }
    let mut broken = header.clone();
    broken.pop();
    broken.extend(b",\"ignored\":\"\xff\"}");
    for header in [broken, [&header[..], b"{}"].concat(), b"{}".to_vec()] {
        assert!(world.verify(&world.signer.token(header, &payload)).is_err());
    }
}

#[test]
fn a_huge_token_is_refused_unread() {
    let world = World::new();
    let token = world.with_claims(json!({"padding": "x".repeat(8 * 1024)}));
    assert_eq!(world.refusal(&token), Refusal::Malformed);
    assert_eq!(world.refusal(&".".repeat(1 << 20)), Refusal::Malformed);
    let token = world.with_claims(json!({"padding": "x".repeat(4 * 1024)}));
    assert!(world.verify(&token).is_ok());
}

#[test]
fn a_token_has_exactly_one_spelling() {
    let world = World::new();
    let token = world.good();
    let last = token.chars().next_back().unwrap();
    // 64 bytes leave four bits of the last character unused.
    let twin = char::from(last as u8 + 1);
    for text in [
        format!("{}{twin}", token.strip_suffix(last).unwrap()),
        format!("{token}="),
        format!("{token}=="),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}."),
        format!("{token}\0"),
        token.replacen('.', "=.", 1),
        format!("{token}{}", token),
    ] {
        assert_eq!(world.refusal(&text), Refusal::Malformed, "{text}");
    }
}

#[test]
fn a_signature_that_is_cut_empty_or_someone_elses_is_refused() {
    for signer in [Signer::eddsa(), Signer::es256(), Signer::rs256(), Signer::HS256(HMAC_SECRET)] {
        let world = World::of(signer);
        let token = world.good();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let other = world.with_claims(json!({"jti": "00000000-0000-0000-0000-000000000009"}));
        let zeros = BASE64.encode(vec![0; BASE64.decode(signature).unwrap().len()]);
        let (_, borrowed) = other.rsplit_once('.').unwrap();
        for signature in ["", &signature[4..], borrowed, &zeros] {
            assert_eq!(world.refusal(&format!("{message}.{signature}")), Refusal::Signature);
        }
    }
}

#[test]
fn an_ecdsa_signature_in_der_or_for_a_point_off_the_curve_is_refused() {
    let world = World::of(Signer::es256());
    let der = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let header = BASE64.encode(world.header().to_string());
    let message = format!("{header}.{}", BASE64.encode(payload().to_string()));
    let signed = der.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    assert_eq!(world.refusal(&format!("{message}.{}", BASE64.encode(signed))), Refusal::Signature);

    let mut jwk = world.signer.jwk("k1");
    jwk["x"] = BASE64.encode([1; 32]).into();
    let elsewhere = World::knowing(Signer::es256(), KeySet::from_jwks(&jwks(&[jwk])).unwrap());
    assert_eq!(elsewhere.refusal(&world.good()), Refusal::Signature);
}
