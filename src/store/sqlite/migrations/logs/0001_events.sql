-- `payload` is what the chain's hash covers; the columns after `hash` repeat parts of it for
-- searches and prove nothing.
CREATE TABLE events (
    idx     INTEGER NOT NULL PRIMARY KEY,
    seq     INTEGER NOT NULL,
    payload BLOB    NOT NULL,
    hash    BLOB    NOT NULL CHECK (length(hash) = 32),
    at      INTEGER NOT NULL,
    intent  TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    address TEXT
) STRICT;

CREATE TABLE signed_heads (
    count     INTEGER NOT NULL PRIMARY KEY,
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    at        INTEGER NOT NULL,
    signature BLOB    NOT NULL
) STRICT;
