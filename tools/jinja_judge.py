"""Python's jinja2 with the settings that Hugging Face's transformers renders chat templates with."""
import datetime
import json

import jinja2
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2023, 11, 14, 22, 13, 20)  # 1700000000 seconds since 1970, the unit tests' now


class Generation(Extension):
    """{% generation %} … {% endgeneration %}: marks what a model is trained on, and changes nothing."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    e = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    e.filters["tojson"] = tojson
    e.globals["raise_exception"] = raise_exception
    e.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return e


ENVIRONMENT = environment()


def render(source, context):
    """The text, or None where it is refused (compiling or running), and the reason."""
    try:
        text = ENVIRONMENT.from_string(source).render(**context)
        text.encode("utf-8")
        return text, None
    except Exception as e:  # whatever Python throws is a refusal
        return None, f"{type(e).__name__}: {e}"
