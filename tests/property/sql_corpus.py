"""A corpus of SQL of many shapes, made from a seed: what programs, ORMs, migration tools and people write.

Each statement comes with the kind it was made as. They run against `SCHEMA`, whose names are chosen to mislead: quoted
keywords, semicolons and comment marks in names, a table that looks like an attached one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

SCHEMA = (
    "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, age INT DEFAULT 0, data TEXT)",
    "CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INT REFERENCES users(id) ON DELETE CASCADE"
    " ON UPDATE CASCADE, total REAL CHECK (total IS NULL OR total > -1e9), note, at TEXT DEFAULT CURRENT_TIMESTAMP)",
    "CREATE TABLE pairs(a TEXT, b TEXT, n, PRIMARY KEY (a, b)) WITHOUT ROWID",
    "CREATE TABLE made(id INTEGER PRIMARY KEY, w REAL, h REAL, area REAL AS (w * h) STORED, twice AS (area * 2))",
    "CREATE TABLE strict_t(id INT PRIMARY KEY, v ANY, t TEXT NOT NULL) STRICT",
    'CREATE TABLE "two words"("first column" INT, "select" TEXT, [third] BLOB)',
    "CREATE TABLE [bracket;ed](id INTEGER PRIMARY KEY, x)",
    "CREATE TABLE `tick--ed`(id INTEGER PRIMARY KEY, x)",
    'CREATE TABLE "quo""ted"(id INTEGER PRIMARY KEY, x)',
    'CREATE TABLE "main.users"(id INTEGER PRIMARY KEY, name)',
    'CREATE TABLE "select"(id INTEGER PRIMARY KEY, "update" TEXT, "delete" TEXT)',
    'CREATE TABLE "insert into"(id INTEGER PRIMARY KEY, x)',
    "CREATE TABLE größe(id INTEGER PRIMARY KEY, ärmel TEXT)",
    "CREATE TABLE 日本語(id INTEGER PRIMARY KEY, 名前 TEXT)",
    "CREATE TABLE log(n INTEGER PRIMARY KEY, what TEXT)",
    "CREATE TABLE tree(id INTEGER PRIMARY KEY, parent INT REFERENCES tree(id) ON DELETE SET NULL, label)",
    "CREATE TABLE replace(id INTEGER PRIMARY KEY, x)",
    "CREATE INDEX users_by_age ON users(age)",
    "CREATE UNIQUE INDEX orders_by_note ON orders(note) WHERE note IS NOT NULL",
    "CREATE INDEX users_by_json ON users(json_extract(data, '$.k'))",
    "CREATE VIRTUAL TABLE docs USING fts5(title, body)",
    "CREATE VIRTUAL TABLE docs_words USING fts5vocab(docs, 'row')",
    "CREATE VIEW adults AS SELECT id, name FROM users WHERE age >= 18",
    "CREATE VIEW plain_view AS SELECT u.name, o.total FROM users u JOIN orders o ON o.user_id = u.id",
    "CREATE TRIGGER adults_insert INSTEAD OF INSERT ON adults BEGIN"
    " INSERT INTO users(name, age) VALUES(new.name, 18); END",
    "CREATE TRIGGER adults_update INSTEAD OF UPDATE ON adults BEGIN"
    " UPDATE users SET name = new.name WHERE id = old.id; END",
    "CREATE TRIGGER adults_delete INSTEAD OF DELETE ON adults BEGIN DELETE FROM users WHERE id = old.id; END",
    "CREATE TRIGGER orders_log AFTER INSERT ON orders BEGIN INSERT INTO log(what) VALUES('order'); END",
    "CREATE TRIGGER orders_gone AFTER DELETE ON orders BEGIN INSERT INTO log(what) VALUES('gone; -- really'); END",
    "INSERT INTO users(name, email, age, data) VALUES('anna', 'a@x', 30, '{\"k\":[1,2]}'), ('bertil', 'b@x', 12, NULL)",
    "INSERT INTO orders(user_id, total, note) VALUES(1, 10, 'first'), (1, 20.5, NULL), (2, 3, 'x;y')",
    "INSERT INTO pairs VALUES('a', 'b', 1), ('a', 'c', 2)",
    "INSERT INTO made(w, h) VALUES(2, 3)",
    "INSERT INTO docs VALUES('hello', 'the quick brown fox'), ('bye', 'insert update delete')",
    "INSERT INTO tree VALUES(1, NULL, 'root'), (2, 1, 'leaf')",
)

TABLES: dict[str, tuple[str, ...]] = {
    "users": ("id", "name", "email", "age", "data"),
    "orders": ("id", "user_id", "total", "note"),
    "pairs": ("a", "b", "n"),
    "made": ("id", "w", "h"),
    "strict_t": ("id", "v", "t"),
    '"two words"': ('"first column"', '"select"', "[third]"),
    "[bracket;ed]": ("id", "x"),
    "`tick--ed`": ("id", "x"),
    '"quo""ted"': ("id", "x"),
    '"main.users"': ("id", "name"),
    '"select"': ("id", '"update"', "`delete`"),
    '"insert into"': ("id", "x"),
    "größe": ("id", "ärmel"),
    "日本語": ("id", "名前"),
    "log": ("n", "what"),
    "tree": ("id", "parent", "label"),
    "replace": ("id", "x"),
    "main.users": ("id", "name", "age"),
    "main.[bracket;ed]": ("id", "x"),
    '"main"."users"': ("id", "name"),
}
KEYED = {"users": "email", "orders": "id", "pairs": "a, b", "made": "id", "log": "n", "größe": "id", '"select"': "id"}
LITERALS = (
    "1", "-7", "2.5", "1e3", "0x1F", "NULL", "'text'", "'it''s'", "'a;b'", "'-- no comment'", "'/* nor this */'",
    "X'00ff'", "'INSERT INTO users VALUES(1)'", "'日本'", "''", "TRUE", "CURRENT_TIMESTAMP", "'REPLACE'",
    "9223372036854775807",
)  # fmt: skip
FUNCTIONS = (
    "abs({0})", "coalesce({0}, {1}, 0)", "upper({0})", "length({0})", "typeof({0})", "quote({0})", "hex({0})",
    "replace({0}, 'a', 'b')", "ifnull({0}, {1})", "nullif({0}, {1})", "iif({0}, {1}, 'no')", "round({0}, 1)",
    "printf('%s-%d', {0}, {1})", "strftime('%Y', {0})", "json_array({0}, {1})", "json_object('k', {0})",
    "substr({0}, 1, 2)", "instr({0}, 'a')", "max({0}, {1})", "trim({0})", "date('now', '-1 day')", "unicode({0})",
)  # fmt: skip
COMMENTS = ("/* insert into users */", "-- delete from users;\n", "/**/", "/* ; */", "--\n", "-- it's\n", '/* "open */')
PRAGMAS = (
    "table_info(users)", "table_xinfo('made')", "table_list", "index_list(users)", "index_info(users_by_age)",
    "foreign_key_list(orders)", "foreign_key_check", "foreign_keys", "data_version", "case_sensitive_like=1",
    "recursive_triggers=ON", "defer_foreign_keys=ON", "ignore_check_constraints = false", "legacy_alter_table=0",
    "quick_check", "optimize", "main.table_info('two words')", "reverse_unordered_selects",
)  # fmt: skip


class Corpus:
    """Statements of all kinds from one seed."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)
        self._count = 0
        self._makers: dict[str, Callable[[], str]] = {
            "select": self._select,
            "compound select": self._compound,
            "cte select": lambda: f"{self._with()} {self._select()}",
            "recursive select": self._recursive,
            "window select": self._window,
            "json select": self._json,
            "fts5 select": self._search,
            "values": lambda: f"VALUES ({self._list(3)}), ({self._list(3)})",
            "explain": lambda: f"EXPLAIN {self._pick(['', 'QUERY PLAN '])}{self._any_row_statement()}",
            "insert": self._insert,
            "insert or": lambda: self._insert(f"INSERT OR {self._conflict()}"),
            "replace": lambda: self._insert("REPLACE"),
            "insert select": self._insert_select,
            "upsert": self._upsert,
            "insert returning": lambda: f"{self._insert()} RETURNING {self._pick(['*', '1 AS one, *', 'rowid'])}",
            "insert default": lambda: f"INSERT INTO {self._pick(['log', 'replace', 'größe', 'made'])} DEFAULT VALUES",
            "cte insert": lambda: f"{self._with()} {self._insert_select()}",
            "fts5 write": self._index_write,
            "view write": self._view_write,
            "update": self._update,
            "update or": lambda: self._update(f"UPDATE OR {self._conflict()}"),
            "update from": self._update_from,
            "cte update": lambda: f"{self._with()} {self._update()}",
            "update returning": lambda: f"{self._update()} RETURNING *",
            "delete": self._delete,
            "cte delete": lambda: f"{self._with()} {self._delete()}",
            "delete returning": lambda: f"{self._delete()} RETURNING {self._pick(['*', '1 AS [delete]', '1'])}",
            "create table": self._create_table,
            "create table as": lambda: f"CREATE TABLE {self._if('IF NOT EXISTS ')}{self._new()} AS {self._select()}",
            "create index": self._create_index,
            "create view": lambda: f"CREATE VIEW {self._if('IF NOT EXISTS ')}{self._new()} AS {self._select()}",
            "create trigger": self._create_trigger,
            "create virtual": lambda: (
                f"CREATE VIRTUAL TABLE {self._new()} USING fts5(a, b UNINDEXED, tokenize='porter')"
            ),
            "alter": self._alter,
            "drop": self._drop,
            "pragma": lambda: f"PRAGMA {self._pick(PRAGMAS)}",
            "maintenance": lambda: self._pick(
                ["ANALYZE", "ANALYZE users", "REINDEX", "REINDEX users", "REINDEX main.orders"]
            ),
        }

    @property
    def kinds(self) -> list[str]:
        """Every kind of statement, in a fixed order."""
        return list(self._makers)

    def statements(self, count: int) -> Iterator[tuple[str, str]]:
        """Yield `count` pairs of kind and statement, the kinds in turn."""
        kinds = self.kinds
        for number in range(count):
            kind = kinds[number % len(kinds)]
            yield kind, self._disguised(self._makers[kind]())

    # parts

    def _pick(self, choices: object) -> str:
        return self._chance.choice(list(choices))  # type: ignore[call-overload] - anything that can be listed

    def _if(self, text: str, probability: float = 0.3) -> str:
        return text if self._chance.random() < probability else ""

    def _new(self) -> str:
        self._count += 1
        return self._pick(["n{}", '"new {}"', "[n;{}]", "`n{}`", "main.n{}", "neu_ö{}"]).format(self._count)

    def _conflict(self) -> str:
        return self._pick(["REPLACE", "IGNORE", "ABORT", "FAIL", "ROLLBACK"])

    def _disguised(self, sql: str) -> str:
        """Put comments, space and another case of letters where they change nothing."""
        chance = self._chance
        if chance.random() < 0.2 and "'" not in sql and '"' not in sql:
            sql = sql.lower() if chance.random() < 0.5 else sql.title()
        if chance.random() < 0.2 and '"' not in sql[:30]:
            sql = sql.replace(" ", self._pick(["  ", "\n", "\t", "\r\n"]), 3)
        if chance.random() < 0.2:
            head, space, rest = sql.partition(" ")
            sql = f"{head}{space}{self._pick(COMMENTS)}{self._pick([' ', chr(10)])}{rest}"
        if chance.random() < 0.25:
            sql = self._pick(COMMENTS) + self._pick(["", " ", "\n\t"]) + sql
        return sql + self._pick(["", "", "", ";", " ;", ";\n", "/* end */"])

    def _list(self, count: int) -> str:
        return ", ".join(self._pick(LITERALS) for _ in range(count))

    def _table(self) -> tuple[str, tuple[str, ...]]:
        name = self._pick(TABLES)
        return name, TABLES[name]

    def _expression(self, columns: tuple[str, ...], depth: int = 0) -> str:
        chance = self._chance
        if depth > 2 or chance.random() < 0.35:
            return self._pick([*columns, *columns, *LITERALS])
        one, two = self._expression(columns, depth + 1), self._expression(columns, depth + 1)
        match chance.randint(0, 9):
            case 0 | 1:
                return self._pick(FUNCTIONS).format(one, two)
            case 2:
                return f"({one} {self._pick(['+', '-', '*', '/', '%', '||', '&', '|', '<<'])} {two})"
            case 3:
                return f"({one} {self._pick(['=', '<>', '!=', '<', '>=', 'IS', 'IS NOT', 'AND', 'OR', '=='])} {two})"
            case 4:
                return f"CASE WHEN {one} THEN {two} ELSE {self._pick(LITERALS)} END"
            case 5:
                return f"CAST({one} AS {self._pick(['TEXT', 'INTEGER', 'REAL', 'BLOB', 'NUMERIC'])})"
            case 6:
                return f"({one} {self._if('NOT ')}IN ({self._list(3)}))"
            case 7:
                return f"({one} {self._pick(['LIKE', 'GLOB', 'NOT LIKE'])} 'a%')"
            case 8:
                what = self._pick(["max(id)", "count(*)", "name"])
                return f"(SELECT {what} FROM users WHERE age > {self._pick(LITERALS)})"
            case _:
                return f"({one} BETWEEN {two} AND {self._pick(LITERALS)} OR EXISTS (SELECT 1 FROM log))"

    def _where(self, columns: tuple[str, ...], probability: float = 0.7) -> str:
        return f" WHERE {self._expression(columns)}" if self._chance.random() < probability else ""

    def _with(self) -> str:
        first = f"q(id, k) AS {self._pick(['', 'MATERIALIZED ', 'NOT MATERIALIZED '])}(SELECT id, name FROM users)"
        second = self._pick(
            [
                "",
                ", users AS (SELECT 1 AS id, 'shadow' AS name, 9 AS age, 'x' AS email, 'y' AS data)",
                ", r AS (VALUES (1), (2))",
                ', "delete" AS (SELECT 1)',
            ]
        )
        return f"WITH {self._if('RECURSIVE ')}{first}{second}"

    # reads

    def _select(self) -> str:
        table, columns = self._table()
        what = self._pick(
            ["*", f"{columns[0]} AS x", self._expression(columns), f"count(*), max({columns[0]})", "DISTINCT *"]
        )
        sql = f"SELECT {what} FROM {table}"
        if self._chance.random() < 0.3:
            other = self._pick(
                ["orders o", "pairs AS p", "(SELECT 1 AS one) s", "docs d", "json_each('[1,2]') j", "plain_view v"]
            )
            sql += f" {self._pick([', ', ' JOIN ', ' LEFT JOIN ', ' CROSS JOIN '])}{other}"
            return (
                sql.replace("SELECT " + what, f"SELECT {self._pick(['1', 'count(*)', '*'])}")
                + f" LIMIT {self._chance.randint(0, 3)}"
            )
        sql += self._where(columns)
        if "count" not in what and self._chance.random() < 0.3:
            sql += f" ORDER BY {self._chance.choice([1, columns[0] if what == '*' else 1])} {self._pick(['', 'DESC'])}"
            sql += self._if(" LIMIT 2 OFFSET 1")
        elif self._chance.random() < 0.2:
            sql += f" GROUP BY {columns[-1]} HAVING count(*) > 0"
        return sql

    def _compound(self) -> str:
        word = self._pick(["UNION", "UNION ALL", "INTERSECT", "EXCEPT"])
        what = self._pick(["id", "1", "user_id"])
        return f"SELECT id FROM users {word} SELECT {what} FROM orders{self._if(' ORDER BY 1')}"

    def _recursive(self) -> str:
        return self._pick(
            [
                "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5) SELECT x FROM c",
                "WITH RECURSIVE up(id, parent) AS (SELECT id, parent FROM tree WHERE id = 2 UNION SELECT t.id, t.parent"
                " FROM tree t JOIN up ON up.parent = t.id) SELECT * FROM up",
                "WITH t AS (SELECT 1 AS a), u AS (SELECT a FROM t) SELECT * FROM u, t",
            ]
        )

    def _window(self) -> str:
        call = self._pick(["row_number()", "rank()", "lag(age, 1, 0)", "sum(age)", "first_value(name)", "ntile(2)"])
        frame = self._pick(["", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", " RANGE UNBOUNDED PRECEDING"])
        return (
            f"SELECT {call} OVER (PARTITION BY age ORDER BY id{frame}) FROM users"
            if self._chance.random() < 0.6
            else f"SELECT {call} OVER w FROM users WINDOW w AS (ORDER BY id{frame})"
        )

    def _json(self) -> str:
        return self._pick(
            [
                "SELECT json_extract(data, '$.k[0]'), data -> 'k', data ->> '$.k' FROM users",
                "SELECT key, value FROM users, json_each(users.data, '$.k')",
                "SELECT json_group_array(name) FROM users WHERE json_valid(data)",
                "SELECT j.fullkey FROM json_tree('{\"a\":[1,{\"b\":2}]}') AS j WHERE j.type = 'integer'",
                "SELECT json_set('{}', '$.insert', 'delete') AS \"update\"",
            ]
        )

    def _search(self) -> str:
        return self._pick(
            [
                "SELECT title FROM docs WHERE docs MATCH 'quick OR insert' ORDER BY rank",
                "SELECT highlight(docs, 1, '<', '>'), bm25(docs) FROM docs('fox')",
                "SELECT term, cnt FROM docs_words WHERE term > 'd'",
                "SELECT rowid, snippet(docs, -1, '', '', '...', 3) FROM docs WHERE body MATCH 'delete'",
            ]
        )

    # writes

    def _values(self, count: int, columns: tuple[str, ...]) -> str:
        """Return rows; most begin with a number that is free, so that they can be stored."""
        key = "id" in columns[0] or columns[0] == "n"
        rows: list[str] = []
        for number in range(count):
            row = [self._pick([*LITERALS, f"(SELECT max(id) FROM users) + {number}"]) for _ in columns]
            if key and self._chance.random() < 0.7:
                row[0] = self._pick(["NULL", f"{self._chance.randint(10, 99)}{number}", f"{number + 1}"])
            rows.append(f"({', '.join(row)})")
        return ", ".join(rows)

    def _insert(self, verb: str = "INSERT") -> str:
        table, columns = self._table()
        names = f"({', '.join(columns)})" if self._chance.random() < 0.9 or table in ("users", "orders", "made") else ""
        if table in ("main.users", '"main"."users"'):
            names = f"({', '.join(columns)})"
        alias = self._if(" AS target", 0.15)
        rows = self._values(self._chance.randint(1, 3), columns)
        return f"{verb} INTO {table}{alias}{self._pick(['', ' '])}{names} VALUES {rows}"

    def _insert_select(self) -> str:
        table, columns = self._table()
        verb = self._pick(["INSERT", "INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"])
        source = self._pick(["users", "orders", table, "adults", "(SELECT 3 AS id)"])
        some = self._pick(["id", "1", "max(id)", "NULL"]) if source not in ("pairs",) else "1"
        if source == table:
            some = columns[0]
        rest = "".join(f", {self._pick(LITERALS)}" for _ in columns[1:])
        where = self._pick(["true", "1=0", "1"])
        return f"{verb} INTO {table}({', '.join(columns)}) SELECT {some}{rest} FROM {source} WHERE {where}"

    def _upsert(self) -> str:
        table = self._pick(KEYED)
        columns = TABLES[table]
        action = self._pick(["DO NOTHING", f"DO UPDATE SET {columns[-1]} = excluded.{columns[-1]}"])
        if action != "DO NOTHING":
            action += self._if(f" WHERE {columns[-1]} IS NOT excluded.{columns[-1]}")
        target = self._pick(
            [f"({KEYED[table]})", f"({KEYED[table]})", ""] if action == "DO NOTHING" else [f"({KEYED[table]})"]
        )
        row = self._values(self._chance.randint(1, 2), columns)
        end = f"ON CONFLICT{target} {action}{self._if(' RETURNING *')}"
        return f"INSERT INTO {table}({', '.join(columns)}) VALUES {row} {end}"

    def _index_write(self) -> str:
        return self._pick(
            [
                "INSERT INTO docs(title, body) VALUES('new', 'words')",
                "INSERT INTO docs(docs) VALUES('optimize')",
                "INSERT INTO docs(docs, rank) VALUES('merge', 16)",
                "UPDATE docs SET body = 'other' WHERE rowid = 1",
                "DELETE FROM docs WHERE docs MATCH 'fox'",
                "INSERT OR REPLACE INTO docs(rowid, title) VALUES(1, 'again')",
            ]
        )

    def _view_write(self) -> str:
        return self._pick(
            [
                "INSERT INTO adults(id, name) VALUES(50, 'cecilia')",
                "INSERT INTO adults SELECT id + 10, name FROM users",
                "UPDATE adults SET name = upper(name)",
                "DELETE FROM adults WHERE id = 1",
                "WITH x AS (SELECT 1 AS id) DELETE FROM adults WHERE id IN (SELECT id FROM x)",
            ]
        )

    def _update(self, verb: str = "UPDATE") -> str:
        table, columns = self._table()
        name = columns[-1]
        sets = self._pick([f"{name} = {self._expression(columns)}", f"({', '.join(columns[-2:])}) = ({self._list(2)})"])
        alias = self._if(" AS target", 0.15)
        indexed = self._if(" NOT INDEXED", 0.1)
        return f"{verb} {table}{alias}{indexed} SET {sets}{self._where(columns)}"

    def _update_from(self) -> str:
        return self._pick(
            [
                "UPDATE users SET age = o.total FROM orders AS o WHERE o.user_id = users.id",
                "UPDATE orders SET note = s.n FROM (SELECT id, name AS n FROM users) AS s WHERE s.id = orders.user_id",
                "UPDATE pairs SET n = (SELECT count(*) FROM users) FROM log WHERE log.n = pairs.n",
                "WITH q AS (SELECT 1 AS id) UPDATE users SET name = 'x' FROM q, orders WHERE q.id = users.id",
                "UPDATE tree AS t SET label = p.label FROM tree AS p WHERE p.id = t.parent",
            ]
        )

    def _delete(self) -> str:
        table, columns = self._table()
        return f"DELETE FROM {table}{self._if(' AS target', 0.15)}{self._where(columns)}"

    # schema

    def _create_table(self) -> str:
        types, ends = ["INT", "TEXT", "REAL", "BLOB", ""], ["", " NOT NULL", " DEFAULT 1", " UNIQUE", " CHECK (1)"]
        columns = [f"c{n} {self._pick(types)}{self._pick(ends)}" for n in range(self._chance.randint(1, 5))]
        body = ", ".join(columns)
        extra = self._pick(
            ["", ", PRIMARY KEY (c0)", ", UNIQUE (c0)", ", FOREIGN KEY (c0) REFERENCES users(id)", ", g AS (c0 + 1)"]
        )
        end = " WITHOUT ROWID" if "PRIMARY KEY" in extra and self._chance.random() < 0.5 else ""
        return f"CREATE TABLE {self._if('IF NOT EXISTS ')}{self._new()}({body}{extra}){end}"

    def _create_index(self) -> str:
        table, columns = self._table()
        table = table.rpartition(".")[2] if table.startswith(("main.", '"main".')) else table
        where = self._if(f" WHERE {columns[-1]} IS NOT NULL")
        return (
            f"CREATE {self._if('UNIQUE ', 0.2)}INDEX {self._if('IF NOT EXISTS ')}{self._new()} ON {table}"
            f"({columns[-1]} {self._pick(['', 'DESC', 'COLLATE NOCASE'])}){where}"
        )

    def _create_trigger(self) -> str:
        body = self._pick(
            [
                "INSERT INTO log(what) VALUES('a;b'); SELECT 1;",
                "UPDATE users SET age = CASE WHEN 1 THEN 2 ELSE 3 END WHERE id = 1;",
                "DELETE FROM log; /* END; */",
                "SELECT RAISE(IGNORE) WHERE 0;",
            ]
        )
        return (
            f"CREATE TRIGGER {self._if('IF NOT EXISTS ')}{self._new()} {self._pick(['BEFORE', 'AFTER', ''])} "
            f"{self._pick(['INSERT', 'UPDATE', 'UPDATE OF name', 'DELETE'])} ON users{self._if(' FOR EACH ROW')}"
            f"{self._if(' WHEN 1')} BEGIN {body} END"
        )

    def _alter(self) -> str:
        return self._pick(
            [
                f"ALTER TABLE users ADD COLUMN {self._pick(['extra', '[ex;tra]', 'extra INT DEFAULT 3'])}",
                "ALTER TABLE users RENAME COLUMN email TO mail",
                "ALTER TABLE orders RENAME note TO remark",
                f"ALTER TABLE tree RENAME TO {self._pick(['baum', '[b;aum]', 'bäume'])}",
                "ALTER TABLE pairs DROP COLUMN n",
                'ALTER TABLE "two words" RENAME TO "three words"',
                "ALTER TABLE main.log ADD COLUMN at TEXT",
            ]
        )

    def _drop(self) -> str:
        return self._pick(
            [
                "DROP TABLE log",
                "DROP TABLE IF EXISTS nowhere",
                'DROP TABLE "two words"',
                "DROP TABLE [bracket;ed]",
                "DROP VIEW plain_view",
                "DROP INDEX users_by_age",
                "DROP TRIGGER orders_log",
                "DROP VIEW IF EXISTS adults",
                "DROP TABLE docs_words",
                "DROP TABLE main.pairs",
            ]
        )

    def _any_row_statement(self) -> str:
        return self._pick([self._select, self._insert, self._update, self._delete, self._upsert])()  # type: ignore[operator]
