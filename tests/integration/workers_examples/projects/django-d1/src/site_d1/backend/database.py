"""The DB-API over a D1 binding, as far as Django asks for it."""

from django.db import DatabaseError, DataError, Error, IntegrityError, InterfaceError, InternalError  # noqa: F401
from django.db import NotSupportedError, OperationalError, ProgrammingError  # noqa: F401
from pyodide.ffi import JsException, run_sync
from workers import import_from_javascript


def plain(value):
    return (
        int(value)
        if isinstance(value, bool)
        else value
        if value is None or isinstance(value, (int, float))
        else str(value)
    )


class Cursor:
    lastrowid = None
    rowcount = -1
    arraysize = 100

    def __init__(self, binding):
        self._binding = binding
        self._rows = []

    def execute(self, query, params=None):
        database = getattr(import_from_javascript("cloudflare:workers").env, self._binding)
        given = []
        for value in params or ():
            if value is None:
                query = query.replace("%s", "NULL", 1)
            else:
                query = query.replace("%s", "?", 1)
                given.append(plain(value))
        statement = database.prepare(query.replace("%%", "%"))
        if given:
            statement = statement.bind(*given)
        try:
            if query.lstrip().upper().startswith("SELECT"):
                rows = run_sync(statement.raw())
                self._rows = [tuple(row) for row in rows.to_py()]
                self.rowcount = len(self._rows)
            else:
                answer = run_sync(statement.all())
                self._rows = [tuple(row.values()) for row in answer.results.to_py()]
                self.rowcount = answer.meta.rows_written
                self.lastrowid = answer.meta.last_row_id
        except JsException as error:
            kind = IntegrityError if "constraint" in str(error) else OperationalError
            raise kind(str(error)) from error
        return self

    def executemany(self, query, rows):
        for row in rows:
            self.execute(query, row)

    def fetchone(self):
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size=1):
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    def fetchall(self):
        taken, self._rows = self._rows, []
        return taken

    def __iter__(self):
        return iter(self.fetchall())

    def close(self):
        self._rows = []


class Connection:
    def __init__(self, binding):
        self._binding = binding

    def cursor(self):
        return Cursor(self._binding)

    def commit(self):
        pass

    def rollback(self):
        pass

    def close(self):
        pass
