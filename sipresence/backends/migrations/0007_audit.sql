-- Who asked over the admin API for what (AuditEntry): one row for each command on one extension. `asked` is JSON.

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    at REAL NOT NULL,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    asked TEXT NOT NULL,
    by TEXT NOT NULL,
    user TEXT NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL
);
