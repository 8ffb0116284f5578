-- What was told of accounts over the admin API (ObjectRecord): their users and devices, and revoked tokens. `body` is JSON.

CREATE TABLE objects (
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    changed_at REAL NOT NULL,
    PRIMARY KEY (account, kind, id)
) WITHOUT ROWID;
