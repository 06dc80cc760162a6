import httpx
import requests
import urllib3
from workers import Response, WorkerEntrypoint


def summary(client, status, text, headers):
    return {"client": client, "status": int(status), "text": text, "type": headers.get("content-type")}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = "/" + request.url.split("/", 3)[-1]
        target = self.env.TARGET or request.url.rsplit("/", 1)[0]
        if path == "/all":
            return Response.json(self.all(target))
        if path == "/session":
            with requests.Session() as session:
                session.get(f"{target}/cookie", timeout=5)
                return Response(session.post(f"{target}/echo", json={"a": 1}, params={"q": "x y"}).text)
        if path == "/itself":
            return Response(requests.get(f"{request.url.rsplit('/', 1)[0]}/plain", timeout=5).text)
        if path == "/errors":
            found = []
            for call in (
                lambda: requests.get("http://127.0.0.1:1/", timeout=5),
                lambda: requests.get(f"{target}/slow", timeout=0.05),
                lambda: httpx.get("http://127.0.0.1:1/"),
                lambda: httpx.get(f"{target}/slow", timeout=0.05),
                lambda: requests.get(f"{target}/missing").raise_for_status(),
            ):
                try:
                    call()
                except Exception as error:
                    found.append(type(error).__name__)
            return Response.json(found)
        return Response("plain")

    def all(self, target):
        by_requests = requests.get(f"{target}/page", timeout=10)
        by_urllib3 = urllib3.PoolManager().request("GET", f"{target}/page", timeout=10.0)
        with httpx.Client() as client:
            by_httpx = client.get(f"{target}/page", timeout=10.0, follow_redirects=True)
        return [
            summary("requests", by_requests.status_code, by_requests.text, by_requests.headers),
            summary("urllib3", by_urllib3.status, by_urllib3.data.decode(), by_urllib3.headers),
            summary("httpx", by_httpx.status_code, by_httpx.text, by_httpx.headers),
        ]
