from django.http import HttpResponse
from django.urls import path


def hello(request, name):
    where = request.environ["workers.env"].WHERE
    return HttpResponse(f"{request.GET.get('greeting', 'Hello')} {name} from {where}", content_type="text/plain")


def form(request):
    return HttpResponse(request.POST["name"])


urlpatterns = [path("hello/<str:name>/", hello), path("form/", form)]
