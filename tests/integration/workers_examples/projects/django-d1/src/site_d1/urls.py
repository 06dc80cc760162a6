from blog import views
from django.urls import path

urlpatterns = [
    path("migrate/", views.migrate),
    path("posts/", views.posts),
    path("posts/<int:number>/", views.post),
    path("authors/", views.authors),
]
