"""`{% load flaggate %}`: `{% feature "new-invoicing" %}...{% else %}...{% endfeature %}`, and `{% feature "x" as on %}`."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.base import FilterExpression, NodeList, Parser, Token

from flaggate.contrib.django.templating import feature
from flaggate.web.routes import FLAG_NAME, is_flag_name

__all__ = ["register"]

register = template.Library()


@register.tag("feature")
def do_feature(parser: Parser, token: Token) -> template.Node:
    """A part of a page for those who have the flag; or whether they have it, under a name."""
    words = token.split_contents()
    is_named = len(words) == 4 and words[2] == "as"
    if len(words) != 2 and not is_named:
        forms = '{% feature "new-invoicing" %}, {% feature "new-invoicing" as on %}'
        raise template.TemplateSyntaxError(f"{{% {token.contents} %}}; allowed: {forms}")
    flag = parser.compile_filter(words[1])
    if isinstance(flag.var, str) and not flag.filters and not is_flag_name(flag.var):
        raise template.TemplateSyntaxError(f"{{% {token.contents} %}}; allowed: the name of a flag: {FLAG_NAME}")
    if is_named:
        return _Named(flag, words[3])
    with_it = parser.parse(("else", "endfeature"))
    without = NodeList()
    if parser.next_token().contents == "else":
        without = parser.parse(("endfeature",))
        parser.delete_first_token()
    return _Part(flag, with_it, without)


def _is_on(flag: FilterExpression, context: Any) -> bool:
    return feature(flag.resolve(context), getattr(context, "request", None))


class _Named(template.Node):
    def __init__(self, flag: FilterExpression, name: str) -> None:
        self._flag = flag
        self._name = name

    def render(self, context: Any) -> str:
        context[self._name] = _is_on(self._flag, context)
        return ""


class _Part(template.Node):
    child_nodelists = ("_with_it", "_without")

    def __init__(self, flag: FilterExpression, with_it: NodeList, without: NodeList) -> None:
        self._flag = flag
        self._with_it = with_it
        self._without = without

    def render(self, context: Any) -> str:
        return (self._with_it if _is_on(self._flag, context) else self._without).render(context)
