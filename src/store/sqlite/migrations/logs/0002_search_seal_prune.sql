-- Whose personal fields the record holds, else the account that acted.
ALTER TABLE events ADD COLUMN subject BLOB CHECK (subject IS NULL OR length(subject) = 16);
UPDATE events SET subject = unhex(replace(substr(actor, 9), '-', '')) WHERE actor LIKE 'account:%';

-- Times rise along the chain, so this index is appended to; it gives a time's place in the chain.
CREATE INDEX events_at ON events (at);
CREATE INDEX events_intent ON events (intent);
CREATE INDEX events_subject ON events (subject) WHERE subject IS NOT NULL;
CREATE INDEX events_target ON events (target) WHERE target <> '';

-- The keys of personal fields, sealed. A row without a key says that they were erased, for good.
CREATE TABLE subject_keys (
    account BLOB NOT NULL CHECK (length(account) = 16),
    sealed  BLOB,
    UNIQUE (account, sealed)
) STRICT;

-- What the chain begins after, once its oldest records were dropped.
CREATE TABLE base (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    through INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    hash    BLOB    NOT NULL CHECK (length(hash) = 32),
    at      INTEGER NOT NULL
) STRICT;
