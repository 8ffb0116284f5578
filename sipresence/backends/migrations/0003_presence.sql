-- A source may speak of presence (RFC 3863) and of voicemail (RFC 3842), too: a JSON object with a member for each of
-- which it does.

ALTER TABLE states ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
