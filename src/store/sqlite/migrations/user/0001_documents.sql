-- A body can be tens of kilobytes, which a table without rowid would store badly.
CREATE TABLE documents (
    account    BLOB    NOT NULL CHECK (length(account) = 16),
    key        TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT;
