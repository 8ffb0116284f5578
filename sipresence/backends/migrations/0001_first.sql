-- Plain tables, not STRICT ones: those need SQLite 3.37, and RHEL 9 has 3.34.

PRAGMA application_id = 1397313614; -- 0x5349504E, "SIPN": tells our files from other programs'

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- SubscriptionRecord, column by column. No further index: rows are found by id only, and are read as a whole at start.
CREATE TABLE subscriptions (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    resource TEXT NOT NULL,
    event TEXT NOT NULL,
    event_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    local_tag TEXT NOT NULL,
    remote_tag TEXT NOT NULL,
    local_address TEXT NOT NULL,
    remote_address TEXT NOT NULL,
    entity TEXT NOT NULL,
    contact TEXT NOT NULL,
    route_set TEXT NOT NULL,
    transport TEXT NOT NULL,
    listener TEXT NOT NULL,
    source_host TEXT NOT NULL,
    source_port INTEGER NOT NULL,
    local TEXT NOT NULL,
    direct INTEGER NOT NULL,
    accept TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    authenticated_user TEXT NOT NULL,
    subscribe_cseq INTEGER NOT NULL,
    subscribe_event TEXT NOT NULL,
    expires INTEGER NOT NULL,
    subscribed_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    cseq_ceiling INTEGER NOT NULL,
    version_ceiling INTEGER NOT NULL
);

-- What each source last said of each resource. `dialogs` is a JSON array of objects, [] when the source knows of none.
CREATE TABLE states (
    account TEXT NOT NULL,
    resource TEXT NOT NULL,
    source TEXT NOT NULL,
    dialogs TEXT NOT NULL,
    at REAL NOT NULL,
    expires_at REAL,
    PRIMARY KEY (resource, source)
) WITHOUT ROWID;
