from d1 import D1, D1Error
from flask import Flask, Response, abort, g, jsonify, request
from workers import WorkerEntrypoint, wsgi

app = Flask(__name__)


def database() -> D1:
    if "db" not in g:
        g.db = D1(request.environ["workers.env"].DB)
        g.db.run(
            "CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL, done INTEGER DEFAULT 0)"
        )
    return g.db


def shown(row):
    return {**row, "done": bool(row["done"])}


@app.get("/todos")
def todos():
    return jsonify([shown(row) for row in database().query("SELECT id, title, done FROM todos ORDER BY id")])


@app.post("/todos")
def add():
    meta = database().run("INSERT INTO todos (title) VALUES (?)", request.get_json()["title"])
    return {"id": meta["last_row_id"]}, 201


@app.patch("/todos/<int:number>")
def change(number):
    database().run("UPDATE todos SET done = ? WHERE id = ?", request.get_json()["done"], number)
    return one(number)


@app.get("/todos/<int:number>")
def one(number):
    row = database().first("SELECT id, title, done FROM todos WHERE id = ?", number)
    return shown(row) if row else abort(404)


@app.get("/broken")
def broken():
    return jsonify(database().query("SELECT * FROM nowhere"))


@app.get("/stream")
def stream():
    return Response((f"{number}," for number in range(3)), mimetype="text/plain")


@app.errorhandler(D1Error)
def failed(error):
    return {"error": str(error)}, 500


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await wsgi.fetch(app, request, self.env)
