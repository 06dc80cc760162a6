SECRET_KEY = "only-for-development"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "hello_django.urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
