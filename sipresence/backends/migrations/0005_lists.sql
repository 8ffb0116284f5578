-- Which subscriptions are to a list (RFC 4662). `entries` is the list that came with the SUBSCRIBE (RFC 5367): a JSON
-- array of pairs, address and display name; NULL for a list that is configured. The row goes with that of its
-- subscription, by a trigger, since most have none.

CREATE TABLE lists (
    id INTEGER PRIMARY KEY,
    entries TEXT
);

CREATE TRIGGER lists_end AFTER DELETE ON subscriptions BEGIN
    DELETE FROM lists WHERE id = OLD.id;
END;
