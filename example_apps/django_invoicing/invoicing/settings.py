"""As `django-admin startproject` makes them, in short; flaggate's are the last three."""

from pathlib import Path

BASE_DIR = Path(__file__).resolve().parents[1]
SHARED = BASE_DIR.parent / "flask_invoicing"  # the people, the invoices, the plan and the style of all examples
DEBUG = True
SECRET_KEY = "no secret: it signs sessions of people who are made up"
ROOT_URLCONF, TIME_ZONE = "invoicing.urls", "UTC"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "invoicing.db"}}
AUTH_USER_MODEL, DEFAULT_AUTO_FIELD = "invoicing.Person", "django.db.models.BigAutoField"
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "/sign-in", "/invoices", "/sign-in"
STATIC_URL, STATICFILES_DIRS = "/static/", [SHARED / "static"]
CONTRIB = ("admin", "auth", "contenttypes", "humanize", "messages", "sessions", "staticfiles")
INSTALLED_APPS = [*(f"django.contrib.{app}" for app in CONTRIB), "flaggate.contrib.django", "invoicing"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware", "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware", "flaggate.contrib.django.FlaggateMiddleware",
]  # fmt: skip
OPTIONS = {"context_processors": [
    "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages", "invoicing.views.footer",
]}  # fmt: skip
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": OPTIONS}]
FLAGGATE_STORE = "django"  # in DATABASES, so that the admin shows the rollout
FLAGGATE_DEFINITIONS = SHARED / "flags.toml"
FLAGGATE_CONTEXT = "invoicing.views.who"
