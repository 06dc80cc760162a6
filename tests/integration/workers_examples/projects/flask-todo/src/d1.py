"""D1 for code that cannot await."""

from pyodide.ffi import run_sync


class D1Error(RuntimeError):
    pass


class D1:
    def __init__(self, binding):
        self._db = binding

    def _run(self, sql, params, how):
        statement = self._db.prepare(sql)
        if params:
            statement = statement.bind(*params)
        try:
            return run_sync(getattr(statement, how)())
        except Exception as error:
            raise D1Error(f"{error} (query: {sql})") from error

    def query(self, sql, *params) -> list[dict]:
        return [dict(row) for row in self._run(sql, params, "all")["results"]]

    def first(self, sql, *params) -> dict | None:
        row = self._run(sql, params, "first")
        return dict(row) if row is not None else None

    def run(self, sql, *params) -> dict:
        return dict(self._run(sql, params, "run")["meta"])
