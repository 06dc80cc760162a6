DROP TABLE IF EXISTS quotes;
CREATE TABLE quotes (id INTEGER PRIMARY KEY, quote TEXT NOT NULL, author TEXT);
INSERT INTO quotes (quote, author) VALUES ('Simple is better', 'Tim'), ('Flat; not nested', 'Tim'), ('Now', NULL);
