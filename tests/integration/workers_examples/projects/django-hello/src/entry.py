import os

from workers import WorkerEntrypoint, wsgi

os.environ["DJANGO_SETTINGS_MODULE"] = "hello_django.settings"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        from hello_django.wsgi import application

        return await wsgi.fetch(application, request, self.env)
