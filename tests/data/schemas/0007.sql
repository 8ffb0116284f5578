-- What a server with schema 6 has written: two subscriptions, a lamp that was set, one whose sources all went idle, a
-- mailbox, publications of a call and of presence, a registered phone and one that is no more, a device and a user of the
-- directory, a revoked token, and the key of its tags.

INSERT INTO meta (name, value) VALUES (
    'tag_key', X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F'
);

INSERT INTO subscriptions VALUES
(
    1, '0123456789abcdef0123456789abcdef', '101@office.example.com', 'dialog', '', 'first@192.0.2.7', 'our-tag-1',
    'their-tag-1', '<sip:101@office.example.com>', '<sip:bob@office.example.com>;tag=their-tag-1',
    'sip:101@office.example.com', 'sip:bob@192.0.2.7:5060', '', 'UDP', 'udp://0.0.0.0:5060', '192.0.2.7', 5060,
    '192.0.2.1:5060', 1, 'application/dialog-info+xml', 'Desk phone 1.0', '', 3, 'dialog', 3600, 1700000000.5,
    4000000000.5, 65, 64
),
(
    7, '0123456789abcdef0123456789abcdef', '*3101@office.example.com', 'dialog', 'line2', 'second@192.0.2.8', 'our-tag-2',
    'their-tag-2', '<sip:*3101@office.example.com>', '<sip:eve@office.example.com>;tag=their-tag-2',
    'sip:*3101@office.example.com', 'sip:eve@192.0.2.8:5061;transport=tls', '<sip:proxy.example.com;lr>', 'TLS',
    'tls://0.0.0.0:5061', '192.0.2.8', 40000, '192.0.2.1:5061', 0, '', '', 'alice-desk', 1, 'dialog;id=line2', 600,
    1700000001.0, 4000000001.0, 128, 127
);

INSERT INTO states VALUES
(
    '0123456789abcdef0123456789abcdef', '101@office.example.com', 'manual',
    '[{"id": "d1", "state": "early", "direction": "recipient", "local_identity": "sip:101@office.example.com", "remote_identity": "sip:101@office.example.com"}]',
    1700000002.0, 4000000002.0, '', '', '', '{}'
),
(
    '0123456789abcdef0123456789abcdef', '*3101@office.example.com', 'manual', '[]', 1700000003.0, NULL, '', '', '', '{}'
),
(
    '0123456789abcdef0123456789abcdef', '102@office.example.com', 'published',
    '[{"id": "padi-1", "state": "confirmed", "direction": "initiator", "local_identity": "", "remote_identity": "", "call_id": "call-1@192.0.2.20", "local_tag": "", "remote_tag": "", "local_display": "", "remote_display": "", "local_target": "", "remote_target": "", "held": false}]',
    1700000004.0, 4000000004.0, 'p1', '192.0.2.20', 'p1.2', '{}'
),
(
    '0123456789abcdef0123456789abcdef', '102@office.example.com', 'mailbox', '[]', 1700000005.0, NULL, '', '', '',
    '{"messages":{"new":2,"saved":5}}'
),
(
    '0123456789abcdef0123456789abcdef', '102@office.example.com', 'published', '[]', 1700000006.0, 4000000006.0, 'p2',
    '192.0.2.21', 'p2.1', '{"presence":{"open":true,"activities":["meeting"],"note":"Back at five"}}'
),
(
    '0123456789abcdef0123456789abcdef', '103@office.example.com', 'registrar', '[]', 1700000007.0, NULL, '', '', '',
    '{"presence": {"open": false, "activities": [], "note": "", "do_not_disturb": false}}'
);

INSERT INTO bindings VALUES
(
    5, '0123456789abcdef0123456789abcdef', 'alice-desk', '101@office.example.com', 'sip:alice-desk@192.0.2.7:5062', '0.5',
    '"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"', '<sip:edge.example.com;lr>', 'register@192.0.2.7', 12,
    'Desk phone 1.0', 'UDP', 'udp://0.0.0.0:5060', '192.0.2.7', 5062, '192.0.2.1:5060', 3600, 1700000008.5, 4000000008.5
);

INSERT INTO objects VALUES
(
    '0123456789abcdef0123456789abcdef', 'device', 'de51ce00000000000000000000000201',
    '{"name": "Cellar", "sip": {"username": "cellar", "password": "cellar-secret"}, "enabled": true, "x": [1, null]}',
    1700000009.5
),
(
    '0123456789abcdef0123456789abcdef', 'user', 'c4101000000000000000000000000103',
    '{"first_name": "Carol", "last_name": "Doe", "enabled": true, "priv_level": "user"}', 1700000010.5
),
(
    '0123456789abcdef0123456789abcdef', 'revocation', '00112233445566778899aabbccddeeff', '{"expires_at": 4000000010.5}',
    1700000011.5
);

INSERT INTO lists VALUES (1, NULL), (7, '[["sip:101@office.example.com", "Alice"], ["sip:eve@elsewhere.example", ""]]');
INSERT INTO audit (id, account, at, action, resource, asked, by, user, address, request_id)
VALUES (1, '0123456789abcdef0123456789abcdef', 1700000012.5, 'set', '101@office.example.com', '{"state": "early"}',
    '0123456789abcdef0123456789abcdef', 'c4101000000000000000000000000103', '192.0.2.9', 'request-1');
