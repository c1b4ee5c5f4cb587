#!/usr/bin/env python3
"""Asks PyJWT (python3-jwt, python3-cryptography), which shares no code with Keepgate.

verify_jwt.py verify JWKS_FILE TOKEN_FILE ISSUER AUDIENCE NOW
    Verifies the token with the key of its kid and prints its claims as JSON; status 1 and the
    reason on stderr if it does not verify.
verify_jwt.py sign ALGORITHM KID CLAIMS_FILE
    Makes a key, signs the claims with it and prints {"jwks": …, "token": …}.
"""

import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

KINDS = {
    "EdDSA": (OKPAlgorithm, lambda: ed25519.Ed25519PrivateKey.generate()),
    "ES256": (ECAlgorithm, lambda: ec.generate_private_key(ec.SECP256R1())),
    "RS256": (RSAAlgorithm, lambda: rsa.generate_private_key(65537, 2048)),
}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def verify(jwks_file, token_file, issuer, audience, now):
    token = read(token_file).strip()
    header = jwt.get_unverified_header(token)
    [jwk] = [k for k in json.loads(read(jwks_file))["keys"] if k["kid"] == header["kid"]]
    if jwk["use"] != "sig" or header["typ"] != "at+jwt":
        raise ValueError("not an access token's header or key")
    kind, _ = KINDS[jwk["alg"]]
    key = kind.from_jwk(json.dumps(jwk))
    # The signature, issuer and audience are PyJWT's to judge; it has no clock that could be set.
    claims = jwt.decode(
        token,
        key,
        algorithms=[jwk["alg"]],
        issuer=issuer,
        audience=audience,
        options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "sub", "jti"]},
    )
    if not claims["iat"] <= int(now) < claims["exp"]:
        raise ValueError("not valid now")
    print(json.dumps(claims))


def sign(algorithm, kid, claims_file):
    kind, make = KINDS[algorithm]
    private = make()
    if algorithm == "EdDSA":
        public = kind.to_jwk(private.public_key())
    elif algorithm == "ES256":
        public = ec_jwk(private.public_key())
    else:
        public = kind.to_jwk(private.public_key())
    jwk = json.loads(public)
    jwk.pop("key_ops", None)
    jwk.update(kid=kid, alg=algorithm, use="sig")
    claims = json.loads(read(claims_file))
    token = jwt.encode(claims, private, algorithm=algorithm, headers={"kid": kid, "typ": "at+jwt"})
    print(json.dumps({"jwks": {"keys": [jwk]}, "token": token}))


def ec_jwk(public):
    """PyJWT 2.6 cannot write an EC JWK."""
    numbers = public.public_numbers()
    number = lambda n: jwt.utils.base64url_encode(n.to_bytes(32, "big")).decode()
    return json.dumps({"kty": "EC", "crv": "P-256", "x": number(numbers.x), "y": number(numbers.y)})


if __name__ == "__main__":
    try:
        {"verify": verify, "sign": sign}[sys.argv[1]](*sys.argv[2:])
    except Exception as error:  # whatever it is, the caller wants one line
        sys.exit(f"{type(error).__name__}: {error}")
