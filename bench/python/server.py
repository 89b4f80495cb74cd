"""The applications of the benchmark on Flask and on Django, behind gunicorn: `server.py FRAMEWORK STORE [WHERE]`.

`STORE` is `none`, `redis` (`WHERE` is its URL) or `sqlite` (`WHERE` is the file). Says `ready PORT`, and ends when
its standard input does.
"""

import json
import os
import signal
import sys
import threading

from gunicorn.app.base import BaseApplication

SAMPLE = json.loads(os.environ["SESSION_BENCH_SAMPLE"])


def flask_app(store, where):
    import flask
    from flask import session

    app = flask.Flask("bench")
    app.secret_key = "of the benchmark"
    if store == "redis":
        import redis
        from flask_session import Session

        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.from_url(where))
        Session(app)

    def counter():
        if store == "none":
            return "1"
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    def fill():
        session.update(SAMPLE, visits=0)
        return ""

    app.add_url_rule("/untouched", view_func=lambda: "hello", endpoint="untouched")
    app.add_url_rule("/read", view_func=lambda: session["username"], endpoint="read")
    app.add_url_rule("/visits", view_func=lambda: str(session["visits"]), endpoint="visits")
    app.add_url_rule("/counter", view_func=counter)
    app.add_url_rule("/fill", view_func=fill)
    return app


class Urls:
    """What Django takes for a module of URLs."""


def django_app(store, where):
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    middleware = [] if store == "none" else ["django.contrib.sessions.middleware.SessionMiddleware"]
    options = {"MIDDLEWARE": middleware, "INSTALLED_APPS": ["django.contrib.sessions"]}
    if store == "redis":
        options["SESSION_ENGINE"] = "django.contrib.sessions.backends.cache"
        options["CACHES"] = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": where}}
    if store == "sqlite":
        # As durable as the other contenders, and with writers that wait for each other.
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": where, "CONN_MAX_AGE": None}
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
        database["OPTIONS"] = {"init_command": pragmas, "timeout": 60, "transaction_mode": "IMMEDIATE"}
        options["DATABASES"] = {"default": database}
    settings.configure(SECRET_KEY="of the benchmark", ALLOWED_HOSTS=["*"], ROOT_URLCONF=Urls, **options)
    django.setup()
    if store == "sqlite":
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0)
        connections.close_all()

    def answer(text):
        return HttpResponse(text, headers={"Content-Length": str(len(text))})

    def counter(request):
        if store == "none":
            return answer("1")
        request.session["visits"] = request.session.get("visits", 0) + 1
        return answer(str(request.session["visits"]))

    def fill(request):
        request.session.update({**SAMPLE, "visits": 0})
        return answer("")

    Urls.urlpatterns = [
        path("untouched", lambda request: answer("hello")),
        path("read", lambda request: answer(request.session["username"])),
        path("visits", lambda request: answer(str(request.session["visits"]))),
        path("counter", counter),
        path("fill", fill),
    ]
    return get_wsgi_application()


class Server(BaseApplication):
    def __init__(self, app):
        self.app = app
        super().__init__()

    def load_config(self):
        # A process for each hardware thread of a small machine; threads for requests that wait for their store.
        settings = {"bind": "127.0.0.1:0", "worker_class": "gthread", "workers": os.cpu_count(), "threads": 4}
        settings |= {"keepalive": 600, "loglevel": "error", "when_ready": self.ready}
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self):
        return self.app

    def ready(self, server):
        print("ready", server.LISTENERS[0].sock.getsockname()[1], flush=True)
        threading.Thread(target=end_with_the_input, daemon=True).start()


def end_with_the_input():
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    framework, store, *where = sys.argv[1:]
    make = {"flask": flask_app, "django": django_app}[framework]
    Server(make(store, *where or [None])).run()
