-- The ids come from the pages: a todo has its id before the server has seen it, and adding it twice adds it once.
CREATE TABLE todos (
  id TEXT PRIMARY KEY CHECK (length(id) BETWEEN 8 AND 64),
  title TEXT NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
  done INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1)),
  created_at INTEGER NOT NULL
);
