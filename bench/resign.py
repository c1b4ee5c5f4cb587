"""Gives the claims of Keepgate's tokens another signature, for a peer that knows no EdDSA: reads FOLDER/tokens, writes
FOLDER/tokens.RS256 and FOLDER/tokens.ES256 and the public keys beside them.

    bench/resign.py FOLDER      (python3-jwt and python3-cryptography)
"""

import pathlib, sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

folder = pathlib.Path(sys.argv[1])
tokens = (folder / "tokens").read_text().split()
claims = [(jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})) for token in tokens]
for algorithm, key in ("RS256", rsa.generate_private_key(65537, 2048)), ("ES256", ec.generate_private_key(ec.SECP256R1())):
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{algorithm}.pem").write_bytes(public)
    with open(folder / f"tokens.{algorithm}", "w") as file:
        for header, payload in claims:
            extra = {name: value for name, value in header.items() if name != "alg"}
            file.write(jwt.encode(payload, key, algorithm, headers=extra) + "\n")
