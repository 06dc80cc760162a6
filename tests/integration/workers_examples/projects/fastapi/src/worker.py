import asgi
from fastapi import Depends, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from pyodide.ffi import run_sync
from workers import WorkerEntrypoint

app = FastAPI()


class Note(BaseModel):
    title: str
    stars: int = 0


def database(request: Request):
    return request.scope["env"].DB


@app.get("/")
async def root(request: Request):
    return {"message": "Hello", "env": request.scope["env"].MESSAGE, "base": str(request.base_url)}


@app.middleware("http")
async def stamped(request: Request, call_next):
    response = await call_next(request)
    response.headers["x-stamp"] = "seen"
    return response


def message_of(db):
    return run_sync(db.prepare("SELECT 'waited for' AS message").first("message"))


@app.get("/waits")
async def waits(db=Depends(database)):
    return {"message": message_of(db)}


@app.get("/sync/{number}")
def in_a_thread(number: int, twice: bool = False):
    return {"number": number * (2 if twice else 1)}


@app.post("/notes", status_code=201)
async def add(note: Note, db=Depends(database)):
    await db.exec("CREATE TABLE IF NOT EXISTS notes (title TEXT, stars INTEGER)")
    result = await db.prepare("INSERT INTO notes VALUES (?, ?)").bind(note.title, note.stars).run()
    return {"id": result.meta.last_row_id}


@app.get("/notes")
async def notes(db=Depends(database)):
    rows = await db.prepare("SELECT title, stars FROM notes ORDER BY stars DESC").all()
    return [{"title": row.title, "stars": row["stars"]} for row in rows.results]


@app.get("/stream")
async def stream():
    async def numbers():
        for number in range(3):
            yield f"{number}\n"

    return StreamingResponse(numbers(), media_type="text/plain")


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_json({"echo": await socket.receive_text()})
    except WebSocketDisconnect:
        pass


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await asgi.fetch(app, request.js_object, self.env)
