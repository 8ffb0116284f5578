-- A statement that writes has one row of parameters, `(?, ...)`: the store repeats it for as many rows as it has.

-- name: save_subscription
INSERT OR REPLACE INTO subscriptions (
    id, account, resource, event, event_id, call_id, local_tag, remote_tag, local_address, remote_address, entity,
    contact, route_set, transport, listener, source_host, source_port, local, direct, accept, user_agent,
    authenticated_user, subscribe_cseq, subscribe_event, expires, subscribed_at, expires_at, cseq_ceiling,
    version_ceiling
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: forget_subscription
DELETE FROM subscriptions WHERE id IN (VALUES (?));

-- name: load_subscriptions
SELECT
    id, account, resource, event, event_id, call_id, local_tag, remote_tag, local_address, remote_address, entity,
    contact, route_set, transport, listener, source_host, source_port, local, direct, accept, user_agent,
    authenticated_user, subscribe_cseq, subscribe_event, expires, subscribed_at, expires_at, cseq_ceiling,
    version_ceiling
FROM subscriptions ORDER BY id;

-- name: save_list
INSERT OR REPLACE INTO lists (id, entries) VALUES (?, ?);

-- name: load_lists
SELECT id, entries FROM lists;

-- name: save_state
-- Saying the same again is no news: a lamp that was set keeps its `at`, and lives as long as the last word says.
INSERT INTO states (account, resource, source, dialogs, at, expires_at, publication, publisher, entity_tag, details)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (resource, source, publication) DO UPDATE SET
    account = excluded.account,
    at = CASE
        WHEN publication = '' AND dialogs = excluded.dialogs AND details = excluded.details THEN at ELSE excluded.at
    END,
    dialogs = excluded.dialogs,
    expires_at = excluded.expires_at,
    publisher = excluded.publisher,
    entity_tag = excluded.entity_tag,
    details = excluded.details;

-- name: forget_publication
DELETE FROM states WHERE (resource, publication) IN (VALUES (?, ?)) AND publication <> '';

-- name: reset_states
-- Which phones are registered stays true.
DELETE FROM states WHERE publication = '' AND source <> 'registrar' AND resource IN (VALUES (?));

-- name: reset_publications
-- They stay, with their tags, and with the dialogs that have ended: those must not come to life again.
UPDATE states SET dialogs = (
    SELECT json_group_array(json(each.value)) FROM json_each(states.dialogs) AS each
    WHERE json_extract(each.value, '$.state') = 'terminated'
), details = CASE WHEN json_type(details, '$.presence') IS NULL THEN '{}' ELSE '{"presence": {}}' END
WHERE publication <> '' AND resource IN (VALUES (?));

-- name: load_states
SELECT account, resource, source, dialogs, at, expires_at, publication, publisher, entity_tag, details
FROM states ORDER BY at;

-- name: save_binding
INSERT OR REPLACE INTO bindings (
    id, account, user, resource, contact, q, instance, path, call_id, cseq, user_agent, transport, listener,
    source_host, source_port, local, expires, registered_at, expires_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: forget_binding
DELETE FROM bindings WHERE id IN (VALUES (?));

-- name: load_bindings
SELECT
    id, account, user, resource, contact, q, instance, path, call_id, cseq, user_agent, transport, listener,
    source_host, source_port, local, expires, registered_at, expires_at
FROM bindings ORDER BY id;

-- name: save_object
INSERT OR REPLACE INTO objects (account, kind, id, body, changed_at) VALUES (?, ?, ?, ?, ?);

-- name: forget_object
DELETE FROM objects WHERE (account, kind, id) IN (VALUES (?, ?, ?));

-- name: load_objects
SELECT account, kind, id, body, changed_at FROM objects ORDER BY account, kind, id;

-- name: save_audit
INSERT OR REPLACE INTO audit (id, account, at, action, resource, asked, by, user, address, request_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: forget_audit
DELETE FROM audit WHERE id IN (VALUES (?));

-- name: load_audit
SELECT id, account, at, action, resource, asked, by, user, address, request_id FROM audit ORDER BY id;

-- name: make_tag_key
INSERT OR IGNORE INTO meta (name, value) VALUES ('tag_key', ?);

-- name: load_tag_key
SELECT value FROM meta WHERE name = 'tag_key';
