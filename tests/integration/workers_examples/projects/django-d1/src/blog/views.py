import json

from django.core.management import call_command
from django.db import IntegrityError, connection
from django.db.models import Count
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404

from blog.models import Author, Post


def migrate(request):
    call_command("migrate", interactive=False, verbosity=0)
    return JsonResponse({"tables": sorted(connection.introspection.table_names())})


def shown(post):
    return {"id": post.pk, "author": post.author.name, "title": post.title, "published": post.published}


def posts(request):
    if request.method == "POST":
        given = json.loads(request.body)
        author, _ = Author.objects.get_or_create(name=given.pop("author"))
        try:
            made = Post.objects.create(author=author, **given)
        except IntegrityError as error:
            return JsonResponse({"error": type(error).__name__}, status=409)
        return JsonResponse(shown(made), status=201)
    found = Post.objects.select_related("author")
    if "published" in request.GET:
        found = found.filter(published=request.GET["published"] == "1")
    return JsonResponse([shown(post) for post in found], safe=False)


def post(request, number):
    found = get_object_or_404(Post.objects.select_related("author"), pk=number)
    if request.method == "DELETE":
        found.delete()
        return HttpResponse(status=204)
    return JsonResponse(shown(found))


def authors(request):
    counted = Author.objects.annotate(number=Count("posts")).filter(number__gt=0)
    return JsonResponse({author.name: author.number for author in counted})
