#!/bin/sh
# Asks a running gate everything that docs/openapi.json allows and much that it does not, and fails on
# a 5xx, an undocumented status or content type, or a body unlike its schema (schemathesis).
#
# What ends the session that asks has a turn of its own at the end. SCHEMATHESIS_EXAMPLES: how many
# requests are made up for each operation. The tool is kept outside the repository, in $SCHEMATHESIS_TOOLS.
set -eu

VERSION=4.32.5
EXAMPLES=${SCHEMATHESIS_EXAMPLES:-100}
TOOLS=${SCHEMATHESIS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/keepgate}
HERE=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
BIN=${KEEPGATE_BIN:-$HERE/target/x86_64-unknown-linux-gnu/debug/keepgate}
# The gate takes every KEEPGATE_ variable for configuration.
unset KEEPGATE_BIN
ST=$TOOLS/schemathesis-$VERSION/bin/schemathesis

if [ ! -x "$ST" ]; then
    python3 -m venv "$TOOLS/schemathesis-$VERSION"
    "$TOOLS/schemathesis-$VERSION/bin/pip" -q install "schemathesis==$VERSION"
fi

WORK=$(mktemp -d)
GATE=
trap 'test -z "$GATE" || kill "$GATE" 2>/dev/null || true; rm -rf "$WORK"' EXIT INT TERM

export KEEPGATE_PASSWORDS__MEMORY_KIB=64 KEEPGATE_PASSWORDS__ITERATIONS=1 KEEPGATE_TOKENS__ACCESS_TTL=1h
"$BIN" serve --dev --data "$WORK/data" --https 127.0.0.1:0 --http 127.0.0.1:0 --internal 127.0.0.1:0 \
    > "$WORK/log" 2>&1 &
GATE=$!
until grep -q 'Keepgate is ready' "$WORK/log"; do
    kill -0 "$GATE" || { cat "$WORK/log"; exit 1; }
    sleep 0.1
done
PORT=$(sed -E 's/.*"https":\["[^"]*:([0-9]+)".*/\1/' "$WORK/data/run/ports.json")
CA=$WORK/data/tls/ca.pem
URL=https://localhost:$PORT

post() {
    curl -sS --fail-with-body --cacert "$CA" "$URL$1" --json "$2"
}
# An administrator, so that their part is asked too, and a new session for each turn.
CREDENTIALS='{"email":"schema@example.com","password":"correct horse battery staple"}'
post /auth/v1/register "$CREDENTIALS" > /dev/null
"$BIN" --data "$WORK/data" user roles schema@example.com admin > /dev/null

token() {
    post /auth/v1/login "$CREDENTIALS" | sed -E 's/.*"access_token":"([^"]*)".*/\1/'
}
# All of them before the wrong passwords that are to come make logins from here wait.
FIRST=$(token) SECOND=$(token) THIRD=$(token) FOURTH=$(token)

# ask TOKEN OPTION…
ask() {
    TOKEN=$1
    shift
    # Not asked: that all that is valid by the schema is taken. No schema can say that a password is a
    # common one, or that an address is another's.
    "$ST" --config-file "$WORK/schemathesis.toml" run "$HERE/docs/openapi.json" --url "$URL" --tls-verify "$CA" -H "Authorization: Bearer $TOKEN" \
        --checks all --exclude-checks positive_data_acceptance --max-examples "$EXAMPLES" \
        --continue-on-failure "$@"
}
STATUS=0
: > "$WORK/schemathesis.toml"
# It leaves files where it runs.
cd "$WORK"
ask "$FIRST" --exclude-operation-id logout --exclude-operation-id logoutAll --exclude-operation-id endSession || STATUS=1
# Made-up ids find nobody, so that an account's own views need a turn with one that is there.
ID=$("$BIN" --data "$WORK/data" --json user show schema@example.com | sed -n -E 's/.*"id": "([^"]*)".*/\1/p')
for OPERATION in readAccount listAccountDocuments readAccountDocument; do
    printf '[[operations]]\ninclude-operation-id = "%s"\nparameters = { "path.id" = "%s" }\n' "$OPERATION" "$ID"
done > "$WORK/schemathesis.toml"
ask "$FIRST" --include-path-regex '^/users/v1/accounts/' || STATUS=1
: > "$WORK/schemathesis.toml"
ask "$SECOND" --include-operation-id endSession || STATUS=1
ask "$THIRD" --include-operation-id logout || STATUS=1
ask "$FOURTH" --include-operation-id logoutAll || STATUS=1
"$BIN" --data "$WORK/data" audit verify || STATUS=1
exit $STATUS
