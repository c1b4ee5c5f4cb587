-- What an account's documents come to, so that a quota is checked without reading them. The row
-- stays when the last document goes: `last_version` counts on.
CREATE TABLE document_usage (
    account      BLOB    NOT NULL PRIMARY KEY CHECK (length(account) = 16),
    documents    INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    last_version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO document_usage (account, documents, bytes, last_version)
SELECT account, count(*), sum(octet_length(body)), max(version) FROM documents GROUP BY account;

CREATE TABLE profiles (
    account    BLOB    NOT NULL PRIMARY KEY CHECK (length(account) = 16),
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE profile_claims (
    account BLOB NOT NULL REFERENCES profiles (account) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;
