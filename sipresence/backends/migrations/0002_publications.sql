-- A resource may have any number of publications (RFC 3903) beside its manual state. `publication` is the name of one
-- within its resource, '' for the manual state; `publisher` whose it is; `entity_tag` the tag that is valid now.

ALTER TABLE states RENAME TO states_1;

CREATE TABLE states (
    account TEXT NOT NULL,
    resource TEXT NOT NULL,
    source TEXT NOT NULL,
    dialogs TEXT NOT NULL,
    at REAL NOT NULL,
    expires_at REAL,
    publication TEXT NOT NULL,
    publisher TEXT NOT NULL,
    entity_tag TEXT NOT NULL,
    PRIMARY KEY (resource, source, publication)
) WITHOUT ROWID;

INSERT INTO states SELECT account, resource, source, dialogs, at, expires_at, '', '', '' FROM states_1;

DROP TABLE states_1;
