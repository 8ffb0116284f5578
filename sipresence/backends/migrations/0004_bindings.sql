-- The contacts under which devices have registered (RFC 3261 section 10): BindingRecord, column by column.

CREATE TABLE bindings (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    user TEXT NOT NULL,
    resource TEXT NOT NULL,
    contact TEXT NOT NULL,
    q TEXT NOT NULL,
    instance TEXT NOT NULL,
    path TEXT NOT NULL,
    call_id TEXT NOT NULL,
    cseq INTEGER NOT NULL,
    user_agent TEXT NOT NULL,
    transport TEXT NOT NULL,
    listener TEXT NOT NULL,
    source_host TEXT NOT NULL,
    source_port INTEGER NOT NULL,
    local TEXT NOT NULL,
    expires INTEGER NOT NULL,
    registered_at REAL NOT NULL,
    expires_at REAL NOT NULL
);
