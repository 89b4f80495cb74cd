"""Serves the tutorials as they are written, one program each, and one that has the routes of all.

Prints a line of JSON, {"program": port}, and ends with its standard input.
"""

import json
import logging
import pathlib
import runpy
import sys
import threading

from flask import Flask
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
here = pathlib.Path(__file__).parent

programs = {name: runpy.run_path(here / f"{name}.py")["app"] for name in ("testing", "user", "key")}
together = Flask("together")
together.secret_key = "secret_key"
for name, app in programs.items():
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            together.add_url_rule(rule.rule, f"{name}.{rule.endpoint}", app.view_functions[rule.endpoint])
programs["together"] = together

ports = {}
for name, app in programs.items():
    server = make_server("127.0.0.1", 0, app, threaded=True)
    ports[name] = server.port
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps(ports), flush=True)
sys.stdin.read()
